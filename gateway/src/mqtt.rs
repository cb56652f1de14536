//! The front door: every MQTT rule lives here, and no byte of a socket goes further unparsed.

pub mod broker;
pub mod checkpoint;
pub mod connection;
pub mod delivery;
pub mod identity;
pub mod interest;
pub mod listener;
pub mod metrics;
pub mod permissions;
pub mod pressure;
pub mod retained;
pub mod review;
pub mod session;
pub mod session_log;
pub mod sessions;
pub mod tls;
pub mod will;
pub mod wire;
