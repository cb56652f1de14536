//! Retention: the oldest rows beyond a collection's bounds are deleted, a few at a time.

use rusqlite::{Transaction, params};

use super::{Collection, InstallError, add_totals};

/// What one step deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trimmed {
    /// Rows.
    pub rows: u64,
    /// Bytes of their documents.
    pub bytes: u64,
    /// Whether the next step will find more.
    pub more: bool,
}

/// Which rows are kept; the default keeps all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Rows received earlier are deleted.
    pub since_ms: u64,
    /// Rows at most.
    pub max_rows: Option<u64>,
    /// Bytes of documents at most.
    pub max_bytes: Option<u64>,
    /// Bytes of documents that are to go in any case.
    pub excess_bytes: u64,
}

impl Keep {
    /// What the collection's own retention keeps; `default_age_ms` holds where it declares no age.
    #[must_use]
    pub fn of(collection: &Collection, now_ms: u64, default_age_ms: u64) -> Self {
        let retention = collection.declaration().retention;
        Self {
            since_ms: now_ms.saturating_sub(retention.max_age_ms.unwrap_or(default_age_ms)),
            max_rows: retention.max_rows,
            max_bytes: retention.max_bytes,
            excess_bytes: 0,
        }
    }
}

/// Deletes at most `step` of the rows that are not to be kept, oldest reception first.
pub fn trim(tx: &Transaction<'_>, collection: &Collection, keep: Keep, step: u64) -> Result<Trimmed, InstallError> {
    let (rows, bytes): (u64, u64) = tx
        .prepare_cached("select row_count, bytes from collections where name = ?1")?
        .query_row([collection.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut excess_rows = keep.max_rows.map_or(0, |max| rows.saturating_sub(max));
    let mut excess_bytes = keep.max_bytes.map_or(0, |max| bytes.saturating_sub(max)).max(keep.excess_bytes);

    let mut doomed = Vec::new();
    let mut freed = 0;
    let mut more = true;
    let mut statement = tx.prepare_cached(&oldest_sql(collection))?;
    let mut oldest = statement.query([step])?;
    while let Some(row) = oldest.next()? {
        let (id, received, size): (i64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if received >= keep.since_ms && excess_rows == 0 && excess_bytes == 0 {
            more = false;
            break;
        }
        excess_rows = excess_rows.saturating_sub(1);
        excess_bytes = excess_bytes.saturating_sub(size);
        freed += size;
        doomed.push(id);
    }
    drop(oldest);
    delete(tx, collection, &doomed, freed)?;
    let deleted = doomed.len() as u64;
    Ok(Trimmed { rows: deleted, bytes: freed, more: more && deleted == step })
}

/// Rows of an append collection are in the order of their reception; one with a key has an index for it.
fn oldest_sql(collection: &Collection) -> String {
    let order = if collection.keyed() { "_received" } else { "_id" };
    format!("select _id, _received, octet_length(_document) from {} order by {order} limit ?1", collection.table())
}

fn delete(tx: &Transaction<'_>, collection: &Collection, ids: &[i64], bytes: u64) -> rusqlite::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut statement = tx.prepare_cached(&format!("delete from {} where _id = ?1", collection.table()))?;
    for id in ids {
        statement.execute(params![id])?;
    }
    let rows = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    add_totals(tx, collection.name(), -rows, -i64::try_from(bytes).unwrap_or(i64::MAX))
}
