//! The images that are open: verified once, read by range from then on, and never more of them than the bound says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::metrics::FirmwareMetrics;
use super::{Image, Unready};

pub(super) struct Images {
    most: usize,
    slots: Mutex<Slots>,
    metrics: FirmwareMetrics,
}

#[derive(Default)]
struct Slots {
    by_digest: HashMap<String, Slot>,
    /// Grows with each use: what was used last has the highest.
    uses: u64,
}

enum Slot {
    Opening,
    Open {
        image: Arc<Image>,
        used: u64,
    },
    /// It was not to be opened; told once, and tried again by whoever asks then.
    Failed(Unready),
}

impl Images {
    pub(super) fn new(most: usize, metrics: FirmwareMetrics) -> Self {
        Self { most, slots: Mutex::default(), metrics }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an image; none if nobody has asked for it, or was told already why it is not there.
    pub(super) fn get(&self, digest: &str) -> Option<Result<Arc<Image>, Unready>> {
        let mut slots = self.slots();
        slots.uses += 1;
        let now = slots.uses;
        match slots.by_digest.get_mut(digest)? {
            Slot::Opening => return Some(Err(Unready::Fetching)),
            Slot::Open { image, used } => {
                *used = now;
                return Some(Ok(Arc::clone(image)));
            }
            Slot::Failed(_) => {}
        }
        match slots.by_digest.remove(digest) {
            Some(Slot::Failed(why)) => Some(Err(why)),
            _ => None,
        }
    }

    pub(super) fn is_open(&self, digest: &str) -> bool {
        matches!(self.slots().by_digest.get(digest), Some(Slot::Open { .. }))
    }

    /// Whether the caller is the one to have it opened.
    pub(super) fn opening(&self, digest: &str) -> bool {
        let mut slots = self.slots();
        let is_first = !slots.by_digest.contains_key(digest);
        if is_first {
            slots.by_digest.insert(digest.to_owned(), Slot::Opening);
        }
        is_first
    }

    /// What came of asking: without room nobody opens it, and the next one asks again.
    pub(super) fn asked(&self, digest: &str, queued: bool) {
        let mut slots = self.slots();
        if !queued && matches!(slots.by_digest.get(digest), Some(Slot::Opening)) {
            slots.by_digest.remove(digest);
        }
    }

    /// What came of opening it.
    pub(super) fn put(&self, digest: &str, opened: Result<Image, Unready>) {
        let mut slots = self.slots();
        slots.uses += 1;
        let slot = match opened {
            Ok(image) => Slot::Open { image: Arc::new(image), used: slots.uses },
            Err(why) => Slot::Failed(why),
        };
        slots.by_digest.insert(digest.to_owned(), slot);
        while slots.open() > self.most && slots.close_oldest() {
            self.metrics.closed();
        }
        // Nobody may ever ask about those again.
        if slots.by_digest.len() > self.most * 4 {
            slots.by_digest.retain(|_, slot| !matches!(slot, Slot::Failed(_)));
        }
        self.metrics.open(slots.open());
    }

    /// It must not be read any more.
    pub(super) fn close(&self, digest: &str) {
        let mut slots = self.slots();
        slots.by_digest.remove(digest);
        self.metrics.open(slots.open());
    }
}

impl Slots {
    fn open(&self) -> usize {
        self.by_digest.values().filter(|slot| matches!(slot, Slot::Open { .. })).count()
    }

    fn close_oldest(&mut self) -> bool {
        let used = |slot: &Slot| if let Slot::Open { used, .. } = slot { Some(*used) } else { None };
        let oldest = self.by_digest.iter().filter_map(|(digest, slot)| Some((used(slot)?, digest))).min();
        let Some((_, digest)) = oldest else { return false };
        let digest = digest.clone();
        self.by_digest.remove(&digest).is_some()
    }
}
