//! What a partition's plugin remembered before a version took over that remembers otherwise, for the way back.
//!
//! A partition moves from version to version in one transaction with these tables, so the values in `state` are always
//! those of the version that is written down here. One snapshot is kept for each partition: the newest.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// A partition that another version takes over.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The binding.
    pub binding: &'a str,
    /// The partition.
    pub partition: usize,
    /// How many there are.
    pub partitions: usize,
    /// The version that takes over.
    pub digest: &'a str,
    /// How it reads the state.
    pub state_version: u32,
    /// It takes the place of one that does not do.
    pub back: bool,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// What became of the values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moved {
    /// The version reads them as the one before did.
    Same,
    /// They are as they were, and kept as they are now.
    Kept {
        /// How they are to be read.
        state_version: u32,
    },
    /// They are what they were before a version took over that is gone.
    Restored,
    /// The version reads them otherwise, and they are not kept as it left them.
    Lost {
        /// How they are to be read.
        state_version: u32,
    },
}

/// Moves a partition to a version; `mine` says which keys are the partition's.
pub fn take_over(tx: &Transaction<'_>, to: &Move<'_>, mine: impl Fn(&str) -> bool) -> rusqlite::Result<Moved> {
    let before = state_version(tx, to.binding, to.partition)?;
    tx.execute(
        "insert or replace into plugin_partitions values (?1, ?2, ?3, ?4)",
        params![to.binding, to.partition, to.digest, to.state_version],
    )?;
    tx.execute(
        "delete from plugin_partitions where binding = ?1 and partition >= ?2",
        params![to.binding, to.partitions],
    )?;
    let Some(before) = before.filter(|before| *before != to.state_version) else { return Ok(Moved::Same) };
    let own: Vec<_> = keys(tx, to.binding)?.into_iter().filter(|key| mine(key)).collect();
    if to.back || to.state_version < before {
        if !is_kept(tx, to)? {
            return Ok(Moved::Lost { state_version: before });
        }
        restore(tx, to, &own)?;
        return Ok(Moved::Restored);
    }
    keep(tx, to, before, &own)?;
    Ok(Moved::Kept { state_version: before })
}

/// How the values of a partition are to be read; of one that is new, as those of its binding.
fn state_version(connection: &Connection, binding: &str, partition: usize) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached(
            "select state_version from plugin_partitions where binding = ?1
             order by partition = ?2 desc, partition desc limit 1",
        )?
        .query_row(params![binding, partition], |row| row.get(0))
        .optional()
}

/// The keys that have values, or have had some.
fn keys(connection: &Connection, binding: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "select key from state where binding = ?1 union select key from state_snapshot_values where binding = ?1",
        )?
        .query_map([binding], |row| row.get(0))?
        .collect()
}

fn is_kept(tx: &Transaction<'_>, to: &Move<'_>) -> rusqlite::Result<bool> {
    tx.query_row(
        "select exists (select 1 from state_snapshots where binding = ?1 and partition = ?2 and state_version = ?3)",
        params![to.binding, to.partition, to.state_version],
        |row| row.get(0),
    )
}

fn keep(tx: &Transaction<'_>, to: &Move<'_>, state_version: u32, own: &[String]) -> rusqlite::Result<()> {
    for key in own {
        tx.prepare_cached("delete from state_snapshot_values where binding = ?1 and key = ?2")?
            .execute([to.binding, key])?;
        tx.prepare_cached(
            "insert into state_snapshot_values
             select binding, key, name, value from state where binding = ?1 and key = ?2",
        )?
        .execute([to.binding, key])?;
    }
    tx.execute(
        "insert or replace into state_snapshots values (?1, ?2, ?3, ?4)",
        params![to.binding, to.partition, state_version, to.at_ms],
    )
    .map(drop)
}

fn restore(tx: &Transaction<'_>, to: &Move<'_>, own: &[String]) -> rusqlite::Result<()> {
    for key in own {
        tx.prepare_cached("delete from state where binding = ?1 and key = ?2")?.execute([to.binding, key])?;
        tx.prepare_cached(
            "insert into state select binding, key, name, value from state_snapshot_values
             where binding = ?1 and key = ?2",
        )?
        .execute([to.binding, key])?;
        tx.prepare_cached("delete from state_snapshot_values where binding = ?1 and key = ?2")?
            .execute([to.binding, key])?;
    }
    tx.execute("delete from state_snapshots where binding = ?1 and partition = ?2", params![to.binding, to.partition])
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;
    use crate::store::{state, usage};

    fn to(digest: &'static str, state_version: u32) -> Move<'static> {
        Move { binding: "b", partition: 0, partitions: 2, digest, state_version, back: false, at_ms: 7 }
    }

    fn values(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for key in ["d1", "d2", "e1"] {
            found.extend(state::all(tx, "b", key)?.into_iter().map(|(name, value)| (format!("{key}/{name}"), value)));
        }
        Ok(found)
    }

    #[test]
    fn what_a_partition_remembered_comes_back_with_the_version_that_left_it() {
        scratch(|tx| {
            let mine = |key: &str| key.starts_with('d');
            assert_eq!(take_over(tx, &to("one", 1), mine)?, Moved::Same);
            state::set(tx, "b", "d1", "n", Some(b"one"))?;
            state::set(tx, "b", "e1", "n", Some(b"one"))?;
            let before = values(tx)?;
            assert_eq!(take_over(tx, &to("two", 2), mine)?, Moved::Kept { state_version: 1 });
            assert_eq!(values(tx)?, before, "the newer version reads what the older one left");
            assert_eq!(usage::of(tx, "state_snapshots")?.rows, 1);
            for (key, value) in [("d1", Some(&b"two"[..])), ("d2", Some(b"new")), ("e1", Some(b"two"))] {
                state::set(tx, "b", key, "n", value)?;
            }
            state::set(tx, "b", "d1", "more", Some(b""))?;
            assert_eq!(take_over(tx, &Move { back: true, ..to("one", 1) }, mine)?, Moved::Restored);
            let restored = [("d1/n".to_owned(), b"one".to_vec()), ("e1/n".to_owned(), b"two".to_vec())];
            assert_eq!(values(tx)?, restored, "other partitions go their own way");
            assert_eq!(usage::of(tx, "state_snapshots")?.rows, 0);
            Ok(())
        });
    }

    #[test]
    fn versions_that_read_the_state_alike_keep_nothing() {
        scratch(|tx| {
            take_over(tx, &to("one", 1), |_| true)?;
            state::set(tx, "b", "d1", "n", Some(b"one"))?;
            assert_eq!(take_over(tx, &to("two", 1), |_| true)?, Moved::Same);
            assert_eq!(take_over(tx, &Move { back: true, ..to("one", 1) }, |_| true)?, Moved::Same);
            assert_eq!(usage::of(tx, "state_snapshots")?.rows, 0);
            Ok(())
        });
    }

    #[test]
    fn without_a_snapshot_the_values_stay_and_it_is_said() {
        scratch(|tx| {
            take_over(tx, &to("two", 2), |_| true)?;
            state::set(tx, "b", "d1", "n", Some(b"two"))?;
            assert_eq!(take_over(tx, &to("one", 1), |_| true)?, Moved::Lost { state_version: 2 });
            assert_eq!(values(tx)?.len(), 1);
            Ok(())
        });
    }

    #[test]
    fn a_partition_that_is_new_reads_what_its_binding_left() {
        scratch(|tx| {
            take_over(tx, &to("one", 1), |_| true)?;
            let second = Move { partition: 1, ..to("two", 2) };
            assert_eq!(take_over(tx, &second, |_| true)?, Moved::Kept { state_version: 1 });
            take_over(tx, &Move { partitions: 1, ..to("two", 2) }, |_| true)?;
            let left: u32 = tx.query_row("select count(*) from plugin_partitions", [], |row| row.get(0))?;
            assert_eq!(left, 1);
            Ok(())
        });
    }
}
