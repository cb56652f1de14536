//! The durable log of accepted messages: what has to have an effect later is appended here, synced, and only then
//! acknowledged.
//!
//! One writer thread syncs whatever waits (group commit), one keeper thread does all that takes long. Consumers read
//! with a [`Reader`] and hold a [`Cursor`]; the log is trimmed behind the slowest cursor. The journal does not look
//! inside its records and does not know its consumers; the front door appends, dispatch and sessions read.
//! Why a log of our own and how its files are laid out: `docs/adr/0001-journal.md`.

mod compact;
mod cursor;
mod disk;
mod keeper;
mod log;
mod metrics;
mod reader;
mod recover;
mod scan;
mod segment;
mod shared;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::config::JournalConfig;
pub use cursor::{Budget, Cursor, Lag, Overflow};
pub use metrics::JournalMetrics;
pub use reader::{Entry, ReadError, Reader};
pub use recover::{OpenError, Recovered};
pub use verify::{Verified, verify};

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::Clock;
use cursor::Place;
use disk::{Directory, Disk};
use keeper::{Chores, Keeper};
use shared::{Limits, Shared, Stall};
use writer::Writer;

/// A record's place in the log: 1, 2, 3 and so on. Later records have higher ones, none is ever used twice, and some
/// are left out after an interruption.
pub type Position = u64;

/// What a record's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A published message.
    Publish = 1,
    /// A change of a persistent session.
    Session = 2,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Publish),
            2 => Some(Self::Session),
            _ => None,
        }
    }
}

/// How far the log is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Every record up to this position is on disk.
    Position(Position),
    /// The disk failed: of the records above the last published position nothing is known.
    /// If they get on disk after all, a position follows.
    Failed,
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// No room: the journal's budget, the disk, or the queue to the writer is full. It may be taken later.
    #[error("the journal is full")]
    Full,
    /// The record is larger than any record may be.
    #[error("the record is larger than `journal.max_record_bytes`")]
    TooLarge,
    /// The disk failed, or the journal is shut down.
    #[error("the journal does not work")]
    Failed,
}

/// What the journal says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    /// Bytes that the records take on disk.
    pub bytes: u64,
    /// Files with records.
    pub segments: usize,
    /// Unix milliseconds at which the oldest record that is still there was accepted, to the second.
    pub oldest_ms: Option<u64>,
    /// The first position that can still be there.
    pub first: Position,
    /// The last position on disk.
    pub durable: Position,
    /// Whether records are taken.
    pub state: JournalState,
    /// Records that were on disk and could not be read, since the start.
    pub damaged: u64,
    /// Positions that a consumer had seen and the journal did not have at the start.
    pub vanished: u64,
    /// The consumers, by name.
    pub cursors: Vec<CursorStatus>,
}

/// Whether records are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalState {
    /// They are.
    Open,
    /// The disk is full; records are taken again when there is space.
    DiskFull,
    /// The disk failed; the journal goes on trying.
    Failed,
}

/// One consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorStatus {
    /// Its name.
    pub name: String,
    /// The last position that it is done with.
    pub position: Position,
    /// How far it is behind.
    pub lag: Lag,
    /// Whether that is more than its budget.
    pub over_budget: bool,
    /// How many positions were given up for it.
    pub gap: u64,
}

/// A handle to the journal. Clones are the same journal; the last one shuts it down when it is dropped.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when there is none.
    ///
    /// # Errors
    /// [`OpenError`]. Damage is never a reason not to open.
    pub fn open(dir: &Path, config: &JournalConfig, metrics: JournalMetrics) -> Result<(Self, Recovered), OpenError> {
        let locked = Directory::lock(dir.to_owned());
        let directory = locked.map_err(|source| OpenError::Io { file: "directory".to_owned(), source })?;
        let disk = Arc::new(directory.ok_or(OpenError::InUse)?);
        Self::open_on(disk, config, metrics, |known_ms| {
            let clock = Clock::new(known_ms);
            Box::new(move || clock.now_ms())
        })
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        config: &JournalConfig,
        metrics: JournalMetrics,
        clock: impl FnOnce(u64) -> Now,
    ) -> Result<(Self, Recovered), OpenError> {
        let limits = Limits::new(config);
        let opened = recover::open(&*disk, limits.segment_bytes, &metrics)?;
        let recovered = opened.recovered;
        let chores = Chores { spares: opened.spares, awake: true, ..Chores::default() };
        let ends = (recovered.last, recovered.next);
        let shared = Arc::new(Shared::new(limits, metrics, disk, clock(recovered.last_ms), opened.log, ends, chores));
        let threads = Threads::start(&shared).map_err(OpenError::Thread)?;
        Ok((Self { shared, threads: Arc::new(threads) }, recovered))
    }

    /// Takes a record and gives it its position. It never blocks; the record is on disk when [`Journal::durable`]
    /// has reached its position. Positions are given in the order of the calls.
    ///
    /// # Errors
    /// [`AppendError`]; the record has not been taken then.
    pub fn append(&self, kind: Kind, body: Bytes) -> Result<Position, AppendError> {
        self.shared.append(kind, body)
    }

    /// How far the log is on disk, and every change of that.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }

    /// Returns a reader that starts at `from`.
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Returns the record at `position` if it is on disk, whole and not trimmed. It reads a few KiB from the disk.
    pub fn get(&self, position: Position) -> Option<Entry> {
        reader::get(&self.shared, position).unwrap_or_else(|error| {
            tracing::error!(position, %error, "a journal record is not readable");
            None
        })
    }

    /// Registers a consumer that is done with everything up to `at`, or, for `None`, with everything appended so far.
    ///
    /// A new consumer has to keep the cursor's position on disk before anything is acknowledged on its behalf: if it
    /// were registered with `None` again after a crash, it would miss what came in between.
    /// A name that is already there is registered anew.
    pub fn cursor(&self, name: &str, at: Option<Position>, budget: Budget, overflow: Overflow) -> Cursor {
        let position = self.reach(name, at);
        // More than half would let one consumer alone fill the journal for all.
        let budget = Budget { bytes: budget.bytes.min(self.shared.limits.max_bytes / 2), ..budget };
        let mut log = locked(&self.shared.log);
        let trimmed = log.trimmed();
        let gap = trimmed.saturating_sub(position);
        if gap > 0 {
            self.shared.metrics.dropped.inc_by(gap);
            tracing::warn!(
                cursor = name,
                records = gap,
                position = trimmed,
                "the journal no longer has what a consumer has not seen"
            );
        }
        let place = Arc::new(Place::new(name.to_owned(), position.max(trimmed), budget, overflow, gap));
        log.insert_cursor(Arc::clone(&place));
        Cursor { place, shared: Arc::clone(&self.shared) }
    }

    /// Returns where a cursor starts. A consumer that is ahead of the journal has seen records that are gone: their
    /// positions are not given out again, or it would take new records for old ones.
    fn reach(&self, name: &str, at: Option<Position>) -> Position {
        let mut queue = locked(&self.shared.queue);
        let Some(at) = at else { return queue.next - 1 };
        if at >= queue.next {
            let vanished = at + 1 - queue.next;
            queue.next = at + 1;
            drop(queue);
            self.shared.metrics.vanished.inc_by(vanished);
            tracing::error!(
                cursor = name,
                records = vanished,
                position = at,
                "acknowledged records have vanished from the journal: a consumer has seen positions that it does not have"
            );
        }
        at
    }

    /// Begins to remove what every cursor has passed. To be called once all consumers have registered theirs; before
    /// that nothing is removed.
    pub fn allow_trimming(&self) {
        let removed = {
            let mut log = locked(&self.shared.log);
            log.trimming = true;
            self.shared.trim(&mut log)
        };
        self.shared.discard(removed);
    }

    /// Removes the records that `keep` does not want from all segments but the last, and returns how many went.
    ///
    /// It blocks on the disk. The journal does this by itself when it is half full and cursors have stated what they
    /// [want](Cursor::wanting).
    ///
    /// # Errors
    /// What the disk answered; nothing is lost then.
    pub fn compact(&self, keep: impl Fn(Position, Kind, &Bytes) -> bool) -> io::Result<u64> {
        compact::compact(&self.shared, keep)
    }

    /// Says how the journal is.
    pub fn status(&self) -> JournalStatus {
        let shared = &self.shared;
        let (segments, first, places) = {
            let log = locked(&shared.log);
            (log.len(), log.trimmed() + 1, log.cursors().cloned().collect::<Vec<_>>())
        };
        JournalStatus {
            bytes: shared.used(),
            segments,
            oldest_ms: shared.record_after(first - 1).map(|record| record.seconds * 1000),
            first,
            durable: shared.durable_position(),
            state: match shared.stall() {
                Stall::None => JournalState::Open,
                Stall::Full => JournalState::DiskFull,
                Stall::Failed => JournalState::Failed,
            },
            damaged: shared.metrics.damaged.get(),
            vanished: shared.metrics.vanished.get(),
            cursors: places.iter().map(|place| place.status(shared)).collect(),
        }
    }

    /// Writes what has been taken, if the disk lets it, and stops both threads. Later records are refused.
    /// It blocks until that is done.
    pub fn shutdown(&self) {
        self.threads.stop();
    }
}

struct Threads {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Threads {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (writer, keeper) = (Writer::new(Arc::clone(shared)), Keeper::new(Arc::clone(shared)));
        let threads = Self { shared: Arc::clone(shared), writer: Mutex::default(), keeper: Mutex::default() };
        *locked(&threads.writer) = Some(Builder::new().name("journal-writer".to_owned()).spawn(|| writer.run())?);
        *locked(&threads.keeper) = Some(Builder::new().name("journal-keeper".to_owned()).spawn(|| keeper.run())?);
        Ok(threads)
    }

    fn stop(&self) {
        locked(&self.shared.queue).stopping = true;
        self.shared.work.notify_all();
        join(&self.writer);
        locked(&self.shared.chores).stopping = true;
        self.shared.chore.notify_all();
        join(&self.keeper);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(thread) = locked(thread).take() {
        // A panic has been reported where it happened, and the journal says that it failed.
        let _ = thread.join();
    }
}

/// Unix milliseconds, never running backwards, not even from the last process to this one.
type Now = Box<dyn Fn() -> u64 + Send + Sync>;

/// A lock whose holder panicked still guards sound data: no holder leaves it half changed.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
