//! The versions of plugins by binding and digest: where each came from, when it took over, and how it did; and the
//! highest version of each repository.
//!
//! Which version is to run is not decided here.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// Versions that are kept for each binding; those go that were longest without a verdict.
const MOST: usize = 16;

/// How a version did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It took over, and has not answered enough for more than that.
    Untried,
    /// It ran well.
    Good,
    /// It is not to be run again.
    Bad,
}

impl FromSql for Verdict {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "untried" => Ok(Self::Untried),
            "good" => Ok(Self::Good),
            "bad" => Ok(Self::Bad),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// Where a version came from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Came {
    /// `builtin`, `file` or `oci`.
    pub source: String,
    /// The reference that led to it.
    pub reference: String,
    /// The repository that its signature was to be about, if that was another than the reference's.
    pub signed_as: Option<String>,
    /// The digest of its manifest.
    pub manifest: Option<String>,
    /// The repository that it was published in.
    pub repository: Option<String>,
    /// The id of the key that signed it.
    pub signer: Option<String>,
    /// The version that its manifest says.
    pub version: Option<String>,
}

/// What is known about one version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// The digest of its component.
    pub digest: String,
    /// How it did.
    pub verdict: Verdict,
    /// Why it is bad.
    pub reason: String,
    /// When it last took over, Unix ms; none if nobody wrote that down.
    pub activated_ms: Option<u64>,
    /// How its state is to be read.
    pub state_version: u32,
    /// Where it came from.
    pub came: Came,
}

fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    Ok(Version {
        digest: row.get(0)?,
        verdict: row.get(1)?,
        reason: row.get(2)?,
        activated_ms: row.get(3)?,
        state_version: row.get(4)?,
        came: Came {
            source: row.get(5)?,
            reference: row.get(6)?,
            signed_as: row.get(7)?,
            manifest: row.get(8)?,
            repository: row.get(9)?,
            signer: row.get(10)?,
            version: row.get(11)?,
        },
    })
}

/// What is known about the versions of a binding, the newest verdict first.
pub fn of(connection: &Connection, binding: &str) -> rusqlite::Result<Vec<Version>> {
    connection
        .prepare_cached(
            "select digest, verdict, reason, activated_ms, state_version, source, reference, signed_as, manifest,
                repository, signer, version
             from plugin_versions where binding = ?1 order by at_ms desc, digest",
        )?
        .query_map([binding], version)?
        .collect()
}

/// The digests of all versions that a binding runs or may go back to, of their components and of their manifests.
pub fn needed(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "select digest from plugin_versions where verdict <> 'bad'
             union select manifest from plugin_versions where verdict <> 'bad' and manifest is not null",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// A version took over. Its verdict stays; when it had taken over before, and since when another, is forgotten.
pub fn activated(
    tx: &Transaction<'_>,
    binding: &str,
    digest: &str,
    state_version: u32,
    came: &Came,
    at_ms: u64,
) -> rusqlite::Result<()> {
    tx.execute(
        "insert into plugin_versions (binding, digest, verdict, at_ms, activated_ms, state_version, source, reference,
            signed_as, manifest, repository, signer, version)
         values (?1, ?2, 'untried', ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         on conflict (binding, digest) do update set activated_ms = excluded.activated_ms,
            state_version = excluded.state_version, source = excluded.source, reference = excluded.reference,
            signed_as = excluded.signed_as, manifest = excluded.manifest, repository = excluded.repository,
            signer = excluded.signer, version = excluded.version",
        params![
            binding,
            digest,
            at_ms,
            state_version,
            came.source,
            came.reference,
            came.signed_as,
            came.manifest,
            came.repository,
            came.signer,
            came.version
        ],
    )?;
    trim(tx, binding)
}

/// A version ran well. One that is known to be bad stays so until an operator forgives it.
pub fn ran_well(tx: &Transaction<'_>, binding: &str, digest: &str, at_ms: u64) -> rusqlite::Result<()> {
    judged(tx, "good", binding, digest, "", at_ms)
}

/// A version is not to be run again.
pub fn failed(tx: &Transaction<'_>, binding: &str, digest: &str, reason: &str, at_ms: u64) -> rusqlite::Result<()> {
    judged(tx, "bad", binding, digest, reason, at_ms)
}

fn judged(
    tx: &Transaction<'_>,
    verdict: &str,
    binding: &str,
    digest: &str,
    reason: &str,
    at_ms: u64,
) -> rusqlite::Result<()> {
    tx.execute(
        "insert into plugin_versions (binding, digest, verdict, reason, at_ms) values (?1, ?2, ?3, ?4, ?5)
         on conflict (binding, digest) do update set verdict = excluded.verdict, reason = excluded.reason,
            at_ms = excluded.at_ms where verdict <> 'bad' or excluded.verdict = 'bad'",
        params![binding, digest, verdict, reason, at_ms],
    )?;
    trim(tx, binding)
}

/// Forgets which versions of a binding were bad.
pub fn forgive(tx: &Transaction<'_>, binding: &str) -> rusqlite::Result<()> {
    tx.execute("delete from plugin_versions where binding = ?1 and verdict = 'bad'", [binding]).map(drop)
}

fn trim(tx: &Transaction<'_>, binding: &str) -> rusqlite::Result<()> {
    tx.execute(
        "delete from plugin_versions where binding = ?1 and digest not in
         (select digest from plugin_versions where binding = ?1
          order by max(at_ms, coalesce(activated_ms, 0)) desc, digest limit ?2)",
        params![binding, MOST],
    )
    .map(drop)
}

/// The highest version of a repository that ever took over.
pub fn highest(connection: &Connection, binding: &str, repository: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("select version from plugin_highest where binding = ?1 and repository = ?2")?
        .query_row([binding, repository], |row| row.get(0))
        .optional()
}

/// Notes the highest version of a repository that ever took over; which of two is higher is for the caller to say.
pub fn set_highest(tx: &Transaction<'_>, binding: &str, repository: &str, version: &str) -> rusqlite::Result<()> {
    tx.execute("insert or replace into plugin_highest values (?1, ?2, ?3)", [binding, repository, version]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn known(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(String, Verdict)>> {
        Ok(of(tx, "a")?.into_iter().map(|version| (version.digest, version.verdict)).collect())
    }

    #[test]
    fn a_bad_version_stays_bad_until_it_is_forgiven() {
        scratch(|tx| {
            ran_well(tx, "a", "one", 1)?;
            activated(tx, "a", "two", 0, &Came::default(), 2)?;
            assert_eq!(known(tx)?, [("two".to_owned(), Verdict::Untried), ("one".to_owned(), Verdict::Good)]);
            failed(tx, "a", "two", "traps", 3)?;
            ran_well(tx, "a", "two", 4)?;
            activated(tx, "a", "two", 0, &Came::default(), 5)?;
            assert_eq!(known(tx)?, [("two".to_owned(), Verdict::Bad), ("one".to_owned(), Verdict::Good)]);
            assert_eq!(needed(tx)?, ["one"]);
            forgive(tx, "a")?;
            assert_eq!(of(tx, "a")?.len(), 1);
            Ok(())
        });
    }

    #[test]
    fn where_a_version_came_from_is_what_it_was_when_it_last_took_over() {
        scratch(|tx| {
            let came = |reference: &str| Came {
                source: "oci".to_owned(),
                reference: reference.to_owned(),
                signer: Some("release".to_owned()),
                version: Some("1.2.0".to_owned()),
                ..Came::default()
            };
            activated(tx, "a", "one", 1, &came("oci://h/p:1"), 1)?;
            ran_well(tx, "a", "one", 2)?;
            activated(tx, "a", "one", 2, &came("oci://h/p:2"), 3)?;
            let version = of(tx, "a")?.remove(0);
            assert_eq!((version.verdict, version.activated_ms, version.state_version), (Verdict::Good, Some(3), 2));
            assert_eq!(version.came, came("oci://h/p:2"));
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

    #[test]
    fn the_highest_version_is_kept_for_each_repository() {
        scratch(|tx| {
            assert_eq!(highest(tx, "a", "h/p")?, None);
            set_highest(tx, "a", "h/p", "1.0.0")?;
            set_highest(tx, "a", "h/p", "1.10.0")?;
            set_highest(tx, "a", "h/q", "0.1.0")?;
            assert_eq!(highest(tx, "a", "h/p")?.as_deref(), Some("1.10.0"));
            Ok(())
        });
    }
}
