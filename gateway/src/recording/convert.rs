//! Between the file's words and the host's.

use causeway_host::{self as host, Qos, ReadError, Trap};

use super::format::{Answer, Blob, Effect, Outcome, Read};

/// The number that MQTT gives a guarantee.
pub(super) const fn qos_bits(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

/// The guarantee of a number; what a file should not have is the least.
pub(super) const fn qos(bits: u8) -> Qos {
    match bits {
        1 => Qos::AtLeastOnce,
        2 => Qos::ExactlyOnce,
        _ => Qos::AtMostOnce,
    }
}

impl From<&host::Outcome> for Outcome {
    fn from(outcome: &host::Outcome) -> Self {
        match outcome {
            Ok(effects) => Self::Effects(effects.iter().map(Effect::from).collect()),
            Err(host::Failure::Malformed(text)) => Self::Malformed(text.clone()),
            Err(host::Failure::Rejected(text)) => Self::Rejected(text.clone()),
            Err(host::Failure::Unavailable(text)) => Self::Unavailable(text.clone()),
        }
    }
}

impl From<&Trap> for Outcome {
    fn from(trap: &Trap) -> Self {
        Self::Trap { limit: trap.limit.as_str().to_owned(), reason: trap.reason.clone() }
    }
}

impl From<&host::Effect> for Effect {
    fn from(effect: &host::Effect) -> Self {
        match effect {
            host::Effect::Put(row) => Self::Put { collection: row.collection.clone(), document: row.document.clone() },
            host::Effect::Publish(message) => Self::Publish {
                topic: message.topic.clone(),
                payload: Blob(message.payload.clone()),
                qos: qos_bits(message.qos),
                retain: message.retain,
            },
            host::Effect::SetState(change) => {
                Self::SetState { name: change.name.clone(), value: change.value.clone().map(Blob) }
            }
        }
    }
}

impl From<&Result<Option<String>, ReadError>> for Read {
    fn from(read: &Result<Option<String>, ReadError>) -> Self {
        match read {
            Ok(Some(document)) => Self::Document(document.clone()),
            Ok(None) => Self::Nothing,
            Err(ReadError::Denied(text)) => Self::Denied(text.clone()),
            Err(ReadError::Unavailable(text)) => Self::Unavailable(text.clone()),
        }
    }
}

impl From<Read> for Result<Option<String>, ReadError> {
    fn from(read: Read) -> Self {
        match read {
            Read::Document(document) => Ok(Some(document)),
            Read::Nothing => Ok(None),
            Read::Denied(text) => Err(ReadError::Denied(text)),
            Read::Unavailable(text) => Err(ReadError::Unavailable(text)),
        }
    }
}

impl Answer {
    /// Whether both answer the same question.
    pub(super) fn same_question(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::State { name, .. }, Self::State { name: other, .. }) => name == other,
            (
                Self::Record { collection, key, .. },
                Self::Record { collection: other_collection, key: other_key, .. },
            ) => collection == other_collection && key == other_key,
            _ => false,
        }
    }
}
