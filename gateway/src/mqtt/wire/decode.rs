//! Bytes to packets: the check, then our own reading of the hot packets and the codec for the rest.

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use causeway_core::frame;
use causeway_core::message::Properties;

use super::aliases::Aliases;
use super::translate::translate;
use super::{ConnAck, Encoder, FrameError, Limits, Packet, Publish, Reason, Reply, Version};

/// From this size on, a payload stays a slice of the read buffer. Below, it is copied: a kept message of a few bytes
/// must not keep a whole read buffer alive, and a copy of this size costs less than a new read buffer.
const SLICE_FROM_BYTES: usize = 16 * 1024;

/// A client broke the protocol: send `farewell`, if there is any, then close.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct WireError {
    /// What was wrong.
    pub error: FrameError,
    /// The CONNACK or DISCONNECT that says so, encoded; empty when the peer is to be closed without a word.
    pub farewell: Bytes,
}

/// Reads the packets of one connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    aliases: Aliases,
    encoder: Option<Encoder>,
}

impl Decoder {
    /// A decoder that takes one CONNECT within `limits`, which are tight as nobody knows the peer yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, aliases: Aliases::default(), encoder: None }
    }

    /// Raises the limits and lets aliases in, as the CONNACK told the client.
    pub fn admit(&mut self, limits: Limits, topic_alias_maximum: u16) {
        self.limits = limits;
        self.aliases = Aliases::new(topic_alias_maximum);
    }

    /// The version of the connection, known with the CONNECT.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.encoder.as_ref().map(|encoder| encoder.version)
    }

    /// How to write to this client, known with the CONNECT.
    #[must_use]
    pub const fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_ref()
    }

    /// Takes the next packet off `buf`; `None` while bytes are missing.
    ///
    /// # Errors
    /// [`WireError`] when the client broke the protocol; `buf` must not be read any further.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, WireError> {
        let packet = match frame::check(buf, self.version(), &self.limits) {
            Ok(None) => return Ok(None),
            Ok(Some((bytes, checked))) => match self.read(buf, bytes, &checked) {
                // The view ends here, and with it the borrow of `buf`.
                Ok(Read::Whole(packet)) => {
                    buf.advance(bytes);
                    Ok(packet)
                }
                Ok(Read::PayloadMissing(mut publish, payload_bytes)) => {
                    let mut whole = buf.split_to(bytes);
                    publish.payload = whole.split_off(bytes.saturating_sub(payload_bytes)).freeze();
                    Ok(Packet::Publish(publish))
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match packet {
            Ok(Packet::Connect(connect)) => {
                self.encoder = Some(Encoder {
                    version: connect.version,
                    maximum_packet_size: connect.maximum_packet_size,
                    problem_information: connect.request_problem_information,
                });
                Ok(Some(Packet::Connect(connect)))
            }
            Ok(packet) => Ok(Some(packet)),
            Err(error) => Err(self.refuse(error, buf)),
        }
    }

    fn read(&mut self, buf: &[u8], bytes: usize, checked: &frame::Packet<'_>) -> Result<Read, FrameError> {
        Ok(Read::Whole(match *checked {
            frame::Packet::Publish(view) => return self.publish(&view),
            frame::Packet::PubAck(ack) => Packet::PubAck(ack),
            frame::Packet::PubRec(ack) => Packet::PubRec(ack),
            frame::Packet::PubRel(ack) => Packet::PubRel(ack),
            frame::Packet::PubComp(ack) => Packet::PubComp(ack),
            frame::Packet::PingReq => Packet::PingReq,
            frame::Packet::Connect(_)
            | frame::Packet::Subscribe
            | frame::Packet::Unsubscribe
            | frame::Packet::Disconnect
            | frame::Packet::Auth => {
                let packet = buf.get(..bytes).unwrap_or_default();
                translate(packet, self.version(), checked)?
            }
        }))
    }

    fn publish(&mut self, view: &frame::Publish<'_>) -> Result<Read, FrameError> {
        let topic = match view.alias {
            None => ByteString::from(view.topic),
            Some(alias) => self.aliases.resolve(alias, view.topic)?,
        };
        let slice = view.payload.len() >= SLICE_FROM_BYTES;
        let publish = Publish {
            dup: view.dup,
            qos: view.qos,
            retain: view.retain,
            packet_id: view.packet_id,
            topic,
            payload: if slice { Bytes::new() } else { Bytes::copy_from_slice(view.payload) },
            properties: Properties {
                expiry_s: view.expiry_s,
                content_type: view.content_type.map(ByteString::from),
                response_topic: view.response_topic.map(ByteString::from),
                correlation: view.correlation.map(Bytes::copy_from_slice),
                user: frame::user_properties(view.user).map(|(name, value)| (name.into(), value.into())).collect(),
                utf8: view.utf8,
            },
            refusal: view.refusal(),
        };
        if slice {
            return Ok(Read::PayloadMissing(publish, view.payload.len()));
        }
        Ok(Read::Whole(Packet::Publish(publish)))
    }

    /// Finds the last word for a client that broke the protocol (MQTT5 4.13).
    fn refuse(&self, error: FrameError, buf: &[u8]) -> WireError {
        let text = Some(ByteString::from(error.to_string()));
        let (encoder, reply) = match &self.encoder {
            Some(encoder) => (*encoder, Reply::Disconnect { reason: error.reason, text }),
            None => {
                let Some(version) = frame::announced_version(buf) else {
                    return WireError { error, farewell: Bytes::new() };
                };
                let connack = ConnAck { text, ..ConnAck::refused(error.reason) };
                (Encoder::new(version), Reply::ConnAck(Box::new(connack)))
            }
        };
        let mut farewell = BytesMut::new();
        // A client that takes no packet large enough for its reason gets none.
        if encoder.encode(&reply, &mut farewell).is_err() {
            farewell.clear();
        }
        WireError { error, farewell: farewell.freeze() }
    }
}

/// A packet that no longer borrows the read buffer.
enum Read {
    Whole(Packet),
    /// A PUBLISH whose payload, the last bytes of the packet, is to be sliced off the read buffer.
    PayloadMissing(Publish, usize),
}

impl WireError {
    /// What MQTT 5 calls it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.error.reason
    }
}
