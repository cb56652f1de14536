//! What an operator sees of outcomes, and when two of them are the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::format::{Blob, Effect, Input, Outcome};

impl Outcome {
    /// As JSON: `{"effects": [...]}`, or the failure by its name.
    #[must_use]
    pub fn json(&self) -> Json {
        match self {
            Self::Effects(effects) => json!({ "effects": effects.iter().map(Effect::json).collect::<Vec<_>>() }),
            Self::Malformed(text) => json!({ "malformed": text }),
            Self::Rejected(text) => json!({ "rejected": text }),
            Self::Unavailable(text) => json!({ "unavailable": text }),
            Self::Trap { limit, reason } => json!({ "trap": { "limit": limit, "reason": reason } }),
        }
    }
}

impl Effect {
    /// As JSON: the name of the effect and what it holds; documents as they are, bytes as text where they are text.
    #[must_use]
    pub fn json(&self) -> Json {
        match self {
            Self::Put { collection, document } => {
                json!({ "put": { "collection": collection, "document": parsed(document) } })
            }
            Self::Publish { topic, payload, qos, retain } => {
                let mut shown = blob("payload", Some(payload));
                shown.insert("topic".to_owned(), topic.clone().into());
                shown.insert("qos".to_owned(), (*qos).into());
                shown.insert("retain".to_owned(), (*retain).into());
                json!({ "publish": shown })
            }
            Self::SetState { name, value } => {
                let mut shown = blob("value", value.as_ref());
                shown.insert("name".to_owned(), name.clone().into());
                json!({ "set-state": shown })
            }
        }
    }
}

impl Input {
    /// What names an input: its number, topic, sender and time.
    #[must_use]
    pub fn json(&self, number: usize) -> Json {
        json!({ "input": number, "topic": self.topic, "sender": self.sender, "received_ms": self.received_ms })
    }
}

/// Whether two outcomes achieve the same: the same effects in the same order, documents compared as JSON; of traps only the limit.
#[must_use]
pub fn same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Effects(one), Outcome::Effects(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_effect(one, other))
        }
        (Outcome::Trap { limit: one, .. }, Outcome::Trap { limit: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

pub(super) fn same_effect(one: &Effect, other: &Effect) -> bool {
    match (one, other) {
        (Effect::Put { collection, document }, Effect::Put { collection: others, document: other }) => {
            collection == others && (document == other || parsed(document) == parsed(other))
        }
        (one, other) => one == other,
    }
}

/// The document, or the text where it is none.
pub(super) fn parsed(document: &str) -> Json {
    serde_json::from_str(document).unwrap_or_else(|_| document.into())
}

fn blob(name: &str, bytes: Option<&Blob>) -> Map<String, Json> {
    let mut shown = Map::new();
    match bytes.map(|bytes| (bytes, str::from_utf8(&bytes.0))) {
        None => shown.insert(name.to_owned(), Json::Null),
        Some((_, Ok(text))) => shown.insert(name.to_owned(), text.into()),
        Some((bytes, Err(_))) => shown.insert(format!("{name}_base64"), STANDARD.encode(&bytes.0).into()),
    };
    shown
}
