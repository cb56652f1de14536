//! Publications of committed effects that still have to leave the gateway.
//!
//! They are written in the transaction of the effects, sent, and then deleted. Whoever dies between the two
//! sends them again, with the same id.

use rusqlite::{Connection, Transaction, params};

/// A publication on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pending {
    /// Grows with each publication and is never used again.
    pub id: i64,
    /// The encoded message; its first byte is the format.
    pub message: Vec<u8>,
}

/// Puts a publication in line. A replay of the same input does not put it there twice.
pub fn insert(
    tx: &Transaction<'_>,
    binding: &str,
    position: Option<u64>,
    item: u32,
    message: &[u8],
) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "insert into outbox (binding, position, item, message) values (?1, ?2, ?3, ?4) on conflict do nothing",
    )?
    .execute(params![binding, position, item, message])
    .map(|inserted| inserted > 0)
}

/// The next publications behind `after` in the order of their ids.
pub fn pending(connection: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<Pending>> {
    connection
        .prepare_cached("select id, message from outbox where id > ?1 order by id limit ?2")?
        .query_map(params![after, limit], |row| Ok(Pending { id: row.get(0)?, message: row.get(1)? }))?
        .collect()
}

/// Deletes what was sent.
pub fn delete(tx: &Transaction<'_>, ids: &[i64]) -> rusqlite::Result<()> {
    let mut statement = tx.prepare_cached("delete from outbox where id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn publications_leave_in_order_and_ids_are_never_used_again() {
        scratch(|tx| {
            assert!(insert(tx, "telemetry", Some(3), 0, b"a")?);
            assert!(!insert(tx, "telemetry", Some(3), 0, b"a")?);
            assert!(insert(tx, "telemetry", Some(3), 1, b"b")?);
            let first = pending(tx, 0, 1)?;
            assert_eq!(first[0].message, b"a");
            let rest = pending(tx, first[0].id, 10)?;
            assert_eq!(rest.len(), 1);
            delete(tx, &[first[0].id, rest[0].id])?;
            assert!(pending(tx, 0, 10)?.is_empty());
            insert(tx, "telemetry", Some(4), 0, b"c")?;
            assert!(pending(tx, 0, 10)?[0].id > rest[0].id);
            Ok(())
        });
    }
}
