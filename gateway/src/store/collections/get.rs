//! Single documents by their key, as they are stored and as they will be once what waits is committed.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::meet::{Found, key_of, newest, patched};
use super::row::from_text;
use super::{Collection, Row};

/// The document of a key, which has one text for each of [`Collection::key_columns`]; `None` when there is none.
/// A collection without a key has no such documents, and no document has a key of another length or type.
pub fn get(connection: &Connection, collection: &Collection, key: &[&str]) -> rusqlite::Result<Option<String>> {
    let Some(key) = key_values(collection, key) else { return Ok(None) };
    connection.prepare_cached(collection.get_sql())?.query_row(params_from_iter(key), |row| row.get(0)).optional()
}

/// As [`get`], once `pending` were inserted.
pub fn get_after(
    connection: &Connection,
    collection: &Collection,
    key: &[&str],
    pending: &[Row],
    max_skew_ms: u64,
) -> rusqlite::Result<Option<String>> {
    let Some(wanted) = key_values(collection, key) else { return Ok(None) };
    let wanted: Vec<_> = wanted.iter().collect();
    let of_key = || pending.iter().filter(|row| key_of(collection, row) == wanted);
    if of_key().next().is_none() {
        return get(connection, collection, key);
    }
    if collection.merges() {
        let patches: Vec<_> = of_key().collect();
        let before = get(connection, collection, key)?;
        let (document, _) = patched(collection, before.as_deref(), &patches);
        return Ok((!document.is_null()).then(|| document.to_string()));
    }
    let found = find(connection, collection, wanted.clone())?;
    match newest(collection, of_key(), max_skew_ms).pop() {
        Some(row) if found.is_none_or(|found| found.yields_to(row, collection)) => Ok(Some(row.document.clone())),
        _ => get(connection, collection, key),
    }
}

fn key_values(collection: &Collection, key: &[&str]) -> Option<Vec<SqlValue>> {
    let columns = &collection.declaration().columns;
    if !collection.keyed() || collection.key().len() != key.len() {
        return None;
    }
    let places = collection.key().iter().zip(key);
    places.map(|(place, text)| columns.get(*place).and_then(|column| from_text(column.kind, text))).collect()
}

/// The row of a key.
pub(super) fn find(
    connection: &Connection,
    collection: &Collection,
    key: Vec<&SqlValue>,
) -> rusqlite::Result<Option<Found>> {
    connection
        .prepare_cached(collection.find_sql())?
        .query_row(params_from_iter(key), |found| {
            Ok(Found {
                id: found.get(0)?,
                newness: found.get(1)?,
                position: found.get(2)?,
                bytes: found.get(3)?,
                document: found.get(4)?,
            })
        })
        .optional()
}
