//! Rewrites sealed segments without the records that nobody wants, so that a stuck consumer keeps only its own records.
//!
//! Neighbours become one file that stands for the whole range. It takes the first one's name in one step, after it is
//! on disk, and its header says how far it reaches: if the power goes before the others are removed, the next start
//! finds them covered and removes them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use causeway_core::record::{Epoch, Record, SegmentHeader};

use super::reader::entry;
use super::recover::random_epoch;
use super::scan::Found;
use super::segment::{RECORDS, Segment};
use super::shared::Shared;
use super::{Kind, Position, locked};

/// Largest output, which is put together in memory.
const MOST: usize = 16 << 20;

/// So many small neighbours are joined even when nothing in them can go.
const NEIGHBOURS: usize = 8;

const OUTPUT: &str = "compact.tmp";

/// Neighbouring segments and what is kept of them.
struct Run {
    inputs: Vec<Arc<Segment>>,
    epoch: Epoch,
    kept: Vec<u8>,
    content: u64,
    removed: u64,
}

/// Removes what `keep` does not want from all segments but the one being written; returns how many records went.
pub(super) fn compact(shared: &Shared, keep: impl Fn(Position, Kind, &Bytes) -> bool) -> io::Result<u64> {
    let _alone = locked(&shared.compacting);
    let segments: Vec<_> = locked(&shared.log).segments().rev().skip(1).cloned().collect();
    let most = MOST.min(usize::try_from(shared.limits.segment_bytes).unwrap_or(MOST));
    let mut removed = 0;
    let mut run = Run::new();
    for segment in segments.into_iter().rev() {
        let (kept, gone) = select(shared, &segment, run.epoch, &keep)?;
        if !run.inputs.is_empty() && run.kept.len() + kept.len() > most {
            removed += run.write(shared)?;
            // The frames were made for the epoch of the run that has just ended.
            run = Run::new();
            let (kept, gone) = select(shared, &segment, run.epoch, &keep)?;
            run.add(segment, kept, gone);
        } else {
            run.add(segment, kept, gone);
        }
    }
    Ok(removed + run.write(shared)?)
}

/// Reads a segment; returns the frames of what is kept, and the number of records that are not.
fn select(
    shared: &Shared,
    segment: &Segment,
    epoch: Epoch,
    keep: impl Fn(Position, Kind, &Bytes) -> bool,
) -> io::Result<(Vec<u8>, u64)> {
    segment.learn(&shared.metrics)?;
    let (mut kept, mut gone) = (Vec::new(), 0);
    let mut scan = segment.scan(RECORDS, segment.header.after);
    loop {
        match scan.next()? {
            Found::Record { offset, head, body } => {
                // What this program does not know stays as it is.
                let wanted = entry(segment, offset, &head, body.clone(), shared)
                    .is_none_or(|entry| keep(entry.position, entry.kind, &entry.body));
                if wanted {
                    let (position, seconds, kind) = (head.position, head.seconds, head.kind);
                    Record { position, seconds, kind, nth: 0, body: &body }.encode(epoch, &mut kept);
                } else {
                    gone += 1;
                }
            }
            Found::Damaged(hole) => segment.report(&hole, &shared.metrics),
            Found::End { offset, last, torn } => {
                segment.finish(offset, last, &torn, &shared.metrics);
                return Ok((kept, gone));
            }
        }
    }
}

impl Run {
    fn new() -> Self {
        Self { inputs: Vec::new(), epoch: random_epoch(), kept: Vec::new(), content: 0, removed: 0 }
    }

    fn add(&mut self, segment: Arc<Segment>, mut kept: Vec<u8>, removed: u64) {
        self.content += segment.size();
        self.kept.append(&mut kept);
        self.removed += removed;
        self.inputs.push(segment);
    }

    fn is_worth_it(&self) -> bool {
        let after = RECORDS + self.kept.len() as u64;
        after <= self.content / 4 * 3 || (self.inputs.len() >= NEIGHBOURS && after <= self.content)
    }

    /// Puts one file into the place of the inputs.
    fn write(self, shared: &Shared) -> io::Result<u64> {
        let (Some(first), Some(last)) = (self.inputs.first(), self.inputs.last()) else { return Ok(0) };
        if !self.is_worth_it() {
            return Ok(0);
        }
        let header = SegmentHeader { epoch: self.epoch, upto: last.upto(), ..first.header };
        let file = shared.disk.create(OUTPUT)?;
        let written = file
            .write_at(&header.encode(), 0)
            .and_then(|()| file.write_at(&self.kept, RECORDS))
            .and_then(|()| file.sync());
        let output = Segment::found(first.name.clone(), header, file, RECORDS + self.kept.len() as u64);
        let replaced = written.and_then(|()| replace(shared, &self.inputs, output));
        if !matches!(replaced, Ok(true)) {
            let _ = shared.disk.remove(OUTPUT);
            return replaced.map(|_| 0);
        }
        shared.metrics.compacted.inc_by(self.removed);
        tracing::info!(segments = self.inputs.len(), records = self.removed, "the journal was compacted");
        // The first one's name is the output's now.
        shared.discard(self.inputs.into_iter().skip(1).collect());
        Ok(self.removed)
    }
}

/// Gives the output its name; `false` when an input has been consumed meanwhile.
fn replace(shared: &Shared, inputs: &[Arc<Segment>], output: Segment) -> io::Result<bool> {
    {
        let mut log = locked(&shared.log);
        if !log.holds(inputs) {
            return Ok(false);
        }
        // Under the lock, so that the name cannot be removed as consumed between these two steps.
        shared.disk.rename(OUTPUT, &output.name)?;
        log.replace(inputs, Arc::new(output));
        shared.count(&log);
    }
    // The inputs are removed only when their successor's name is safe.
    shared.disk.sync_names()?;
    Ok(true)
}
