//! The benches themselves: which brokers, which cells, which columns.

#[path = "../../gateway/host/tests/support/guest.rs"]
mod guest;

mod cost;
mod dfu;
mod plugins;
mod policy;
mod rates;
mod retention;
mod rows;
mod supply;

pub(crate) use cost::{growth, idle, silent, start};
pub(crate) use dfu::dfu;
pub(crate) use plugins::plugins;
pub(crate) use policy::policy;
pub(crate) use rates::{durable, throughput};
pub(crate) use retention::retention;
pub(crate) use rows::rows;
pub(crate) use supply::supply;
