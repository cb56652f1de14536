//! One file of the journal as it is known in memory: its range of positions, how far it is filled, and a sparse index.
//!
//! A segment that an earlier process wrote is not read at start, so that a long backlog does not delay the start:
//! it is walked once, when somebody first asks for a position in the middle of it.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use causeway_core::record::{RECORDS_AT, SegmentHeader};

use super::disk::SegmentFile;
use super::scan::{Found, Hole, Scan};
use super::{JournalMetrics, Position, locked};

/// Where the records start.
pub(super) const RECORDS: u64 = RECORDS_AT as u64;

/// The index has one entry for this many bytes: what a look-up reads at most in vain.
const MARK_EVERY: u64 = 8 << 10;

pub(super) struct Segment {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn SegmentFile>,
    /// Bytes of the file, prepared space included.
    size: AtomicU64,
    /// The journal's bytes before this segment, counted since the journal was opened.
    pub(super) base: AtomicU64,
    /// The last position that can be in here; `MAX` while it is being written.
    upto: AtomicU64,
    extent: Mutex<Extent>,
    reported: Mutex<BTreeSet<u64>>,
}

/// How far a segment is filled.
struct Extent {
    /// Behind the last record that is known to be on disk.
    end: u64,
    last: Position,
    /// Written by this process, or walked over: whatever is unreadable before `end` is damage.
    known: bool,
    marks: Vec<Mark>,
}

/// An entry of the sparse index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) position: Position,
    pub(super) offset: u64,
    pub(super) seconds: u32,
}

impl Segment {
    /// A segment that this process begins to write.
    pub(super) fn begun(name: String, header: SegmentHeader, file: Arc<dyn SegmentFile>, size: u64) -> Self {
        let extent = Extent { end: RECORDS, last: header.after, known: true, marks: Vec::new() };
        Self::with(name, header, file, size, Position::MAX, extent)
    }

    /// A segment that was found on disk and has `size` bytes.
    pub(super) fn found(name: String, header: SegmentHeader, file: Arc<dyn SegmentFile>, size: u64) -> Self {
        let extent = Extent { end: size, last: header.after, known: false, marks: Vec::new() };
        let upto = if header.upto == 0 { Position::MAX } else { header.upto };
        Self::with(name, header, file, size, upto, extent)
    }

    fn with(
        name: String,
        header: SegmentHeader,
        file: Arc<dyn SegmentFile>,
        size: u64,
        upto: Position,
        extent: Extent,
    ) -> Self {
        let (base, upto, size) = (AtomicU64::new(0), AtomicU64::new(upto), AtomicU64::new(size));
        Self { name, header, file, size, base, upto, extent: Mutex::new(extent), reported: Mutex::default() }
    }

    /// The last position that can be in here.
    pub(super) fn upto(&self) -> Position {
        self.upto.load(Ordering::Acquire)
    }

    /// Bytes of the file, prepared space included; less than [`Self::end`] when the file grows as it is written.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Gives back what stands behind the last record.
    pub(super) fn cut(&self) -> io::Result<()> {
        let end = self.end();
        self.file.truncate(end)?;
        self.size.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the range; whatever stands behind it in the file belongs to a later segment.
    pub(super) fn seal(&self, upto: Position) {
        self.upto.store(upto, Ordering::Release);
    }

    /// Behind the last record on disk; for a segment that nobody has walked, the file's length.
    pub(super) fn end(&self) -> u64 {
        locked(&self.extent).end
    }

    /// The highest position known to be in here.
    pub(super) fn last(&self) -> Position {
        locked(&self.extent).last
    }

    /// Unix seconds at which the last indexed record was accepted, or else the segment begun.
    pub(super) fn last_seconds(&self) -> u32 {
        locked(&self.extent).marks.last().map_or(self.header.seconds, |mark| mark.seconds)
    }

    /// Takes note of records that are now on disk.
    pub(super) fn extend(&self, end: u64, last: Position, marks: &mut Vec<Mark>) {
        let mut extent = locked(&self.extent);
        extent.end = end;
        extent.last = last;
        extent.marks.append(marks);
    }

    /// Tells whether a record at `offset` gets an entry in the index, given the entry before.
    pub(super) fn deserves_mark(offset: u64, previous: Option<u64>) -> bool {
        previous.is_none_or(|previous| offset >= previous + MARK_EVERY)
    }

    /// The offset of the last indexed record.
    pub(super) fn last_mark(&self) -> Option<u64> {
        locked(&self.extent).marks.last().map(|mark| mark.offset)
    }

    /// Walks over the segment if nobody did yet. What is unreadable is counted.
    pub(super) fn learn(&self, metrics: &JournalMetrics) -> io::Result<()> {
        // The lock is held during the walk: a second reader would only do the same work beside it.
        let mut extent = locked(&self.extent);
        if !extent.known {
            *extent = self.walk(extent.end, metrics)?;
        }
        Ok(())
    }

    fn walk(&self, end: u64, metrics: &JournalMetrics) -> io::Result<Extent> {
        let mut scan = Scan::new(Arc::clone(&self.file), self.header.epoch, RECORDS, end, self.header.after);
        let mut extent = Extent { end: RECORDS, last: self.header.after, known: true, marks: Vec::new() };
        loop {
            match scan.next()? {
                Found::Record { offset, head, .. } if head.position <= self.upto() => {
                    extent.last = head.position;
                    extent.end = offset + head.frame_len() as u64;
                    if Self::deserves_mark(offset, extent.marks.last().map(|mark| mark.offset)) {
                        extent.marks.push(Mark { position: head.position, offset, seconds: head.seconds });
                    }
                }
                // A failed sync has sent these records to the next segment; what stands here are copies.
                Found::Record { .. } => return Ok(extent),
                Found::Damaged(hole) => self.report(&hole, metrics),
                Found::End { torn, .. } => {
                    torn.iter().for_each(|hole| self.report_torn(hole, metrics));
                    return Ok(extent);
                }
            }
        }
    }

    /// Walks from `offset`, behind the record at `last`, to the end.
    pub(super) fn scan(&self, offset: u64, last: Position) -> Scan {
        Scan::new(Arc::clone(&self.file), self.header.epoch, offset, self.end(), last)
    }

    /// A walk has ended at `offset`, behind `last`. Counts what it could not read, and returns the last position that
    /// was lost at the segment's end, if there was one.
    pub(super) fn finish(
        &self,
        offset: u64,
        last: Position,
        torn: &[Hole],
        metrics: &JournalMetrics,
    ) -> Option<Position> {
        let (end, expected, known) = {
            let extent = locked(&self.extent);
            (extent.end, extent.last, extent.known)
        };
        if !known {
            torn.iter().for_each(|hole| self.report_torn(hole, metrics));
            return None;
        }
        torn.iter().for_each(|hole| self.report(hole, metrics));
        if offset >= end {
            return None;
        }
        let records = expected.saturating_sub(last).max(1);
        self.report(&Hole { offset, position: last + 1, records }, metrics);
        Some(expected)
    }

    /// Returns where to start reading to find `position`: at or before its record, and a position below it.
    pub(super) fn seek(&self, position: Position, metrics: &JournalMetrics) -> io::Result<(u64, Position)> {
        if position <= self.header.first {
            return Ok((RECORDS, self.header.after));
        }
        self.learn(metrics)?;
        let mark = self.mark(position);
        Ok(mark.map_or((RECORDS, self.header.after), |mark| (mark.offset, mark.position - 1)))
    }

    /// Returns the last index entry at or before `position`.
    fn mark(&self, position: Position) -> Option<Mark> {
        self.last_mark_with(|mark| mark.position <= position)
    }

    /// Returns the last index entry for which `early` holds; it holds for all before it.
    pub(super) fn last_mark_with(&self, early: impl Fn(&Mark) -> bool) -> Option<Mark> {
        let extent = locked(&self.extent);
        let behind = extent.marks.partition_point(early);
        extent.marks.get(behind.checked_sub(1)?).copied()
    }

    /// Counts lost records, once for each place.
    pub(super) fn report(&self, hole: &Hole, metrics: &JournalMetrics) {
        if locked(&self.reported).insert(hole.offset) {
            metrics.damaged.inc_by(hole.records);
            tracing::error!(segment = %self.name, offset = hole.offset, position = hole.position, records = hole.records,
                "journal records are damaged and were passed over");
        }
    }

    /// Counts records of a batch that had never been synced.
    pub(super) fn report_torn(&self, hole: &Hole, metrics: &JournalMetrics) {
        if locked(&self.reported).insert(hole.offset) {
            metrics.torn.inc_by(hole.records);
            tracing::warn!(segment = %self.name, offset = hole.offset, position = hole.position, records = hole.records,
                "journal records of an interrupted batch were passed over");
        }
    }
}
