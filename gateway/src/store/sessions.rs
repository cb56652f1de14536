//! What persistent sessions need after a restart, one blob per session; its format is the front door's.

use rusqlite::{Connection, Transaction, params};

/// A session's state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionState {
    /// Identity and client id, as the front door joins them.
    pub key: String,
    /// The encoded state; its first byte is the format.
    pub state: Vec<u8>,
    /// The journal position that the state includes.
    pub as_of: u64,
}

/// Keeps the state in place of the session's earlier one; an older state than the kept one is ignored.
pub fn put(tx: &Transaction<'_>, key: &str, state: &[u8], as_of: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "insert into sessions values (?1, ?2, ?3) on conflict (key)
         do update set state = excluded.state, as_of = excluded.as_of where excluded.as_of >= as_of",
    )?
    .execute(params![key, state, as_of])
    .map(drop)
}

/// Forgets the session.
pub fn delete(tx: &Transaction<'_>, key: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("delete from sessions where key = ?1")?.execute([key]).map(drop)
}

/// All sessions by key.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<SessionState>> {
    connection
        .prepare_cached("select key, state, as_of from sessions order by key")?
        .query_map([], |row| Ok(SessionState { key: row.get(0)?, state: row.get(1)?, as_of: row.get(2)? }))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_session_keeps_its_newest_state() {
        scratch(|tx| {
            put(tx, "d1\0c1", b"old", 4)?;
            put(tx, "d1\0c1", b"new", 6)?;
            put(tx, "d1\0c1", b"late", 5)?;
            put(tx, "d1\0c2", b"x", 1)?;
            delete(tx, "d1\0c2")?;
            let expected = SessionState { key: "d1\0c1".to_owned(), state: b"new".to_vec(), as_of: 6 };
            assert_eq!(all(tx)?, [expected]);
            Ok(())
        });
    }
}
