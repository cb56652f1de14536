//! Columns that were declared after their rows came get their values from the documents, a few rows at a time. Each
//! step says in its transaction how far it came, so that the next start goes on there.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Transaction, params, params_from_iter};

use super::super::slice::Slice;
use super::row::pick;
use super::{Collection, Column};

/// Rows that are read at once; between them the clock is read.
const CHUNK: u64 = 16;

/// Where a fill stands.
struct Fill {
    columns: Vec<String>,
    next: i64,
    end: i64,
}

/// Has the columns of all present rows filled, together with those that were not ready yet.
pub(super) fn begin(tx: &Transaction<'_>, collection: &Collection, columns: &[String]) -> rusqlite::Result<()> {
    let mut all = standing(tx, collection.name())?.map_or_else(Vec::new, |fill| fill.columns);
    if columns.is_empty() && all.is_empty() {
        return Ok(());
    }
    all.extend(columns.iter().cloned());
    all.retain(|name| collection.declaration().columns.iter().any(|column| column.name == *name));
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return forget(tx, collection.name());
    }
    let list = serde_json::Value::from(all).to_string();
    let sql = format!(
        "update collections set fill = ?2, fill_next = 0, fill_end = (select coalesce(max(_id), 0) from {})
         where name = ?1",
        collection.table()
    );
    tx.execute(&sql, params![collection.name(), list]).map(drop)
}

/// Whether rows are still to be filled.
pub(super) fn pending(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(standing(connection, name)?.is_some())
}

/// Nothing is to be filled any more.
pub(super) fn forget(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    tx.execute("update collections set fill = null, fill_next = 0, fill_end = 0 where name = ?1", [name]).map(drop)
}

/// Fills as many rows as the slice allows; says whether there are more.
pub fn fill(tx: &Transaction<'_>, collection: &Collection, slice: &mut Slice) -> rusqlite::Result<bool> {
    let Some(mut fill) = standing(tx, collection.name())? else { return Ok(false) };
    let wanted = |column: &&Column| fill.columns.contains(&column.name);
    let columns: Vec<_> = collection.declaration().columns.iter().filter(wanted).collect();
    loop {
        let chunk = slice.take(CHUNK);
        if chunk == 0 {
            tx.execute("update collections set fill_next = ?2 where name = ?1", params![collection.name(), fill.next])?;
            return Ok(true);
        }
        let filled = fill_chunk(tx, collection, &columns, &mut fill, chunk)?;
        if filled < chunk {
            forget(tx, collection.name())?;
            tracing::info!(collection = collection.name(), "all rows have the new columns");
            return Ok(false);
        }
    }
}

/// Fills so many rows; says how many there were.
fn fill_chunk(
    tx: &Transaction<'_>,
    collection: &Collection,
    columns: &[&Column],
    fill: &mut Fill,
    chunk: u64,
) -> rusqlite::Result<u64> {
    let table = collection.table();
    let rows: Vec<(i64, String)> = tx
        .prepare_cached(&format!(
            "select _id, _document from {table} where _id > ?1 and _id <= ?2 order by _id limit ?3"
        ))?
        .query_map(params![fill.next, fill.end, chunk], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let sets: Vec<_> = (2..).zip(columns).map(|(n, column)| format!("\"{}\" = ?{n}", column.name)).collect();
    let mut update = tx.prepare_cached(&format!("update {table} set {} where _id = ?1", sets.join(", ")))?;
    for (id, document) in &rows {
        let document = serde_json::from_str(document).unwrap_or_default();
        let values = columns.iter().map(|column| pick(column, &document));
        update.execute(params_from_iter([SqlValue::Integer(*id)].into_iter().chain(values)))?;
        fill.next = *id;
    }
    Ok(rows.len() as u64)
}

fn standing(connection: &Connection, name: &str) -> rusqlite::Result<Option<Fill>> {
    let mut statement =
        connection.prepare_cached("select fill, fill_next, fill_end from collections where name = ?1")?;
    let mut rows = statement.query([name])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let Some(list) = row.get::<_, Option<String>>(0)? else { return Ok(None) };
    // The list was written by `begin`.
    let columns = serde_json::from_str(&list).unwrap_or_default();
    Ok(Some(Fill { columns, next: row.get(1)?, end: row.get(2)? }))
}
