//! A version that partitions are to run, and how it does in its trial.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::binding::State;
use super::super::guest::Guest;
use crate::config::TrialConfig;
use crate::plugins::Origin;
use crate::telemetry::Answers;

/// What the partitions of a binding are to run from now on.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Assigned {
    /// Grows with each; every partition says which it runs.
    pub(in crate::dispatch) number: u64,
    /// None while the binding is parked.
    pub(in crate::dispatch) version: Option<InUse>,
    /// The digest of the version, or of the one that is not called any more.
    pub(in crate::dispatch) digest: String,
    pub(in crate::dispatch) state: State,
    /// It is in the place of this version, whose dead letters are asked about again.
    pub(in crate::dispatch) gone: Option<Gone>,
    pub(in crate::dispatch) trial: Option<Trial>,
}

/// A version that is not run any more.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Gone {
    pub(in crate::dispatch) digest: String,
    /// Since when it ran, Unix ms.
    pub(in crate::dispatch) since_ms: u64,
}

/// A version that is run.
#[derive(Debug)]
pub(in crate::dispatch) struct InUse {
    guest: Mutex<Guest>,
    pub(in crate::dispatch) state_version: u32,
    pub(in crate::dispatch) origin: Origin,
}

impl InUse {
    pub(super) fn new(guest: Guest, origin: Origin) -> Self {
        Self { state_version: guest.state_version(), guest: Mutex::new(guest), origin }
    }

    /// The plugin for a partition's thread, with what answers its reads there.
    pub(in crate::dispatch) fn guest(&self, answers: impl FnOnce() -> Answers) -> Guest {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner).another(answers)
    }
}

/// The time in which a version has to show that it does not fail more than it may.
#[derive(Debug)]
pub(in crate::dispatch) struct Trial {
    until: Instant,
    config: TrialConfig,
    inputs: AtomicU64,
    failures: AtomicU64,
    over: AtomicBool,
}

impl Trial {
    /// The trial of a version that took over a while ago; none if it is over.
    pub(super) fn new(config: &TrialConfig, ago: Duration, now: Instant) -> Option<Self> {
        let left = config.period.checked_sub(ago).filter(|left| !left.is_zero())?;
        let (inputs, failures, over) = Default::default();
        Some(Self { until: now + left, config: config.clone(), inputs, failures, over })
    }

    /// Counts one input. All partitions count together.
    pub(in crate::dispatch) fn count(&self, failed: bool) {
        self.inputs.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(failed.into(), Ordering::Relaxed);
    }

    /// Ends it: there is no other version to run.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Why the version does not stand the trial, if it does not.
    pub(in crate::dispatch) fn failed(&self, now: Instant) -> Option<String> {
        let (inputs, failures) = (self.inputs.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed));
        let TrialConfig { inputs: least, failures: most, .. } = self.config;
        let over = now >= self.until || self.over.load(Ordering::Relaxed);
        let fails = !over && inputs >= least && failures * 100 > inputs * u64::from(most);
        fails
            .then(|| format!("{failures} of {inputs} messages failed since it took over, `trial.failures` is {most} %"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(now: Instant) -> Trial {
        let config = TrialConfig { period: Duration::from_secs(60), inputs: 10, failures: 10 };
        Trial::new(&config, Duration::from_secs(20), now).unwrap()
    }

    #[test]
    fn a_version_fails_its_trial_with_too_many_failures_among_enough_messages() {
        let now = Instant::now();
        let trial = trial(now);
        for number in 0..9 {
            trial.count(number < 2);
        }
        assert_eq!(trial.failed(now), None, "nine messages say nothing");
        trial.count(false);
        assert!(trial.failed(now).unwrap().contains("2 of 10 messages"));
        for _ in 0..10 {
            trial.count(false);
        }
        assert_eq!(trial.failed(now), None, "2 of 20 are as many as there may be");
    }

    #[test]
    fn a_trial_ends_also_over_a_restart() {
        let now = Instant::now();
        let trial = trial(now);
        for _ in 0..10 {
            trial.count(true);
        }
        assert!(trial.failed(now + Duration::from_secs(39)).is_some());
        assert_eq!(trial.failed(now + Duration::from_secs(40)), None);
        let config = TrialConfig::default();
        assert!(Trial::new(&config, config.period, now).is_none());
    }
}
