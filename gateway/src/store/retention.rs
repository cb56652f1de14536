//! The housekeeper: deletes, in small transactions, what is no longer kept.
//!
//! A collection has bounds of its own; the store as a whole has what `storage.budget` leaves beside the journal.
//! The file keeps its size: what is deleted makes room for what comes.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::collections::{Collection, InstallError, Keep, Trimmed};
use super::{Store, WriteError, audit, collections, dead_letters};
use crate::config::{JournalConfig, StorageConfig};

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(30);

/// Rows per transaction: a few milliseconds, in which other writes wait.
const STEP: u64 = 500;

/// Transactions per subject and round, so that one huge collection does not keep the others waiting.
const STEPS: usize = 200;

/// What the store may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes in use; the oldest rows of the largest collection beyond it are deleted.
    pub max_bytes: u64,
    /// Age of rows of a collection that declares none, ms.
    pub max_age_ms: u64,
    /// Dead letters.
    pub max_dead_letters: u64,
    /// Audit entries.
    pub max_audit_entries: u64,
}

impl Bounds {
    /// The bounds of a configuration: the journal may fill its own, the store has the rest of the budget, and a
    /// quarter of it at least.
    #[must_use]
    pub fn new(storage: &StorageConfig, journal: &JournalConfig) -> Self {
        let budget = storage.budget.bytes();
        Self {
            max_bytes: budget.saturating_sub(journal.max_bytes.bytes()).max(budget / 4),
            max_age_ms: u64::try_from(storage.retention.as_millis()).unwrap_or(u64::MAX),
            max_dead_letters: storage.max_dead_letters,
            max_audit_entries: storage.max_audit_entries,
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
            Err(error) => tracing::error!(%error, "store: retention failed"),
        }
    }
}

type Outcome<T> = Result<T, WriteError<InstallError>>;

/// One round over everything that has a bound.
async fn round(store: &Store, bounds: Bounds, now_ms: u64) -> Outcome<()> {
    let metrics = &store.parts.metrics;
    for totals in list(store).await? {
        let keep = Keep::of(&totals.collection, now_ms, bounds.max_age_ms);
        for _ in 0..STEPS {
            if !trim(store, totals.collection.clone(), keep).await?.more {
                break;
            }
        }
    }
    for _ in 0..STEPS {
        let deleted = store.write(move |tx| Ok(dead_letters::trim(tx, bounds.max_dead_letters, STEP)?)).await?;
        metrics.dead_letters_deleted.inc_by(deleted);
        if deleted < STEP {
            break;
        }
    }
    store.write(move |tx| Ok(audit::trim(tx, bounds.max_audit_entries, STEP)?)).await?;
    shrink(store, bounds.max_bytes).await?;
    metrics.bytes.set(i64::try_from(store.bytes()).unwrap_or(i64::MAX));
    Ok(())
}

/// Deletes the oldest rows of whichever collection is the largest until the store is within its bytes.
async fn shrink(store: &Store, max_bytes: u64) -> Outcome<()> {
    for _ in 0..STEPS {
        let used = store.write(|tx| Ok(used_bytes(tx)?)).await?;
        let excess_bytes = used.saturating_sub(max_bytes);
        let largest = list(store).await?.into_iter().filter(|totals| totals.rows > 0).max_by_key(|totals| totals.bytes);
        let (1.., Some(largest)) = (excess_bytes, largest) else {
            return Ok(());
        };
        let keep = Keep { excess_bytes, ..Keep::default() };
        let trimmed = trim(store, largest.collection, keep).await?;
        tracing::warn!(rows = trimmed.rows, used, max_bytes, "store: over its budget, the oldest rows were deleted");
    }
    Ok(())
}

async fn list(store: &Store) -> Outcome<Vec<collections::Totals>> {
    store.write(|tx| collections::list(tx)).await
}

async fn trim(store: &Store, collection: Collection, keep: Keep) -> Outcome<Trimmed> {
    let step = move |tx: &Transaction<'_>| collections::trim(tx, &collection, keep, STEP);
    let trimmed = store.write(step).await?;
    store.parts.metrics.rows_deleted.inc_by(trimmed.rows);
    Ok(trimmed)
}

/// Bytes of the pages that hold something.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "select (page_count - freelist_count) * page_size
         from pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
        [],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::super::collections::{Declaration, Kind, Query, Retention, Row, Source};
    use super::super::tests::{Home, store};
    use super::*;

    fn collection(name: &str, max_rows: Option<u64>) -> Collection {
        let declaration = Declaration {
            name: name.to_owned(),
            kind: Kind::Append { unique: vec![] },
            columns: vec![],
            time: None,
            indexes: vec![],
            retention: Retention { max_rows, ..Retention::default() },
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

    const BOUNDS: Bounds =
        Bounds { max_bytes: 1 << 40, max_age_ms: 1 << 40, max_dead_letters: 10, max_audit_entries: 10 };

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
        let used = store.read_blocking(used_bytes).unwrap();
        assert!(used <= 2 << 20, "{used}");
        let left = rows(&store).await;
        assert!((1000..2000).contains(&left[0]), "{left:?}");
        assert_eq!(left[1], 10);
        let newest = Query { collection: "large".to_owned(), limit: 1, ..Query::default() };
        let newest = store.read_blocking(|connection| collections::query(connection, &newest)).unwrap();
        assert_eq!(newest[0].position, Some(5000));
    }
}
