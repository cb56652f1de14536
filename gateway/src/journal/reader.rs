//! Reads records in order, or one by its position. Only what is on disk is ever returned.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use causeway_core::record::Head;
use thiserror::Error;

use super::scan::{Found, Hole, Scan};
use super::segment::Segment;
use super::shared::Shared;
use super::{Kind, Position, locked};

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub position: Position,
    /// What its body is.
    pub kind: Kind,
    /// Its body.
    pub body: Bytes,
}

/// Why records are not returned.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Records that the reader has not seen are gone, because its cursor was moved or it has none.
    /// The reader goes on at `resume` when it is called again.
    #[error("the journal has given up its records before position {resume}")]
    Trimmed {
        /// The first position that is still there.
        resume: Position,
    },
    /// The disk failed; the same call may succeed later.
    #[error("the journal is not readable at position {position}")]
    Io {
        /// Where the reader stands.
        position: Position,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
}

/// Reads forward from a position. It blocks on the disk, so it belongs on a thread of its own.
pub struct Reader {
    shared: Arc<Shared>,
    next: Position,
    place: Option<(Arc<Segment>, Scan)>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Position) -> Self {
        Self { shared, next: from.max(1), place: None }
    }

    /// The position that is read next.
    pub fn position(&self) -> Position {
        self.next
    }

    /// Returns the next records: at most `max_records`, and no more once their bodies have reached `max_bytes`.
    /// It returns none only when there is no later record on disk yet. Damaged records are passed over and counted.
    ///
    /// # Errors
    /// [`ReadError`]; the reader can be used again after each of them, and nothing is passed over in silence.
    pub fn next(&mut self, max_records: usize, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let durable = self.shared.durable_position();
        let mut entries = Vec::new();
        let mut bytes = 0;
        while self.next <= durable && entries.len() < max_records && bytes < max_bytes {
            match self.step() {
                Ok(Step::Entry(entry)) => {
                    bytes += entry.body.len();
                    entries.push(entry);
                }
                Ok(Step::On) => {}
                Ok(Step::CaughtUp) => break,
                // What was read before the error is handed out first; the error comes back with the next call.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn step(&mut self) -> Result<Step, ReadError> {
        let position = self.next;
        let io = |source| ReadError::Io { position, source };
        if self.place.is_none() {
            self.place = self.seek()?;
        }
        let Some((segment, scan)) = &mut self.place else { return Ok(Step::CaughtUp) };
        // In this order: once the range has an end, so have the bytes.
        let upto = segment.upto();
        scan.extend(segment.end());
        match scan.next().map_err(io)? {
            Found::Record { head, .. } if head.position > upto => Ok(self.leave(upto)),
            Found::Record { head, .. } if head.position < self.next => Ok(Step::On),
            Found::Record { offset, head, body } => {
                self.next = head.position + 1;
                Ok(entry(segment, offset, &head, body, &self.shared).map_or(Step::On, Step::Entry))
            }
            Found::Damaged(hole) => {
                segment.report(&hole, &self.shared.metrics);
                Ok(Step::On)
            }
            Found::End { offset, last, torn } => {
                let end = segment.finish(offset, last, &torn, &self.shared.metrics);
                if upto < Position::MAX {
                    return Ok(self.leave(upto));
                }
                if let Some(lost_upto) = end {
                    self.next = self.next.max(lost_upto + 1);
                    self.place = None;
                    return Ok(Step::On);
                }
                Ok(Step::CaughtUp)
            }
        }
    }

    fn leave(&mut self, upto: Position) -> Step {
        self.next = self.next.max(upto + 1);
        self.place = None;
        Step::On
    }

    fn seek(&mut self) -> Result<Option<(Arc<Segment>, Scan)>, ReadError> {
        let segment = {
            let log = locked(&self.shared.log);
            let trimmed = log.trimmed();
            if self.next <= trimmed {
                self.next = trimmed + 1;
                return Err(ReadError::Trimmed { resume: self.next });
            }
            log.find(self.next)
        };
        let Some(segment) = segment else { return Ok(None) };
        let start = segment.seek(self.next, &self.shared.metrics);
        let (offset, last) = start.map_err(|source| ReadError::Io { position: self.next, source })?;
        let scan = segment.scan(offset, last);
        Ok(Some((segment, scan)))
    }
}

enum Step {
    Entry(Entry),
    On,
    CaughtUp,
}

/// Returns the record at `position`, if it is on disk and whole.
pub(super) fn get(shared: &Shared, position: Position) -> io::Result<Option<Entry>> {
    if position > shared.durable_position() {
        return Ok(None);
    }
    let segment = locked(&shared.log).find(position).filter(|segment| position <= segment.upto());
    let Some(segment) = segment else { return Ok(None) };
    let (offset, last) = segment.seek(position, &shared.metrics)?;
    let mut scan = segment.scan(offset, last);
    loop {
        match scan.next()? {
            Found::Record { head, .. } if head.position < position => {}
            Found::Record { offset, head, body } if head.position == position => {
                // A copy: the slice would keep everything that was read on the way in memory.
                return Ok(entry(&segment, offset, &head, Bytes::copy_from_slice(&body), shared));
            }
            Found::Record { .. } => return Ok(None),
            Found::Damaged(hole) => segment.report(&hole, &shared.metrics),
            Found::End { offset, last, torn } => {
                segment.finish(offset, last, &torn, &shared.metrics);
                return Ok(None);
            }
        }
    }
}

/// A kind that this program does not know is treated like damage: reported, not served.
pub(super) fn entry(segment: &Segment, offset: u64, head: &Head, body: Bytes, shared: &Shared) -> Option<Entry> {
    let Some(kind) = Kind::from_byte(head.kind) else {
        segment.report(&Hole { offset, position: head.position, records: 1 }, &shared.metrics);
        return None;
    };
    Some(Entry { position: head.position, kind, body })
}
