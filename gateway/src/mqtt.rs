//! The front door: every MQTT rule lives here, and no byte of a socket goes further unparsed.

pub mod identity;
pub mod listener;
pub mod retained;
pub mod session;
pub mod sessions;
pub mod subscriptions;
pub mod tls;
pub mod will;
pub mod wire;
