//! The keeper thread: everything that takes long and must not delay an acknowledgement.
//!
//! It prepares the next segment (writing over blocks that have been written before costs one write per sync instead of
//! two), reuses or removes consumed ones, enforces the budgets of cursors, and compacts when the journal gets full.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::disk::{Disk, SegmentFile};
use super::recover::random_epoch;
use super::segment::Segment;
use super::shared::{Shared, Stall};
use super::{compact, locked};

/// How often budgets are looked at when nothing else wakes the keeper.
const TICK: Duration = Duration::from_millis(250);

/// How long the keeper waits before it tries again to prepare a segment.
const RETRY: Duration = Duration::from_secs(5);

/// Zeroes written at once.
const CHUNK: usize = 1 << 20;

const SPARE: &str = "spare-";
const TEMPORARY: &str = ".tmp";

/// A segment that has no header yet.
pub(super) const NEW: &str = "new.tmp";

/// A file of a segment's size that is ready to be written over.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) size: u64,
}

/// What waits for the keeper, and what it has ready for the writer.
#[derive(Default)]
pub(super) struct Chores {
    pub(super) spares: Vec<Spare>,
    /// Segments that are not part of the log any more.
    pub(super) discarded: Vec<Arc<Segment>>,
    pub(super) awake: bool,
    pub(super) stopping: bool,
}

/// Takes over the spares that an earlier process left, and removes its unfinished files.
pub(super) fn adopt(disk: &dyn Disk, names: &[String], segment_bytes: u64) -> Vec<Spare> {
    let mut spares = Vec::new();
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
        let file = if name.starts_with(SPARE) && spares.is_empty() { disk.open(name).ok() } else { None };
        match file.filter(|file| file.len().is_ok_and(|len| len == segment_bytes)) {
            Some(file) => spares.push(Spare { name: name.clone(), file, size: segment_bytes }),
            None => remove(disk, name),
        }
    }
    spares
}

/// Tells the keeper that there may be something to do.
pub(super) fn wake(shared: &Shared) {
    locked(&shared.chores).awake = true;
    shared.chore.notify_one();
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Tells this process's spares from the one that it found: that one becomes a segment under its old name, and a
    /// new file of the same name would be the same file.
    process: u64,
    spares_made: u64,
    not_before: Instant,
    /// What was used when the journal was last compacted.
    compacted_at: u64,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, process: random_epoch().0, spares_made: 0, not_before: Instant::now(), compacted_at: 0 }
    }

    /// Works until the journal is shut down.
    pub(super) fn run(mut self) {
        while let Some(discarded) = self.wait() {
            for segment in discarded {
                self.reuse_or_remove(segment);
            }
            if self.wants_spare() {
                self.prepare();
            }
            self.shared.enforce_budgets();
            self.compact();
        }
    }

    fn wait(&self) -> Option<Vec<Arc<Segment>>> {
        let idle = |chores: &mut Chores| !chores.awake && chores.discarded.is_empty() && !chores.stopping;
        let waited = self.shared.chore.wait_timeout_while(locked(&self.shared.chores), TICK, idle);
        let (mut chores, _) = waited.unwrap_or_else(PoisonError::into_inner);
        chores.awake = false;
        (!chores.stopping).then(|| std::mem::take(&mut chores.discarded))
    }

    fn spare_name(&mut self) -> String {
        self.spares_made += 1;
        format!("{SPARE}{:016x}-{}{TEMPORARY}", self.process, self.spares_made)
    }

    fn reuse_or_remove(&mut self, segment: Arc<Segment>) {
        let whole = segment.size() == self.shared.limits.segment_bytes;
        let needed = locked(&self.shared.chores).spares.is_empty();
        // A reader that still has the file in hand must not see it being written over.
        match Arc::try_unwrap(segment) {
            Ok(segment) if whole && needed => {
                let name = self.spare_name();
                match self.shared.disk.rename(&segment.name, &name) {
                    Ok(()) => {
                        let spare = Spare { name, size: segment.size(), file: segment.file };
                        locked(&self.shared.chores).spares.push(spare);
                    }
                    Err(error) => tracing::warn!(segment = %segment.name, %error, "a journal segment was not reused"),
                }
            }
            Ok(segment) => remove(&*self.shared.disk, &segment.name),
            Err(segment) => remove(&*self.shared.disk, &segment.name),
        }
        self.not_before = Instant::now();
    }

    fn wants_spare(&self) -> bool {
        let segment = self.shared.limits.segment_bytes;
        let ready = locked(&self.shared.chores).spares.len();
        // On a full disk the last bytes are the writer's.
        ready == 0
            && self.shared.stall() == Stall::None
            && Instant::now() >= self.not_before
            && locked(&self.shared.log).footprint() + segment <= self.shared.limits.max_bytes
    }

    fn prepare(&mut self) {
        let name = self.spare_name();
        match self.zero_filled(&name) {
            Ok(Some(file)) => {
                let spare = Spare { name, file, size: self.shared.limits.segment_bytes };
                locked(&self.shared.chores).spares.push(spare);
            }
            Ok(None) => remove(&*self.shared.disk, &name),
            Err(error) => {
                tracing::warn!(%error, "no journal segment could be prepared; the next one grows as it is written");
                remove(&*self.shared.disk, &name);
                self.not_before = Instant::now() + RETRY;
            }
        }
    }

    /// Makes a file of zeroes; `None` when the journal shuts down meanwhile.
    fn zero_filled(&self, name: &str) -> io::Result<Option<Arc<dyn SegmentFile>>> {
        let file = self.shared.disk.create(name)?;
        let size = self.shared.limits.segment_bytes;
        let zeroes = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut at = 0;
        while at < size {
            if locked(&self.shared.chores).stopping {
                return Ok(None);
            }
            let len = usize::try_from(size - at).unwrap_or(CHUNK).min(zeroes.len());
            file.write_at(zeroes.get(..len).unwrap_or_default(), at)?;
            at += len as u64;
        }
        file.sync()?;
        Ok(Some(file))
    }

    /// Removes what no cursor wants once the journal is half full, and then each time it has grown noticeably.
    fn compact(&mut self) {
        let (used, max) = (self.shared.used(), self.shared.limits.max_bytes);
        if used < max / 2 || (used >= self.compacted_at && used < self.compacted_at + max / 16) {
            return;
        }
        let places: Vec<_> = locked(&self.shared.log).cursors().cloned().collect();
        if places.iter().any(|place| place.states_wants()) {
            let keep =
                |position, kind, body: &bytes::Bytes| places.iter().any(|place| place.wants(position, kind, body));
            if let Err(error) = compact::compact(&self.shared, keep) {
                tracing::warn!(%error, "the journal could not be compacted");
            }
        }
        self.compacted_at = self.shared.used();
    }
}

fn remove(disk: &dyn Disk, name: &str) {
    if let Err(error) = disk.remove(name)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(file = name, %error, "a journal file could not be removed");
    }
}
