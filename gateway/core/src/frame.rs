//! The strict check of a client's packet, before anything else looks at its bytes.
//!
//! [`check`] reads the fixed header first and refuses a wrong type, flag or size before the body is buffered; once the
//! packet is whole it walks every field. What it accepts is well formed by MQTT 3.1.1 or MQTT 5; what needs state (alias
//! tables, windows, packet ids in use) is the session's. The reader is `causeway::mqtt::wire`, which hands accepted
//! CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and AUTH packets on to a codec that lets many malformed ones through.
//!
//! Only packets that a client may send pass: the gateway never reads another direction here.

mod ack;
mod connect;
mod header;
mod input;
mod properties;
mod publish;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;

pub use ack::Ack;
pub use connect::{Connect, announced_version};
pub use header::{Header, Kind, header};
pub use properties::{Property, properties};
pub use publish::Publish;
pub use reason::Reason;

use input::Input;

use crate::topic::{FilterError, TopicError, check_filter, check_topic};

/// A protocol version that the front door speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5, protocol level 5.
    V5,
}

/// How much one packet may carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the whole packet, fixed header included (MQTT5 3.2.2.3.6).
    pub packet_bytes: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE; five bytes on the wire become about a hundred in memory.
    pub filters: usize,
    /// User properties in one packet; five bytes on the wire become about a hundred in memory.
    pub user_properties: usize,
    /// Bytes of a topic or a filter.
    pub topic_bytes: usize,
    /// Levels of a topic or a filter; `topic::MAX_LEVELS` holds besides.
    pub topic_levels: usize,
}

impl Limits {
    /// Checks a topic name, its syntax and its size.
    fn topic(&self, part: &'static str, topic: &str) -> Result<(), FrameError> {
        let refuse = |fault| FrameError { reason: Reason::TopicNameInvalid, part, fault };
        check_topic(topic).map_err(Fault::Topic).and_then(|()| self.size(topic)).map_err(refuse)
    }

    /// Checks a topic filter, its syntax and its size.
    fn filter(&self, filter: &str) -> Result<(), FrameError> {
        let refuse = |fault| FrameError { reason: Reason::TopicFilterInvalid, part: "topic filter", fault };
        check_filter(filter).map_err(Fault::Filter).and_then(|()| self.size(filter)).map_err(refuse)
    }

    fn size(&self, text: &str) -> Result<(), Fault> {
        if text.len() > self.topic_bytes {
            return Err(Fault::Words("is longer than the gateway takes"));
        }
        // A text of n bytes has n + 1 levels at most, so short ones are not counted.
        if text.len() >= self.topic_levels && text.bytes().filter(|&byte| byte == b'/').count() >= self.topic_levels {
            return Err(Fault::Words("has more levels than the gateway takes"));
        }
        Ok(())
    }
}

/// Why a packet is refused. The connection ends: there is no way to go on reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{part}: {fault}")]
pub struct FrameError {
    /// What MQTT 5 calls it.
    pub reason: Reason,
    /// The field or the rule that was broken.
    pub part: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// In words.
    #[error("{0}")]
    Words(&'static str),
    /// It is no topic name.
    #[error("{0}")]
    Topic(TopicError),
    /// It is no topic filter.
    #[error("{0}")]
    Filter(FilterError),
}

impl FrameError {
    /// A refusal with its reason code.
    #[must_use]
    pub const fn new(reason: Reason, part: &'static str, fault: &'static str) -> Self {
        Self { reason, part, fault: Fault::Words(fault) }
    }

    /// The bytes cannot be read as the specification says (MQTT5 1.2, "Malformed Packet").
    const fn malformed(part: &'static str, fault: &'static str) -> Self {
        Self::new(Reason::MalformedPacket, part, fault)
    }

    /// The bytes can be read, but say what they must not (MQTT5 1.2, "Protocol Error").
    const fn protocol(part: &'static str, fault: &'static str) -> Self {
        Self::new(Reason::ProtocolError, part, fault)
    }
}

/// A packet that passed. The hot ones are read, the others are left to the codec.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// CONNECT, with what the codec cannot take as it stands.
    Connect(Connect),
    /// PUBLISH, read.
    Publish(Publish<'a>),
    /// PUBACK, read.
    PubAck(Ack),
    /// PUBREC, read.
    PubRec(Ack),
    /// PUBREL, read.
    PubRel(Ack),
    /// PUBCOMP, read.
    PubComp(Ack),
    /// SUBSCRIBE, for the codec.
    Subscribe,
    /// UNSUBSCRIBE, for the codec.
    Unsubscribe,
    /// PINGREQ.
    PingReq,
    /// DISCONNECT, for the codec.
    Disconnect,
    /// AUTH, for the codec.
    Auth,
}

/// Checks the packet at the start of `buf` and says how many bytes it has, or `None` while bytes are missing.
///
/// `version` is `None` until a CONNECT was accepted: then nothing but a CONNECT passes, and afterwards everything else.
///
/// # Errors
/// [`FrameError`] as soon as the bytes at hand prove the packet wrong.
pub fn check<'a>(
    buf: &'a [u8],
    version: Option<Version>,
    limits: &Limits,
) -> Result<Option<(usize, Packet<'a>)>, FrameError> {
    let Some(header) = header(buf, version, limits.packet_bytes)? else { return Ok(None) };
    let Some((packet, _)) = buf.split_at_checked(header.packet_bytes()) else { return Ok(None) };
    let Some((_, body)) = packet.split_at_checked(header.bytes) else { return Ok(None) };
    let mut input = Input::new(body);
    let packet = match version {
        // `header` let nothing but a CONNECT through.
        None => Packet::Connect(connect::check(&mut input, &header, limits)?),
        Some(version) => after_connect(&mut input, &header, version, limits)?,
    };
    Ok(Some((header.packet_bytes(), packet)))
}

fn after_connect<'a>(
    input: &mut Input<'a>,
    header: &Header,
    version: Version,
    limits: &Limits,
) -> Result<Packet<'a>, FrameError> {
    Ok(match header.kind {
        Kind::Publish => Packet::Publish(publish::check(input, header.flags, version, limits)?),
        Kind::PubAck => Packet::PubAck(ack::check(input, header.kind, version, limits)?),
        Kind::PubRec => Packet::PubRec(ack::check(input, header.kind, version, limits)?),
        Kind::PubRel => Packet::PubRel(ack::check(input, header.kind, version, limits)?),
        Kind::PubComp => Packet::PubComp(ack::check(input, header.kind, version, limits)?),
        Kind::Subscribe => {
            subscribe::check(input, version, limits)?;
            Packet::Subscribe
        }
        Kind::Unsubscribe => {
            subscribe::check_unsubscribe(input, version, limits)?;
            Packet::Unsubscribe
        }
        Kind::PingReq => {
            input.finish("PINGREQ")?;
            Packet::PingReq
        }
        Kind::Disconnect => {
            ack::check_disconnect(input, version, limits)?;
            Packet::Disconnect
        }
        Kind::Auth => {
            ack::check_auth(input, limits)?;
            Packet::Auth
        }
        Kind::Connect => return Err(FrameError::protocol("CONNECT", "sent twice on one connection")),
    })
}
