//! PUBLISH (MQTT5 3.3), the hot packet: checked and read in one walk, with nothing copied.

use super::properties::{Place, Property, walk};
use super::{FrameError, Input, Limits, Reason, Version};
use crate::message::QoS;

/// A PUBLISH that passed; everything borrowed from the packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Publish<'a> {
    /// Sent before, perhaps received.
    pub dup: bool,
    /// The publisher's guarantee.
    pub qos: QoS,
    /// Retain it.
    pub retain: bool,
    /// The topic; empty only beside an alias.
    pub topic: &'a str,
    /// Never 0 at QoS 1 and 2, always 0 at QoS 0.
    pub packet_id: u16,
    /// The alias that stands for the topic or is to be learned; never 0.
    pub alias: Option<u16>,
    /// The payload format indicator says UTF-8.
    pub utf8: bool,
    /// The property block, for [`super::properties`].
    pub properties: &'a [u8],
    /// The payload; always the last bytes of the packet.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    /// Why the message must not be accepted although its packet is well formed.
    ///
    /// It is not a [`FrameError`], because an answer exists that lets the connection live: a publisher that was closed
    /// for a bad payload would send it again on each connection (MQTT5 3.3.2.3.2).
    #[must_use]
    pub fn refusal(&self) -> Option<Reason> {
        (self.utf8 && str::from_utf8(self.payload).is_err()).then_some(Reason::PayloadFormatInvalid)
    }
}

pub(super) fn check<'a>(
    input: &mut Input<'a>,
    flags: u8,
    version: Version,
    limits: &Limits,
) -> Result<Publish<'a>, FrameError> {
    let qos = QoS::from_bits((flags >> 1) & 3).ok_or(FrameError::malformed("QoS", "is 3"))?;
    let topic = input.any_text("topic")?;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { input.packet_id()? };
    let mut publish = Publish { dup: flags & 8 != 0, qos, retain: flags & 1 != 0, topic, packet_id, ..<_>::default() };
    if version == Version::V5 {
        properties(input, limits, &mut publish)?;
    }
    match (topic.is_empty(), publish.alias) {
        (true, Some(_)) => {}
        (true, None) if version == Version::V5 => {
            return Err(FrameError::protocol("topic", "is empty and there is no topic alias"));
        }
        _ => limits.topic("topic", topic)?,
    }
    publish.payload = input.rest();
    Ok(publish)
}

fn properties<'a>(input: &mut Input<'a>, limits: &Limits, publish: &mut Publish<'a>) -> Result<(), FrameError> {
    publish.properties = walk(input, Place::PUBLISH, limits, |property, _| {
        match property {
            Property::PayloadFormat(utf8) => publish.utf8 = utf8,
            Property::TopicAlias(alias) => publish.alias = Some(alias),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}
