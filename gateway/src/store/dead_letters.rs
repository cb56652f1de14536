//! Messages that a binding could not handle, whole, with the reason: for an operator to read and to send again.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// A message that could not be handled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// The binding that gave up.
    pub binding: String,
    /// Place in the journal; `None` for a live binding.
    pub position: Option<u64>,
    /// Which of several letters about one message this is.
    pub item: u32,
    /// The message's topic.
    pub topic: String,
    /// Device id of the sender; empty for the gateway itself.
    pub sender: String,
    /// One word of a closed set: `malformed`, `trap`, `rejected`, ...
    pub kind: String,
    /// What the plugin or the gateway said.
    pub reason: String,
    /// When it was given up, Unix ms.
    pub at_ms: u64,
    /// The encoded message; its first byte is the format.
    pub message: Vec<u8>,
}

/// A letter and its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Grows with each letter.
    pub id: i64,
    /// The letter.
    pub letter: DeadLetter,
}

/// Keeps a letter; one that is there already, from before a replay, stays as it is.
pub fn insert(tx: &Transaction<'_>, letter: &DeadLetter) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "insert into dead_letters (binding, position, item, topic, sender, kind, reason, at_ms, message)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict do nothing",
    )?
    .execute(params![
        letter.binding,
        letter.position,
        letter.item,
        letter.topic,
        letter.sender,
        letter.kind,
        letter.reason,
        letter.at_ms,
        letter.message,
    ])
    .map(|inserted| inserted > 0)
}

/// The newest letters, of one binding or of all.
pub fn list(connection: &Connection, binding: Option<&str>, limit: usize) -> rusqlite::Result<Vec<Kept>> {
    connection
        .prepare_cached(
            "select binding, position, item, topic, sender, kind, reason, at_ms, message, id from dead_letters
             where ?1 is null or binding = ?1 order by id desc limit ?2",
        )?
        .query_map(params![binding, limit], kept)?
        .collect()
}

/// One letter by its number.
pub fn get(connection: &Connection, id: i64) -> rusqlite::Result<Option<Kept>> {
    connection
        .prepare_cached(
            "select binding, position, item, topic, sender, kind, reason, at_ms, message, id from dead_letters
             where id = ?1",
        )?
        .query_row([id], kept)
        .optional()
}

/// Deletes the oldest letters beyond `keep`, `step` at most; says how many.
pub fn trim(tx: &Transaction<'_>, keep: u64, step: u64) -> rusqlite::Result<u64> {
    let count: u64 = tx.query_row("select count(*) from dead_letters", [], |row| row.get(0))?;
    let excess = count.saturating_sub(keep).min(step);
    if excess > 0 {
        tx.execute(
            "delete from dead_letters where id in (select id from dead_letters order by id limit ?1)",
            [excess],
        )?;
    }
    Ok(excess)
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        id: row.get(9)?,
        letter: DeadLetter {
            binding: row.get(0)?,
            position: row.get(1)?,
            item: row.get(2)?,
            topic: row.get(3)?,
            sender: row.get(4)?,
            kind: row.get(5)?,
            reason: row.get(6)?,
            at_ms: row.get(7)?,
            message: row.get(8)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn letter(position: u64) -> DeadLetter {
        DeadLetter {
            binding: "telemetry".to_owned(),
            position: Some(position),
            item: 0,
            topic: "dt/cvra/d1/cardata".to_owned(),
            sender: "d1".to_owned(),
            kind: "malformed".to_owned(),
            reason: "no VIN".to_owned(),
            at_ms: 1_000,
            message: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_replayed_letter_is_kept_once() {
        scratch(|tx| {
            assert!(insert(tx, &letter(4))?);
            assert!(!insert(tx, &letter(4))?);
            let found = list(tx, None, 10)?;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].letter, letter(4));
            Ok(())
        });
    }

    #[test]
    fn the_newest_letters_come_first_and_the_oldest_are_trimmed() {
        scratch(|tx| {
            for position in 1..=5 {
                insert(tx, &letter(position))?;
            }
            assert_eq!(trim(tx, 2, 2)?, 2);
            assert_eq!(trim(tx, 2, 2)?, 1);
            assert_eq!(trim(tx, 2, 2)?, 0);
            let left: Vec<_> = list(tx, Some("telemetry"), 10)?.iter().map(|kept| kept.letter.position).collect();
            assert_eq!(left, [Some(5), Some(4)]);
            assert!(list(tx, Some("other"), 10)?.is_empty());
            Ok(())
        });
    }
}
