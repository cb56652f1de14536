//! The benches themselves: which brokers, which cells, which columns.

mod cost;
mod rates;

pub(crate) use cost::{growth, idle, silent, start};
pub(crate) use rates::{durable, throughput};
