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
#[cfg(test)]
mod tests;
mod translate;

use crate::config::MqttConfig;

pub use causeway_core::frame::{Ack, FrameError, Limits, Reason, Version};
pub use connack::ConnAck;
pub use decode::{Decoder, WireError};
pub use encode::{Encoder, Reply, TooLarge};
pub use packet::{
    Auth, Connect, Disconnect, Filter, Packet, Password, Publish, RetainHandling, Subscribe, Unsubscribe, Will,
};
pub use publish::{EncodedPublish, publish};

/// What one packet may carry once the client is admitted.
#[must_use]
pub fn limits(config: &MqttConfig) -> Limits {
    Limits {
        packet_bytes: usize::try_from(config.max_packet_bytes.0).unwrap_or(usize::MAX),
        filters: config.max_packet_filters,
        user_properties: config.max_user_properties,
        topic_bytes: config.max_topic_bytes,
        topic_levels: config.max_topic_levels,
    }
}

/// What a CONNECT may carry, from a peer that nobody knows yet.
#[must_use]
pub fn limits_before_connect(config: &MqttConfig) -> Limits {
    let bytes = config.max_connect_bytes.min(config.max_packet_bytes).0;
    Limits { packet_bytes: usize::try_from(bytes).unwrap_or(usize::MAX), ..limits(config) }
}
