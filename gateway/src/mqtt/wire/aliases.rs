//! The topic aliases that a client has set on its connection (MQTT5 3.3.2.3.4).
//!
//! Only real topics are stored. The table dies with its decoder, as the specification wants at each new connection.

use bytestring::ByteString;

use super::{FrameError, Reason};

/// Alias to topic, bounded by the topic alias maximum that the CONNACK promised.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    maximum: u16,
    topics: Vec<Option<ByteString>>,
}

impl Aliases {
    pub(super) const fn new(maximum: u16) -> Self {
        Self { maximum, topics: Vec::new() }
    }

    /// The topic of a PUBLISH with an alias: learns `topic`, or finds it when it is empty.
    pub(super) fn resolve(&mut self, alias: u16, topic: &str) -> Result<ByteString, FrameError> {
        if alias == 0 || alias > self.maximum {
            return Err(FrameError::new(Reason::TopicAliasInvalid, "topic alias", "is above the topic alias maximum"));
        }
        let place = usize::from(alias - 1);
        if topic.is_empty() {
            let known = self.topics.get(place).cloned().flatten();
            return known.ok_or(FrameError::new(Reason::ProtocolError, "topic alias", "was never set"));
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        let topic = ByteString::from(topic);
        if let Some(slot) = self.topics.get_mut(place) {
            *slot = Some(topic.clone());
        }
        Ok(topic)
    }
}
