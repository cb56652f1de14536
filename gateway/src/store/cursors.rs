//! Where each consumer of the journal stands. A cursor moves in the transaction of the effects it stands for.

use rusqlite::{Connection, OptionalExtension, Transaction};

/// The position up to which `name` has taken effect; `None` before its first.
pub fn get(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("select position from cursors where name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Moves the cursor to `position`. It never moves back: a late transaction of a replaced consumer is harmless.
pub fn set(tx: &Transaction<'_>, name: &str, position: u64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "insert into cursors values (?1, ?2)
         on conflict (name) do update set position = max(position, excluded.position)",
    )?
    .execute((name, position))
    .map(drop)
}

/// Forgets the cursor of a consumer that is gone.
pub fn delete(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("delete from cursors where name = ?1")?.execute([name]).map(drop)
}

/// All cursors by name.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    connection
        .prepare_cached("select name, position from cursors order by name")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_cursor_moves_forward_only() {
        scratch(|tx| {
            assert_eq!(get(tx, "telemetry/0")?, None);
            set(tx, "telemetry/0", 7)?;
            set(tx, "telemetry/0", 5)?;
            assert_eq!(get(tx, "telemetry/0")?, Some(7));
            assert_eq!(all(tx)?, [("telemetry/0".to_owned(), 7)]);
            delete(tx, "telemetry/0")?;
            assert_eq!(get(tx, "telemetry/0")?, None);
            Ok(())
        });
    }
}
