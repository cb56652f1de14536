//! The wire: bytes of a socket to packets and back, for MQTT 3.1.1 and MQTT 5 alike.
//!
//! [`Decoder`] yields one [`Packet`] of our own for both versions, after the strict check of [`causeway_core::frame`];
//! [`Encoder`] writes each [`Reply`] as the connection's version has it, and [`publish`] encodes a message once for all
//! subscribers that get the same bytes. It holds no session state but the client's topic aliases: windows, packet ids
//! and the order of packets belong to `session`, its only caller.

mod aliases;
mod connack;
mod decode;
mod encode;
mod packet;
mod publish;
mod translate;

pub use causeway_core::frame::{Ack, FrameError, Limits, Reason, Version};
pub use connack::ConnAck;
pub use decode::{Decoder, WireError};
pub use encode::{Encoder, Reply, TooLarge};
pub use packet::{
    Auth, Connect, Disconnect, Filter, Packet, Password, Publish, RetainHandling, Subscribe, Unsubscribe, Will,
};
pub use publish::{EncodedPublish, publish};
