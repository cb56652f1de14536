//! The wall clock: the only place where the time of day enters the gateway. Timers are monotonic and not its business.
//!
//! Boards without a battery start in 1970 and jump when they hear of the time. What is stamped with this clock
//! never runs backwards in one process, and starts no earlier than something that is known to be past.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No gateway of this version ran before 2026-01-01: a system clock that says otherwise is wrong.
const BUILT_AFTER_MS: u64 = 1_767_225_600_000;

/// A clock that never runs backwards; clones share it.
#[derive(Clone)]
pub struct Clock {
    parts: Arc<Parts>,
}

struct Parts {
    source: Box<dyn Fn() -> Reading + Send + Sync>,
    floor_ms: AtomicU64,
    last_ms: AtomicU64,
}

/// What the machine says.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The system's wall clock, Unix ms.
    pub wall_ms: u64,
    /// Time since the clock was made, by a clock that nobody sets.
    pub elapsed: Duration,
}

impl Clock {
    /// The system's clock, not before this version and not before `known_ms`.
    #[must_use]
    pub fn new(known_ms: u64) -> Self {
        let started = Instant::now();
        let source = move || Reading {
            wall_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, in_ms),
            elapsed: started.elapsed(),
        };
        Self::from_source(known_ms, source)
    }

    /// A clock over any source, for tests.
    pub fn from_source(known_ms: u64, source: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        let parts = Parts {
            source: Box::new(source),
            floor_ms: AtomicU64::new(known_ms.max(BUILT_AFTER_MS)),
            last_ms: AtomicU64::new(0),
        };
        Self { parts: Arc::new(parts) }
    }

    /// Unix milliseconds; never less than an earlier answer. While the system's clock is wrong, time passes from the
    /// floor on.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let reading = (self.parts.source)();
        let floor_ms = self.parts.floor_ms.load(Ordering::Relaxed);
        let at_least = floor_ms.saturating_add(in_ms(reading.elapsed));
        let now = if reading.wall_ms >= floor_ms { reading.wall_ms } else { at_least };
        self.parts.last_ms.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Learns a time that is past for certain: that of the newest entry of the journal.
    pub fn not_before(&self, known_ms: u64) {
        self.parts.floor_ms.fetch_max(known_ms, Ordering::Relaxed);
    }

    /// Whether the system's clock can be right.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        (self.parts.source)().wall_ms >= self.parts.floor_ms.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("floor_ms", &self.parts.floor_ms).finish_non_exhaustive()
    }
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that answers with `wall` in turn, one second apart.
    fn clock(known_ms: u64, wall: &'static [u64]) -> Clock {
        let turn = AtomicU64::new(0);
        Clock::from_source(known_ms, move || {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            Reading { wall_ms: wall[turn as usize], elapsed: Duration::from_secs(turn) }
        })
    }

    const FLOOR: u64 = BUILT_AFTER_MS;

    #[test]
    fn a_clock_that_is_set_back_stands_still() {
        let clock = clock(0, &[FLOOR + 9_000, FLOOR + 2_000, FLOOR + 9_001]);
        assert_eq!(clock.now_ms(), FLOOR + 9_000);
        assert_eq!(clock.now_ms(), FLOOR + 9_000);
        assert_eq!(clock.now_ms(), FLOOR + 9_001);
    }

    #[test]
    fn a_board_without_a_clock_starts_at_the_floor_and_time_passes() {
        let clock = clock(0, &[0, 1_000, FLOOR + 60_000]);
        assert_eq!(clock.now_ms(), FLOOR);
        assert_eq!(clock.now_ms(), FLOOR + 1_000);
        assert_eq!(clock.now_ms(), FLOOR + 60_000);
    }

    #[test]
    fn time_never_starts_before_the_last_journal_entry() {
        let clock = clock(0, &[FLOOR + 1, FLOOR + 1, FLOOR + 600_000]);
        clock.not_before(FLOOR + 500_000);
        clock.not_before(FLOOR + 400_000);
        assert_eq!(clock.now_ms(), FLOOR + 500_000);
        assert!(!clock.confirmed());
        assert!(clock.confirmed());
    }

    #[test]
    fn the_clock_of_this_machine_is_plausible() {
        let clock = Clock::new(0);
        assert!(clock.now_ms() <= clock.now_ms());
    }
}
