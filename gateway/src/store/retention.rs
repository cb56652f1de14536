//! The housekeeper: deletes, in small transactions, what is no longer kept.

use std::time::Duration;

use super::{Store, WriteError, audit, collections, dead_letters};
use crate::config::StorageConfig;

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(30);

/// Rows per transaction: a few milliseconds, in which other writes wait.
const STEP: u64 = 500;

/// Transactions per collection and round, so that one huge collection does not keep the others waiting.
const STEPS: usize = 200;

/// Runs rounds until the task is dropped or the store closed; `now_ms` is the gateway's clock.
pub async fn run(store: Store, config: StorageConfig, now_ms: impl Fn() -> u64) {
    let mut timer = tokio::time::interval(PERIOD);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match round(&store, &config, now_ms()).await {
            Ok(()) => {}
            Err(WriteError::Closed) => return,
            Err(error) => tracing::error!(%error, "store: retention failed"),
        }
    }
}

/// One round over everything that has a bound.
async fn round(
    store: &Store,
    config: &StorageConfig,
    now_ms: u64,
) -> Result<(), WriteError<collections::InstallError>> {
    let metrics = &store.parts.metrics;
    let max_age_ms = u64::try_from(config.retention.as_millis()).unwrap_or(u64::MAX);
    for collection in store.write(|tx| collections::list(tx)).await? {
        for _ in 0..STEPS {
            let collection = collection.collection.clone();
            let step =
                move |tx: &rusqlite::Transaction<'_>| collections::trim(tx, &collection, now_ms, max_age_ms, STEP);
            let trimmed = store.write(step).await?;
            metrics.rows_deleted.inc_by(trimmed.rows);
            if !trimmed.more {
                break;
            }
        }
    }
    let (letters, entries) = (config.max_dead_letters, config.max_audit_entries);
    for _ in 0..STEPS {
        let deleted = store.write(move |tx| Ok(dead_letters::trim(tx, letters, STEP)?)).await?;
        metrics.dead_letters_deleted.inc_by(deleted);
        if deleted < STEP {
            break;
        }
    }
    store.write(move |tx| Ok(audit::trim(tx, entries, STEP)?)).await?;
    metrics.bytes.set(i64::try_from(store.bytes()).unwrap_or(i64::MAX));
    Ok(())
}
