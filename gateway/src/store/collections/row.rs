//! A row: a document that was checked against its collection before any transaction sees it.

use rusqlite::types::Value as SqlValue;
use serde_json::Value;
use thiserror::Error;

use super::time;
use super::{Collection, Column, ColumnKind};

/// Where a row comes from.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The binding whose plugin made it.
    pub binding: &'a str,
    /// Journal position of the message; `None` for a live binding, whose rows are never replayed.
    pub position: Option<u64>,
    /// Which output of that message this is.
    pub item: u32,
    /// Device id of the message's sender.
    pub sender: &'a str,
    /// When the message was received, Unix ms.
    pub received_ms: u64,
}

/// A checked row of one collection.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) binding: String,
    pub(super) position: Option<u64>,
    pub(super) item: u32,
    pub(super) sender: String,
    pub(super) received_ms: u64,
    /// In the order of the declared columns.
    pub(super) values: Vec<SqlValue>,
    pub(super) document: String,
}

/// What is wrong with a document.
#[derive(Debug, Error)]
pub enum RowError {
    /// Not JSON.
    #[error("the document for collection `{collection}` is not JSON: {source}")]
    Json {
        /// The collection.
        collection: String,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// JSON, but not an object.
    #[error("the document for collection `{0}` is not a JSON object")]
    NotAnObject(String),
    /// More bytes than a document of the collection may have.
    #[error("the document for collection `{collection}` has {bytes} bytes, more than `max_document` ({limit})")]
    TooLarge {
        /// The collection.
        collection: String,
        /// Its bytes.
        bytes: usize,
        /// How many it may have.
        limit: u64,
    },
    /// A required or key value is missing.
    #[error("`{pointer}` is missing: collection `{collection}` needs it for column `{column}`")]
    Missing {
        /// The collection.
        collection: String,
        /// The column.
        column: String,
        /// Where the value should be.
        pointer: String,
    },
    /// A value of another type.
    #[error("`{pointer}` is {found}: column `{column}` of collection `{collection}` needs {expected}")]
    Type {
        /// The collection.
        collection: String,
        /// The column.
        column: String,
        /// Where the value is.
        pointer: String,
        /// Type of the column.
        expected: &'static str,
        /// Type of the value.
        found: &'static str,
    },
}

impl Row {
    /// Checks a JSON document against the collection and picks the columns out of it.
    pub fn new(collection: &Collection, source: &Source<'_>, document: String) -> Result<Self, RowError> {
        let name = || collection.name().to_owned();
        let limit = collection.max_document_bytes();
        if document.len() as u64 > limit {
            return Err(RowError::TooLarge { collection: name(), bytes: document.len(), limit });
        }
        let json: Value =
            serde_json::from_str(&document).map_err(|source| RowError::Json { collection: name(), source })?;
        if !json.is_object() {
            return Err(RowError::NotAnObject(name()));
        }
        let values = (0..collection.declaration().columns.len())
            .map(|place| value(collection, place, &json))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            binding: source.binding.to_owned(),
            position: source.position,
            item: source.item,
            sender: source.sender.to_owned(),
            received_ms: source.received_ms,
            values,
            document,
        })
    }

    /// This row with the document that it became part of, and the columns of that.
    pub(super) fn merged(&self, collection: &Collection, document: &Value) -> Self {
        let values = collection.declaration().columns.iter().map(|column| pick(column, document));
        Self { values: values.collect(), document: document.to_string(), ..self.clone() }
    }

    /// The value of the newest-by column.
    pub(super) fn newness(&self, collection: &Collection) -> i64 {
        match collection.newest_by().and_then(|place| self.values.get(place)) {
            Some(SqlValue::Integer(ms)) => *ms,
            _ => i64::MIN,
        }
    }

    pub(super) fn bytes(&self) -> i64 {
        i64::try_from(self.document.len()).unwrap_or(i64::MAX)
    }
}

fn value(collection: &Collection, place: usize, json: &Value) -> Result<SqlValue, RowError> {
    let Some(column) = collection.declaration().columns.get(place) else {
        return Ok(SqlValue::Null);
    };
    let picked = json.pointer(&column.pointer).filter(|value| !value.is_null());
    let Some(picked) = picked else {
        let needed = column.required || collection.key().contains(&place) || collection.newest_by() == Some(place);
        return if needed {
            Err(RowError::Missing {
                collection: collection.name().to_owned(),
                column: column.name.clone(),
                pointer: column.pointer.clone(),
            })
        } else {
            Ok(SqlValue::Null)
        };
    };
    typed(column.kind, picked).ok_or_else(|| RowError::Type {
        collection: collection.name().to_owned(),
        column: column.name.clone(),
        pointer: column.pointer.clone(),
        expected: kind_name(column.kind),
        found: type_name(picked),
    })
}

fn typed(kind: ColumnKind, value: &Value) -> Option<SqlValue> {
    match kind {
        ColumnKind::Text => value.as_str().map(|text| SqlValue::Text(text.to_owned())),
        ColumnKind::Integer => value.as_i64().map(SqlValue::Integer),
        ColumnKind::Real => value.as_f64().map(SqlValue::Real),
        ColumnKind::Time => time::from_json(value).map(SqlValue::Integer),
    }
}

/// The value of a column of a document that was stored before. One that does not fit was written before the column was
/// declared, and leaves it empty.
pub(super) fn pick(column: &Column, document: &Value) -> SqlValue {
    document.pointer(&column.pointer).and_then(|value| typed(column.kind, value)).unwrap_or(SqlValue::Null)
}

/// The column's value that a text stands for.
pub(super) fn from_text(kind: ColumnKind, text: &str) -> Option<SqlValue> {
    match kind {
        ColumnKind::Text => Some(SqlValue::Text(text.to_owned())),
        ColumnKind::Integer => text.parse().ok().map(SqlValue::Integer),
        ColumnKind::Real => text.parse().ok().map(SqlValue::Real),
        ColumnKind::Time => time::from_text(text).map(SqlValue::Integer),
    }
}

const fn kind_name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "a string",
        ColumnKind::Integer => "a whole number",
        ColumnKind::Real => "a number",
        ColumnKind::Time => "a time (ISO 8601 or Unix ms)",
    }
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
