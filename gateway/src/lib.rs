//! The gateway: sockets, disk, registry and wiring around `causeway-core` and `causeway-host`.
//!
//! `main.rs` tells the story; [`app`] builds the parts in order and owns every task.

pub mod admin;
pub mod app;
pub mod artifacts;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod config;
mod crash;
pub mod devices;
pub mod dfu;
pub mod dispatch;
pub mod firmware;
pub(crate) mod http;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod mqtt;
pub mod plugins;
pub mod policy;
pub mod recording;
pub(crate) mod replace;
pub mod router;
pub mod store;
pub mod telemetry;

#[cfg(test)]
#[path = "../host/tests/support/guest.rs"]
mod guest;

#[cfg(test)]
#[path = "../host/tests/support/dfu_guest.rs"]
mod dfu_guest;
