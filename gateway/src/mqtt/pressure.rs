//! Which topics have receivers that cannot keep up: publishers to them are slowed a little, so that messages wait with
//! their publishers instead of being dropped here.
//!
//! Only a receiver that makes progress counts, and a pause is a millisecond or two: a receiver that does not read at
//! all slows nobody, and no receiver slows a publisher of other topics (but for the rare one that shares its slot).

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Slots that topics are spread over; a collision costs a publisher a pause that was meant for another.
const SLOTS: usize = 1024;

/// How long a topic counts as pressed after its last message found a crowded queue.
const HOLD: Duration = Duration::from_millis(2);

/// For each slot until when it is pressed, in microseconds since the start.
pub struct Pressure {
    start: Instant,
    hasher: RandomState,
    slots: Box<[AtomicU64]>,
}

impl Default for Pressure {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { start: Instant::now(), hasher: RandomState::new(), slots }
    }
}

impl Pressure {
    /// A message of this topic has found a crowded queue.
    pub fn raise(&self, topic: &str, now: Instant) {
        if let Some(slot) = self.slot(topic) {
            slot.store(self.micros(now + HOLD), Ordering::Relaxed);
        }
    }

    /// Whether the topic's publishers should pause.
    #[must_use]
    pub fn is_high(&self, topic: &str, now: Instant) -> bool {
        self.slot(topic).is_some_and(|slot| {
            let until = slot.load(Ordering::Relaxed);
            until != 0 && until > self.micros(now)
        })
    }

    fn slot(&self, topic: &str) -> Option<&AtomicU64> {
        let hash = usize::try_from(self.hasher.hash_one(topic) % SLOTS as u64).ok()?;
        self.slots.get(hash)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_for_one_topic_and_passes_by_itself() {
        let pressure = Pressure::default();
        let now = Instant::now();
        assert!(!pressure.is_high("a", now));
        pressure.raise("a", now);
        assert!(pressure.is_high("a", now + HOLD / 2));
        assert!(!pressure.is_high("a", now + HOLD));
        // One of these shares the slot at most by chance, and never all.
        assert!((0..100).any(|other| !pressure.is_high(&format!("b/{other}"), now)));
    }
}
