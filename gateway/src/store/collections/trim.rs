//! Retention: the oldest rows beyond a collection's bounds are deleted, a few at a time.

use rusqlite::{Transaction, params};

use super::super::slice::Slice;
use super::{Collection, InstallError, add_totals};

/// Rows that are looked up at once; between them the clock is read.
const CHUNK: u64 = 16;

/// What one step deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trimmed {
    /// Rows.
    pub rows: u64,
    /// Bytes of their documents.
    pub bytes: u64,
    /// Whether the next step may find more.
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
    /// What the collection's own retention keeps. `default_age_ms` holds where it declares no age; its share is one of
    /// `room_bytes`.
    #[must_use]
    pub fn of(collection: &Collection, now_ms: u64, default_age_ms: u64, room_bytes: u64) -> Self {
        let retention = collection.declaration().retention;
        let share = retention.share.map(|percent| room_bytes / 100 * u64::from(percent));
        Self {
            since_ms: now_ms.saturating_sub(retention.max_age_ms.unwrap_or(default_age_ms)),
            max_rows: retention.max_rows,
            max_bytes: [retention.max_bytes, share].into_iter().flatten().min(),
            excess_bytes: 0,
        }
    }
}

/// Deletes rows that are not to be kept, oldest reception first, as many as the slice allows.
pub fn trim(
    tx: &Transaction<'_>,
    collection: &Collection,
    keep: Keep,
    slice: &mut Slice,
) -> Result<Trimmed, InstallError> {
    let (rows, bytes): (u64, u64) = tx
        .prepare_cached("select row_count, bytes from collections where name = ?1")?
        .query_row([collection.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut excess = Excess {
        since_ms: keep.since_ms,
        rows: keep.max_rows.map_or(0, |max| rows.saturating_sub(max)),
        bytes: keep.max_bytes.map_or(0, |max| bytes.saturating_sub(max)).max(keep.excess_bytes),
    };
    let mut trimmed = Trimmed { more: true, ..Trimmed::default() };
    while trimmed.more {
        let chunk = slice.take(CHUNK);
        if chunk == 0 {
            break;
        }
        let doomed = doomed(tx, collection, chunk, &mut excess)?;
        trimmed.more = doomed.len() as u64 == chunk;
        for (id, size) in doomed {
            tx.prepare_cached(&format!("delete from {} where _id = ?1", collection.table()))?.execute(params![id])?;
            trimmed.rows += 1;
            trimmed.bytes += size;
        }
    }
    if trimmed.rows > 0 {
        let gone = |count: u64| -i64::try_from(count).unwrap_or(i64::MAX);
        add_totals(tx, collection.name(), gone(trimmed.rows), gone(trimmed.bytes))?;
    }
    Ok(trimmed)
}

/// What is still to go.
struct Excess {
    since_ms: u64,
    rows: u64,
    bytes: u64,
}

impl Excess {
    /// Whether a row has to go, which is then counted.
    fn takes(&mut self, received_ms: u64, size: u64) -> bool {
        let takes = received_ms < self.since_ms || self.rows > 0 || self.bytes > 0;
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        takes
    }
}

/// Id and size of the oldest rows, `chunk` at most, up to the first that is kept.
fn doomed(
    tx: &Transaction<'_>,
    collection: &Collection,
    chunk: u64,
    excess: &mut Excess,
) -> rusqlite::Result<Vec<(i64, u64)>> {
    // Rows of an append collection are in the order of their reception; one with a key has an index for it.
    let order = if collection.keyed() { "_received" } else { "_id" };
    let sql =
        format!("select _id, _received, octet_length(_document) from {} order by {order} limit ?1", collection.table());
    let mut statement = tx.prepare_cached(&sql)?;
    let mut oldest = statement.query([chunk])?;
    let mut doomed = Vec::new();
    while let Some(row) = oldest.next()? {
        let (id, received, size): (i64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if !excess.takes(received, size) {
            break;
        }
        doomed.push((id, size));
    }
    Ok(doomed)
}
