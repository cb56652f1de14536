//! A message as the PUBLISH that subscribers get: encoded once, copied with one patch into each output buffer.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_core::message::{Message, Properties, QoS};

use super::Version;
use super::encode::{MAX_BODY_BYTES, TooLarge, put_binary, put_text_property, put_varint, varint_bytes};

/// A PUBLISH without its packet id and DUP flag, which are the connection's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EncodedPublish {
    /// The packet, with packet id 0 at QoS 1 and 2.
    pub bytes: Bytes,
    /// Where the packet id is to be written; 0 at QoS 0, which has none.
    pub id_at: usize,
}

const DUP: u8 = 1 << 3;

impl EncodedPublish {
    /// Appends the packet to a connection's output buffer; `id` and `dup` count at QoS 1 and 2 only.
    pub fn write(&self, out: &mut BytesMut, id: u16, dup: bool) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if self.id_at == 0 {
            return;
        }
        let Some(packet) = out.get_mut(start..) else { return };
        if let Some(slot) = packet.get_mut(self.id_at..).and_then(|rest| rest.first_chunk_mut()) {
            *slot = id.to_be_bytes();
        }
        if dup && let Some(first) = packet.first_mut() {
            *first |= DUP;
        }
    }
}

/// Encodes `message` for subscribers of one version, QoS and retain flag.
///
/// `ids` are the subscription identifiers of the receiver and `expiry_s` is what is left of the message's expiry; both,
/// as all properties, exist in MQTT 5 only and are dropped for 3.1.1.
///
/// # Errors
/// [`TooLarge`] when no PUBLISH can carry the message, which one that came in by a PUBLISH is not.
pub fn publish(
    message: &Message,
    version: Version,
    qos: QoS,
    retain: bool,
    ids: &[u32],
    expiry_s: Option<u32>,
) -> Result<EncodedPublish, TooLarge> {
    let properties = match version {
        Version::V311 => None,
        Version::V5 => Some(properties(&message.properties, ids, expiry_s)?),
    };
    let id_bytes = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let properties_bytes = properties.as_ref().map_or(0, |block| varint_bytes(block.len()) + block.len());
    let body_bytes = 2 + message.topic.len() + id_bytes + properties_bytes + message.payload.len();
    let packet_bytes = 1 + varint_bytes(body_bytes) + body_bytes;
    if body_bytes > MAX_BODY_BYTES {
        return Err(TooLarge { bytes: packet_bytes });
    }
    // A vector filled to its capacity becomes `Bytes` without another allocation.
    let mut out = Vec::with_capacity(packet_bytes);
    out.put_u8(0x30 | qos.bits() << 1 | u8::from(retain));
    put_varint(body_bytes, &mut out);
    put_binary(message.topic.as_bytes(), &mut out)?;
    let id_at = if qos == QoS::AtMostOnce { 0 } else { out.len() };
    out.resize(out.len() + id_bytes, 0);
    if let Some(block) = properties {
        put_varint(block.len(), &mut out);
        out.extend_from_slice(&block);
    }
    out.extend_from_slice(&message.payload);
    Ok(EncodedPublish { bytes: Bytes::from(out), id_at })
}

fn properties(properties: &Properties, ids: &[u32], expiry_s: Option<u32>) -> Result<Vec<u8>, TooLarge> {
    let mut out = Vec::new();
    if properties.utf8 {
        out.put_slice(&[0x01, 1]);
    }
    if let Some(seconds) = expiry_s {
        out.put_u8(0x02);
        out.put_u32(seconds);
    }
    if let Some(text) = &properties.content_type {
        put_text_property(0x03, text, &mut out)?;
    }
    if let Some(topic) = &properties.response_topic {
        put_text_property(0x08, topic, &mut out)?;
    }
    if let Some(data) = &properties.correlation {
        out.put_u8(0x09);
        put_binary(data, &mut out)?;
    }
    for &id in ids {
        out.put_u8(0x0b);
        put_varint(usize::try_from(id).unwrap_or(usize::MAX) & MAX_BODY_BYTES, &mut out);
    }
    for (name, value) in &properties.user {
        put_text_property(0x26, name, &mut out)?;
        put_binary(value.as_bytes(), &mut out)?;
    }
    Ok(out)
}
