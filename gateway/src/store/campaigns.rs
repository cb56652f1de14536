//! The rows of campaigns: what was wanted, how far each is, and each of its devices. What happens in them is decided by
//! `causeway_core::dfu::campaign`; who may start one is not the store's question.

mod form;

use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{Change, Plan, Progress, Standing, State, Tally, Target};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// A campaign without its devices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Campaign {
    /// Its id, chosen by whoever made it.
    pub id: String,
    /// What it installs, as it was when the campaign was made.
    pub release: Release,
    /// Where that comes from.
    pub reference: String,
    /// Which devices were asked for.
    pub asked: Asked,
    /// Who made it.
    pub operator: String,
    /// When, Unix ms.
    pub created_ms: u64,
    /// What was wanted of it.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
}

/// Which devices were asked for. Which those were is fixed when the campaign is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Those of a query.
    Query(String),
    /// Those that were named, so many.
    List(usize),
    /// Those of a job of the fleet API, as it was sent.
    Job(String),
}

/// What happens to a device of a campaign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CampaignRow {
    /// The campaign.
    pub campaign: String,
    /// The device.
    pub device: String,
    /// What happens to it.
    pub change: Change,
}

/// Which devices of a campaign a page shows.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Only those that stand so.
    pub standing: Option<Standing>,
    /// Only those of this wave.
    pub wave: Option<u32>,
    /// How many come before it.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
}

const COLUMNS: &str = "id, release, reference, asked_kind, asked, operator, created_ms, plan, progress";

/// All campaigns, in the order in which they were made.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Campaign>> {
    connection.prepare(&format!("select {COLUMNS} from campaigns order by number"))?.query_map([], decode)?.collect()
}

/// The campaign of that id.
pub fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<Campaign>> {
    connection
        .prepare_cached(&format!("select {COLUMNS} from campaigns where id = ?1"))?
        .query_row([id], decode)
        .optional()
}

/// Campaigns that are kept.
pub fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("select count(*) from campaigns", [], |row| row.get(0))
}

/// Devices of all campaigns that are not over.
pub fn open_devices(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "select count(*) from campaign_devices join campaigns on id = campaign where state not in (?1, ?2)",
        [State::Finished.word(), State::Aborted.word()],
        |row| row.get(0),
    )
}

/// Writes a new campaign with its devices, in their order.
pub fn insert(tx: &Transaction<'_>, campaign: &Campaign, devices: &[(String, Target)]) -> rusqlite::Result<()> {
    let (kind, asked) = match &campaign.asked {
        Asked::Query(query) => ("query", query.clone()),
        Asked::List(devices) => ("list", devices.to_string()),
        Asked::Job(job) => ("job", job.clone()),
    };
    tx.prepare_cached(&format!(
        "insert into campaigns ({COLUMNS}, state) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
    ))?
    .execute(params![
        campaign.id,
        form::release(&campaign.release),
        campaign.reference,
        kind,
        asked,
        campaign.operator,
        campaign.created_ms,
        form::plan(&campaign.plan),
        form::progress(&campaign.progress),
        campaign.progress.state.word(),
    ])?;
    let mut statement = tx.prepare_cached(
        "insert into campaign_devices (campaign, device, place, wave, standing, failures, attempt, reason, at_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (place, (device, target)) in devices.iter().enumerate() {
        statement.execute(params![
            campaign.id,
            device,
            place as u64,
            target.wave,
            target.standing.word(),
            target.failures,
            target.attempt,
            target.reason,
            target.at_ms,
        ])?;
    }
    Ok(())
}

/// Writes how far a campaign is.
pub fn set_progress(tx: &Transaction<'_>, id: &str, progress: &Progress) -> rusqlite::Result<()> {
    tx.prepare_cached("update campaigns set progress = ?2, state = ?3 where id = ?1")?
        .execute(params![id, form::progress(progress), progress.state.word()])
        .map(drop)
}

/// Deletes a campaign and what is known of its devices.
pub fn delete(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    tx.execute("delete from campaigns where id = ?1", [id]).map(drop)
}

/// Writes what happens to a device. What comes too late to matter changes nothing, and neither do the turning points of
/// an update that are written once more, in their order.
pub fn change(tx: &Transaction<'_>, row: &CampaignRow) -> rusqlite::Result<()> {
    let progress = tx
        .prepare_cached("select progress from campaigns where id = ?1")?
        .query_row([&row.campaign], |row| form::read_progress(&row.get::<_, String>(0)?).map_err(|e| damaged(0, e)))
        .optional()?;
    let target = tx
        .prepare_cached(&format!("select {TARGET} from campaign_devices where campaign = ?1 and device = ?2"))?
        .query_row([&row.campaign, &row.device], decode_target)
        .optional()?;
    let (Some(progress), Some((_, mut target))) = (progress, target) else {
        // The campaign was deleted; its id is not used again while a device goes by it.
        return Ok(());
    };
    if progress.apply(&mut target, &row.change) {
        put(tx, &row.campaign, &row.device, &target)?;
    }
    Ok(())
}

/// Cancels every device that the campaign waits for.
pub fn cancel_open(tx: &Transaction<'_>, id: &str, at_ms: u64) -> rusqlite::Result<()> {
    let standings = Standing::ALL.into_iter().filter(|standing| !standing.is_final()).map(Standing::word);
    let open = standings.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    tx.execute(
        &format!("update campaign_devices set standing = ?2, at_ms = ?3 where campaign = ?1 and standing in ({open})"),
        params![id, Standing::Cancelled.word(), at_ms],
    )
    .map(drop)
}

/// How many devices of each wave are how far, from wave 0 on.
pub fn tallies(connection: &Connection, id: &str) -> rusqlite::Result<Vec<Tally>> {
    let mut statement = connection.prepare_cached(
        "select wave, standing, failures > 0, count(*) from campaign_devices where campaign = ?1 group by 1, 2, 3",
    )?;
    let mut rows = statement.query([id])?;
    let mut tallies = vec![Tally::default()];
    while let Some(row) = rows.next()? {
        let wave: usize = row.get(0)?;
        if tallies.len() <= wave {
            tallies.resize(wave + 1, Tally::default());
        }
        if let Some(tally) = tallies.get_mut(wave) {
            tally.add(standing(row, 1)?, row.get(2)?, row.get(3)?);
        }
    }
    Ok(tallies)
}

const TARGET: &str = "device, wave, standing, failures, attempt, reason, at_ms";

/// The devices of a campaign, in their order.
pub fn devices(connection: &Connection, id: &str, page: &Page) -> rusqlite::Result<Vec<(String, Target)>> {
    connection
        .prepare_cached(&format!(
            "select {TARGET} from campaign_devices where campaign = ?1
             and (?2 is null or standing = ?2) and (?3 is null or wave = ?3) order by place limit ?4 offset ?5"
        ))?
        .query_map(params![id, page.standing.map(Standing::word), page.wave, page.limit, page.offset], decode_target)?
        .collect()
}

/// One device of a campaign.
pub fn device(connection: &Connection, id: &str, device: &str) -> rusqlite::Result<Option<Target>> {
    connection
        .prepare_cached(&format!("select {TARGET} from campaign_devices where campaign = ?1 and device = ?2"))?
        .query_row([id, device], |row| decode_target(row).map(|(_, target)| target))
        .optional()
}

fn put(tx: &Transaction<'_>, campaign: &str, device: &str, target: &Target) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "update campaign_devices set standing = ?3, failures = ?4, attempt = ?5, reason = ?6, at_ms = ?7
         where campaign = ?1 and device = ?2",
    )?
    .execute(params![
        campaign,
        device,
        target.standing.word(),
        target.failures,
        target.attempt,
        target.reason,
        target.at_ms,
    ])
    .map(drop)
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Campaign> {
    let text = |column: usize| row.get::<_, String>(column);
    let asked = text(4)?;
    Ok(Campaign {
        id: text(0)?,
        release: form::read_release(&text(1)?).map_err(|error| damaged(1, error))?,
        reference: text(2)?,
        asked: match text(3)?.as_str() {
            "query" => Asked::Query(asked),
            "list" => Asked::List(asked.parse().map_err(|_| damaged(4, "a count that is none".to_owned()))?),
            _ => Asked::Job(asked),
        },
        operator: text(5)?,
        created_ms: row.get(6)?,
        plan: form::read_plan(&text(7)?).map_err(|error| damaged(7, error))?,
        progress: form::read_progress(&text(8)?).map_err(|error| damaged(8, error))?,
    })
}

fn decode_target(row: &Row<'_>) -> rusqlite::Result<(String, Target)> {
    let target = Target {
        wave: row.get(1)?,
        standing: standing(row, 2)?,
        failures: row.get(3)?,
        attempt: row.get(4)?,
        reason: row.get(5)?,
        at_ms: row.get(6)?,
    };
    Ok((row.get(0)?, target))
}

fn standing(row: &Row<'_>, column: usize) -> rusqlite::Result<Standing> {
    let word: String = row.get(column)?;
    Standing::of_word(&word).ok_or_else(|| damaged(column, format!("unknown word `{word}`")))
}

fn damaged(column: usize, problem: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
}

#[cfg(test)]
mod tests {
    use causeway_core::dfu::campaign::{OnError, Share, Start};

    use super::*;
    use crate::store::tests::scratch;

    fn campaign(id: &str) -> Campaign {
        let plan = Plan {
            waves: vec![Share::Count(1), Share::Percent(50)],
            start: Start::At(9),
            on_error: OnError::Abort,
            windows: vec!["mon-fri 22:00-04:00 +02:00".parse().unwrap()],
            attempts: Some(2),
            device_timeout: Some(30),
            ..Plan::default()
        };
        Campaign {
            id: id.to_owned(),
            release: Release {
                name: "sensor".to_owned(),
                version: "0.1.1".to_owned(),
                image: format!("sha256:{}", "0a".repeat(32)),
                size: 7,
                checksum: [10; 32],
                from: vec!["0.1.0".to_owned()],
            },
            reference: "sensor:0.1.1".to_owned(),
            asked: Asked::Query("group=pilot".to_owned()),
            operator: "ops".to_owned(),
            created_ms: 5,
            progress: Progress::new(&plan),
            plan,
        }
    }

    fn two() -> Vec<(String, Target)> {
        vec![("b".to_owned(), Target::queued(1, 5)), ("a".to_owned(), Target::queued(2, 5))]
    }

    fn row(device: &str, to: Standing, failed: Option<u32>) -> CampaignRow {
        let change = Change { to, failed, attempt: Some(1), reason: Some("old".to_owned()), at_ms: 6 };
        CampaignRow { campaign: "one".to_owned(), device: device.to_owned(), change }
    }

    const EVERY: Page = Page { standing: None, wave: None, offset: 0, limit: 100 };

    #[test]
    fn a_campaign_reads_back_as_it_was_written_with_its_devices_in_their_order() {
        scratch(|tx| {
            insert(tx, &campaign("one"), &two())?;
            insert(tx, &Campaign { asked: Asked::List(2), ..campaign("two") }, &[])?;
            assert_eq!(all(tx)?, [campaign("one"), Campaign { asked: Asked::List(2), ..campaign("two") }]);
            assert_eq!(devices(tx, "one", &EVERY)?, two());
            assert_eq!(devices(tx, "one", &Page { wave: Some(2), ..EVERY })?[0].0, "a");
            assert_eq!((count(tx)?, open_devices(tx)?), (2, 2));
            Ok(())
        });
    }

    #[test]
    fn a_change_counts_once_and_one_that_comes_too_late_does_not() {
        scratch(|tx| {
            insert(tx, &campaign("one"), &two())?;
            change(tx, &row("a", Standing::Failed, Some(1)))?;
            change(tx, &row("a", Standing::Failed, Some(1)))?;
            let target = device(tx, "one", "a")?.unwrap();
            assert_eq!((target.standing, target.failures, target.attempt), (Standing::Failed, 1, 1));
            assert_eq!(tallies(tx, "one")?[2].erring(), 1);
            cancel_open(tx, "one", 7)?;
            change(tx, &row("a", Standing::InProgress, None))?;
            assert_eq!(device(tx, "one", "a")?.unwrap().standing, Standing::Cancelled);
            change(tx, &row("nobody", Standing::InProgress, None))?;
            assert_eq!(tallies(tx, "one")?[1].count(Standing::Cancelled), 1);
            Ok(())
        });
    }

    #[test]
    fn a_campaign_that_is_over_no_longer_counts_as_open_and_is_deleted_with_its_devices() {
        scratch(|tx| {
            insert(tx, &campaign("one"), &two())?;
            let over = Progress { state: State::Finished, ended_ms: Some(9), ..campaign("one").progress };
            set_progress(tx, "one", &over)?;
            assert_eq!(get(tx, "one")?.unwrap().progress, over);
            assert_eq!(open_devices(tx)?, 0);
            delete(tx, "one")?;
            assert_eq!((get(tx, "one")?, devices(tx, "one", &EVERY)?), (None, Vec::new()));
            Ok(())
        });
    }
}
