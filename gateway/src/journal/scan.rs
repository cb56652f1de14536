//! Walks over the records of one segment, in order, and tells what it found: records, damage, the end.
//!
//! A record that is not whole is passed over, never returned. Whether it was *damaged* after it had been synced, or was
//! *torn* because the power went before it was synced, is decided by what follows: a later record says where its batch
//! began, and everything before that had been synced.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use causeway_core::record::{ALIGN, Epoch, HEAD_LEN, Head, find_head, read_head};

use super::Position;
use super::disk::SegmentFile;

/// What is read from the file at once, unless a record is larger.
const CHUNK: usize = 64 << 10;

/// One step of the walk.
pub(super) enum Found {
    /// A whole record, at this offset in the file.
    Record { offset: u64, head: Head, body: Bytes },
    /// Records that were on disk and are not readable any more.
    Damaged(Hole),
    /// No more records.
    End {
        /// Behind the last whole record.
        offset: u64,
        /// The highest position that any intact head had.
        last: Position,
        /// Places at which something was begun that no later record vouches for.
        torn: Vec<Hole>,
    },
}

/// A place in the segment at which there is no whole record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub(super) offset: u64,
    /// The first position that is missing.
    pub(super) position: Position,
    /// How many positions are missing, at least 1.
    pub(super) records: u64,
}

pub(super) struct Scan {
    file: Arc<dyn SegmentFile>,
    epoch: Epoch,
    offset: u64,
    upto: u64,
    last: Position,
    whole_end: u64,
    suspects: Vec<Hole>,
    chunk: Bytes,
    chunk_at: u64,
}

impl Scan {
    /// Starts at `offset`, which is the start of a record, and never looks at or behind `upto`.
    /// Records at or below `last` are remains of something else.
    pub(super) fn new(file: Arc<dyn SegmentFile>, epoch: Epoch, offset: u64, upto: u64, last: Position) -> Self {
        let whole_end = offset;
        Self { file, epoch, offset, upto, last, whole_end, suspects: Vec::new(), chunk: Bytes::new(), chunk_at: 0 }
    }

    /// Lets the walk go on to `upto`, when the segment has become longer.
    pub(super) fn extend(&mut self, upto: u64) {
        self.upto = self.upto.max(upto);
    }

    /// Takes the next step. After [`Found::End`] it answers the same again.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        loop {
            let Some(head) = self.head()? else {
                if self.search()? {
                    continue;
                }
                return Ok(self.end());
            };
            if let Some(hole) = self.confirmed_by(&head) {
                return Ok(Found::Damaged(hole));
            }
            let offset = self.offset;
            let body = self.bytes(offset + HEAD_LEN as u64, head.len as usize)?;
            if !head.vouches_for(&body, self.epoch) {
                self.suspects.push(Hole { offset, position: head.position, records: 1 });
                self.step_over(&head);
                continue;
            }
            self.step_over(&head);
            self.whole_end = self.offset;
            return Ok(Found::Record { offset, head, body });
        }
    }

    /// Returns the head of the record at the current offset, when it is intact, later than the last and fits.
    fn head(&mut self) -> io::Result<Option<Head>> {
        let bytes = self.bytes(self.offset, HEAD_LEN)?;
        Ok(read_head(&bytes, self.epoch).filter(|head| {
            head.position > self.last && self.offset + HEAD_LEN as u64 + u64::from(head.len) <= self.upto
        }))
    }

    fn step_over(&mut self, head: &Head) {
        self.offset += head.frame_len() as u64;
        self.last = head.position;
    }

    /// Takes a hole off the list that `head` proves to have been synced once.
    ///
    /// Only an intact record may prove anything, but an intact head is one: it carries its own checksum.
    fn confirmed_by(&mut self, head: &Head) -> Option<Hole> {
        let at = self.suspects.iter().position(|hole| hole.position < head.batch_start())?;
        Some(self.suspects.swap_remove(at))
    }

    /// Looks for the next intact head behind something unreadable and moves there.
    fn search(&mut self) -> io::Result<bool> {
        let hole = self.offset;
        let mut from = self.offset + ALIGN as u64;
        while from + HEAD_LEN as u64 <= self.upto {
            let left = usize::try_from(self.upto - from).unwrap_or(usize::MAX);
            let window = self.bytes(from, left.min(CHUNK))?;
            if let Some((at, head)) = find_head(&window, self.epoch, self.last) {
                let records = (head.position - self.last).saturating_sub(1).max(1);
                self.suspects.push(Hole { offset: hole, position: self.last + 1, records });
                self.offset = from + at as u64;
                return Ok(true);
            }
            // The windows overlap, because a head may stand across the border of two.
            let Some(step) = (window.len() + 1).checked_sub(HEAD_LEN).filter(|step| *step > 0) else { break };
            from += step.next_multiple_of(ALIGN) as u64;
        }
        Ok(false)
    }

    /// Ends the walk behind the last whole record; what was begun behind it is not counted as a hole.
    fn end(&mut self) -> Found {
        let mut torn = std::mem::take(&mut self.suspects);
        torn.retain(|hole| hole.offset < self.whole_end);
        Found::End { offset: self.whole_end, last: self.last, torn }
    }

    /// Returns `len` bytes at `offset`, fewer where the file or the walk ends.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        if let Some(start) = offset.checked_sub(self.chunk_at).and_then(|start| usize::try_from(start).ok())
            && start.checked_add(len).is_some_and(|end| end <= self.chunk.len())
        {
            return Ok(self.chunk.slice(start..start + len));
        }
        let left = usize::try_from(self.upto.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; len.max(CHUNK).min(left)];
        let read = self.file.read_at(&mut buffer, offset)?;
        buffer.truncate(read);
        self.chunk = Bytes::from(buffer);
        self.chunk_at = offset;
        Ok(self.chunk.slice(..len.min(self.chunk.len())))
    }
}
