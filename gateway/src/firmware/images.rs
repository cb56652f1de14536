//! The images that are open: verified once, read by range from then on, and never more of them than the bound says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::FirmwareMetrics;
use super::{Image, Unready};

pub(super) struct Images {
    most: usize,
    retry: Duration,
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
    /// It was not to be opened; whoever asks from then on has it tried again.
    Failed {
        why: Unready,
        again: Instant,
    },
}

impl Images {
    pub(super) fn new(most: usize, retry: Duration, metrics: FirmwareMetrics) -> Self {
        Self { most, retry, slots: Mutex::default(), metrics }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an image; none if nobody has asked for it, or it is time to try it again.
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
            Slot::Failed { why, again } if Instant::now() < *again => return Some(Err(why.clone())),
            Slot::Failed { .. } => {}
        }
        slots.by_digest.remove(digest);
        None
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
            Ok(image) => Some(Slot::Open { image: Arc::new(image), used: slots.uses }),
            // Whoever asks again finds another one in its place.
            Err(Unready::Fetching) => None,
            Err(why) => Some(Slot::Failed { why, again: Instant::now() + self.retry }),
        };
        match slot {
            Some(slot) => slots.by_digest.insert(digest.to_owned(), slot),
            None => slots.by_digest.remove(digest),
        };
        while slots.open() > self.most && slots.close_oldest() {
            self.metrics.closed();
        }
        // Nobody may ever ask about those again.
        if slots.by_digest.len() > self.most * 4 {
            slots.forget_failed();
        }
        self.metrics.open(slots.open());
    }

    /// What was not to be opened is tried again by whoever asks.
    pub(super) fn forget_failed(&self) {
        self.slots().forget_failed();
    }

    /// It must not be read any more.
    pub(super) fn close(&self, digest: &str) {
        let mut slots = self.slots();
        slots.by_digest.remove(digest);
        self.metrics.open(slots.open());
    }
}

impl Slots {
    fn forget_failed(&mut self) {
        self.by_digest.retain(|_, slot| !matches!(slot, Slot::Failed { .. }));
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_failed_says_why_and_is_not_tried_again_before_it_is_time() {
        let images = |retry| Images::new(1, retry, FirmwareMetrics::default());
        let why = || Unready::Unavailable("nobody answers".to_owned());
        let patient = images(Duration::from_secs(600));
        assert!(patient.opening("a"));
        patient.put("a", Err(why()));
        for _ in 0..3 {
            assert_eq!(patient.get("a").unwrap().unwrap_err(), why());
        }
        patient.forget_failed();
        assert!(patient.get("a").is_none() && patient.opening("a"), "it is tried again");
        let hasty = images(Duration::ZERO);
        assert!(hasty.opening("a"));
        hasty.put("a", Err(why()));
        assert!(hasty.get("a").is_none() && hasty.opening("a"), "it is tried again");
    }

    #[test]
    fn an_image_that_found_no_room_is_asked_for_by_the_next_one() {
        let images = Images::new(1, Duration::from_secs(600), FirmwareMetrics::default());
        assert!(images.opening("a") && !images.opening("a"), "one of them has it opened");
        assert_eq!(images.get("a").unwrap().unwrap_err(), Unready::Fetching);
        images.asked("a", true);
        assert!(!images.opening("a"));
        images.asked("a", false);
        assert!(images.get("a").is_none() && images.opening("a"));
    }
}
