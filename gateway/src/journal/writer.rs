//! The writer thread: takes everything that waits, writes it with one call, syncs once, and says so.
//!
//! A record is called durable only after a successful sync of the file that it was written to.
//! After a failed sync the kernel may have dropped the pages and cleared their mark, so that a second sync of the same
//! file succeeds without having written anything. Therefore the records in question are written once more, to a *new*
//! file, and only that file's sync counts; the old file keeps what earlier syncs have covered and nothing after it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_core::record::{Record, SegmentHeader, frame_len};

use super::recover::{random_epoch, segment_name};
use super::segment::{Mark, RECORDS, Segment};
use super::shared::{Pending, Shared, Stall};
use super::{Kind, Position};
use super::{keeper, locked};

/// How long the writer waits before it tries again after an error of the disk.
const RETRY: Duration = Duration::from_millis(500);

/// How long it waits for space.
const RETRY_FULL: Duration = Duration::from_millis(100);

/// Capacity that the queue keeps when it is empty.
const KEEP: usize = 8192;

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The segment being written; `None` before the first record of this process.
    active: Option<Arc<Segment>>,
    /// The last position on disk.
    last: Position,
    waiting: VecDeque<Pending>,
    buffer: Vec<u8>,
    marks: Vec<Mark>,
}

/// What of the waiting records goes into one write.
struct Batch {
    records: usize,
    bytes: u64,
    last: Position,
}

/// Why a batch is not on disk.
struct WriteError {
    cause: io::Error,
    /// What became of the file's unsynced content is unknown: it must not be written to again.
    spoilt: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let last = shared.durable_position();
        Self { shared, active: None, last, waiting: VecDeque::new(), buffer: Vec::new(), marks: Vec::new() }
    }

    /// Writes until the journal is shut down and everything that was accepted is on disk.
    pub(super) fn run(mut self) {
        // Whatever ends this thread, nobody may wait for it or believe that it still works.
        let _guard = FailOnExit(Arc::clone(&self.shared));
        while self.take() {
            while !self.waiting.is_empty() {
                if let Err(error) = self.write()
                    && !self.recover_from(&error)
                {
                    return;
                }
            }
        }
        self.close();
    }

    /// Takes all waiting records, sleeping until there is one; `false` when the journal shuts down.
    fn take(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut queue = locked(&shared.queue);
        while queue.pending.is_empty() {
            if queue.stopping {
                return false;
            }
            queue.idle = true;
            queue = shared.work.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        queue.idle = false;
        if let Some(since) = queue.since.take() {
            shared.metrics.wake_seconds.observe(since.elapsed().as_secs_f64());
        }
        if !shared.limits.linger.is_zero() {
            let batch = shared.limits.max_batch_bytes;
            let wait_for_more = shared
                .work
                .wait_timeout_while(queue, shared.limits.linger, |queue| !queue.stopping && queue.bytes < batch);
            queue = wait_for_more.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        std::mem::swap(&mut queue.pending, &mut self.waiting);
        true
    }

    /// Writes and syncs one batch and publishes it.
    fn write(&mut self) -> Result<(), WriteError> {
        let clean = |cause| WriteError { cause, spoilt: false };
        let segment = self.segment().map_err(clean)?;
        let offset = segment.end();
        let started = Instant::now();
        let batch = self.encode(&segment, offset);
        let published = self.waiting.iter().take(batch.records).any(|pending| pending.kind == Kind::Publish);
        let point = |name| {
            if published {
                crate::crash::point(name, "")
            }
        };
        point("received");
        segment.file.write_at(&self.buffer, offset).map_err(|cause| WriteError {
            // A full disk refuses the write as a whole or in part; writing the same bytes again is in order.
            spoilt: !is_full(&cause),
            cause,
        })?;
        point("written");
        segment.file.sync().map_err(|cause| WriteError { cause, spoilt: true })?;
        point("synced");
        self.publish(&segment, offset, &batch, started);
        Ok(())
    }

    fn publish(&mut self, segment: &Segment, offset: u64, batch: &Batch, started: Instant) {
        let metrics = &self.shared.metrics;
        metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        metrics.batch_records.observe(batch.records as f64);
        metrics.records.inc_by(batch.records as u64);
        metrics.bytes.inc_by(batch.bytes);
        segment.extend(offset + batch.bytes, batch.last, &mut self.marks);
        self.last = batch.last;
        if self.shared.stall() != Stall::None {
            tracing::info!(position = batch.last, "the journal writes again");
            self.shared.set_stall(Stall::None);
        }
        self.shared.settle(batch.last, batch.bytes);
        self.waiting.drain(..batch.records);
        if self.waiting.is_empty() && self.waiting.capacity() > KEEP {
            self.waiting.shrink_to(KEEP);
        }
    }

    /// Returns the segment that the next record goes to.
    fn segment(&mut self) -> io::Result<Arc<Segment>> {
        let Some(first) = self.waiting.front() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let frame = frame_len(first.body.len()) as u64;
        if let Some(active) = &self.active {
            let end = active.end();
            // A record that is larger than a segment gets one for itself.
            if end == RECORDS || end + frame <= self.shared.limits.segment_bytes {
                return Ok(Arc::clone(active));
            }
        }
        let segment = Arc::new(begin(&self.shared, self.last, first.position)?);
        let removed = {
            let mut log = locked(&self.shared.log);
            log.push(Arc::clone(&segment));
            self.shared.count(&log);
            self.shared.trim(&mut log)
        };
        self.shared.discard(removed);
        self.active = Some(Arc::clone(&segment));
        keeper::wake(&self.shared);
        Ok(segment)
    }

    /// Puts as many waiting records into the buffer as go into one batch and into the segment.
    fn encode(&mut self, segment: &Segment, offset: u64) -> Batch {
        let limits = &self.shared.limits;
        let seconds = u32::try_from(self.shared.now_seconds()).unwrap_or(u32::MAX);
        let room = usize::try_from(limits.segment_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = usize::try_from(limits.max_batch_bytes).unwrap_or(usize::MAX).min(room);
        self.buffer.clear();
        self.marks.clear();
        let mut mark = segment.last_mark();
        let mut batch = Batch { records: 0, bytes: 0, last: self.last };
        for pending in &self.waiting {
            let nth = u16::try_from(batch.records).unwrap_or(u16::MAX);
            let full =
                self.buffer.len() + frame_len(pending.body.len()) > most || batch.records >= limits.max_batch_records;
            // Inside a batch positions have no gap: a record's place in it tells where the batch began.
            if batch.records > 0 && (full || nth == u16::MAX || pending.position != batch.last + 1) {
                break;
            }
            let at = offset + self.buffer.len() as u64;
            if Segment::deserves_mark(at, mark) {
                mark = Some(at);
                self.marks.push(Mark { position: pending.position, offset: at, seconds });
            }
            let record =
                Record { position: pending.position, seconds, kind: pending.kind as u8, nth, body: &pending.body };
            record.encode(segment.header.epoch, &mut self.buffer);
            batch.records += 1;
            batch.last = pending.position;
        }
        batch.bytes = self.buffer.len() as u64;
        batch
    }

    /// Says what is wrong and waits; `false` when the journal is shut down meanwhile.
    fn recover_from(&mut self, error: &WriteError) -> bool {
        let full = is_full(&error.cause);
        let stall = if full { Stall::Full } else { Stall::Failed };
        if self.shared.stall() != stall {
            tracing::error!(error = %error.cause, "the journal cannot write; publishes that need it are refused");
            self.shared.metrics.failures.inc();
        }
        self.shared.set_stall(stall);
        if error.spoilt {
            self.active = None;
        }
        keeper::wake(&self.shared);
        let pause = if full { RETRY_FULL } else { RETRY };
        let queue = locked(&self.shared.queue);
        let waited = self.shared.work.wait_timeout_while(queue, pause, |queue| !queue.stopping);
        let (queue, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        !queue.stopping
    }

    /// Cuts the segment behind its last record, so that the next start sees that nothing is missing.
    fn close(&self) {
        let Some(active) = &self.active else { return };
        if let Err(error) = active.cut().and_then(|()| active.file.sync()) {
            tracing::warn!(segment = %active.name, %error, "the journal's last segment could not be cut to its length");
        }
    }
}

/// Makes a segment that is safe to write to: its header and its name are on disk.
fn begin(shared: &Shared, after: Position, first: Position) -> io::Result<Segment> {
    let seconds = u32::try_from(shared.now_seconds()).unwrap_or(u32::MAX);
    let header = SegmentHeader { epoch: random_epoch(), after, first, upto: 0, seconds };
    let spare = locked(&shared.chores).spares.pop();
    let (temporary, file, size) = match spare {
        Some(spare) => (spare.name, spare.file, spare.size),
        // No segment is prepared, so this one grows as it is written: each sync is dearer, but nobody waits.
        None => (keeper::NEW.to_owned(), shared.disk.create(keeper::NEW)?, 0),
    };
    let name = segment_name(first);
    let made = file
        .write_at(&header.encode(), 0)
        .and_then(|()| file.sync())
        .and_then(|()| shared.disk.rename(&temporary, &name))
        .and_then(|()| shared.disk.sync_names());
    if let Err(error) = made {
        let _ = shared.disk.remove(&temporary);
        return Err(error);
    }
    Ok(Segment::begun(name, header, file, size))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

struct FailOnExit(Arc<Shared>);

impl Drop for FailOnExit {
    fn drop(&mut self) {
        locked(&self.0.queue).stopping = true;
        if std::thread::panicking() {
            self.0.set_stall(Stall::Failed);
        }
    }
}
