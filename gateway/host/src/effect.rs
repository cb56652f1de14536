//! What a call returns, in types of our own: the gateway never sees a generated one.

/// A guarantee of delivery; the numbers are MQTT's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

/// A row for a collection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The collection.
    pub collection: String,
    /// A JSON object, as the guest wrote it: not yet checked.
    pub document: String,
}

/// A message to publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// The topic, not yet checked.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The guarantee.
    pub qos: Qos,
    /// Ask to retain it.
    pub retain: bool,
}

/// A value to remember for the key of the input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateChange {
    /// Its name, not yet checked.
    pub name: String,
    /// None removes it.
    pub value: Option<Vec<u8>>,
}

/// What one input shall achieve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// A row.
    Put(Row),
    /// A message.
    Publish(Publication),
    /// A value to remember.
    SetState(StateChange),
}

/// The guest's own answer that an input has no effects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Not what it must be, and never will be.
    Malformed(String),
    /// Its sender may not ask for this.
    Rejected(String),
    /// Not now.
    Unavailable(String),
}

impl Failure {
    /// Its kind, in a word of a closed set.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Rejected(_) => "rejected",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What the guest says about it.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Self::Malformed(text) | Self::Rejected(text) | Self::Unavailable(text)) = self;
        text
    }
}

/// What became of one input.
pub type Outcome = Result<Vec<Effect>, Failure>;
