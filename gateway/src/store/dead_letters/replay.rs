//! Letters that are sent to their binding again: who asked, what waits, and what came of it.
//!
//! A letter waits here until the transaction that commits its effects deletes it, or the one that says why it failed
//! once more. So it is handled exactly once for each request, whenever the process dies.

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params, params_from_iter};

use super::{COLUMNS, Filter, Kept, MATCHES, kept};

/// What a request came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requested {
    /// The number of the request.
    pub request: i64,
    /// Letters that wait from now on.
    pub letters: usize,
    /// The bindings that they wait for.
    pub bindings: Vec<String>,
}

/// Asks that letters are sent again to those of their bindings that are `served`. A letter that waits already now
/// belongs to this request.
pub fn request(tx: &Transaction<'_>, filter: &Filter, served: &[String]) -> rusqlite::Result<Requested> {
    let number: i64 =
        tx.query_row("select coalesce(max(request), 0) + 1 from dead_letter_replays", [], |row| row.get(0))?;
    let served = serde_json::Value::from(served).to_string();
    let sql = format!(
        "insert into dead_letter_replays (letter, request, binding, position)
         select letters.id, ?6, letters.binding, coalesce(letters.position, 0) from dead_letters letters
         where {MATCHES} and letters.binding in (select value from json_each(?7))
         on conflict (letter) do update set request = excluded.request, failed = 0"
    );
    let values = filter.values().into_iter().chain([Value::Integer(number), Value::Text(served)]);
    let letters = tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    let bindings = tx
        .prepare_cached("select distinct binding from dead_letter_replays where request = ?1 and failed = 0")?
        .query_map([number], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Requested { request: number, letters, bindings })
}

/// Asks that the letters that a version of a plugin left since a time are sent again, now that another is asked. One that
/// failed with that other version, too, is not its letter any more.
pub fn request_of(tx: &Transaction<'_>, binding: &str, digest: &str, since_ms: u64) -> rusqlite::Result<usize> {
    tx.prepare_cached(
        "insert into dead_letter_replays (letter, request, binding, position)
         select id, (select coalesce(max(request), 0) + 1 from dead_letter_replays), binding, coalesce(position, 0)
         from dead_letters where binding = ?1 and digest = ?2 and at_ms >= ?3 and kind <> 'overflow'
         on conflict (letter) do update set failed = 0",
    )?
    .execute(params![binding, digest, since_ms])
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Letters that were not sent again yet.
    pub waiting: usize,
    /// Letters that failed once more.
    pub failed: usize,
}

/// How far a request is; what is neither waiting nor failed took effect, or was dropped meanwhile.
pub fn progress(connection: &Connection, request: i64) -> rusqlite::Result<Progress> {
    connection
        .prepare_cached(
            "select count(*) filter (where failed = 0), count(*) filter (where failed = 1)
             from dead_letter_replays where request = ?1",
        )?
        .query_row([request], |row| Ok(Progress { waiting: row.get(0)?, failed: row.get(1)? }))
}

/// Whether any letter of a binding waits.
pub fn waits(connection: &Connection, binding: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select exists (select 1 from dead_letter_replays where binding = ?1 and failed = 0)")?
        .query_row([binding], |row| row.get(0))
}

/// The waiting letters of a binding behind `after`, a position and a number, in the order of their positions.
pub fn next(connection: &Connection, binding: &str, after: (u64, i64), limit: usize) -> rusqlite::Result<Vec<Kept>> {
    let sql = format!(
        "select {COLUMNS} from dead_letter_replays replays join dead_letters letters on letters.id = replays.letter
         where replays.binding = ?1 and replays.failed = 0 and (replays.position, replays.letter) > (?2, ?3)
         order by replays.position, replays.letter limit ?4"
    );
    connection.prepare_cached(&sql)?.query_map(params![binding, after.0, after.1, limit], kept)?.collect()
}

/// Removes a letter whose message has taken effect, in the transaction of its effects.
pub fn took_effect(tx: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("delete from dead_letters where id = ?1")?.execute([id]).map(drop)
}

/// Why a letter failed once more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retried {
    /// The letter.
    pub id: i64,
    /// As of a letter.
    pub kind: String,
    /// As of a letter.
    pub reason: String,
    /// The digest of the plugin that was asked this time.
    pub digest: String,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// Keeps a letter with its newest reason; it is sent again only when it is asked for again.
pub fn failed_again(tx: &Transaction<'_>, retried: &Retried) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "update dead_letters set kind = ?2, reason = ?3, digest = ?4, at_ms = ?5, attempts = attempts + 1 where id = ?1",
    )?
    .execute(params![retried.id, retried.kind, retried.reason, retried.digest, retried.at_ms])?;
    tx.prepare_cached("update dead_letter_replays set failed = 1 where letter = ?1")?.execute([retried.id]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::super::{DeadLetter, delete, get, insert};
    use super::*;
    use crate::store::tests::scratch;

    fn served() -> Vec<String> {
        vec!["telemetry".to_owned()]
    }

    fn retried(id: i64) -> Retried {
        Retried { id, kind: "trap".to_owned(), reason: "again".to_owned(), digest: "sha256:01".to_owned(), at_ms: 9 }
    }

    #[test]
    fn letters_are_sent_again_in_the_order_of_their_positions() {
        scratch(|tx| {
            for position in [7, 3, 5] {
                insert(tx, &letter(position))?;
            }
            insert(tx, &DeadLetter { binding: "gone".to_owned(), ..letter(1) })?;
            assert!(!waits(tx, "telemetry")?);
            let asked = request(tx, &Filter::default(), &served())?;
            assert_eq!((asked.letters, &asked.bindings), (3, &served()), "nobody serves the other binding");
            assert!(waits(tx, "telemetry")?);
            let first = next(tx, "telemetry", (0, 0), 2)?;
            let positions: Vec<_> = first.iter().filter_map(|kept| kept.letter.position).collect();
            assert_eq!((positions.as_slice(), first[0].waiting), ([3, 5].as_slice(), true));
            let rest = next(tx, "telemetry", (5, first[1].id), 2)?;
            assert_eq!(rest.iter().map(|kept| kept.letter.position).collect::<Vec<_>>(), [Some(7)]);
            Ok(())
        });
    }

    #[test]
    fn a_letter_that_took_effect_is_gone_and_one_that_failed_waits_for_the_next_request() {
        scratch(|tx| {
            for position in 1..=3 {
                insert(tx, &letter(position))?;
            }
            let asked = request(tx, &Filter::default(), &served())?;
            took_effect(tx, 1)?;
            failed_again(tx, &retried(2))?;
            assert_eq!(progress(tx, asked.request)?, Progress { waiting: 1, failed: 1 });
            let failed = get(tx, 2)?.unwrap();
            assert_eq!((failed.attempts, failed.waiting, failed.letter.kind.as_str()), (1, false, "trap"));
            assert_eq!((failed.letter.reason.as_str(), failed.letter.digest.as_str()), ("again", "sha256:01"));
            assert_eq!(next(tx, "telemetry", (0, 0), 9)?.len(), 1);
            let again = request(tx, &Filter { ids: Some(vec![2]), ..Filter::default() }, &served())?;
            assert!(again.request > asked.request);
            assert_eq!(progress(tx, again.request)?, Progress { waiting: 1, failed: 0 });
            Ok(())
        });
    }

    #[test]
    fn letters_of_one_version_since_it_took_over_are_sent_again() {
        scratch(|tx| {
            let of =
                |position, digest: &str, at_ms| DeadLetter { digest: digest.to_owned(), at_ms, ..letter(position) };
            for letter in [of(1, "bad", 4), of(4, "bad", 6), of(3, "bad", 5), of(2, "good", 6)] {
                insert(tx, &letter)?;
            }
            insert(tx, &DeadLetter { kind: "overflow".to_owned(), ..of(5, "bad", 7) })?;
            assert_eq!(request_of(tx, "telemetry", "bad", 5)?, 2);
            let positions = |tx: &Transaction<'_>| {
                let waiting = next(tx, "telemetry", (0, 0), 9)?;
                Ok::<_, rusqlite::Error>(waiting.iter().filter_map(|kept| kept.letter.position).collect::<Vec<_>>())
            };
            assert_eq!(positions(tx)?, [3, 4]);
            let failed = next(tx, "telemetry", (0, 0), 1)?.remove(0).id;
            failed_again(tx, &Retried { digest: "good".to_owned(), ..retried(failed) })?;
            assert_eq!(request_of(tx, "telemetry", "bad", 5)?, 1);
            assert_eq!(positions(tx)?, [4]);
            Ok(())
        });
    }

    #[test]
    fn a_letter_that_is_dropped_waits_no_longer() {
        scratch(|tx| {
            insert(tx, &letter(1))?;
            request(tx, &Filter::default(), &served())?;
            delete(tx, &Filter::default(), 9)?;
            assert!(!waits(tx, "telemetry")?);
            Ok(())
        });
    }
}
