//! What recordings count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::format::Why;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Because {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

/// The counters of all recordings; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecordingMetrics {
    pub(super) inputs: Counter,
    pub(super) refused: Counter,
    ended: Family<Because, Counter>,
    trials: Family<Outcome, Counter>,
}

impl RecordingMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("causeway_recordings_inputs", "Inputs of ended recordings", new.inputs.clone());
        let help = "Recordings that did not begin because too many are kept";
        registry.register("causeway_recordings_refused", help, new.refused.clone());
        registry.register("causeway_recordings_ended", "Recordings that ended, by reason", new.ended.clone());
        let help = "Versions of plugins that were tried on a recording, by what came of it";
        registry.register("causeway_recordings_trials", help, new.trials.clone());
        new
    }

    pub(super) fn tried(&self, outcome: &'static str) {
        self.trials.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn ended(&self, why: Why) {
        self.ended.get_or_create(&Because { reason: why.as_str() }).inc();
    }
}
