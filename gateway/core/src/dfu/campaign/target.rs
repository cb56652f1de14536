//! One device of a campaign, and how many of them are how far.

use crate::dfu::Turn;

/// How far a device of a campaign is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// Its wave is not open, or it has not asked since.
    Queued,
    /// It has asked, and was found to be due.
    Offered,
    /// It is being sent the release, or starts it.
    InProgress,
    /// It runs the release.
    Succeeded,
    /// Its last attempt failed; there will be another one.
    Failed,
    /// It failed too often.
    Quarantined,
    /// It was in progress for too long.
    TimedOut,
    /// It does not get the release, for the reason beside it.
    Skipped,
    /// The campaign was aborted before it had the release.
    Cancelled,
}

impl Standing {
    /// All of them, in the order in which a device goes through them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Offered,
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::Quarantined,
        Self::TimedOut,
        Self::Skipped,
        Self::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Offered => "offered",
            Self::InProgress => "in-progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::TimedOut => "timed-out",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.word() == word)
    }

    /// Whether the campaign waits for the device no longer.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Quarantined | Self::TimedOut | Self::Skipped | Self::Cancelled)
    }

    /// Whether it may have the release although the campaign does not wait for it: a device that was quarantined may be
    /// forgiven, and one that took too long may come still.
    #[must_use]
    pub const fn may_come(self) -> bool {
        matches!(self, Self::Quarantined | Self::TimedOut)
    }
}

/// A device of a campaign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its wave, from 1; 0 if it was done or skipped from the beginning.
    pub wave: u32,
    /// How far it is.
    pub standing: Standing,
    /// Attempts at the release that failed, whoever assigned it then: the number of the last one that did.
    pub failures: u32,
    /// The number of the last attempt; 0 before the first.
    pub attempt: u32,
    /// Why it failed or was skipped, for the operator.
    pub reason: Option<String>,
    /// When it came to stand so, Unix ms.
    pub at_ms: u64,
}

/// What happens to a device of a campaign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// How far it is then.
    pub to: Standing,
    /// The number of the attempt that failed, if one did.
    pub failed: Option<u32>,
    /// The number of the attempt that begins or failed, if it is known.
    pub attempt: Option<u32>,
    /// Why, for the operator.
    pub reason: Option<String>,
    /// When, Unix ms.
    pub at_ms: u64,
}

impl Target {
    /// A device that waits for its wave.
    #[must_use]
    pub const fn queued(wave: u32, at_ms: u64) -> Self {
        Self { wave, standing: Standing::Queued, failures: 0, attempt: 0, reason: None, at_ms }
    }

    /// Applies a change; false if it comes too late to matter. The same changes once more, in their order, change nothing.
    pub(super) fn apply(&mut self, change: &Change) -> bool {
        // A failed device that is then unfit, for it came up with something else, failed for good: whichever of both is
        // told first, the error threshold counts it.
        let unfit = change.to == Standing::Skipped && self.failures > 0;
        let failed = change.failed.is_some() && self.standing == Standing::Skipped;
        let to = if unfit || failed { Standing::Quarantined } else { change.to };
        if !self.admits(to) {
            return false;
        }
        if self.standing != to {
            self.standing = to;
            self.at_ms = change.at_ms;
        }
        self.attempt = change.attempt.unwrap_or(self.attempt);
        if let Some(attempt) = change.failed {
            // Not one more: an attempt of which is told twice has failed once.
            self.failures = self.failures.max(attempt.max(1));
        }
        if change.reason.is_some() || change.to == Standing::Succeeded {
            self.reason.clone_from(&change.reason);
        }
        true
    }

    /// Whether the campaign's error threshold counts it.
    #[must_use]
    pub const fn is_erring(&self) -> bool {
        erring(self.standing, self.failures > 0)
    }

    /// What is final stays so, but for a device that was forgiven, or that runs the release after all.
    const fn admits(&self, to: Standing) -> bool {
        match self.standing {
            Standing::Succeeded => false,
            Standing::Skipped => matches!(to, Standing::Quarantined | Standing::Succeeded),
            Standing::Cancelled => matches!(to, Standing::Succeeded),
            Standing::TimedOut => matches!(to, Standing::Quarantined | Standing::Succeeded),
            Standing::Quarantined => {
                matches!(to, Standing::Offered | Standing::InProgress | Standing::Failed | Standing::Succeeded)
            }
            Standing::InProgress => true,
            // One that has got somewhere meanwhile does not take too long.
            Standing::Queued | Standing::Offered | Standing::Failed => !matches!(to, Standing::TimedOut),
        }
    }
}

impl Change {
    /// What a turning point of its update means to a device's campaign.
    #[must_use]
    pub fn of_turn(turn: &Turn, at_ms: u64) -> Self {
        let to = |to| Self { to, failed: None, attempt: None, reason: None, at_ms };
        match turn {
            Turn::Assigned => to(Standing::Offered),
            Turn::Started => to(Standing::InProgress),
            Turn::SwapSent(attempt) => Self { attempt: Some(*attempt), ..to(Standing::InProgress) },
            Turn::Confirmed => to(Standing::Succeeded),
            Turn::Failed { attempt, reason } => {
                // Nobody counted attempt 0.
                let counted = Some(*attempt).filter(|attempt| *attempt > 0);
                let reason = Some(reason.clone());
                Self { failed: Some(*attempt), attempt: counted, reason, ..to(Standing::Failed) }
            }
            Turn::Quarantined => to(Standing::Quarantined),
        }
    }

    /// The device does not get the release.
    #[must_use]
    pub const fn skipped(reason: String, at_ms: u64) -> Self {
        Self { to: Standing::Skipped, failed: None, attempt: None, reason: Some(reason), at_ms }
    }

    /// The device has been in progress for so many minutes.
    #[must_use]
    pub fn timed_out(minutes: u32, at_ms: u64) -> Self {
        let reason = Some(format!("it has been in progress for {minutes} minutes"));
        Self { to: Standing::TimedOut, failed: None, attempt: None, reason, at_ms }
    }

    /// The device was found to run the release.
    #[must_use]
    pub const fn found(at_ms: u64) -> Self {
        Self { to: Standing::Succeeded, failed: None, attempt: None, reason: None, at_ms }
    }
}

const fn erring(standing: Standing, failed: bool) -> bool {
    match standing {
        Standing::Quarantined | Standing::TimedOut => true,
        Standing::Queued | Standing::Offered | Standing::InProgress | Standing::Failed => failed,
        Standing::Succeeded | Standing::Skipped | Standing::Cancelled => false,
    }
}

/// How many devices are how far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    counts: [u64; Standing::ALL.len()],
    erring: u64,
}

impl Tally {
    /// So many devices that stand so, with a failed attempt or without.
    pub fn add(&mut self, standing: Standing, failed: bool, devices: u64) {
        if let Some(count) = self.counts.get_mut(standing as usize) {
            *count += devices;
        }
        self.erring += if erring(standing, failed) { devices } else { 0 };
    }

    /// One device more.
    pub fn put(&mut self, target: &Target) {
        self.add(target.standing, target.failures > 0, 1);
    }

    /// One device less, as it was put in.
    pub fn take(&mut self, target: &Target) {
        if let Some(count) = self.counts.get_mut(target.standing as usize) {
            *count = count.saturating_sub(1);
        }
        self.erring = self.erring.saturating_sub(u64::from(target.is_erring()));
    }

    /// Both together.
    pub fn join(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.erring += other.erring;
    }

    /// Devices that stand so.
    #[must_use]
    pub fn count(&self, standing: Standing) -> u64 {
        self.counts.get(standing as usize).copied().unwrap_or(0)
    }

    /// All devices.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Devices that the thresholds are about: all but those that were skipped or cancelled.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.devices() - self.count(Standing::Skipped) - self.count(Standing::Cancelled)
    }

    /// Devices that failed and have not succeeded since.
    #[must_use]
    pub const fn erring(&self) -> u64 {
        self.erring
    }

    /// Devices that the campaign waits for.
    #[must_use]
    pub fn open(&self) -> u64 {
        Standing::ALL.into_iter().filter(|standing| !standing.is_final()).map(|standing| self.count(standing)).sum()
    }
}

#[cfg(test)]
mod tests;
