//! The benches themselves: which brokers, which cells, which columns.

mod cost;
mod plugins;
mod policy;
mod rates;
mod retention;
mod rows;

pub(crate) use cost::{growth, idle, silent, start};
pub(crate) use plugins::plugins;
pub(crate) use policy::policy;
pub(crate) use rates::{durable, throughput};
pub(crate) use retention::retention;
pub(crate) use rows::rows;
