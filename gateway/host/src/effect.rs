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

/// A new row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Append {
    /// The collection.
    pub collection: String,
    /// A JSON object, as the guest wrote it: not yet checked.
    pub document: String,
    /// At most one row of collection, sender and this text.
    pub unique: Option<String>,
    /// When it happened, in Unix milliseconds.
    pub at: Option<u64>,
}

/// A row that replaces the one of its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upsert {
    /// The collection.
    pub collection: String,
    /// What the row is about.
    pub key: String,
    /// A JSON object, as the guest wrote it: not yet checked.
    pub document: String,
    /// It replaces only what is not newer by this number.
    pub newest_by: u64,
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

/// What one input shall achieve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// A new row.
    Append(Append),
    /// A row by its key.
    Upsert(Upsert),
    /// A message.
    Publish(Publication),
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

/// What became of one input.
pub type Outcome = Result<Vec<Effect>, Failure>;
