//! The housekeeper: deletes, in small transactions, what is no longer kept, and gives the space back.
//!
//! A collection has bounds of its own; the store as a whole has what `storage.budget` leaves beside the journal. No
//! transaction of it works for longer than `storage.max_hold`, and after each it rests for as long as that took: other
//! writes wait for one of them at most.

use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::collections::{Collection, InstallError, Keep, Totals};
use super::{Slice, Store, WriteError, audit, caches, collections, dead_letters, usage, vacuum};
use crate::config::{JournalConfig, StorageConfig};

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(30);

/// Rows of one transaction at most, however fast they go.
const STEP: u64 = 512;

/// Time for one subject in a round, so that one huge collection does not keep the others waiting.
const TURN: Duration = Duration::from_secs(10);

/// What the store may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes in use; the oldest rows of a collection beyond it are deleted.
    pub max_bytes: u64,
    /// Bytes of them for collections, of which each may have a share.
    pub collections_bytes: u64,
    /// Age of rows of a collection that declares none, ms.
    pub max_age_ms: u64,
    /// Dead letters.
    pub max_dead_letters: u64,
    /// Bytes of dead letters.
    pub dead_letters_bytes: u64,
    /// Bytes that plugins may remember; the housekeeper takes nothing of it away, dispatch refuses more.
    pub state_bytes: u64,
    /// Audit entries.
    pub max_audit_entries: u64,
    /// Bytes of files that can be made again.
    pub caches_bytes: u64,
    /// How long one transaction may work.
    pub max_hold: Duration,
}

impl Bounds {
    /// The bounds of a configuration: the journal may fill its own, the rest of the budget is shared out.
    #[must_use]
    pub fn new(storage: &StorageConfig, journal: &JournalConfig) -> Self {
        let rest = storage.budget.bytes().saturating_sub(journal.max_bytes.bytes());
        let share = |percent: u16| rest / 100 * u64::from(percent);
        let caches_bytes = share(storage.shares.caches);
        let max_bytes = rest - caches_bytes;
        let dead_letters_bytes = share(storage.shares.dead_letters);
        let state_bytes = share(storage.shares.state);
        Self {
            max_bytes,
            collections_bytes: max_bytes.saturating_sub(dead_letters_bytes + state_bytes),
            max_age_ms: u64::try_from(storage.retention.as_millis()).unwrap_or(u64::MAX),
            max_dead_letters: storage.max_dead_letters,
            dead_letters_bytes,
            state_bytes,
            max_audit_entries: storage.max_audit_entries,
            caches_bytes,
            max_hold: storage.max_hold,
        }
    }
}

/// Runs rounds until the task is dropped or the store closed; `now_ms` is the gateway's clock.
pub async fn run(store: Store, bounds: Bounds, now_ms: impl Fn() -> u64) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match round(&store, bounds, now_ms()).await {
            Ok(()) => {}
            Err(WriteError::Closed) => return,
            Err(error) => tracing::error!(%error, "store: housekeeping failed"),
        }
    }
}

type Outcome<T> = Result<T, WriteError<InstallError>>;

/// One round over everything that has a bound.
///
/// # Errors
/// The store's; what was done until then stays done.
pub async fn round(store: &Store, bounds: Bounds, now_ms: u64) -> Outcome<()> {
    for totals in list(store).await? {
        let collection = totals.collection;
        if totals.filling {
            let filled = collection.clone();
            steps(store, bounds, move |tx, slice| Ok(collections::fill(tx, &filled, slice)?)).await?;
        }
        let keep = Keep::of(&collection, now_ms, bounds.max_age_ms, bounds.collections_bytes);
        trim(store, bounds, collection, keep).await?;
    }
    let letters = dead_letters::Keep { letters: bounds.max_dead_letters, bytes: bounds.dead_letters_bytes };
    let deleted = store.parts.metrics.dead_letters_deleted.clone();
    steps(store, bounds, move |tx, slice| {
        let trimmed = dead_letters::trim(tx, letters, slice)?;
        deleted.inc_by(trimmed);
        Ok(trimmed > 0)
    })
    .await?;
    store.write(move |tx| Ok(audit::trim(tx, bounds.max_audit_entries, STEP)?)).await?;
    shrink(store, bounds).await?;
    prune(store, bounds).await;
    steps(store, bounds, |tx, slice| Ok(vacuum::step(tx, slice)?)).await?;
    measure(store, bounds).await
}

/// Repeats short transactions while there is more to do, for one turn at most.
async fn steps<F>(store: &Store, bounds: Bounds, work: F) -> Outcome<()>
where
    F: Fn(&Transaction<'_>, &mut Slice) -> Result<bool, InstallError> + Clone + Send + 'static,
{
    let turn = Instant::now();
    loop {
        let (work, metrics) = (work.clone(), store.parts.metrics.clone());
        let step = move |tx: &Transaction<'_>| {
            let began = Instant::now();
            let more = work(tx, &mut Slice::within(STEP, bounds.max_hold))?;
            let held = began.elapsed();
            metrics.housekeeping_seconds.observe(held.as_secs_f64());
            Ok((more, held))
        };
        let (more, held) = store.write(step).await?;
        if !more || turn.elapsed() >= TURN {
            return Ok(());
        }
        tokio::time::sleep(held).await;
    }
}

async fn trim(store: &Store, bounds: Bounds, collection: Collection, keep: Keep) -> Outcome<()> {
    let deleted = store.parts.metrics.rows_deleted.clone();
    steps(store, bounds, move |tx, slice| {
        let trimmed = collections::trim(tx, &collection, keep, slice)?;
        deleted.inc_by(trimmed.rows);
        Ok(trimmed.more)
    })
    .await
}

/// Deletes the oldest rows of one collection after the other until the store is within its bytes.
async fn shrink(store: &Store, bounds: Bounds) -> Outcome<()> {
    let turn = Instant::now();
    while turn.elapsed() < TURN {
        let used = store.write(|tx| Ok(usage::pages(tx)?.0)).await?;
        let excess_bytes = used.saturating_sub(bounds.max_bytes);
        let (1.., Some(payer)) = (excess_bytes, payer(list(store).await?)) else { return Ok(()) };
        tracing::warn!(collection = payer.name(), used, "store: over its budget, the oldest rows are deleted");
        // One step, and then the pages are counted again: a row takes more of them than its document.
        let (keep, deleted) = (Keep { excess_bytes, ..Keep::default() }, store.parts.metrics.rows_deleted.clone());
        let step =
            move |tx: &Transaction<'_>| collections::trim(tx, &payer, keep, &mut Slice::within(STEP, bounds.max_hold));
        deleted.inc_by(store.write(step).await?.rows);
    }
    Ok(())
}

/// The collection that gives way: the largest of those without a share, and when they are empty, the one that fills
/// its share the most.
fn payer(all: Vec<Totals>) -> Option<Collection> {
    let share = |totals: &Totals| totals.collection.declaration().retention.share;
    let filled = |totals: &Totals| totals.bytes / u64::from(share(totals).unwrap_or(1)).max(1);
    let payer = all.into_iter().filter(|totals| totals.rows > 0);
    payer.max_by_key(|totals| (share(totals).is_none(), filled(totals))).map(|totals| totals.collection)
}

async fn prune(store: &Store, bounds: Bounds) {
    let Some(data_dir) = store.parts.path.parent().map(std::path::Path::to_path_buf) else { return };
    let pruned = tokio::task::spawn_blocking(move || caches::prune(&data_dir, bounds.caches_bytes)).await;
    let pruned = pruned.unwrap_or_default();
    let metrics = &store.parts.metrics;
    metrics.part_bytes("caches").set(signed(pruned.bytes));
    metrics.cache_files_deleted.inc_by(pruned.removed);
}

async fn measure(store: &Store, bounds: Bounds) -> Outcome<()> {
    let (parts, totals, (_, free)) =
        store.write(|tx| Ok::<_, InstallError>((usage::all(tx)?, collections::list(tx)?, usage::pages(tx)?))).await?;
    let metrics = &store.parts.metrics;
    metrics.bytes.set(signed(store.bytes()));
    metrics.free_bytes.set(signed(free));
    for part in parts {
        metrics.part_bytes(&part.part).set(signed(part.bytes));
    }
    metrics.part_room("collections").set(signed(bounds.collections_bytes));
    metrics.part_room("dead_letters").set(signed(bounds.dead_letters_bytes));
    metrics.part_room("caches").set(signed(bounds.caches_bytes));
    let mut refused = 0;
    for total in totals {
        metrics.collection_bytes(total.collection.name()).set(signed(total.bytes));
        metrics.collection_rows(total.collection.name()).set(signed(total.rows));
        refused += total.refused;
    }
    metrics.documents_refused.inc_by(refused.saturating_sub(metrics.documents_refused.get()));
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn list(store: &Store) -> Outcome<Vec<Totals>> {
    store.write(|tx| collections::list(tx)).await
}

#[cfg(test)]
mod tests {
    use super::super::collections::{Declaration, Kind, Query, Retention, Row, Source};
    use super::super::tests::{Home, store};
    use super::*;

    fn collection(name: &str, max_rows: Option<u64>) -> Collection {
        with(name, Retention { max_rows, ..Retention::default() })
    }

    fn with(name: &str, retention: Retention) -> Collection {
        let declaration = Declaration {
            name: name.to_owned(),
            kind: Kind::Append { unique: vec![] },
            columns: vec![],
            time: None,
            indexes: vec![],
            retention,
        };
        Collection::new(declaration).unwrap()
    }

    /// Fills the collection with rows of 1 KiB, received at 1, 2, 3 ... ms.
    async fn fill(store: &Store, collection: &Collection, rows: u64) {
        let collection = collection.clone();
        let filled: Outcome<()> = store
            .write(move |tx| {
                collections::install(tx, &collection)?;
                let document = format!(r#"{{"x":"{}"}}"#, "y".repeat(1024));
                let row = |position| {
                    let source =
                        Source { binding: "b", position: Some(position), item: 0, sender: "d", received_ms: position };
                    Row::new(&collection, &source, document.clone()).unwrap()
                };
                let rows: Vec<_> = (1..=rows).map(row).collect();
                collections::insert(tx, &collection, &rows, 0)?;
                Ok(())
            })
            .await;
        filled.unwrap();
    }

    const BOUNDS: Bounds = Bounds {
        max_bytes: 1 << 40,
        collections_bytes: 1 << 40,
        max_age_ms: 1 << 40,
        max_dead_letters: 10,
        dead_letters_bytes: 1 << 40,
        state_bytes: u64::MAX,
        max_audit_entries: 10,
        caches_bytes: 1 << 40,
        max_hold: Duration::from_millis(5),
    };

    async fn rows(store: &Store) -> Vec<u64> {
        list(store).await.unwrap().iter().map(|totals| totals.rows).collect()
    }

    #[tokio::test]
    async fn a_round_deletes_what_each_collection_no_longer_keeps() {
        let home = Home::new().unwrap();
        let store = store(&home);
        fill(&store, &collection("a", Some(700)), 2000).await;
        fill(&store, &collection("b", None), 2000).await;
        round(&store, Bounds { max_age_ms: 500, ..BOUNDS }, 2001).await.unwrap();
        assert_eq!(rows(&store).await, [500, 500]);
        assert_eq!(store.parts.metrics.rows_deleted.get(), 3000);
    }

    #[tokio::test]
    async fn beyond_the_budget_the_largest_collection_loses_its_oldest_rows() {
        let home = Home::new().unwrap();
        let store = store(&home);
        fill(&store, &collection("large", None), 5000).await;
        fill(&store, &collection("small", None), 10).await;
        round(&store, Bounds { max_bytes: 2 << 20, ..BOUNDS }, 0).await.unwrap();
        let (used, _) = store.read_blocking(usage::pages).unwrap();
        assert!(used <= 2 << 20, "{used}");
        let left = rows(&store).await;
        assert!((1000..2000).contains(&left[0]), "{left:?}");
        assert_eq!(left[1], 10);
        let newest = Query { collection: "large".to_owned(), limit: 1, ..Query::default() };
        let newest = store.read_blocking(|connection| collections::query(connection, &newest)).unwrap();
        assert_eq!(newest[0].position, Some(5000));
    }

    #[tokio::test]
    async fn a_share_bounds_a_collection_and_keeps_its_room_when_the_store_is_full() {
        let home = Home::new().unwrap();
        let store = store(&home);
        let share = |percent| Retention { share: Some(percent), ..Retention::default() };
        fill(&store, &with("bounded", share(10)), 1000).await;
        fill(&store, &with("kept", share(50)), 1000).await;
        fill(&store, &with("other", Retention::default()), 1500).await;
        let bounds = Bounds { collections_bytes: 3 << 20, max_bytes: 3 << 20, ..BOUNDS };
        round(&store, bounds, 0).await.unwrap();
        let left = rows(&store).await;
        assert!((250..310).contains(&left[0]), "ten percent of 3 MiB: {left:?}");
        assert_eq!(left[1], 1000, "{left:?}");
        assert!(left[2] < 1500, "{left:?}");
    }

    #[tokio::test]
    async fn the_oldest_dead_letters_beyond_their_bytes_are_deleted() {
        let home = Home::new().unwrap();
        let store = store(&home);
        let letters: Outcome<()> = store
            .write(|tx| {
                for position in 1..=5 {
                    dead_letters::insert(tx, &dead_letters::tests::letter(position))?;
                }
                Ok(())
            })
            .await;
        letters.unwrap();
        let one = store.read_blocking(|connection| usage::of(connection, "dead_letters")).unwrap().bytes / 5;
        round(&store, Bounds { dead_letters_bytes: 2 * one, ..BOUNDS }, 0).await.unwrap();
        let left = store
            .read_blocking(|connection| dead_letters::list(connection, &dead_letters::Filter::default(), 10))
            .unwrap();
        assert_eq!(left.iter().map(|kept| kept.letter.position).collect::<Vec<_>>(), [Some(5), Some(4)]);
        assert_eq!(store.parts.metrics.dead_letters_deleted.get(), 3);
    }

    /// No transaction of the housekeeper takes more than its slice, so no other write waits for more.
    #[tokio::test]
    async fn trimming_goes_in_slices_and_other_writes_come_between() {
        let home = Home::new().unwrap();
        let store = store(&home);
        fill(&store, &collection("a", Some(10)), 3000).await;
        let before = store.parts.metrics.commits.get();
        let bounds = Bounds { max_hold: Duration::from_nanos(1), ..BOUNDS };
        let trimming = tokio::spawn({
            let store = store.clone();
            async move { round(&store, bounds, 0).await }
        });
        // Nothing can be trimmed within a nanosecond: the housekeeper tries for its turn, and writes go on.
        for position in 1..=50 {
            store.write(move |tx| super::super::cursors::set(tx, "c", position)).await.unwrap();
        }
        trimming.abort();
        assert_eq!(rows(&store).await, [3000]);
        assert!(store.parts.metrics.commits.get() > before + 50);
        round(&store, BOUNDS, 0).await.unwrap();
        assert_eq!(rows(&store).await, [10]);
        let most = 2990_u64.div_ceil(STEP);
        assert!(store.parts.metrics.commits.get() > before + 50 + most);
    }
}
