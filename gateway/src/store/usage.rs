//! What each part of the store takes, kept up by triggers.

use rusqlite::{Connection, OptionalExtension};

/// Bytes and rows of one part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// `collections`, `dead_letters`, `outbox`, `state` or `state_snapshots`.
    pub part: String,
    /// Its rows.
    pub rows: u64,
    /// Bytes of what the rows carry, without indexes.
    pub bytes: u64,
}

/// All parts.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Usage>> {
    connection
        .prepare_cached(
            "select part, row_count, bytes from usage
             union all select 'collections', coalesce(sum(row_count), 0), coalesce(sum(bytes), 0) from collections
             order by part",
        )?
        .query_map([], |row| Ok(Usage { part: row.get(0)?, rows: row.get(1)?, bytes: row.get(2)? }))?
        .collect()
}

/// One part but `collections`; nothing of one that is not there.
pub fn of(connection: &Connection, part: &str) -> rusqlite::Result<Usage> {
    let found = connection
        .prepare_cached("select part, row_count, bytes from usage where part = ?1")?
        .query_row([part], |row| Ok(Usage { part: row.get(0)?, rows: row.get(1)?, bytes: row.get(2)? }))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Bytes of the file: those of pages that hold something, and those of free pages.
pub fn pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection.query_row(
        "select (page_count - freelist_count) * page_size, freelist_count * page_size
         from pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;
    use crate::store::{outbox, state};

    #[test]
    fn usage_follows_what_comes_and_goes() {
        scratch(|tx| {
            let figures = |part| of(tx, part).map(|usage| (usage.rows, usage.bytes));
            state::set(tx, "b", "d1", "name", Some(b"12345"))?;
            state::set(tx, "b", "d1", "name", Some(b"1"))?;
            state::set(tx, "b", "d2", "name", Some(b""))?;
            assert_eq!(figures("state")?, (2, 9));
            state::set(tx, "b", "d1", "name", None)?;
            assert_eq!(figures("state")?, (1, 4));
            outbox::insert(tx, "b", Some(1), 0, b"123")?;
            outbox::insert(tx, "b", Some(1), 0, b"123")?;
            assert_eq!(figures("outbox")?, (1, 3));
            tx.execute("delete from outbox", [])?;
            assert_eq!(figures("outbox")?, (0, 0));
            Ok(())
        });
    }
}
