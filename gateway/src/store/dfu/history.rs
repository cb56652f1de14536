//! The attempts that are over, a bounded number of each device.

use causeway_core::dfu::update::{End, Ended, Tally, Target};
use rusqlite::{Connection, Row, Transaction, params};

use super::{by_columns, by_of, unknown};

/// An attempt that is over, and its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Grows with each.
    pub id: i64,
    /// Whose it was.
    pub device: String,
    /// The attempt.
    pub ended: Ended,
}

/// Which attempts are meant; the default means all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Those of this device.
    pub device: Option<String>,
    /// Those with this outcome.
    pub outcome: Option<String>,
    /// Those with a lower number: the next page of a list.
    pub before: Option<i64>,
}

/// Adds an attempt of a device that is known, and deletes the oldest of it beyond `keep`. One that is there already is
/// not added again: the transaction may have been committed although that was not known.
pub fn add(tx: &Transaction<'_>, device: &str, ended: &Ended, keep: usize) -> rusqlite::Result<()> {
    let Ended { target, attempt, end, at_ms } = ended;
    let (by_kind, by_name) = by_columns(&target.by);
    let (outcome, reason) = words(end);
    tx.prepare_cached(
        "insert into dfu_history (device, name, from_version, version, size, by_kind, by_name, patch, started_ms,
             ended_ms, blocks, bytes, restarts, attempt, outcome, reason)
         select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16
         where exists (select 1 from devices where id = ?1) and not exists
             (select 1 from dfu_history where device = ?1 and version = ?4 and started_ms is ?9 and ended_ms = ?10
                 and attempt = ?14 and outcome = ?15)",
    )?
    .execute(params![
        device,
        target.name,
        target.from,
        target.version,
        target.size,
        by_kind,
        by_name,
        target.tally.patch,
        target.started_ms,
        at_ms,
        target.tally.blocks,
        target.tally.bytes,
        target.tally.restarts,
        attempt,
        outcome,
        reason,
    ])?;
    tx.prepare_cached(
        "delete from dfu_history where device = ?1 and id <=
         (select id from dfu_history where device = ?1 order by id desc limit 1 offset ?2)",
    )?
    .execute(params![device, keep])?;
    Ok(())
}

/// The latest of the attempts that are meant, the latest first.
pub fn history(connection: &Connection, filter: &Filter, limit: usize) -> rusqlite::Result<Vec<Kept>> {
    connection
        .prepare_cached(&select(filter))?
        .query_map(params![filter.device, filter.outcome, filter.before.unwrap_or(i64::MAX), limit], kept)?
        .collect()
}

/// One statement for one device and one for all: of a condition that may hold for any device no index can be used.
pub(super) fn select(filter: &Filter) -> String {
    let device = if filter.device.is_some() { "device = ?1" } else { "?1 is null" };
    format!(
        "select * from dfu_history where {device} and (?2 is null or outcome = ?2) and id < ?3 order by id desc limit ?4"
    )
}

const fn words(end: &End) -> (&'static str, Option<&String>) {
    match end {
        End::Confirmed => ("confirmed", None),
        End::Failed(reason) => ("failed", Some(reason)),
        End::Superseded => ("superseded", None),
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let outcome: String = row.get("outcome")?;
    let reason: Option<String> = row.get("reason")?;
    let end = match outcome.as_str() {
        "confirmed" => End::Confirmed,
        "failed" => End::Failed(reason.unwrap_or_default()),
        "superseded" => End::Superseded,
        _ => return Err(unknown(&outcome)),
    };
    let target = Target {
        name: row.get("name")?,
        version: row.get("version")?,
        image: String::new(),
        size: row.get("size")?,
        by: by_of(row, "by_kind", "by_name")?,
        from: row.get("from_version")?,
        restart: false,
        astray: false,
        waiting: false,
        started_ms: row.get("started_ms")?,
        tally: Tally {
            patch: row.get("patch")?,
            blocks: row.get("blocks")?,
            bytes: row.get("bytes")?,
            restarts: row.get("restarts")?,
            ..Tally::default()
        },
    };
    let ended = Ended { target, attempt: row.get("attempt")?, end, at_ms: row.get("ended_ms")? };
    Ok(Kept { id: row.get("id")?, device: row.get("device")?, ended })
}
