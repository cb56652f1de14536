//! What plugins remember: small values by name, scoped to a binding and a key of it. A value changes in the transaction
//! of the effects and the cursor that it belongs to.

use rusqlite::{Connection, OptionalExtension, Transaction};

/// The value of `name`; `None` when it was never set or was removed.
pub fn get(connection: &Connection, binding: &str, key: &str, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("select value from state where binding = ?1 and key = ?2 and name = ?3")?
        .query_row([binding, key, name], |row| row.get(0))
        .optional()
}

/// Sets the value of `name`, or removes it.
pub fn set(tx: &Transaction<'_>, binding: &str, key: &str, name: &str, value: Option<&[u8]>) -> rusqlite::Result<()> {
    let Some(value) = value else {
        return tx
            .prepare_cached("delete from state where binding = ?1 and key = ?2 and name = ?3")?
            .execute([binding, key, name])
            .map(drop);
    };
    tx.prepare_cached(
        "insert into state values (?1, ?2, ?3, ?4)
         on conflict (binding, key, name) do update set value = excluded.value",
    )?
    .execute((binding, key, name, value))
    .map(drop)
}

/// All values of a key, by name: what is loaded before a call and what its bounds are measured against.
pub fn all(connection: &Connection, binding: &str, key: &str) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    connection
        .prepare_cached("select name, value from state where binding = ?1 and key = ?2 order by name")?
        .query_map([binding, key], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Bytes of the names and values of a key.
pub fn bytes(connection: &Connection, binding: &str, key: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "select coalesce(sum(octet_length(name) + octet_length(value)), 0) from state
             where binding = ?1 and key = ?2",
        )?
        .query_row([binding, key], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_value_is_replaced_and_removed() {
        scratch(|tx| {
            assert_eq!(get(tx, "b", "d1", "last")?, None);
            set(tx, "b", "d1", "last", Some(b"one"))?;
            set(tx, "b", "d1", "last", Some(b"two"))?;
            set(tx, "b", "d1", "empty", Some(b""))?;
            assert_eq!(get(tx, "b", "d1", "last")?.as_deref(), Some(&b"two"[..]));
            assert_eq!(get(tx, "b", "d1", "empty")?.as_deref(), Some(&b""[..]));
            set(tx, "b", "d1", "last", None)?;
            set(tx, "b", "d1", "last", None)?;
            assert_eq!(all(tx, "b", "d1")?, [("empty".to_owned(), vec![])]);
            Ok(())
        });
    }

    #[test]
    fn keys_and_bindings_do_not_see_each_other() {
        scratch(|tx| {
            set(tx, "b", "d1", "n", Some(b"1"))?;
            set(tx, "b", "d2", "n", Some(b"22"))?;
            set(tx, "c", "d1", "n", Some(b"333"))?;
            assert_eq!(get(tx, "b", "d1", "n")?.as_deref(), Some(&b"1"[..]));
            assert_eq!(bytes(tx, "b", "d2")?, 3);
            assert_eq!(bytes(tx, "c", "d1")?, 4);
            assert_eq!(bytes(tx, "c", "d2")?, 0);
            set(tx, "b", "d1", "n", None)?;
            assert_eq!(get(tx, "c", "d1", "n")?.as_deref(), Some(&b"333"[..]));
            Ok(())
        });
    }
}
