//! What firmware costs and where its bounds are hit.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Unready;

/// Counts of firmware; clones share them.
#[derive(Clone, Debug, Default)]
pub struct FirmwareMetrics {
    releases: Gauge,
    open: Gauge,
    closed: Counter,
    forgotten: Counter,
    refused: Family<Reason, Counter>,
    patches: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: &'static str,
}

impl FirmwareMetrics {
    /// Registers the counts.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("causeway_firmware_releases", "Releases that are known", new.releases.clone());
        registry.register("causeway_firmware_open", "Images and patches that are open", new.open.clone());
        let help = "Images and patches that were closed because others were needed";
        registry.register("causeway_firmware_closed", help, new.closed.clone());
        let help = "Releases that were forgotten because others were asked for";
        registry.register("causeway_firmware_forgotten", help, new.forgotten.clone());
        let help = "Times that a release was not to be had, by whether it is refused or only unavailable";
        registry.register("causeway_firmware_refused", help, new.refused.clone());
        let help = "Patches that were to be made, by what came of it";
        registry.register("causeway_firmware_patches", help, new.patches.clone());
        new
    }

    pub(super) fn patch(&self, outcome: &'static str) {
        self.patches.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn releases(&self, count: usize) {
        self.releases.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn closed(&self) {
        self.closed.inc();
    }

    pub(super) fn forgotten(&self, count: u64) {
        self.forgotten.inc_by(count);
    }

    pub(super) fn unready(&self, why: &Unready) {
        let reason = match why {
            Unready::Refused(_) => "refused",
            Unready::Unavailable(_) => "unavailable",
            Unready::Fetching | Unready::Unknown => return,
        };
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}
