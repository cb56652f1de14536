//! Opening a journal: which files hold records, where the log ends, which position comes next.
//!
//! Opening never refuses because of damage. Only the last segment is read: it tells where the log ends. Nothing is
//! appended to a file of an earlier process; the first record of this one begins a new file, and whatever a power cut
//! left behind the last whole record of the old one stays outside of its range for ever.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;

use causeway_core::record::{Epoch, HeaderError, RECORDS_AT, SegmentHeader};
use thiserror::Error;

use super::disk::{Disk, SegmentFile};
use super::keeper::{self, Spare};
use super::log::Log;
use super::scan::{Found, Scan};
use super::segment::{RECORDS, Segment};
use super::{JournalMetrics, Position};

/// Positions that are left out when the last segment does not end with its last record.
///
/// The batch that a power cut interrupted may have been on disk, and may have been acknowledged, before something
/// damaged it. No batch is longer than this, so no position is ever given to two records.
pub(super) const LEAP: u64 = 1 << 16;

pub(super) const SUFFIX: &str = ".seg";
const DAMAGED: &str = ".damaged";

/// Why a journal cannot be opened. Damage is not among the reasons.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("the journal is in use by another process")]
    InUse,
    /// The data is of a version that this program does not know.
    #[error("{file} was {source}")]
    Newer {
        /// The segment's file.
        file: String,
        /// Its version.
        #[source]
        source: HeaderError,
    },
    /// The directory or a file in it is not accessible.
    #[error("the journal's {file} is not accessible: {source}")]
    Io {
        /// What could not be opened or read.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("the journal's threads could not be started: {0}")]
    Thread(#[source] io::Error),
}

/// What was found when the journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Files with records.
    pub segments: usize,
    /// Bytes that they take on disk.
    pub bytes: u64,
    /// The last position on disk.
    pub last: Position,
    /// The position that the next record gets.
    pub next: Position,
    /// Unix milliseconds at which the last record was accepted, 0 when there is none: the clock must not be earlier.
    pub last_ms: u64,
    /// The last process did not shut the journal down: it was killed, or the power went.
    pub interrupted: bool,
    /// Files that are set aside (renamed to `*.damaged`) because nothing in them can be told.
    pub set_aside: usize,
}

pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) spares: Vec<Spare>,
    pub(super) recovered: Recovered,
}

pub(super) fn segment_name(first: Position) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The hasher's keys come from the operating system: a peer that chooses payloads cannot foresee the epoch.
pub(super) fn random_epoch() -> Epoch {
    Epoch(RandomState::new().build_hasher().finish())
}

/// Reads the directory.
pub(super) fn open(disk: &dyn Disk, segment_bytes: u64, metrics: &JournalMetrics) -> Result<Opened, OpenError> {
    let mut names = disk.list().map_err(|source| io_error("directory", source))?;
    names.sort_unstable();
    let spares = keeper::adopt(disk, &names, segment_bytes);
    let mut recovered = Recovered::default();
    let mut segments = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(SUFFIX)) {
        segments.extend(open_segment(disk, name, &mut recovered)?);
    }
    let segments = without_superseded(disk, segments);
    join(&segments);
    give_back(&segments, segment_bytes, metrics);
    if let Some(active) = segments.last() {
        find_end(active, &mut recovered, metrics)?;
    }
    let log = Log::new(segments.into_iter().map(Arc::new));
    recovered.next = recovered.next.max(1);
    recovered.segments = log.len();
    recovered.bytes = log.used();
    Ok(Opened { log, spares, recovered })
}

pub(super) fn io_error(file: &str, source: io::Error) -> OpenError {
    OpenError::Io { file: file.to_owned(), source }
}

/// A file that may be a segment, its size in bytes and what its header says.
pub(super) struct Candidate {
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) size: u64,
    pub(super) header: Result<SegmentHeader, HeaderError>,
}

/// Opens a file that may be a segment and reads its header.
pub(super) fn candidate(disk: &dyn Disk, name: &str) -> Result<Candidate, OpenError> {
    let failed = |source| io_error(name, source);
    let file = disk.open(name).map_err(failed)?;
    let size = file.len().map_err(failed)?;
    let mut page = vec![0; RECORDS_AT];
    let read = file.read_at(&mut page, 0).map_err(failed)?;
    page.truncate(read);
    Ok(Candidate { file, size, header: SegmentHeader::decode(&page) })
}

/// Opens one segment; `None` when there is nothing in it that belongs to the log.
fn open_segment(disk: &dyn Disk, name: &str, recovered: &mut Recovered) -> Result<Option<Segment>, OpenError> {
    let Candidate { file, size, header } = candidate(disk, name)?;
    match header {
        // A file that was taken for reuse when the power went: its new name is lost, its old content was consumed.
        Ok(header) if segment_name(header.first) != name => {
            remove(disk, name);
            Ok(None)
        }
        Ok(header) => Ok(Some(Segment::found(name.to_owned(), header, file, size.max(RECORDS)))),
        Err(source @ HeaderError::Newer(_)) => Err(OpenError::Newer { file: name.to_owned(), source }),
        Err(HeaderError::Damaged) => {
            // A segment gets its name after its header is on disk, so this is damage and not an interrupted start.
            tracing::error!(segment = name, "both headers of a journal segment are damaged; the file is set aside");
            recovered.set_aside += 1;
            if let Err(error) = disk.rename(name, &format!("{name}{DAMAGED}")) {
                tracing::warn!(segment = name, %error, "the damaged segment could not be renamed");
            }
            Ok(None)
        }
    }
}

/// Leaves out the inputs of a compaction that was interrupted after its output had got its name.
fn without_superseded(disk: &dyn Disk, segments: Vec<Segment>) -> Vec<Segment> {
    let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments {
        let covered =
            kept.last().is_some_and(|before| before.header.upto != 0 && segment.header.after < before.header.upto);
        if covered {
            remove(disk, &segment.name);
        } else {
            kept.push(segment);
        }
    }
    kept
}

fn remove(disk: &dyn Disk, name: &str) {
    // Whoever opens the journal next tries again.
    if let Err(error) = disk.remove(name) {
        tracing::warn!(segment = name, %error, "a left-over journal file could not be removed");
    }
}

/// Each segment's range ends where the next one's begins.
fn join(segments: &[Segment]) {
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        segment.seal(next.header.after);
    }
}

/// Cuts the segments that a killed process had prepared and not filled: what they do not hold must not count against
/// budgets. The last segment is left as it is, because what stands behind its end tells how far positions are taken.
fn give_back(segments: &[Segment], segment_bytes: u64, metrics: &JournalMetrics) {
    for segment in segments.iter().rev().skip(1).filter(|segment| segment.size() >= segment_bytes) {
        let cut = segment.learn(metrics).and_then(|()| segment.cut()).and_then(|()| segment.file.sync());
        if let Err(error) = cut {
            tracing::warn!(segment = %segment.name, %error, "an unused part of a journal segment could not be given back");
        }
    }
}

/// Reads the last segment to its end.
fn find_end(active: &Segment, recovered: &mut Recovered, metrics: &JournalMetrics) -> Result<(), OpenError> {
    active.learn(metrics).map_err(|source| io_error(&active.name, source))?;
    let end = active.end();
    let mut scan = Scan::new(Arc::clone(&active.file), active.header.epoch, end, active.size(), active.last());
    // Heads without their bodies may stand behind the last whole record; their positions are taken.
    let last = match scan.next().map_err(|source| io_error(&active.name, source))? {
        Found::End { last, .. } => last,
        _ => active.last(),
    };
    recovered.last = last.max(active.header.upto);
    recovered.interrupted = end < active.size();
    let leap = if recovered.interrupted { LEAP } else { 0 };
    recovered.next = (recovered.last + 1 + leap).max(active.header.first);
    recovered.last_ms = 1000 * u64::from(active.last_seconds());
    active.seal(recovered.last);
    Ok(())
}
