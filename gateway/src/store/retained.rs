//! Retained messages, one per topic.

use rusqlite::{Connection, Transaction, params};

/// A retained message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retained {
    /// Its topic.
    pub topic: String,
    /// The encoded message; its first byte is the format.
    pub message: Vec<u8>,
    /// When it expires, Unix ms.
    pub expires_ms: Option<u64>,
}

/// Keeps the message in place of the topic's earlier one.
pub fn put(tx: &Transaction<'_>, topic: &str, message: &[u8], expires_ms: Option<u64>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "insert into retained values (?1, ?2, ?3) on conflict (topic)
         do update set message = excluded.message, expires_ms = excluded.expires_ms",
    )?
    .execute(params![topic, message, expires_ms])
    .map(drop)
}

/// Forgets the topic's message.
pub fn delete(tx: &Transaction<'_>, topic: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("delete from retained where topic = ?1")?.execute([topic]).map(drop)
}

/// All messages by topic, the expired ones included.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Retained>> {
    connection
        .prepare_cached("select topic, message, expires_ms from retained order by topic")?
        .query_map([], |row| Ok(Retained { topic: row.get(0)?, message: row.get(1)?, expires_ms: row.get(2)? }))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_topic_keeps_its_last_message() {
        scratch(|tx| {
            put(tx, "a", b"1", Some(9))?;
            put(tx, "a", b"2", None)?;
            put(tx, "b", b"3", None)?;
            delete(tx, "b")?;
            delete(tx, "never there")?;
            let expected = Retained { topic: "a".to_owned(), message: b"2".to_vec(), expires_ms: None };
            assert_eq!(all(tx)?, [expected]);
            Ok(())
        });
    }
}
