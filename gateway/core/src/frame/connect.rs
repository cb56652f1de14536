//! CONNECT (MQTT5 3.1, MQTT311 3.1): the packet that chooses the version, walked to its last byte.

use super::properties::{Place, Property, walk};
use super::{FrameError, Header, Input, Limits, Reason, Version};

/// What the reader must know of a CONNECT that passed, besides that it passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connect {
    /// The version that the client chose.
    pub version: Version,
    /// The offset in the packet of the connect flags.
    pub flags_at: usize,
    /// The client id is empty although clean start is 0: legal in MQTT 5 (MQTT5 3.1.3.1), refused by the codec.
    pub nameless_resume: bool,
    /// The offset in the packet of a will's message expiry interval of 0: legal, refused by the codec.
    pub will_expiry_zero_at: Option<usize>,
}

const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS: u8 = 3 << 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USER_NAME: u8 = 1 << 7;

pub(super) fn check(input: &mut Input<'_>, header: &Header, limits: &Limits) -> Result<Connect, FrameError> {
    let version = version(input)?;
    if version == Version::V5 && !is_shortest(header) {
        return Err(FrameError::malformed("remaining length", "is not written in its shortest form"));
    }
    let at = |input: &Input<'_>| header.packet_bytes().saturating_sub(input.len());
    let flags_at = at(input);
    let flags = input.u8("connect flags")?;
    check_flags(flags, version)?;
    input.u16("keep alive")?;
    if version == Version::V5 {
        properties(input, limits)?;
    }
    let nameless = input.text("client id")?.is_empty();
    let will_expiry_zero_at = if flags & WILL != 0 { will(input, version, limits, at)? } else { None };
    if flags & USER_NAME != 0 {
        input.text("user name")?;
    }
    if flags & PASSWORD != 0 {
        input.binary("password")?;
    }
    input.finish("CONNECT")?;
    let nameless_resume = nameless && flags & CLEAN_START == 0;
    // After the rest, so that only a well-formed CONNECT is answered with "identifier rejected" (MQTT311 3.1.3-8).
    if nameless_resume && version == Version::V311 {
        let reason = Reason::ClientIdentifierNotValid;
        return Err(FrameError::new(reason, "client id", "is empty although clean session is 0"));
    }
    Ok(Connect { version, flags_at, nameless_resume, will_expiry_zero_at })
}

/// The version that the CONNECT in `buf` asks for, or the nearest one that can carry a refusal.
///
/// `None` when the bytes are no CONNECT or too few: such a peer is closed without a word.
#[must_use]
pub fn announced_version(buf: &[u8]) -> Option<Version> {
    let (&first, mut rest) = buf.split_first()?;
    if first != 0x10 {
        return None;
    }
    // The remaining length may be the very thing that is wrong, so it is skipped and not judged.
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte < 0x80 {
            break;
        }
    }
    let mut input = Input::new(rest);
    let name = input.binary("protocol name").ok()?;
    let level = input.u8("protocol level").ok()?;
    match (name, level) {
        (b"MQTT", 5..) => Some(Version::V5),
        (b"MQTT", _) | (b"MQIsdp", _) => Some(Version::V311),
        _ => None,
    }
}

fn version(input: &mut Input<'_>) -> Result<Version, FrameError> {
    let name = input.binary("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(FrameError::malformed("protocol name", "is not MQTT"));
    }
    match (name, input.u8("protocol level")?) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        _ => Err(FrameError::new(
            Reason::UnsupportedProtocolVersion,
            "protocol level",
            "is neither 4 (MQTT 3.1.1) nor 5 (MQTT 5)",
        )),
    }
}

/// Says whether the remaining length takes as few bytes as it can.
const fn is_shortest(header: &Header) -> bool {
    let length_bytes = match header.body_bytes {
        ..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    };
    header.bytes == 1 + length_bytes
}

fn check_flags(flags: u8, version: Version) -> Result<(), FrameError> {
    if flags & 1 != 0 {
        return Err(FrameError::malformed("connect flags", "have the reserved bit set"));
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(FrameError::malformed("connect flags", "have will QoS or will retain without a will"));
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(FrameError::malformed("will QoS", "is 3"));
    }
    // MQTT 5 lets a password stand alone (MQTT5 3.1.2.9), for tokens.
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(FrameError::malformed("connect flags", "have a password without a user name"));
    }
    Ok(())
}

fn properties(input: &mut Input<'_>, limits: &Limits) -> Result<(), FrameError> {
    let (mut method, mut data) = (false, false);
    walk(input, Place::CONNECT, limits, |property, _| {
        method |= matches!(property, Property::AuthenticationMethod(_));
        data |= matches!(property, Property::AuthenticationData(_));
        Ok(())
    })?;
    if data && !method {
        return Err(FrameError::protocol("authentication data", "stands without an authentication method"));
    }
    Ok(())
}

/// Walks the will and finds a message expiry interval of 0 in it.
fn will<'a>(
    input: &mut Input<'a>,
    version: Version,
    limits: &Limits,
    at: impl Fn(&Input<'a>) -> usize,
) -> Result<Option<usize>, FrameError> {
    let (mut behind, mut utf8) = (None, false);
    if version == Version::V5 {
        walk(input, Place::WILL, limits, |property, left| {
            match property {
                Property::MessageExpiry(0) => behind = Some(left),
                Property::PayloadFormat(indicator) => utf8 = indicator,
                _ => {}
            }
            Ok(())
        })?;
    }
    // The four bytes of the interval end `left` bytes before the end of the block, which is where the input stands now.
    let zero_at = behind.map(|left| at(input).saturating_sub(left).saturating_sub(4));
    let topic = input.any_text("will topic")?;
    limits.topic("will topic", topic)?;
    let payload = input.binary("will payload")?;
    if utf8 && str::from_utf8(payload).is_err() {
        return Err(FrameError::new(Reason::PayloadFormatInvalid, "will payload", "is not UTF-8 as it claims"));
    }
    Ok(zero_at)
}
