//! How long devices of one campaign have been in progress, of the time in which they could go on.
//!
//! It is counted from one look at the campaigns to the next one, by a clock that nobody sets, and kept nowhere: time in
//! which the gateway is off does not count, and each attempt begins anew with a start. What takes too long is decided by
//! `causeway_core::dfu::campaign`.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use causeway_core::dfu::campaign::{Standing, Target};

use super::{Campaigns, MAX_NOTICES};

/// What passes from one look to the next one counts for so long at most: what a gateway that stood still could not hear is
/// no fault of the devices.
pub(super) const MAX_STEP: Duration = Duration::from_secs(5);

/// The waits of one campaign.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// How long devices could go on, since the campaign was read or made.
    passed: Duration,
    /// How long that was when a device came to be in progress.
    since: HashMap<String, Duration>,
}

impl Waits {
    pub(super) fn new(targets: &HashMap<String, Target>) -> Self {
        let waiting = targets.iter().filter(|(_, target)| target.standing == Standing::InProgress);
        Self { passed: Duration::ZERO, since: waiting.map(|(device, _)| (device.clone(), Duration::ZERO)).collect() }
    }

    /// Devices could go on for so long since the last look.
    pub(super) fn pass(&mut self, elapsed: Duration) {
        self.passed = self.passed.saturating_add(elapsed.min(MAX_STEP));
    }

    /// A device stood so, and stands so now.
    pub(super) fn see(&mut self, device: &str, before: &Target, now: &Target) {
        if now.standing != Standing::InProgress {
            self.since.remove(device);
            return;
        }
        // It may have failed and begun again between two looks, even while the clock stood still.
        let same = |target: &Target| (target.standing, target.at_ms, target.failures);
        if same(before) != same(now) {
            self.since.insert(device.to_owned(), self.passed);
        }
    }

    /// Devices that are in progress, with how long each has been.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, Duration)> {
        self.since.iter().map(|(device, since)| (device, self.passed.saturating_sub(*since)))
    }
}

impl Campaigns {
    /// So much time has passed since the last look: finds devices that take too long.
    pub(super) fn pass(&self, elapsed: Duration, now_ms: u64) {
        self.parts.table.write().unwrap_or_else(PoisonError::into_inner).pass(elapsed, now_ms);
        let overdue = self.parts.table().overdue(now_ms, MAX_NOTICES);
        overdue.into_iter().for_each(|row| self.notice(row));
    }
}
