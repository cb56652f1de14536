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
        let (bytes, checked) = match frame::check(buf, self.version(), &self.limits) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.refuse(error, buf)),
        };
        match checked {
            frame::Packet::Publish(view) => {
                let topic = match self.topic(&view) {
                    Ok(topic) => topic,
                    Err(error) => return Err(self.refuse(error, buf)),
                };
                let (mut publish, payload_bytes) = own(&view, topic);
                // The view ends here, and with it the borrow of `buf`.
                if payload_bytes < SLICE_FROM_BYTES {
                    buf.advance(bytes);
                } else {
                    let mut whole = buf.split_to(bytes);
                    publish.payload = whole.split_off(bytes.saturating_sub(payload_bytes)).freeze();
                }
                Ok(Some(Packet::Publish(publish)))
            }
            frame::Packet::PubAck(ack) => taken(buf, bytes, Packet::PubAck(ack)),
            frame::Packet::PubRec(ack) => taken(buf, bytes, Packet::PubRec(ack)),
            frame::Packet::PubRel(ack) => taken(buf, bytes, Packet::PubRel(ack)),
            frame::Packet::PubComp(ack) => taken(buf, bytes, Packet::PubComp(ack)),
            frame::Packet::PingReq => taken(buf, bytes, Packet::PingReq),
            frame::Packet::Connect(facts) => self.translate(buf, bytes, Some(facts)),
            frame::Packet::Subscribe | frame::Packet::Unsubscribe | frame::Packet::Disconnect | frame::Packet::Auth => {
                self.translate(buf, bytes, None)
            }
        }
    }

    fn translate(
        &mut self,
        buf: &mut BytesMut,
        bytes: usize,
        connect: Option<frame::Connect>,
    ) -> Result<Option<Packet>, WireError> {
        let whole = buf.split_to(bytes);
        let packet = translate(&whole, self.version(), connect.as_ref()).map_err(|error| self.refuse(error, &whole))?;
        if let Packet::Connect(connect) = &packet {
            self.encoder = Some(Encoder {
                version: connect.version,
                maximum_packet_size: connect.maximum_packet_size,
                problem_information: connect.request_problem_information,
            });
        }
        Ok(Some(packet))
    }

    fn topic(&mut self, view: &frame::Publish<'_>) -> Result<ByteString, FrameError> {
        match view.alias {
            None => Ok(ByteString::from(view.topic)),
            Some(alias) => self.aliases.resolve(alias, view.topic),
        }
    }

    /// Finds the last word for a client that broke the protocol (MQTT5 4.13).
    fn refuse(&self, error: FrameError, buf: &[u8]) -> WireError {
        let text = ByteString::from(error.to_string());
        let (encoder, reply) = match &self.encoder {
            Some(encoder) => (*encoder, Reply::Disconnect { reason: error.reason, text: Some(text) }),
            None => {
                let Some(version) = frame::announced_version(buf) else {
                    return WireError { error, farewell: Bytes::new() };
                };
                (Encoder::new(version), Reply::ConnAck(Box::new(ConnAck::refused(error.reason, text))))
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

/// Takes a packet off the buffer that nothing borrows any longer. Inlined, so that the packet is built where the caller
/// wants it: it is large, and moving it costs more than reading a short one.
#[inline]
fn taken(buf: &mut BytesMut, bytes: usize, packet: Packet) -> Result<Option<Packet>, WireError> {
    buf.advance(bytes);
    Ok(Some(packet))
}

/// Copies a PUBLISH out of the read buffer, but for a payload that is to be sliced off it; says how large the payload is.
fn own(view: &frame::Publish<'_>, topic: ByteString) -> (Publish, usize) {
    let slice = view.payload.len() >= SLICE_FROM_BYTES;
    let publish = Publish {
        dup: view.dup,
        qos: view.qos,
        retain: view.retain,
        packet_id: view.packet_id,
        topic,
        payload: if slice { Bytes::new() } else { Bytes::copy_from_slice(view.payload) },
        properties: if view.properties.is_empty() { Properties::default() } else { properties(view.properties) },
        refusal: view.refusal(),
    };
    (publish, view.payload.len())
}

fn properties(block: &[u8]) -> Properties {
    let mut owned = Properties::default();
    for property in frame::properties(block) {
        match property {
            frame::Property::PayloadFormat(utf8) => owned.utf8 = utf8,
            frame::Property::MessageExpiry(seconds) => owned.expiry_s = Some(seconds),
            frame::Property::ContentType(text) => owned.content_type = Some(text.into()),
            frame::Property::ResponseTopic(topic) => owned.response_topic = Some(topic.into()),
            frame::Property::CorrelationData(data) => owned.correlation = Some(Bytes::copy_from_slice(data)),
            frame::Property::User(name, value) => owned.user.push((name.into(), value.into())),
            // What belongs to the connection is not the message's.
            _ => {}
        }
    }
    owned
}

impl WireError {
    /// What MQTT 5 calls it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.error.reason
    }
}
