//! The rows of devices' updates: where each is, its attempts, and the attempts that are over.
//!
//! What they mean is decided in `causeway_core::dfu`. Rows of a device that is not known any more are not written, and
//! go with it.

mod history;

use causeway_core::dfu::By;
use causeway_core::dfu::update::{Attempt, Attempts, Standing, State, Tally, Target};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

pub use history::{Filter, Kept, add, history};

/// What is known of all devices.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<(String, Standing)>> {
    let mut devices = connection
        .prepare("select * from dfu_devices order by device")?
        .query_map([], decode)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut statement = connection
        .prepare("select device, version, made, until_ms, quarantined from dfu_attempts order by device, place")?;
    let mut rows = statement.query([])?;
    let mut next = rows.next()?.map(attempt).transpose()?;
    for (device, standing) in &mut devices {
        let mut attempts = Vec::new();
        // Both lists are in the order of ids.
        while let Some((of, found)) = next.take() {
            if of > *device {
                next = Some((of, found));
                break;
            }
            if of == *device {
                attempts.push(found);
            }
            next = rows.next()?.map(attempt).transpose()?;
        }
        standing.attempts = Attempts::new(attempts);
    }
    Ok(devices)
}

/// Devices whose update goes by that campaign, whether there is one of that id or not.
pub fn of_campaign(connection: &Connection, id: &str) -> rusqlite::Result<u64> {
    connection.query_row(
        "select count(*) from dfu_devices where by_kind = ?1 and by_name = ?2",
        [CAMPAIGN, id],
        |row| row.get(0),
    )
}

/// Writes all that is known of a device; `false` if there is no such device any more.
pub fn put(tx: &Transaction<'_>, device: &str, standing: &Standing) -> rusqlite::Result<bool> {
    if !note(tx, device, standing)? {
        return Ok(false);
    }
    tx.prepare_cached("delete from dfu_attempts where device = ?1")?.execute([device])?;
    let mut insert = tx.prepare_cached("insert into dfu_attempts values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (place, attempt) in standing.attempts.all().iter().enumerate() {
        let Attempt { version, made, until_ms, quarantined } = attempt;
        insert.execute(params![device, version, place, made, until_ms, quarantined])?;
    }
    Ok(true)
}

/// Writes what changes with each block: everything but the attempts. `false` if there is no such device any more.
pub fn note(tx: &Transaction<'_>, device: &str, standing: &Standing) -> rusqlite::Result<bool> {
    let target = standing.target.as_deref();
    let tally = target.map(|target| &target.tally);
    let by = target.map(|target| by_columns(&target.by));
    let written = tx
        .prepare_cached(
            "insert or replace into dfu_devices
             select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22
             where exists (select 1 from devices where id = ?1)",
        )?
        .execute(params![
            device,
            standing.running.as_deref(),
            standing.heard_ms,
            standing.state.word(),
            standing.since_ms,
            standing.reason,
            target.map(|target| &target.name),
            target.map(|target| &target.version),
            target.map(|target| &target.image),
            target.map(|target| target.size),
            by.map(|(kind, _)| kind),
            by.map(|(_, name)| name),
            target.map(|target| &target.from),
            target.map(|target| target.restart),
            target.and_then(|target| target.started_ms),
            tally.map(|tally| tally.offset),
            tally.and_then(|tally| tally.patch.as_ref()),
            tally.map(|tally| tally.blocks),
            tally.map(|tally| tally.bytes),
            tally.map(|tally| tally.restarts),
            tally.map(|tally| tally.swaps),
            tally.map(|tally| tally.first),
        ])?;
    Ok(written > 0)
}

const CAMPAIGN: &str = "campaign";
const RULE: &str = "rule";

fn by_columns(by: &By) -> (&'static str, &str) {
    match by {
        By::Campaign(id) => (CAMPAIGN, id),
        By::Rule(name) => (RULE, name),
    }
}

/// Who assigned a release, by two columns of a row.
fn by_of(row: &Row<'_>, kind: &str, name: &str) -> rusqlite::Result<By> {
    let name = row.get(name)?;
    let word: String = row.get(kind)?;
    match word.as_str() {
        CAMPAIGN => Ok(By::Campaign(name)),
        RULE => Ok(By::Rule(name)),
        _ => Err(unknown(&word)),
    }
}

fn unknown(word: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("`{word}` is not known").into())
}

fn decode(row: &Row<'_>) -> rusqlite::Result<(String, Standing)> {
    let state: String = row.get("state")?;
    let state = State::of_word(&state).ok_or_else(|| unknown(&state))?;
    let version: Option<String> = row.get("version")?;
    let target = version.map(|version| target(row, version)).transpose()?.map(Box::new);
    let running: Option<String> = row.get("running")?;
    let standing = Standing {
        running: running.map(Into::into),
        heard_ms: row.get("heard_ms")?,
        state,
        since_ms: row.get("since_ms")?,
        target,
        reason: row.get("reason")?,
        attempts: Attempts::default(),
    };
    Ok((row.get("device")?, standing))
}

fn target(row: &Row<'_>, version: String) -> rusqlite::Result<Target> {
    Ok(Target {
        name: row.get("name")?,
        version,
        image: row.get("image")?,
        size: row.get("size")?,
        by: by_of(row, "by_kind", "by_name")?,
        from: row.get("from_version")?,
        restart: row.get("restart")?,
        astray: false,
        waiting: false,
        started_ms: row.get("started_ms")?,
        tally: Tally {
            offset: row.get("offset")?,
            patch: row.get("patch")?,
            blocks: row.get("blocks")?,
            bytes: row.get("bytes")?,
            restarts: row.get("restarts")?,
            swaps: row.get("swaps")?,
            first: row.get("first")?,
        },
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<(String, Attempt)> {
    let attempt = Attempt { version: row.get(1)?, made: row.get(2)?, until_ms: row.get(3)?, quarantined: row.get(4)? };
    Ok((row.get(0)?, attempt))
}

#[cfg(test)]
mod tests;
