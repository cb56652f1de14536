//! The fixed header: type, flags and remaining length, all judged before a byte of the body is waited for.

use super::{FrameError, Reason, Version};

/// A packet type that a client may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// CONNECT.
    Connect,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

/// A fixed header that passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The packet type.
    pub kind: Kind,
    /// The four low bits of the first byte; they say something for PUBLISH only.
    pub flags: u8,
    /// Bytes of the fixed header itself, 2 to 5.
    pub bytes: usize,
    /// Bytes of the body, as the remaining length says.
    pub body_bytes: usize,
}

impl Header {
    /// Bytes of the whole packet.
    #[must_use]
    pub const fn packet_bytes(&self) -> usize {
        self.bytes.saturating_add(self.body_bytes)
    }
}

/// Reads the fixed header at the start of `buf`; `None` while its bytes are missing.
///
/// # Errors
/// [`FrameError`] for a type, flag or length that cannot begin a packet of at most `max_packet_bytes`.
pub fn header(buf: &[u8], version: Option<Version>, max_packet_bytes: usize) -> Result<Option<Header>, FrameError> {
    let Some((&first, rest)) = buf.split_first() else { return Ok(None) };
    let kind = kind(first, version)?;
    check_flags(kind, first & 0x0f)?;
    let Some((body_bytes, length_bytes)) = remaining_length(rest, version)? else { return Ok(None) };
    let header = Header { kind, flags: first & 0x0f, bytes: 1 + length_bytes, body_bytes };
    if header.packet_bytes() > max_packet_bytes {
        return Err(FrameError::new(Reason::PacketTooLarge, "packet", "is larger than the maximum packet size"));
    }
    Ok(Some(header))
}

fn kind(first: u8, version: Option<Version>) -> Result<Kind, FrameError> {
    let kind = match first >> 4 {
        1 => Kind::Connect,
        3 => Kind::Publish,
        4 => Kind::PubAck,
        5 => Kind::PubRec,
        6 => Kind::PubRel,
        7 => Kind::PubComp,
        8 => Kind::Subscribe,
        10 => Kind::Unsubscribe,
        12 => Kind::PingReq,
        14 => Kind::Disconnect,
        15 if version != Some(Version::V311) => Kind::Auth,
        2 | 9 | 11 | 13 => return Err(FrameError::protocol("packet type", "is sent by servers only")),
        _ => return Err(FrameError::malformed("packet type", "is reserved")),
    };
    match (kind, version) {
        (Kind::Connect, Some(_)) => Err(FrameError::protocol("CONNECT", "sent twice on one connection")),
        (Kind::Connect, None) | (_, Some(_)) => Ok(kind),
        (_, None) => Err(FrameError::protocol("first packet", "is not a CONNECT")),
    }
}

/// The flag bits of every type but PUBLISH are fixed (MQTT5 2.1.3-1).
const fn check_flags(kind: Kind, flags: u8) -> Result<(), FrameError> {
    match kind {
        Kind::Publish if flags & 0b0110 == 0b0110 => Err(FrameError::malformed("QoS", "is 3")),
        Kind::Publish if flags & 0b1110 == 0b1000 => Err(FrameError::malformed("DUP", "is set at QoS 0")),
        Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe if flags != 0b0010 => {
            Err(FrameError::malformed("fixed header", "has flags other than 2"))
        }
        Kind::Publish | Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe => Ok(()),
        _ if flags != 0 => Err(FrameError::malformed("fixed header", "has flags set")),
        _ => Ok(()),
    }
}

/// Reads the remaining length and how many bytes it takes.
///
/// The shortest form is demanded by MQTT 5 only (MQTT5 1.5.5-1); a 3.1.1 client may pad. Before the version is known a
/// padded length is let through: it costs three bytes and a CONNECT is judged as a whole.
fn remaining_length(rest: &[u8], version: Option<Version>) -> Result<Option<(usize, usize)>, FrameError> {
    let mut value = 0_usize;
    for (position, &byte) in rest.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            if byte == 0 && position > 0 && version == Some(Version::V5) {
                return Err(FrameError::malformed("remaining length", "is not written in its shortest form"));
            }
            return Ok(Some((value, position + 1)));
        }
    }
    if rest.len() >= 4 {
        return Err(FrameError::malformed("remaining length", "has more than four bytes"));
    }
    Ok(None)
}
