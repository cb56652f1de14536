//! Messages that a binding could not handle, whole, with the reason: for an operator to read, to send again, to drop.
//!
//! How a letter that is sent again leaves this table is in `dead_letters/replay.rs`.

mod replay;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

pub use replay::{Progress, Requested, Retried, failed_again, next, progress, request, request_of, took_effect, waits};

use super::{Slice, usage};

/// A message that could not be handled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeadLetter {
    /// The binding that gave up.
    pub binding: String,
    /// Place in the journal; `None` for what came from memory.
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
    /// The digest of the plugin that was asked.
    pub digest: String,
    /// When it was given up, Unix ms.
    pub at_ms: u64,
    /// The encoded message; its first byte is the format.
    pub message: Vec<u8>,
}

/// A letter that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Grows with each letter.
    pub id: i64,
    /// The letter.
    pub letter: DeadLetter,
    /// How often it was sent again in vain.
    pub attempts: u32,
    /// Whether it is to be sent again and was not yet.
    pub waiting: bool,
}

/// Which letters are meant: those that meet every condition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Those with these numbers.
    pub ids: Option<Vec<i64>>,
    /// Those of this binding.
    pub binding: Option<String>,
    /// Those of this kind.
    pub kind: Option<String>,
    /// Those that were given up at this Unix time in milliseconds or later.
    pub since_ms: Option<u64>,
    /// Those with a lower number: the next page of a list.
    pub before: Option<i64>,
}

/// The condition of [`Filter::values`].
const MATCHES: &str = "(?1 is null or letters.id in (select value from json_each(?1)))
    and (?2 is null or letters.binding = ?2) and (?3 is null or letters.kind = ?3)
    and (?4 is null or letters.at_ms >= ?4) and (?5 is null or letters.id < ?5)";

impl Filter {
    fn values(&self) -> [Value; 5] {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
        let ids = self.ids.as_ref().map(|ids| format!("{ids:?}"));
        let since = self.since_ms.map(|since| i64::try_from(since).unwrap_or(i64::MAX));
        [text(&ids), text(&self.binding), text(&self.kind), number(since), number(self.before)]
    }
}

const COLUMNS: &str = "letters.binding, letters.position, letters.item, letters.topic, letters.sender, letters.kind,
    letters.reason, letters.digest, letters.at_ms, letters.message, letters.id, letters.attempts,
    exists (select 1 from dead_letter_replays where letter = letters.id and failed = 0)";

/// Keeps a letter; one that is there already, because its message was read again, stays as it is.
pub fn insert(tx: &Transaction<'_>, letter: &DeadLetter) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "insert into dead_letters (binding, position, item, topic, sender, kind, reason, digest, at_ms, message)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) on conflict do nothing",
    )?
    .execute(params![
        letter.binding,
        letter.position,
        letter.item,
        letter.topic,
        letter.sender,
        letter.kind,
        letter.reason,
        letter.digest,
        letter.at_ms,
        letter.message,
    ])
    .map(|inserted| inserted > 0)
}

/// The newest letters of those that are meant.
pub fn list(connection: &Connection, filter: &Filter, limit: usize) -> rusqlite::Result<Vec<Kept>> {
    let limit = Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = format!("select {COLUMNS} from dead_letters letters where {MATCHES} order by letters.id desc limit ?6");
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(filter.values().into_iter().chain([limit])), kept)?
        .collect()
}

/// One letter by its number.
pub fn get(connection: &Connection, id: i64) -> rusqlite::Result<Option<Kept>> {
    let sql = format!("select {COLUMNS} from dead_letters letters where letters.id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], kept).optional()
}

/// How many letters are meant, and the highest number among them.
pub fn count(connection: &Connection, filter: &Filter) -> rusqlite::Result<(u64, i64)> {
    let sql = format!("select count(*), coalesce(max(letters.id), 0) from dead_letters letters where {MATCHES}");
    connection.prepare_cached(&sql)?.query_row(params_from_iter(filter.values()), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Deletes the oldest letters of those that are meant, `step` at most; says how many.
pub fn delete(tx: &Transaction<'_>, filter: &Filter, step: usize) -> rusqlite::Result<usize> {
    let step = Value::Integer(i64::try_from(step).unwrap_or(i64::MAX));
    let sql = format!(
        "delete from dead_letters where id in
         (select letters.id from dead_letters letters where {MATCHES} order by letters.id limit ?6)"
    );
    tx.prepare_cached(&sql)?.execute(params_from_iter(filter.values().into_iter().chain([step])))
}

/// Which letters are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Letters at most.
    pub letters: u64,
    /// Bytes of them at most.
    pub bytes: u64,
}

/// Deletes the oldest letters that are not to be kept, as many as the slice allows; says how many.
pub fn trim(tx: &Transaction<'_>, keep: Keep, slice: &mut Slice) -> rusqlite::Result<u64> {
    let mut oldest = tx.prepare_cached("select id from dead_letters order by id limit 1")?;
    let mut delete = tx.prepare_cached("delete from dead_letters where id = ?1")?;
    let mut deleted = 0;
    loop {
        let there = usage::of(tx, "dead_letters")?;
        if (there.rows <= keep.letters && there.bytes <= keep.bytes) || slice.take(1) == 0 {
            return Ok(deleted);
        }
        let Some(id) = oldest.query_row([], |row| row.get::<_, i64>(0)).optional()? else { return Ok(deleted) };
        delete.execute([id])?;
        deleted += 1;
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        letter: DeadLetter {
            binding: row.get(0)?,
            position: row.get(1)?,
            item: row.get(2)?,
            topic: row.get(3)?,
            sender: row.get(4)?,
            kind: row.get(5)?,
            reason: row.get(6)?,
            digest: row.get(7)?,
            at_ms: row.get(8)?,
            message: row.get(9)?,
        },
        id: row.get(10)?,
        attempts: row.get(11)?,
        waiting: row.get(12)?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::tests::scratch;

    pub(in crate::store) fn letter(position: u64) -> DeadLetter {
        DeadLetter {
            binding: "telemetry".to_owned(),
            position: Some(position),
            item: 0,
            topic: "dt/cvra/d1/cardata".to_owned(),
            sender: "d1".to_owned(),
            kind: "malformed".to_owned(),
            reason: "no VIN".to_owned(),
            digest: "sha256:00".to_owned(),
            at_ms: 1_000 * position,
            message: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_message_that_is_read_again_makes_no_second_letter() {
        scratch(|tx| {
            assert!(insert(tx, &letter(4))?);
            assert!(!insert(tx, &letter(4))?);
            let found = list(tx, &Filter::default(), 10)?;
            assert_eq!(found.len(), 1);
            assert_eq!((&found[0].letter, found[0].attempts, found[0].waiting), (&letter(4), 0, false));
            Ok(())
        });
    }

    #[test]
    fn the_newest_letters_come_first_and_the_oldest_are_trimmed() {
        scratch(|tx| {
            for position in 1..=5 {
                insert(tx, &letter(position))?;
            }
            let keep = Keep { letters: 2, bytes: u64::MAX };
            assert_eq!([2, 2, 2].map(|rows| trim(tx, keep, &mut Slice::rows(rows)).unwrap()), [2, 1, 0]);
            let left: Vec<_> = list(tx, &Filter::default(), 10)?.iter().map(|kept| kept.letter.position).collect();
            assert_eq!(left, [Some(5), Some(4)]);
            Ok(())
        });
    }

    fn check(tx: &Transaction<'_>, filter: &Filter, expected: &[u64]) {
        let found = list(tx, filter, 10).unwrap();
        let positions: Vec<_> = found.iter().filter_map(|kept| kept.letter.position).collect();
        assert_eq!(positions, expected, "{filter:?}");
        assert_eq!(count(tx, filter).unwrap().0, expected.len() as u64, "{filter:?}");
    }

    #[test]
    fn a_filter_means_what_meets_all_of_its_conditions() {
        scratch(|tx| {
            for position in 1..=5 {
                let kind = if position == 3 { "trap" } else { "malformed" }.to_owned();
                insert(tx, &DeadLetter { kind, ..letter(position) })?;
            }
            let (binding, kind) = (Some("telemetry".to_owned()), Some("trap".to_owned()));
            check(tx, &Filter { binding: binding.clone(), ..Filter::default() }, &[5, 4, 3, 2, 1]);
            check(tx, &Filter { binding: Some("other".to_owned()), ..Filter::default() }, &[]);
            check(tx, &Filter { binding, kind: kind.clone(), ..Filter::default() }, &[3]);
            check(tx, &Filter { since_ms: Some(4_000), ..Filter::default() }, &[5, 4]);
            check(tx, &Filter { ids: Some(vec![1, 3, 99]), ..Filter::default() }, &[3, 1]);
            check(tx, &Filter { ids: Some(vec![]), ..Filter::default() }, &[]);
            check(tx, &Filter { before: Some(3), ..Filter::default() }, &[2, 1]);
            assert_eq!(delete(tx, &Filter { kind, ..Filter::default() }, 10)?, 1);
            assert_eq!(delete(tx, &Filter::default(), 2)?, 2);
            check(tx, &Filter::default(), &[5, 4]);
            Ok(())
        });
    }
}
