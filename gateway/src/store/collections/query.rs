//! Queries as operators ask them: equal columns or JSON fields, a time, a limit.
//!
//! Values are always parameters. Names of columns come from the declaration; anything else is a path into the
//! document, and that is a parameter too.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use thiserror::Error;

use super::{Collection, ColumnKind, InstallError, load, row};

/// Records of one answer at most.
const MAX_LIMIT: usize = 10_000;

/// Conditions of one query at most.
const MAX_CONDITIONS: usize = 16;

/// A question to a collection.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The collection's name.
    pub collection: String,
    /// Each a declared column, `_sender`, `_position`, or a dotted path into the document (`dtc.code`), and the
    /// value that it must have.
    pub conditions: Vec<(String, String)>,
    /// Rows from this time on, Unix ms, by the collection's time column or else by reception.
    pub since_ms: Option<u64>,
    /// Records at most; 10,000 is the bound.
    pub limit: usize,
}

/// A row as it is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Journal position of its message; `None` for a live binding.
    pub position: Option<u64>,
    /// Which output of that message it is.
    pub item: u32,
    /// Device id of the sender.
    pub sender: String,
    /// When the message was received, Unix ms.
    pub received_ms: u64,
    /// The plugin's JSON document.
    pub document: String,
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// There is no such collection.
    #[error("there is no collection `{0}`")]
    UnknownCollection(String),
    /// A value that the column cannot have.
    #[error("`{value}` is no {kind} (column `{column}`)")]
    Value {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// What the column holds.
        kind: &'static str,
    },
    /// Not a path.
    #[error("`{0}` is neither a column nor a path into the document")]
    Path(String),
    /// Too many conditions.
    #[error("a query has at most {MAX_CONDITIONS} conditions")]
    TooManyConditions,
    /// The stored declaration is damaged.
    #[error(transparent)]
    Collection(#[from] InstallError),
    /// SQLite's refusal.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Answers a query, newest first.
pub fn query(connection: &Connection, query: &Query) -> Result<Vec<Record>, QueryError> {
    let collection =
        load(connection, &query.collection)?.ok_or_else(|| QueryError::UnknownCollection(query.collection.clone()))?;
    let (sql, parameters) = statement(&collection, query)?;
    let mut statement = connection.prepare_cached(&sql)?;
    let records = statement
        .query_map(params_from_iter(parameters), |row| {
            Ok(Record {
                position: row.get(0)?,
                item: row.get(1)?,
                sender: row.get(2)?,
                received_ms: row.get(3)?,
                document: row.get(4)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(records)
}

/// The statement and its parameters.
fn statement(collection: &Collection, query: &Query) -> Result<(String, Vec<SqlValue>), QueryError> {
    if query.conditions.len() > MAX_CONDITIONS {
        return Err(QueryError::TooManyConditions);
    }
    let time = collection.time_column();
    let mut clauses = Vec::new();
    let mut parameters = Vec::new();
    for (name, value) in &query.conditions {
        clauses.push(condition(collection, name, value, &mut parameters)?);
    }
    if let Some(since) = query.since_ms {
        parameters.push(SqlValue::Integer(i64::try_from(since).unwrap_or(i64::MAX)));
        clauses.push(format!("\"{time}\" >= ?"));
    }
    let filter = if clauses.is_empty() { String::new() } else { format!(" where {}", clauses.join(" and ")) };
    parameters.push(SqlValue::Integer(query.limit.min(MAX_LIMIT) as i64));
    let sql = format!(
        "select _position, _item, _sender, _received, _document from {}{filter} order by {} limit ?",
        collection.table(),
        order(collection),
    );
    Ok((sql, parameters))
}

/// Without a time column rows are in the order of their reception already.
fn order(collection: &Collection) -> String {
    match (&collection.declaration().time, collection.keyed()) {
        (Some(time), _) => format!("\"{time}\" desc, _id desc"),
        (None, true) => "_received desc, _id desc".to_owned(),
        (None, false) => "_id desc".to_owned(),
    }
}

fn condition(
    collection: &Collection,
    name: &str,
    value: &str,
    parameters: &mut Vec<SqlValue>,
) -> Result<String, QueryError> {
    let kind = match name {
        "_sender" => Some(ColumnKind::Text),
        "_position" => Some(ColumnKind::Integer),
        _ => {
            let columns = &collection.declaration().columns;
            columns.iter().find(|column| column.name == name).map(|column| column.kind)
        }
    };
    if let Some(kind) = kind {
        parameters.push(parse(kind, name, value)?);
        return Ok(format!("\"{name}\" = ?"));
    }
    parameters.push(SqlValue::Text(path(name)?));
    parameters.push(SqlValue::Text(value.to_owned()));
    // A number or truth value in the document equals the text that the operator typed for it.
    parameters.push(scalar(value));
    Ok("json_extract(_document, ?) in (?, ?)".to_owned())
}

fn parse(kind: ColumnKind, column: &str, value: &str) -> Result<SqlValue, QueryError> {
    let word = match kind {
        ColumnKind::Text => "text",
        ColumnKind::Integer => "whole number",
        ColumnKind::Real => "number",
        ColumnKind::Time => "time",
    };
    let wrong = || QueryError::Value { column: column.to_owned(), value: value.to_owned(), kind: word };
    row::from_text(kind, value).ok_or_else(wrong)
}

fn scalar(value: &str) -> SqlValue {
    match value {
        "true" => SqlValue::Integer(1),
        "false" => SqlValue::Integer(0),
        _ => match (value.parse(), value.parse()) {
            (Ok(integer), _) => SqlValue::Integer(integer),
            (_, Ok(real)) => SqlValue::Real(real),
            _ => SqlValue::Null,
        },
    }
}

/// `dtc.code` as SQLite's path `$."dtc"."code"`; a part of digits is an index into a list.
fn path(name: &str) -> Result<String, QueryError> {
    let mut path = "$".to_owned();
    for part in name.split('.') {
        if part.is_empty() || part.contains(['"', '\\']) || part.chars().any(char::is_control) {
            return Err(QueryError::Path(name.to_owned()));
        }
        if part.len() < 10 && part.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str(&format!("[{part}]"));
        } else {
            path.push_str(&format!(".\"{part}\""));
        }
    }
    Ok(path)
}
