//! What the last run left: session snapshots, retained messages, and the journal behind both.

use bytes::Bytes;
use causeway_core::message::Message;
use thiserror::Error;
use tracing::{info, warn};

use crate::journal::{Journal, Kind, Position, ReadError};
use crate::mqtt::checkpoint;
use crate::mqtt::retained;
use crate::mqtt::session_log::{Event, Replay, Snapshot};
use crate::store::{Store, cursors, retained as retained_table, sessions as session_table};

/// Records that are read from the journal at once.
const BATCH: (usize, usize) = (4096, 4 << 20);

/// Records at the journal's end that are read in any case, because the newest message says what time it has been.
const LATEST: Position = 256;

/// The state to start from.
pub(super) struct Recovered {
    /// The sessions.
    pub(super) replay: Replay,
    /// The retained messages of the store.
    pub(super) retained: Vec<retained_table::Retained>,
    /// Retained messages that the store did not have yet, oldest first.
    pub(super) newer: Vec<Message>,
    /// The position up to which the snapshots of sessions are complete.
    complete: Position,
    /// Where the cursors stand.
    pub(super) sessions_at: Position,
    pub(super) retained_at: Position,
    /// The last position of the journal.
    pub(super) end: Position,
    /// When the newest message that was read was received, Unix ms.
    pub(super) latest_ms: u64,
}

/// The state cannot be read; the operator has to look at the disk.
#[derive(Debug, Error)]
pub(super) enum RecoveryError {
    #[error("the stored sessions and retained messages cannot be read")]
    Store(#[from] rusqlite::Error),
    #[error("the journal cannot be read")]
    Journal(#[from] ReadError),
}

/// Reads the store, then the journal from where the first of the two is not complete to its end. Blocks.
pub(super) fn recover(store: &Store, journal: &Journal, end: Position) -> Result<Recovered, RecoveryError> {
    let mut recovered = Recovered { end, ..read_store(store)? };
    let from = recovered.complete.min(recovered.retained_at).min(end.saturating_sub(LATEST));
    let mut reader = journal.reader(from + 1);
    let (mut records, mut damaged) = (0u64, 0u64);
    loop {
        let entries = match reader.next(BATCH.0, BATCH.1) {
            Ok(entries) if entries.is_empty() => break,
            Ok(entries) => entries,
            // What was given up is gone; what follows is not.
            Err(ReadError::Trimmed { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            records += 1;
            let read = match entry.kind {
                Kind::Publish => recovered.published(entry.position, &entry.body),
                Kind::Session => {
                    Event::decode(&entry.body).map(|event| recovered.replay.event(entry.position, event)).is_ok()
                }
            };
            damaged += u64::from(!read);
        }
    }
    if damaged > 0 {
        warn!(records = damaged, "journal records of an unknown format were skipped");
    }
    info!(records, "read the journal");
    Ok(recovered)
}

fn read_store(store: &Store) -> Result<Recovered, RecoveryError> {
    let mut replay = Replay::default();
    let (rows, retained, complete, sessions_at, retained_at) = store.read_blocking(|connection| {
        let sessions_at = cursors::get(connection, checkpoint::CURSOR)?.unwrap_or(0);
        Ok::<_, rusqlite::Error>((
            session_table::all(connection)?,
            retained_table::all(connection)?,
            cursors::get(connection, checkpoint::COMPLETE)?.unwrap_or(sessions_at),
            sessions_at,
            cursors::get(connection, retained::CURSOR)?.unwrap_or(0),
        ))
    })?;
    for row in rows {
        match Snapshot::decode(&row.state) {
            Ok(snapshot) => replay.snapshot(snapshot),
            Err(error) => warn!(session = row.key, %error, "a stored session is not readable and is skipped"),
        }
    }
    Ok(Recovered { replay, retained, newer: Vec::new(), complete, sessions_at, retained_at, end: 0, latest_ms: 0 })
}

impl Recovered {
    fn published(&mut self, position: Position, body: &Bytes) -> bool {
        let Ok(message) = Message::decode(body) else { return false };
        self.latest_ms = self.latest_ms.max(message.received_ms);
        self.replay.published(position, &message);
        if message.retain && position > self.retained_at {
            self.newer.push(message);
        }
        true
    }
}
