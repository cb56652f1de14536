//! What the handles, the writer thread and the keeper thread have in common.
//!
//! Locks are held for a few instructions, never across a write or a sync, and never two at a time, except that the
//! segment list may be locked while a segment's own small lock is taken.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use causeway_core::record::frame_len;
use tokio::sync::watch;

use super::cursor::{NextRecord, Place};
use super::disk::Disk;
use super::keeper::Chores;
use super::log::Log;
use super::metrics::Refusal;
use super::scan::{Found, Scan};
use super::segment::{RECORDS, Segment};
use super::{AppendError, Durable, JournalConfig, JournalMetrics, Kind, Now, Overflow, Position, locked};

/// A record that waits for the writer.
pub(super) struct Pending {
    pub(super) position: Position,
    pub(super) kind: Kind,
    pub(super) body: Bytes,
}

/// The records between the callers of `append` and the writer.
pub(super) struct Queue {
    pub(super) pending: VecDeque<Pending>,
    /// The position of the next record.
    pub(super) next: Position,
    /// Bytes of all records that are not on disk yet, those in the writer's hands included.
    pub(super) bytes: u64,
    /// When the first waiting record came.
    pub(super) since: Option<Instant>,
    /// The writer sleeps and wants to be woken.
    pub(super) idle: bool,
    pub(super) stopping: bool,
}

/// What keeps the writer from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stall {
    None = 0,
    Full = 1,
    Failed = 2,
}

/// The configuration in plain numbers.
pub(super) struct Limits {
    pub(super) segment_bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) max_record_bytes: u64,
    pub(super) max_batch_records: usize,
    pub(super) max_batch_bytes: u64,
    pub(super) max_pending_bytes: u64,
    pub(super) linger: Duration,
}

impl Limits {
    pub(super) fn new(config: &JournalConfig) -> Self {
        // The segment being written cannot be trimmed: it must never be most of the journal.
        let quarter = config.max_bytes.bytes() / 4;
        Self {
            segment_bytes: config.segment_bytes.bytes().min(quarter),
            max_bytes: config.max_bytes.bytes(),
            max_record_bytes: config.max_record_bytes.bytes().min(quarter),
            max_batch_records: config.max_batch_records,
            max_batch_bytes: config.max_batch_bytes.bytes(),
            max_pending_bytes: config.max_pending_bytes.bytes(),
            linger: config.linger,
        }
    }
}

pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) metrics: JournalMetrics,
    pub(super) disk: Arc<dyn Disk>,
    now_ms: Now,
    pub(super) queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    pub(super) log: Mutex<Log>,
    pub(super) chores: Mutex<Chores>,
    /// Wakes the keeper.
    pub(super) chore: Condvar,
    pub(super) durable: watch::Sender<Durable>,
    durable_position: AtomicU64,
    /// Bytes of journal since it was opened.
    end: AtomicU64,
    used: AtomicU64,
    stall: AtomicU8,
    /// Held during a compaction.
    pub(super) compacting: Mutex<()>,
}

impl Shared {
    pub(super) fn new(
        limits: Limits,
        metrics: JournalMetrics,
        disk: Arc<dyn Disk>,
        now_ms: Now,
        log: Log,
        (last, next): (Position, Position),
        chores: Chores,
    ) -> Self {
        let queue = Queue { pending: VecDeque::new(), next, bytes: 0, since: None, idle: false, stopping: false };
        let shared = Self {
            limits,
            metrics,
            disk,
            now_ms,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            end: AtomicU64::new(log.end()),
            log: Mutex::new(log),
            chores: Mutex::new(chores),
            chore: Condvar::new(),
            durable: watch::Sender::new(Durable::Position(last)),
            durable_position: AtomicU64::new(last),
            used: AtomicU64::new(0),
            stall: AtomicU8::new(Stall::None as u8),
            compacting: Mutex::new(()),
        };
        shared.count(&locked(&shared.log));
        shared
    }

    pub(super) fn append(&self, kind: Kind, body: Bytes) -> Result<Position, AppendError> {
        let frame = frame_len(body.len()) as u64;
        let refusal = {
            let mut queue = locked(&self.queue);
            match self.refusal(&queue, frame, body.len() as u64) {
                None => return Ok(self.admit(&mut queue, kind, body, frame)),
                Some(refusal) => refusal,
            }
        };
        self.metrics.refuse(refusal);
        Err(match refusal {
            Refusal::Failed => AppendError::Failed,
            Refusal::TooLarge => AppendError::TooLarge,
            Refusal::Budget | Refusal::Disk | Refusal::Pending => AppendError::Full,
        })
    }

    fn refusal(&self, queue: &Queue, frame: u64, body: u64) -> Option<Refusal> {
        match self.stall() {
            _ if queue.stopping => Some(Refusal::Failed),
            Stall::Failed => Some(Refusal::Failed),
            _ if body > self.limits.max_record_bytes => Some(Refusal::TooLarge),
            Stall::Full => Some(Refusal::Disk),
            // One record may always wait, however large: the limit is for the queue, not for the record.
            Stall::None if queue.bytes > 0 && queue.bytes + frame > self.limits.max_pending_bytes => {
                Some(Refusal::Pending)
            }
            Stall::None if self.used() + queue.bytes + frame > self.limits.max_bytes => Some(Refusal::Budget),
            Stall::None => None,
        }
    }

    fn admit(&self, queue: &mut Queue, kind: Kind, body: Bytes, frame: u64) -> Position {
        let position = queue.next;
        queue.next += 1;
        queue.bytes += frame;
        if queue.pending.is_empty() {
            queue.since = Some(Instant::now());
        }
        queue.pending.push_back(Pending { position, kind, body });
        // Waking a thread is a system call: only a sleeping writer is woken, and only once.
        if std::mem::take(&mut queue.idle) {
            self.work.notify_one();
        }
        position
    }

    pub(super) fn stall(&self) -> Stall {
        match self.stall.load(Ordering::Acquire) {
            0 => Stall::None,
            1 => Stall::Full,
            _ => Stall::Failed,
        }
    }

    pub(super) fn set_stall(&self, stall: Stall) {
        self.stall.store(stall as u8, Ordering::Release);
        if stall == Stall::Failed {
            self.durable.send_replace(Durable::Failed);
        }
    }

    /// Publishes that everything up to `position` is on disk; `bytes` of it are new.
    pub(super) fn settle(&self, position: Position, bytes: u64) {
        self.end.fetch_add(bytes, Ordering::AcqRel);
        self.used.fetch_add(bytes, Ordering::AcqRel);
        locked(&self.queue).bytes -= bytes;
        self.durable_position.store(position, Ordering::Release);
        self.durable.send_replace(Durable::Position(position));
    }

    pub(super) fn durable_position(&self) -> Position {
        self.durable_position.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn now_seconds(&self) -> u64 {
        (self.now_ms)() / 1000
    }

    /// Counts what is on disk again, after segments came or went.
    pub(super) fn count(&self, log: &Log) {
        let used = log.used();
        self.used.store(used, Ordering::Release);
        self.metrics.used.set(i64::try_from(used).unwrap_or(i64::MAX));
        self.metrics.segments.set(i64::try_from(log.len()).unwrap_or(i64::MAX));
    }

    /// A cursor has moved: removes what no cursor needs any more.
    pub(super) fn moved(&self, place: &Place, before: Position) {
        let removed = {
            let mut log = locked(&self.log);
            // Only leaving a segment can free one; the usual step stays inside.
            let left = log.find(before.saturating_add(1)).is_some_and(|segment| segment.upto() <= place.position());
            if !left {
                return;
            }
            self.trim(&mut log)
        };
        self.discard(removed);
    }

    pub(super) fn trim(&self, log: &mut Log) -> Vec<Arc<Segment>> {
        let removed = log.trim();
        if !removed.is_empty() {
            self.count(log);
        }
        removed
    }

    /// Leaves the files to the keeper: unlinking a large file takes long.
    pub(super) fn discard(&self, removed: Vec<Arc<Segment>>) {
        if !removed.is_empty() {
            locked(&self.chores).discarded.extend(removed);
            self.chore.notify_one();
        }
    }

    pub(super) fn remove_cursor(&self, name: &str) {
        let removed = {
            let mut log = locked(&self.log);
            log.remove_cursor(name);
            self.trim(&mut log)
        };
        self.discard(removed);
    }

    /// Finds the first record behind `position`.
    pub(super) fn record_after(&self, position: Position) -> Option<NextRecord> {
        self.find(position, |_, _| true).map(|(_, offset, seconds)| NextRecord { behind: position, offset, seconds })
    }

    /// Up to which position a cursor's backlog has to go; `None` while it is within its budget.
    pub(super) fn excess(&self, place: &Place) -> Option<Position> {
        if !place.is_over(self) {
            return None;
        }
        let (end, now) = (self.end(), self.now_seconds());
        let (bytes, age) = (place.budget.bytes / 4 * 3, place.budget.age.as_secs());
        let durable = self.durable_position();
        let fits = |offset: u64, seconds: u64| end - offset.min(end) <= bytes && now.saturating_sub(seconds) <= age;
        Some(self.find(place.position(), fits).map_or(durable, |(position, ..)| position - 1))
    }

    /// Returns position, offset and time of the first record behind `position` for which `fits` holds.
    /// It has to hold for all later records too.
    fn find(&self, position: Position, fits: impl Fn(u64, u64) -> bool) -> Option<(Position, u64, u64)> {
        let mut segment = locked(&self.log).find(position.saturating_add(1))?;
        loop {
            match self.find_in(&segment, position, &fits) {
                Ok(None) => {}
                Ok(found) => return found,
                Err(error) => {
                    tracing::error!(segment = %segment.name, %error, "a journal segment is not readable");
                }
            }
            segment = locked(&self.log).following(&segment)?;
        }
    }

    fn find_in(
        &self,
        segment: &Segment,
        position: Position,
        fits: impl Fn(u64, u64) -> bool,
    ) -> io::Result<Option<(Position, u64, u64)>> {
        segment.learn(&self.metrics)?;
        let base = segment.base.load(Ordering::Relaxed);
        let fits = |offset: u64, seconds: u32| fits(base + offset - RECORDS, u64::from(seconds));
        let early = segment.last_mark_with(|mark| mark.position <= position || !fits(mark.offset, mark.seconds));
        let (start, last) = early.map_or((RECORDS, segment.header.after), |mark| (mark.offset, mark.position - 1));
        let mut scan = Scan::new(Arc::clone(&segment.file), segment.header.epoch, start, segment.end(), last);
        loop {
            match scan.next()? {
                Found::Record { offset, head, .. }
                    if head.position > position && fits(offset, head.seconds) && head.position <= segment.upto() =>
                {
                    return Ok(Some((head.position, base + offset - RECORDS, u64::from(head.seconds))));
                }
                Found::End { .. } => return Ok(None),
                Found::Record { .. } | Found::Damaged(_) => {}
            }
        }
    }

    /// Moves the cursors that may be moved and are over their budget.
    pub(super) fn enforce_budgets(&self) {
        let places: Vec<_> = locked(&self.log).cursors().cloned().collect();
        for place in places {
            let over = match place.overflow {
                Overflow::Refuse => false,
                Overflow::DropOldest => place.is_over(self),
                Overflow::Park => place.lag(self).bytes > place.budget.bytes.saturating_mul(2),
            };
            let Some(upto) = over.then(|| self.excess(&place)).flatten() else { continue };
            let before = place.position();
            let lost = place.give_up(upto);
            self.metrics.dropped.inc_by(lost);
            tracing::warn!(cursor = %place.name, records = lost, position = upto,
                "a consumer is further behind than its budget: its oldest records were given up");
            self.moved(&place, before);
        }
    }
}
