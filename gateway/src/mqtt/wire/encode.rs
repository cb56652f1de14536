//! Replies to bytes, for the version and within the limits of one connection.
//!
//! PUBLISH has its own way in [`super::publish`], because its bytes are shared by many connections.

use bytes::{BufMut, BytesMut};
use bytestring::ByteString;

use super::{Ack, ConnAck, Reason, Version};

/// A packet that the gateway sends, PUBLISH apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBACK.
    PubAck(Ack, Option<ByteString>),
    /// PUBREC.
    PubRec(Ack, Option<ByteString>),
    /// PUBREL.
    PubRel(Ack),
    /// PUBCOMP.
    PubComp(Ack),
    /// SUBACK, a reason for each filter.
    SubAck {
        /// The SUBSCRIBE's.
        packet_id: u16,
        /// One for each filter, in the SUBSCRIBE's order.
        reasons: Vec<Reason>,
        /// The reason string.
        text: Option<ByteString>,
    },
    /// UNSUBACK, a reason for each filter.
    UnsubAck {
        /// The UNSUBSCRIBE's.
        packet_id: u16,
        /// One for each filter, in the UNSUBSCRIBE's order; 3.1.1 has no room for them.
        reasons: Vec<Reason>,
        /// The reason string.
        text: Option<ByteString>,
    },
    /// PINGRESP.
    PingResp,
    /// DISCONNECT; writes nothing to a 3.1.1 client, whose version lets only clients send it.
    Disconnect {
        /// Why.
        reason: Reason,
        /// The reason string.
        text: Option<ByteString>,
    },
}

/// The packet does not fit into the client's maximum packet size or into MQTT. Drop it and count it; a client that
/// cannot take its CONNACK or SUBACK is to be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a packet of {bytes} bytes is larger than the client takes")]
pub struct TooLarge {
    /// Bytes of the whole packet.
    pub bytes: usize,
}

/// The largest remaining length (MQTT5 1.5.5).
pub(super) const MAX_BODY_BYTES: usize = 0x0fff_ffff;

/// How to write to one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Encoder {
    /// The version of the connection.
    pub version: Version,
    /// The largest packet that the client takes.
    pub maximum_packet_size: Option<u32>,
    /// Whether reason strings may be sent on any packet; CONNACK and DISCONNECT may always have one (MQTT5 3.1.2.11.7).
    pub problem_information: bool,
}

impl Encoder {
    /// For a client that has set no limits.
    #[must_use]
    pub const fn new(version: Version) -> Self {
        Self { version, maximum_packet_size: None, problem_information: true }
    }

    /// Says whether a packet of this size may be sent to the client.
    #[must_use]
    pub fn fits(&self, packet_bytes: usize) -> bool {
        self.maximum_packet_size.is_none_or(|maximum| u32::try_from(packet_bytes).is_ok_and(|bytes| bytes <= maximum))
    }

    /// Appends a reply to `out`, without its reason string where that must not or cannot be sent.
    ///
    /// # Errors
    /// [`TooLarge`] when it does not fit; then nothing was written.
    pub fn encode(&self, reply: &Reply, out: &mut BytesMut) -> Result<(), TooLarge> {
        match reply {
            Reply::ConnAck(connack) => {
                if self.version == Version::V311 {
                    if let Some(code) = connack.reason.connect_return_code() {
                        out.put_slice(&[0x20, 2, u8::from(connack.session_present && code == 0), code]);
                    }
                    return Ok(());
                }
                self.with_text(0x20, connack.text.as_ref(), out, |text, body| connack.encode(text, body))
            }
            Reply::PubAck(ack, text) => self.ack(0x40, *ack, text.as_ref(), out),
            Reply::PubRec(ack, text) => self.ack(0x50, *ack, text.as_ref(), out),
            Reply::PubRel(ack) => self.ack(0x62, *ack, None, out),
            Reply::PubComp(ack) => self.ack(0x70, *ack, None, out),
            Reply::SubAck { packet_id, reasons, text } => {
                self.filters_ack(0x90, *packet_id, reasons, self.allowed(text.as_ref()), out)
            }
            Reply::UnsubAck { packet_id, reasons, text } => {
                let reasons = if self.version == Version::V5 { reasons.as_slice() } else { &[] };
                self.filters_ack(0xb0, *packet_id, reasons, self.allowed(text.as_ref()), out)
            }
            Reply::PingResp => {
                out.put_slice(&[0xd0, 0]);
                Ok(())
            }
            Reply::Disconnect { .. } if self.version == Version::V311 => Ok(()),
            Reply::Disconnect { reason, text } => self.with_text(0xe0, text.as_ref(), out, |text, body| {
                body.put_u8(reason.code());
                reason_string(text, body)
            }),
        }
    }

    /// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP; success takes four bytes in both versions.
    fn ack(&self, first: u8, ack: Ack, text: Option<&ByteString>, out: &mut BytesMut) -> Result<(), TooLarge> {
        let [high, low] = ack.packet_id.to_be_bytes();
        let text = self.allowed(text);
        if self.version == Version::V311 || (ack.reason == Reason::Success && text.is_none()) {
            out.put_slice(&[first, 2, high, low]);
            return Ok(());
        }
        self.with_text(first, text, out, |text, body| {
            body.put_slice(&[high, low, ack.reason.code()]);
            // The property length may be left out with the properties (MQTT5 3.4.2.2.1).
            if text.is_some() { reason_string(text, body) } else { Ok(()) }
        })
    }

    fn filters_ack(
        &self,
        first: u8,
        packet_id: u16,
        reasons: &[Reason],
        text: Option<&ByteString>,
        out: &mut BytesMut,
    ) -> Result<(), TooLarge> {
        self.with_text(first, text, out, |text, body| {
            body.put_u16(packet_id);
            if self.version == Version::V5 {
                reason_string(text, body)?;
                body.extend(reasons.iter().map(|reason| reason.code()));
            } else {
                body.extend(reasons.iter().map(|reason| reason.subscribe_return_code()));
            }
            Ok(())
        })
    }

    fn allowed<'a>(&self, text: Option<&'a ByteString>) -> Option<&'a ByteString> {
        text.filter(|_| self.problem_information && self.version == Version::V5)
    }

    /// Writes a packet with its reason string, or without when only that fits (MQTT5 3.14.2.2.3).
    fn with_text(
        &self,
        first: u8,
        text: Option<&ByteString>,
        out: &mut BytesMut,
        write: impl Fn(Option<&ByteString>, &mut Vec<u8>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let mut body = Vec::new();
        if text.is_some() && write(text, &mut body).is_ok() && self.frame(first, &body, out).is_ok() {
            return Ok(());
        }
        body.clear();
        write(None, &mut body)?;
        self.frame(first, &body, out)
    }

    fn frame(&self, first: u8, body: &[u8], out: &mut BytesMut) -> Result<(), TooLarge> {
        let bytes = 1 + varint_bytes(body.len()) + body.len();
        if body.len() > MAX_BODY_BYTES || !self.fits(bytes) {
            return Err(TooLarge { bytes });
        }
        out.reserve(bytes);
        out.put_u8(first);
        put_varint(body.len(), out);
        out.put_slice(body);
        Ok(())
    }
}

/// Writes a property block with at most a reason string in it.
fn reason_string(text: Option<&ByteString>, body: &mut Vec<u8>) -> Result<(), TooLarge> {
    let mut properties = Vec::new();
    if let Some(text) = text {
        put_text_property(0x1f, text, &mut properties)?;
    }
    put_varint(properties.len(), body);
    body.put_slice(&properties);
    Ok(())
}

/// How many bytes a variable byte integer takes.
pub(super) const fn varint_bytes(value: usize) -> usize {
    match value {
        ..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer of at most [`MAX_BODY_BYTES`], which the caller has checked.
pub(super) fn put_varint(mut value: usize, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes binary data or a string with its two-byte length.
pub(super) fn put_binary(data: &[u8], out: &mut impl BufMut) -> Result<(), TooLarge> {
    let length = u16::try_from(data.len()).map_err(|_| TooLarge { bytes: data.len() })?;
    out.put_u16(length);
    out.put_slice(data);
    Ok(())
}

pub(super) fn put_text_property(id: u8, text: &str, out: &mut impl BufMut) -> Result<(), TooLarge> {
    out.put_u8(id);
    put_binary(text.as_bytes(), out)
}
