//! The file: a CBOR sequence (RFC 8742) of a name with a version, a header, one item for each input and an end.
//!
//! ```text
//! "causeway-recording/1", header, {"input": ...} ..., {"end": ...}
//! ```
//!
//! An input is what the plugin was told, every answer that its imports gave it on behalf of this input, and what it
//! returned. The end has the checksum of everything before it: without an end the file is torn, and with a checksum that
//! differs it is damaged.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How each file of this version begins: the CBOR text `causeway-recording/1`.
pub(super) const MAGIC: &[u8] = b"\x74causeway-recording/1";

/// The part of [`MAGIC`] that all versions share.
pub(super) const NAME: &[u8] = b"causeway-recording/";

/// What was recorded, and with which plugin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Header {
    /// The binding.
    pub binding: String,
    /// Its kind.
    pub kind: String,
    /// The reference of its plugin.
    pub plugin: String,
    /// The digest of its plugin.
    pub digest: String,
    /// The gateway's id, as the plugin was told.
    pub gateway: String,
    /// The plugin's configuration, a JSON object.
    pub config: String,
    /// When the recording began, Unix ms.
    pub started_ms: u64,
}

/// What follows the header.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Item {
    Input(Box<Input>),
    End(End),
}

/// One input with all that its outcome may depend on, and the outcome.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Input {
    /// The topic.
    pub topic: String,
    /// The variables of the topic's template.
    pub variables: Vec<(String, String)>,
    /// The sender's device id.
    pub sender: String,
    /// The sender's attributes, as they were then.
    pub attributes: Vec<(String, String)>,
    /// The payload.
    pub payload: Blob,
    /// 0, 1 or 2.
    pub qos: u8,
    /// It asked to be retained.
    pub retain: bool,
    /// When it was received, Unix ms.
    pub received_ms: u64,
    /// MQTT 5 content type.
    pub content_type: Option<String>,
    /// MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
    /// The unit of order that it belongs to.
    pub key: String,
    /// What its imports answered on its behalf, in the order in which the plugin first asked.
    pub answers: Vec<Answer>,
    /// What the plugin returned.
    pub outcome: Outcome,
}

/// An answer of an import.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Of `state`.
    State {
        /// What was asked for.
        name: String,
        /// The value, if there was one.
        value: Option<Blob>,
    },
    /// Of `records`.
    Record {
        /// The collection that was asked.
        collection: String,
        /// The key that was asked for.
        key: Vec<String>,
        /// What came of it.
        read: Read,
    },
}

/// What came of a read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Read {
    /// A JSON object.
    Document(String),
    /// There was none.
    Nothing,
    /// The plugin was not allowed to read it.
    Denied(String),
    /// The store did not answer.
    Unavailable(String),
}

/// What a plugin returned for an input.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Effects, in order.
    Effects(Vec<Effect>),
    /// The input is not what it must be.
    Malformed(String),
    /// The sender may not ask for this.
    Rejected(String),
    /// Not now.
    Unavailable(String),
    /// The call did not return.
    Trap {
        /// The limit that ended it.
        limit: String,
        /// What the engine said.
        reason: String,
    },
}

/// An effect, before any policy was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A row.
    Put {
        /// Its collection.
        collection: String,
        /// A JSON object, unless the plugin is wrong.
        document: String,
    },
    /// A message.
    Publish {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Blob,
        /// 0, 1 or 2.
        qos: u8,
        /// It asks to be retained.
        retain: bool,
    },
    /// A value to remember.
    SetState {
        /// Its name.
        name: String,
        /// None removes it.
        value: Option<Blob>,
    },
}

/// The last item.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct End {
    /// Why nothing follows.
    pub why: Why,
    /// Inputs before it.
    pub inputs: u64,
    /// When, Unix ms.
    pub ended_ms: u64,
    /// The checksum of all bytes before this item.
    pub crc32c: u32,
}

/// Why a recording ended; a closed set, so it can be a metric's label.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// An operator stopped it.
    Stopped,
    /// It had as many inputs as it was to have.
    Messages,
    /// It had as many bytes as it may have.
    Bytes,
    /// The disk was too slow: inputs after the last one are missing.
    Gap,
    /// The binding got another plugin.
    Plugin,
    /// The gateway ended.
    Shutdown,
    /// The disk refused; such a file has no end.
    Disk,
}

impl Why {
    /// The word for logs, metrics and operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Gap => "gap",
            Self::Plugin => "plugin",
            Self::Shutdown => "shutdown",
            Self::Disk => "disk",
        }
    }
}

/// Bytes that CBOR writes as bytes.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_owned()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
