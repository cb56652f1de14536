//! What is declared about a collection; also the form in which it is stored.

use serde::{Deserialize, Serialize};

use super::fault::DeclarationError;

/// Format of a stored declaration; its first character.
const FORMAT: char = '1';

/// A collection as a plugin declares it; also the stored form.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// How rows meet earlier rows.
    pub kind: Kind,
    /// What is picked out of each document.
    pub columns: Vec<Column>,
    /// The column of kind [`ColumnKind::Time`] that `since` and the order of queries go by; without it the time of reception.
    #[serde(default)]
    pub time: Option<String>,
    /// Further indexes, each a list of columns.
    #[serde(default)]
    pub indexes: Vec<Vec<String>>,
    /// How long and how many rows are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// How rows meet earlier rows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each row stands for itself. A second row of the same sender with equal, present unique columns is dropped;
    /// without unique columns none is.
    Append {
        /// The unique columns; may be empty.
        unique: Vec<String>,
    },
    /// One row per key: the newest. Keys are not scoped to the sender, so the plugin or its host must have checked
    /// that the sender may speak for the key.
    Upsert {
        /// The key columns.
        key: Vec<String>,
        /// The column that says which of two rows is newer; of equal ones the later message wins.
        newest_by: String,
    },
    /// One document per key, into which each row is merged (RFC 7396): several writers keep their members, and a row
    /// carries only what changes. Keys are not scoped to the sender, as those of `upsert`.
    Merge {
        /// The key columns.
        key: Vec<String>,
    },
}

/// A column: a value that is picked out of the document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// As a collection's name.
    pub name: String,
    /// JSON pointer (RFC 6901) into the document.
    pub pointer: String,
    /// Its type.
    pub kind: ColumnKind,
    /// A document without it is refused.
    #[serde(default)]
    pub required: bool,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// An ISO 8601 text or Unix milliseconds; kept as Unix milliseconds.
    Time,
}

/// What is kept; the oldest rows beyond it are deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Rows.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// Time since reception, ms; without it `storage.retention`.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// Bytes of documents.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Percent of the room of all collections.
    #[serde(default)]
    pub share: Option<u16>,
    /// Bytes of one document; without it 1 MiB.
    #[serde(default)]
    pub max_document_bytes: Option<u64>,
}

impl Declaration {
    /// The key columns; none for an append collection.
    pub(super) fn key(&self) -> &[String] {
        match &self.kind {
            Kind::Append { .. } => &[],
            Kind::Upsert { key, .. } | Kind::Merge { key } => key,
        }
    }

    pub(super) fn encode(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        format!("{FORMAT}{}", serde_json::to_string(self).unwrap_or_default())
    }

    pub(super) fn decode(text: &str) -> Result<Self, DeclarationError> {
        let json = text.strip_prefix(FORMAT).ok_or(DeclarationError::Format)?;
        Ok(serde_json::from_str(json)?)
    }

    pub(super) fn column(&self, name: &str) -> Result<usize, DeclarationError> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| DeclarationError::Unknown(name.to_owned()))
    }
}

impl Retention {
    /// What holds where nothing is declared.
    pub const DEFAULT: Self =
        Self { max_rows: None, max_age_ms: None, max_bytes: None, share: None, max_document_bytes: None };
}

impl Kind {
    /// The word that an operator writes.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Append { .. } => "append",
            Self::Upsert { .. } => "upsert",
            Self::Merge { .. } => "merge",
        }
    }
}

impl ColumnKind {
    /// The type of its values in SQLite.
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Real => "real",
            Self::Integer | Self::Time => "integer",
        }
    }
}
