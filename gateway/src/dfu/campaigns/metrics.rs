//! What campaigns count. Label values are closed sets.

use causeway_core::dfu::campaign::{Standing, State};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::table::Table;

/// The campaigns' metrics; clones count into the same series.
#[derive(Clone, Debug)]
pub struct CampaignsMetrics {
    campaigns: Family<Labels, Gauge>,
    devices: Family<Labels, Gauge>,
    refused: Counter,
    dropped: Counter,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Labels {
    state: Word,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl CampaignsMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            campaigns: Family::default(),
            devices: Family::default(),
            refused: Counter::default(),
            dropped: Counter::default(),
        };
        registry.register("causeway_campaigns", "Campaigns by their state", metrics.campaigns.clone());
        let help = "Devices of campaigns that are not over, by how far they are";
        registry.register("causeway_campaigns_devices", help, metrics.devices.clone());
        let help = "Campaigns that were not made because there are too many, or too many devices in them";
        registry.register("causeway_campaigns_refused", help, metrics.refused.clone());
        let help = "Devices found done or unfit that are looked at again later, because too many were found at once";
        registry.register("causeway_campaigns_notices_dropped", help, metrics.dropped.clone());
        metrics
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    /// Shows what the table holds.
    pub(super) fn show(&self, table: &Table) {
        for state in State::ALL {
            let count = table.iter().filter(|rollout| rollout.campaign.progress.state == state).count();
            self.campaigns.get_or_create(&Labels { state: Word(state.word()) }).set(gauge(count as u64));
        }
        let open = || table.iter().filter(|rollout| !rollout.campaign.progress.state.is_over());
        for standing in Standing::ALL {
            let tallies = open().filter_map(|rollout| rollout.tallies.as_deref()).flatten();
            let count = tallies.map(|tally| tally.count(standing)).sum();
            self.devices.get_or_create(&Labels { state: Word(standing.word()) }).set(gauge(count));
        }
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
