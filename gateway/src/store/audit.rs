//! Who changed what: one entry for each change that an operator asked for, refused ones included.

use rusqlite::{Connection, Transaction, params};

/// An operator's request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Who, by the name policies know.
    pub operator: String,
    /// The Cedar action of the route.
    pub action: String,
    /// What was to be changed, a device id for instance.
    pub subject: String,
    /// `done`, `denied` or `failed`.
    pub outcome: String,
    /// What else is worth knowing, as JSON; never a secret.
    pub detail: String,
}

/// An entry and its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Grows with each entry.
    pub id: i64,
    /// The entry.
    pub entry: Entry,
}

/// Adds an entry.
pub fn append(tx: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<i64> {
    tx.prepare_cached(
        "insert into audit (at_ms, operator, action, subject, outcome, detail) values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .insert(params![entry.at_ms, entry.operator, entry.action, entry.subject, entry.outcome, entry.detail,])
}

/// The newest entries before the number `before`, newest first.
pub fn list(connection: &Connection, before: Option<i64>, limit: usize) -> rusqlite::Result<Vec<Kept>> {
    connection
        .prepare_cached(
            "select id, at_ms, operator, action, subject, outcome, detail from audit
             where id < coalesce(?1, 9223372036854775807) order by id desc limit ?2",
        )?
        .query_map(params![before, limit], |row| {
            Ok(Kept {
                id: row.get(0)?,
                entry: Entry {
                    at_ms: row.get(1)?,
                    operator: row.get(2)?,
                    action: row.get(3)?,
                    subject: row.get(4)?,
                    outcome: row.get(5)?,
                    detail: row.get(6)?,
                },
            })
        })?
        .collect()
}

/// Deletes the oldest entries beyond `keep`, `step` at most; says how many. Numbers are dense, so no count is needed.
pub fn trim(tx: &Transaction<'_>, keep: u64, step: u64) -> rusqlite::Result<u64> {
    let deleted = tx.execute(
        "delete from audit where id in
         (select id from audit where id <= (select max(id) from audit) - ?1 order by id limit ?2)",
        [keep, step],
    )?;
    Ok(deleted as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn entry(subject: &str) -> Entry {
        Entry {
            at_ms: 5,
            operator: "root".to_owned(),
            action: "device:add".to_owned(),
            subject: subject.to_owned(),
            outcome: "done".to_owned(),
            detail: "{}".to_owned(),
        }
    }

    #[test]
    fn entries_are_listed_newest_first_in_pages() {
        scratch(|tx| {
            for subject in ["a", "b", "c"] {
                append(tx, &entry(subject))?;
            }
            let page = list(tx, None, 2)?;
            assert_eq!(page[0].entry, entry("c"));
            let next = list(tx, Some(page[1].id), 2)?;
            assert_eq!(next.len(), 1);
            assert_eq!(next[0].entry, entry("a"));
            Ok(())
        });
    }

    #[test]
    fn the_oldest_entries_are_trimmed() {
        scratch(|tx| {
            for subject in ["a", "b", "c", "d"] {
                append(tx, &entry(subject))?;
            }
            assert_eq!(trim(tx, 2, 1)?, 1);
            assert_eq!(trim(tx, 2, 10)?, 1);
            assert_eq!(list(tx, None, 10)?.len(), 2);
            Ok(())
        });
    }
}
