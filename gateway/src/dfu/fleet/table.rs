//! What is known of all devices, in memory: a bounded table in parts, each under a lock that is held for one device.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_core::dfu::pace::Pace;
use causeway_core::dfu::update::Standing;

use crate::dfu::ledger::Record;
use crate::dfu::metrics::DfuMetrics;
use crate::dfu::progress::Published;

/// Parts of the table: threads that speak with different devices seldom meet.
const PARTS: usize = 64;

/// One device.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) pace: Pace,
    /// The size of the patch that it gets, if it gets one.
    pub(super) patch_size: Option<u64>,
    pub(super) published: Published,
    /// What was wrong with its last status, and when, Unix ms.
    pub(super) problem: Option<(String, u64)>,
    /// Something is not written yet that may be lost.
    pub(super) touched: bool,
    /// Counts turning points.
    pub(super) turned: u64,
    /// The last turning point that does not wait any more: it is on the disk, or was given up.
    pub(super) settled: u64,
    /// The turning point of the last order to start a release.
    pub(super) ordered: u64,
}

impl Entry {
    pub(super) fn new(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// How it stands, to be written as a turning point.
    pub(super) fn record(&mut self) -> Record {
        self.turned += 1;
        Record { number: self.turned, standing: self.standing.clone(), ended: Vec::new(), also: Vec::new() }
    }

    /// The bytes of what it gets: those of the patch, or of the image.
    pub(super) fn size(&self) -> u64 {
        let target = self.standing.target.as_deref();
        let patch = target.and_then(|target| target.tally.patch.as_ref()).and(self.patch_size);
        patch.or_else(|| target.map(|target| target.size)).unwrap_or_default()
    }
}

pub(super) struct Table {
    parts: Vec<Mutex<HashMap<Arc<str>, Entry>>>,
    hash: RandomState,
    known: AtomicUsize,
    max_devices: usize,
    metrics: DfuMetrics,
}

impl Table {
    pub(super) fn new(stored: Vec<(String, Standing)>, max_devices: usize, metrics: DfuMetrics) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        let table = Self { parts, hash: RandomState::new(), known: AtomicUsize::new(0), max_devices, metrics };
        for (device, standing) in stored {
            table.metrics.moved(None, Some(standing.state));
            table.part(&device).insert(device.as_str().into(), Entry::new(standing));
            table.known.fetch_add(1, Ordering::Relaxed);
        }
        table
    }

    /// A number at random, which nobody has to be unable to guess.
    pub(super) fn random(&self, of: impl std::hash::Hash) -> u64 {
        self.hash.hash_one(of)
    }

    pub(super) fn len(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.len() < self.max_devices
    }

    /// Looks at a device, if it is known.
    pub(super) fn look<T>(&self, device: &str, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.part(device).get(device).map(look)
    }

    /// Changes a device, which is known from then on; none if there is no room for it.
    pub(super) fn change<T>(&self, device: &str, change: impl FnOnce(&Arc<str>, &mut Entry) -> T) -> Option<T> {
        let mut part = self.part(device);
        if !part.contains_key(device) {
            if !self.has_room() {
                self.metrics.full.inc();
                return None;
            }
            self.known.fetch_add(1, Ordering::Relaxed);
            self.metrics.moved(None, Some(Standing::default().state));
            part.insert(device.into(), Entry::default());
        }
        let id = part.get_key_value(device).map(|(id, _)| id.clone())?;
        let entry = part.get_mut(device)?;
        let before = entry.standing.state;
        let changed = change(&id, entry);
        self.metrics.moved(Some(before), Some(entry.standing.state));
        Some(changed)
    }

    /// Changes a device if it is known.
    pub(super) fn change_known<T>(&self, device: &str, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut part = self.part(device);
        let entry = part.get_mut(device)?;
        let before = entry.standing.state;
        let changed = change(entry);
        self.metrics.moved(Some(before), Some(entry.standing.state));
        Some(changed)
    }

    /// Shows each device of one part after the other; `each` is held up by nothing and holds a lock.
    pub(super) fn each(&self, mut each: impl FnMut(&Arc<str>, &mut Entry)) {
        for part in &self.parts {
            for (device, entry) in lock(part).iter_mut() {
                each(device, entry);
            }
        }
    }

    /// Forgets the devices that are not to be kept.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        for part in &self.parts {
            lock(part).retain(|device, entry| {
                let kept = keep(device);
                if !kept {
                    self.known.fetch_sub(1, Ordering::Relaxed);
                    self.metrics.moved(Some(entry.standing.state), None);
                }
                kept
            });
        }
    }

    fn part(&self, device: &str) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        let number = self.hash.hash_one(device) % PARTS as u64;
        #[expect(clippy::indexing_slicing, reason = "there are as many parts as the remainder has values")]
        lock(&self.parts[number as usize])
    }
}

/// A panic cannot leave an entry half changed that its device would not set right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
