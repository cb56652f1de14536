//! When a plugin traps so often that it is no longer called: a small state machine that is told the time.

use std::fmt::Display;
use std::time::Instant;

use crate::config::TrapsConfig;

/// What a partition remembers about its plugin.
#[derive(Debug)]
pub(super) struct Health {
    /// Traps are too many when they are also at least half of what was asked: one device that sends what a plugin cannot
    /// bear must not stop the plugin for all others.
    bounds: TrapsConfig,
    window: Instant,
    answered: usize,
    trapped: usize,
    /// Inputs that were answered since the beginning.
    in_all: usize,
    last: String,
}

impl Health {
    pub(super) fn new(bounds: TrapsConfig, now: Instant) -> Self {
        Self { bounds, window: now, answered: 0, trapped: 0, in_all: 0, last: String::new() }
    }

    /// The plugin answered about `inputs` inputs.
    pub(super) fn answered(&mut self, now: Instant, inputs: usize) {
        self.roll(now);
        self.answered += inputs;
        self.in_all += inputs;
    }

    /// A call trapped; `false` when that was once too often.
    pub(super) fn trapped(&mut self, now: Instant, trap: &dyn Display) -> bool {
        self.roll(now);
        self.trapped += 1;
        self.last = trap.to_string();
        self.trapped < self.bounds.most || self.answered > self.trapped
    }

    /// Whether it has answered so much and trapped so little that it is a version to go back to.
    pub(super) const fn proven(&self) -> bool {
        self.in_all >= self.bounds.most && self.answered > self.trapped
    }

    /// What the last trap was.
    pub(super) fn last_trap(&self) -> String {
        self.last.clone()
    }

    fn roll(&mut self, now: Instant) {
        if now.duration_since(self.window) > self.bounds.window {
            (self.window, self.answered, self.trapped) = (now, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_host::{Limit, Trap};

    use super::*;

    fn trap() -> Trap {
        Trap { limit: Limit::None, reason: "unreachable".to_owned() }
    }

    #[test]
    fn a_plugin_that_only_traps_is_given_up() {
        let now = Instant::now();
        let mut health = Health::new(TrapsConfig { most: 7, ..TrapsConfig::default() }, now);
        let borne = (0..100).take_while(|_| health.trapped(now, &trap())).count();
        assert_eq!(borne, 6);
    }

    #[test]
    fn a_few_bad_messages_among_many_good_ones_do_not_stop_a_plugin() {
        let now = Instant::now();
        let mut health = Health::new(TrapsConfig::default(), now);
        for _ in 0..1000 {
            health.answered(now, 2);
            assert!(health.trapped(now, &trap()));
        }
    }

    #[test]
    fn traps_are_forgotten_after_a_while() {
        let mut now = Instant::now();
        let mut health = Health::new(TrapsConfig::default(), now);
        for _ in 0..100 {
            now += TrapsConfig::default().window / 10;
            assert!(health.trapped(now, &trap()));
        }
    }
}
