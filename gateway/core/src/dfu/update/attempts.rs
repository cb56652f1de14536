//! How many attempts at which version a device has made, and what follows from its failures.

use super::Limits;

/// Versions whose attempts are remembered; of more, the one that was tried longest ago is forgotten.
const VERSIONS: usize = 8;

/// The attempts at one version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attempt {
    /// The version.
    pub version: String,
    /// How often the device was told to start it, or failed before that.
    pub made: u32,
    /// The next attempt is not before this time, Unix ms.
    pub until_ms: u64,
    /// Whether the device does not get it any more.
    pub quarantined: bool,
}

/// The attempts at all versions, the latest last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attempts(Vec<Attempt>);

impl Attempts {
    /// What was stored, the latest last.
    #[must_use]
    pub const fn new(stored: Vec<Attempt>) -> Self {
        Self(stored)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Attempt] {
        &self.0
    }

    /// The attempts at a version; a fresh one if there was none.
    #[must_use]
    pub fn of(&self, version: &str) -> Attempt {
        let found = self.0.iter().find(|attempt| attempt.version == version);
        found.cloned().unwrap_or_else(|| Attempt { version: version.to_owned(), ..Attempt::default() })
    }

    /// Whether any version may not be tried for the time being, or not at all.
    pub(super) fn blocked(&self) -> bool {
        self.0.iter().any(|attempt| attempt.quarantined || attempt.until_ms > 0)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// No attempt at a version was made; `false` if none was known of.
    pub(super) fn forget(&mut self, version: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|attempt| attempt.version != version);
        self.0.len() < before
    }

    /// One attempt more.
    pub(super) fn count(&mut self, version: &str) {
        self.change(version, |attempt| attempt.made = attempt.made.saturating_add(1));
    }

    /// The last attempt is none.
    pub(super) fn uncount(&mut self, version: &str) {
        for attempt in self.0.iter_mut().filter(|attempt| attempt.version == version) {
            attempt.made = attempt.made.saturating_sub(1);
        }
    }

    /// The version runs: nothing has to be waited for.
    pub(super) fn settle(&mut self, version: &str) {
        for attempt in self.0.iter_mut().filter(|attempt| attempt.version == version) {
            attempt.until_ms = 0;
            attempt.quarantined = false;
        }
    }

    /// The last attempt failed; whether it was the last that the device gets.
    pub(super) fn fail(&mut self, version: &str, limits: &Limits, now_ms: u64) -> bool {
        self.change(version, |attempt| {
            let doubled = 1_u64.checked_shl(attempt.made.saturating_sub(1)).unwrap_or(u64::MAX);
            let pause_ms = limits.back_off_ms.saturating_mul(doubled).min(limits.max_back_off_ms);
            attempt.until_ms = now_ms.saturating_add(pause_ms);
            attempt.quarantined = attempt.made >= limits.attempts;
            attempt.quarantined
        })
    }

    /// Changes the attempts at a version, which is the latest from now on.
    fn change<T>(&mut self, version: &str, change: impl FnOnce(&mut Attempt) -> T) -> T {
        let mut attempt = self.of(version);
        self.forget(version);
        if self.0.len() >= VERSIONS {
            self.0.remove(0);
        }
        let changed = change(&mut attempt);
        self.0.push(attempt);
        changed
    }
}
