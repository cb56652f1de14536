//! The property block of MQTT 5 packets (MQTT5 2.2.2): which ids a packet may carry, once or often, and their values.

use super::{FrameError, Input, Limits, Reason};

/// A property that a client may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Property<'a> {
    /// 0x01: the payload is UTF-8 text.
    PayloadFormat(bool),
    /// 0x02, in seconds; 0 is legal and means: deliver now or not at all.
    MessageExpiry(u32),
    /// 0x03.
    ContentType(&'a str),
    /// 0x08, a topic name (MQTT5 3.3.2-14).
    ResponseTopic(&'a str),
    /// 0x09.
    CorrelationData(&'a [u8]),
    /// 0x0b, never 0.
    SubscriptionIdentifier(u32),
    /// 0x11, in seconds.
    SessionExpiry(u32),
    /// 0x15.
    AuthenticationMethod(&'a str),
    /// 0x16.
    AuthenticationData(&'a [u8]),
    /// 0x17.
    RequestProblemInformation(bool),
    /// 0x18, in seconds.
    WillDelay(u32),
    /// 0x19.
    RequestResponseInformation(bool),
    /// 0x1f.
    ReasonString(&'a str),
    /// 0x21, never 0.
    ReceiveMaximum(u16),
    /// 0x22.
    TopicAliasMaximum(u16),
    /// 0x23, never 0.
    TopicAlias(u16),
    /// 0x26.
    User(&'a str, &'a str),
    /// 0x27, never 0.
    MaximumPacketSize(u32),
}

/// The id of the only property that may come more than once from a client.
const USER: u8 = 0x26;

/// Where a property block stands, and which ids are valid there (MQTT5 2.2.2.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

impl Place {
    pub(super) const CONNECT: Self = Self::of(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, USER, 0x27]);
    pub(super) const WILL: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, USER]);
    /// Without the subscription identifier, which only servers send in a PUBLISH (MQTT5 3.3.4-6).
    pub(super) const PUBLISH: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, USER]);
    pub(super) const ACK: Self = Self::of(&[0x1f, USER]);
    pub(super) const SUBSCRIBE: Self = Self::of(&[0x0b, USER]);
    pub(super) const UNSUBSCRIBE: Self = Self::of(&[USER]);
    /// Without the server reference, which only servers send (MQTT5 3.14.2.2.5).
    pub(super) const DISCONNECT: Self = Self::of(&[0x11, 0x1f, USER]);
    pub(super) const AUTH: Self = Self::of(&[0x15, 0x16, 0x1f, USER]);

    const fn of(mut ids: &[u8]) -> Self {
        let mut mask = 0;
        while let Some((&id, rest)) = ids.split_first() {
            mask |= 1 << id;
            ids = rest;
        }
        Self(mask)
    }

    const fn allows(self, id: u8) -> bool {
        id < 64 && self.0 & (1 << id) != 0
    }
}

/// Reads a property block with its length and shows each property to `each`, with the bytes of the block behind it.
/// Returns the block.
pub(super) fn walk<'a>(
    input: &mut Input<'a>,
    place: Place,
    limits: &Limits,
    mut each: impl FnMut(Property<'a>, usize) -> Result<(), FrameError>,
) -> Result<&'a [u8], FrameError> {
    let bytes = input.varint("property length")?;
    let block = input.take(usize::try_from(bytes).unwrap_or(usize::MAX), "properties")?;
    let mut rest = Input::new(block);
    let mut seen = 0_u64;
    let mut users = 0;
    while !rest.is_empty() {
        let id = rest.u8("property")?;
        if !place.allows(id) {
            return Err(FrameError::malformed("property", "is not one that a client may send in this packet"));
        }
        if id == USER {
            users += 1;
            if users > limits.user_properties {
                let part = "user properties";
                return Err(FrameError::new(Reason::QuotaExceeded, part, "are more than one packet may carry"));
            }
        } else if seen & (1 << id) != 0 {
            return Err(FrameError::protocol("property", "stands twice in one packet"));
        }
        seen |= 1 << id;
        let property = read(&mut rest, id)?;
        if let Property::ResponseTopic(topic) = property {
            limits.topic("response topic", topic)?;
        }
        each(property, rest.len())?;
    }
    Ok(block)
}

fn read<'a>(input: &mut Input<'a>, id: u8) -> Result<Property<'a>, FrameError> {
    Ok(match id {
        0x01 => Property::PayloadFormat(flag(input, "payload format indicator")?),
        0x02 => Property::MessageExpiry(input.u32("message expiry interval")?),
        0x03 => Property::ContentType(input.text("content type")?),
        0x08 => Property::ResponseTopic(input.any_text("response topic")?),
        0x09 => Property::CorrelationData(input.binary("correlation data")?),
        0x0b => Property::SubscriptionIdentifier(subscription_identifier(input)?),
        0x11 => Property::SessionExpiry(input.u32("session expiry interval")?),
        0x15 => Property::AuthenticationMethod(input.text("authentication method")?),
        0x16 => Property::AuthenticationData(input.binary("authentication data")?),
        0x17 => Property::RequestProblemInformation(flag(input, "request problem information")?),
        0x18 => Property::WillDelay(input.u32("will delay interval")?),
        0x19 => Property::RequestResponseInformation(flag(input, "request response information")?),
        0x1f => Property::ReasonString(input.text("reason string")?),
        0x21 => Property::ReceiveMaximum(not_zero(input.u16("receive maximum")?, "receive maximum")?),
        0x22 => Property::TopicAliasMaximum(input.u16("topic alias maximum")?),
        0x23 => Property::TopicAlias(topic_alias(input)?),
        USER => Property::User(input.text("user property name")?, input.text("user property value")?),
        0x27 => Property::MaximumPacketSize(not_zero(input.u32("maximum packet size")?, "maximum packet size")?),
        // Every id of every `Place` is listed above.
        _ => return Err(FrameError::malformed("property", "has an unknown id")),
    })
}

fn flag(input: &mut Input<'_>, part: &'static str) -> Result<bool, FrameError> {
    match input.u8(part)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FrameError::protocol(part, "is neither 0 nor 1")),
    }
}

fn not_zero<N: Default + PartialEq>(value: N, part: &'static str) -> Result<N, FrameError> {
    if value == N::default() { Err(FrameError::protocol(part, "is 0")) } else { Ok(value) }
}

fn subscription_identifier(input: &mut Input<'_>) -> Result<u32, FrameError> {
    not_zero(input.varint("subscription identifier")?, "subscription identifier")
}

fn topic_alias(input: &mut Input<'_>) -> Result<u16, FrameError> {
    match input.u16("topic alias")? {
        0 => Err(FrameError::new(Reason::TopicAliasInvalid, "topic alias", "is 0")),
        alias => Ok(alias),
    }
}

/// Lists the properties of a block that passed the check, in their order.
pub fn properties(block: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut input = Input::new(block);
    std::iter::from_fn(move || {
        // A block that passed yields no error; of any other, what stands before the error is listed.
        let id = if input.is_empty() { return None } else { input.u8("property").ok()? };
        read(&mut input, id).ok()
    })
}
