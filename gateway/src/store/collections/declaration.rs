//! What is declared about a collection, and what can be wrong with it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Format of a stored declaration; its first character.
const FORMAT: char = '1';

/// Columns of one collection at most: each is read at each row.
const MAX_COLUMNS: usize = 32;

/// Indexes of one collection at most: each is written at each row.
const MAX_INDEXES: usize = 8;

const MAX_NAME_BYTES: usize = 48;

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
}

/// What is wrong with a declaration.
#[derive(Debug, Error)]
pub enum DeclarationError {
    /// A name outside the grammar.
    #[error("`{0}` is no name: lower-case letters, digits and `_`, beginning with a letter, at most 48 bytes")]
    Name(String),
    /// Two columns of one name.
    #[error("column `{0}` is declared twice")]
    Twice(String),
    /// A key, index, time or newest-by column that is not declared.
    #[error("`{0}` is not a declared column")]
    Unknown(String),
    /// A column that must be a time.
    #[error("column `{0}` must be of kind `time`")]
    NotTime(String),
    /// Not an RFC 6901 pointer.
    #[error("`{0}` is no JSON pointer")]
    Pointer(String),
    /// A bound of this module.
    #[error("a collection has at most {limit} {what}")]
    TooMany {
        /// Columns or indexes.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
    /// A column that a patch need not carry.
    #[error("column `{0}` cannot be required: rows of a `merge` collection carry only what changes")]
    Partial(String),
    /// No key, or an index without columns.
    #[error("a key or an index needs at least one column")]
    Empty,
    /// Stored in a format of another version.
    #[error("unknown format of a stored declaration")]
    Format,
    /// Not JSON, or not these fields.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Declaration {
    /// Whether rows of both declarations have the same shape and meet in the same way.
    pub(super) fn same_rows(&self, other: &Self) -> bool {
        (&self.name, &self.kind, &self.columns) == (&other.name, &other.kind, &other.columns)
    }

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

    pub(super) fn check(&self) -> Result<(), DeclarationError> {
        check_name(&self.name)?;
        if self.columns.len() > MAX_COLUMNS {
            return Err(DeclarationError::TooMany { what: "columns", limit: MAX_COLUMNS });
        }
        if self.indexes.len() > MAX_INDEXES {
            return Err(DeclarationError::TooMany { what: "indexes", limit: MAX_INDEXES });
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            check_name(&column.name)?;
            if !names.insert(&column.name) {
                return Err(DeclarationError::Twice(column.name.clone()));
            }
            if !column.pointer.is_empty() && !column.pointer.starts_with('/') {
                return Err(DeclarationError::Pointer(column.pointer.clone()));
            }
        }
        self.check_references()
    }

    fn check_references(&self) -> Result<(), DeclarationError> {
        let mut lists: Vec<&Vec<String>> = self.indexes.iter().collect();
        let mut times: Vec<&String> = self.time.iter().collect();
        match &self.kind {
            Kind::Append { unique } if unique.is_empty() => {}
            Kind::Append { unique } => lists.push(unique),
            Kind::Upsert { key, newest_by } => {
                lists.push(key);
                times.push(newest_by);
            }
            Kind::Merge { key } => {
                lists.push(key);
                let partial = |column: &&Column| column.required && !key.contains(&column.name);
                if let Some(column) = self.columns.iter().find(partial) {
                    return Err(DeclarationError::Partial(column.name.clone()));
                }
            }
        }
        for list in lists {
            if list.is_empty() {
                return Err(DeclarationError::Empty);
            }
            for name in list {
                self.column(name)?;
            }
        }
        for name in times {
            if self.columns[self.column(name)?].kind != ColumnKind::Time {
                return Err(DeclarationError::NotTime(name.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn column(&self, name: &str) -> Result<usize, DeclarationError> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| DeclarationError::Unknown(name.to_owned()))
    }
}

fn check_name(name: &str) -> Result<(), DeclarationError> {
    let grammar = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if grammar && start && name.len() <= MAX_NAME_BYTES { Ok(()) } else { Err(DeclarationError::Name(name.to_owned())) }
}
