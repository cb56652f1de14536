//! Snapshots of durable sessions, so that the journal need not be kept for ever.
//!
//! A restart reads the snapshots and the records behind them ([`super::session_log`]). Only sessions that changed are
//! written; the journal is let go of up to the oldest message that a session still waits for.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::broker::Broker;
use super::session::Session;
use super::session_log::Snapshot;
use crate::journal::{Cursor, Durable, Position};
use crate::store::{Store, WriteError, cursors, sessions as table};

/// The journal cursor's name, and its row in the store: what is kept for sessions that wait for it.
pub const CURSOR: &str = "sessions";

/// The row of the position up to which the snapshots are complete. One session that waits for an old message keeps the
/// journal, but a restart need not read all of it again.
pub const COMPLETE: &str = "sessions-complete";

/// How often changed sessions are written.
const INTERVAL: Duration = Duration::from_secs(5);

/// A checkpoint that was not taken; the next one makes up for it.
#[derive(Debug, Error)]
enum CheckpointError {
    #[error("the journal has failed")]
    Journal,
    #[error("the store did not take it: {0}")]
    Store(#[from] WriteError<rusqlite::Error>),
}

/// Takes checkpoints until `shutdown`, and a last one after it.
pub async fn run(broker: Arc<Broker>, store: Store, cursor: Cursor, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complete = 0;
    loop {
        let last = tokio::select! {
            () = shutdown.cancelled() => true,
            _ = ticks.tick() => false,
        };
        match checkpoint(&broker, &store, &cursor, complete).await {
            Ok(delivered) => complete = delivered,
            Err(error) => error!(%error, "session checkpoint not taken"),
        }
        if last {
            return;
        }
    }
}

/// Writes what changed since the snapshots were `complete` up to a position; returns the one up to which they are now.
async fn checkpoint(
    broker: &Broker,
    store: &Store,
    cursor: &Cursor,
    complete: Position,
) -> Result<Position, CheckpointError> {
    // Read before the sessions are: what is offered to them later is in the snapshots or behind the cursor.
    let delivered = broker.delivered();
    let mut changed: Vec<Arc<Session>> = Vec::new();
    let mut rows = Vec::new();
    let mut ended = Vec::new();
    let mut recorded = delivered;
    let mut oldest: Option<Position> = None;
    for session in broker.sessions.all() {
        let mut inner = session.lock();
        if !inner.durable {
            continue;
        }
        if inner.ended {
            // It is leaving the table: its record may be behind the position that the snapshots are complete up to.
            ended.push(session.id);
            continue;
        }
        oldest = oldest.into_iter().chain(inner.oldest()).min();
        if std::mem::take(&mut inner.dirty) {
            recorded = recorded.max(inner.as_of.recorded).max(inner.as_of.offered).max(inner.as_of.published);
            rows.push((session.id, Snapshot::of(session.id, &session.key, &inner, delivered).encode()));
            changed.push(session.clone());
        }
    }
    // Read after the sessions are: one that had left the table by then is among these.
    ended.extend(broker.sessions.take_ended());
    let keep_from = oldest.map_or(delivered, |oldest| delivered.min(oldest.saturating_sub(1)));
    if rows.is_empty() && ended.is_empty() && keep_from <= cursor.position() && delivered <= complete {
        return Ok(complete);
    }
    let gone = ended.clone();
    let written = async {
        // A snapshot must not speak of records that a power cut can take back.
        durable(broker, recorded).await?;
        let write = store.write_synced(move |tx| {
            for id in &gone {
                table::delete(tx, &id.to_string())?;
            }
            for (id, state) in &rows {
                table::put(tx, &id.to_string(), state, delivered)?;
            }
            cursors::set(tx, COMPLETE, delivered)?;
            cursors::set(tx, CURSOR, keep_from)
        });
        Ok(write.await?)
    };
    match written.await {
        Ok(()) => {
            cursor.advance(keep_from);
            Ok(delivered)
        }
        Err(error) => {
            broker.sessions.give_back_ended(ended);
            for session in changed {
                session.lock().dirty = true;
            }
            Err(error)
        }
    }
}

async fn durable(broker: &Broker, position: Position) -> Result<(), CheckpointError> {
    let mut durable = broker.journal.durable();
    let reached = durable
        .wait_for(|durable| match durable {
            Durable::Position(reached) => *reached >= position,
            Durable::Failed => true,
        })
        .await;
    match reached.as_deref() {
        Ok(Durable::Position(_)) => Ok(()),
        _ => Err(CheckpointError::Journal),
    }
}
