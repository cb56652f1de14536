//! What a plugin returns for one input: effects in the making, or a failure.

use crate::bindings::telemetry::causeway::plugin::records::ReadError;
use crate::bindings::telemetry::causeway::plugin::types::{
    Effect, Failure as RawFailure, Publication, Qos, Row, StateChange,
};

/// The effects of one input; they are committed all or not at all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// No effects: the input is taken and nothing comes of it.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a row into a collection; `document` is a JSON object.
    #[must_use]
    pub fn put(mut self, collection: &str, document: String) -> Self {
        self.0.push(Effect::Put(Row { collection: collection.to_owned(), document }));
        self
    }

    /// Publishes a message; the plugin needs the right to that topic.
    #[must_use]
    pub fn publish(mut self, topic: &str, payload: Vec<u8>, qos: Qos, retain: bool) -> Self {
        self.0.push(Effect::Publish(Publication { topic: topic.to_owned(), payload, qos, retain }));
        self
    }

    /// Remembers a value for the message's key, until another takes its place; `message.state` returns it from the next
    /// message of the key on.
    #[must_use]
    pub fn set_state(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.push(Effect::SetState(StateChange { name: name.to_owned(), value: Some(value.into()) }));
        self
    }

    /// Forgets a value of the message's key.
    #[must_use]
    pub fn remove_state(mut self, name: &str) -> Self {
        self.0.push(Effect::SetState(StateChange { name: name.to_owned(), value: None }));
        self
    }

    /// The effects in the order in which they were added.
    #[must_use]
    pub fn as_slice(&self) -> &[Effect] {
        &self.0
    }

    pub(crate) fn into_inner(self) -> Vec<Effect> {
        self.0
    }
}

/// Why an input has no effects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It is not what it must be and never will be.
    Malformed(String),
    /// Its sender may not ask for this.
    Rejected(String),
    /// Not now; the gateway asks again.
    Unavailable(String),
}

impl Failure {
    /// A malformed input, with the reason for the operator.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    /// A refused input, with the reason for the operator.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected(reason.into())
    }

    /// An input to be asked about again, with the reason for the operator.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable(reason.into())
    }

    pub(crate) fn into_inner(self) -> RawFailure {
        match self {
            Self::Malformed(reason) => RawFailure::Malformed(reason),
            Self::Rejected(reason) => RawFailure::Rejected(reason),
            Self::Unavailable(reason) => RawFailure::Unavailable(reason),
        }
    }
}

/// A refused read is a refused input; one that the store cannot answer now is asked again.
impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Denied(reason) => Self::Rejected(reason),
            ReadError::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}
