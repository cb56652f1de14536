//! How the versions of plugins did, by binding and digest: those that ran well, and those that did not.

use rusqlite::{Connection, Transaction, params};

/// Verdicts that are kept for each binding; the oldest go.
const MOST: usize = 16;

/// What is known about one version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// The digest of its component.
    pub digest: String,
    /// Whether it ran well.
    pub good: bool,
    /// Why it did not.
    pub reason: String,
}

/// What is known about the versions of a binding, the newest verdict first.
pub fn of(connection: &Connection, binding: &str) -> rusqlite::Result<Vec<Version>> {
    connection
        .prepare_cached(
            "select digest, good, reason from plugin_versions where binding = ?1 order by at_ms desc, digest",
        )?
        .query_map([binding], |row| Ok(Version { digest: row.get(0)?, good: row.get(1)?, reason: row.get(2)? }))?
        .collect()
}

/// The digests of all versions that ran well.
pub fn all_good(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("select distinct digest from plugin_versions where good = 1")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A version ran well. One that is known to be bad stays so until an operator forgives it.
pub fn ran_well(tx: &Transaction<'_>, binding: &str, digest: &str, at_ms: u64) -> rusqlite::Result<()> {
    tx.execute(
        "insert into plugin_versions values (?1, ?2, 1, '', ?3)
         on conflict (binding, digest) do update set at_ms = excluded.at_ms where good = 1",
        params![binding, digest, at_ms],
    )?;
    trim(tx, binding)
}

/// A version is not to be run again.
pub fn failed(tx: &Transaction<'_>, binding: &str, digest: &str, reason: &str, at_ms: u64) -> rusqlite::Result<()> {
    tx.execute(
        "insert into plugin_versions values (?1, ?2, 0, ?3, ?4)
         on conflict (binding, digest) do update set good = 0, reason = excluded.reason, at_ms = excluded.at_ms",
        params![binding, digest, reason, at_ms],
    )?;
    trim(tx, binding)
}

/// Forgets which versions of a binding were bad.
pub fn forgive(tx: &Transaction<'_>, binding: &str) -> rusqlite::Result<()> {
    tx.execute("delete from plugin_versions where binding = ?1 and good = 0", [binding]).map(drop)
}

fn trim(tx: &Transaction<'_>, binding: &str) -> rusqlite::Result<()> {
    tx.execute(
        "delete from plugin_versions where binding = ?1 and digest not in
         (select digest from plugin_versions where binding = ?1 order by at_ms desc, digest limit ?2)",
        params![binding, MOST],
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_bad_version_stays_bad_until_it_is_forgiven() {
        scratch(|tx| {
            ran_well(tx, "a", "one", 1)?;
            ran_well(tx, "a", "two", 2)?;
            failed(tx, "a", "two", "traps", 3)?;
            ran_well(tx, "a", "two", 4)?;
            let known: Vec<_> = of(tx, "a")?.into_iter().map(|version| (version.digest, version.good)).collect();
            assert_eq!(known, [("two".to_owned(), false), ("one".to_owned(), true)]);
            assert_eq!(all_good(tx)?, ["one"]);
            forgive(tx, "a")?;
            assert_eq!(of(tx, "a")?.len(), 1);
            Ok(())
        });
    }

    #[test]
    fn only_the_newest_verdicts_are_kept() {
        scratch(|tx| {
            for at_ms in 0..40 {
                ran_well(tx, "a", &format!("{at_ms}"), at_ms)?;
            }
            let known = of(tx, "a")?;
            assert_eq!((known.len(), known[0].digest.as_str()), (MOST, "39"));
            Ok(())
        });
    }
}
