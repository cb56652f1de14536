//! What the registry counts. Label values are a closed set.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::AdmitError;

/// The registry's metrics; clones count into the same series.
#[derive(Clone, Debug)]
pub struct DevicesMetrics {
    known: Gauge,
    registered: Counter,
    refused: Family<Refused, Counter>,
}

#[derive(Clone, Debug, Eq, EncodeLabelSet, Hash, PartialEq)]
struct Refused {
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Reason(&'static str);

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

impl DevicesMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self { known: Gauge::default(), registered: Counter::default(), refused: Family::default() };
        registry.register("causeway_devices", "Devices that are known", metrics.known.clone());
        let help = "Devices that their first connection added";
        registry.register("causeway_devices_registered", help, metrics.registered.clone());
        let help = "Connections of identities that may not connect";
        registry.register("causeway_devices_refused", help, metrics.refused.clone());
        metrics
    }

    pub(super) fn known(&self, devices: usize) {
        self.known.set(i64::try_from(devices).unwrap_or(i64::MAX));
    }

    pub(super) fn registered(&self) {
        self.registered.inc();
    }

    pub(super) fn refused(&self, error: &AdmitError) {
        let reason = Reason(match error {
            AdmitError::Unknown(_) => "unknown",
            AdmitError::Disabled(_) => "disabled",
            AdmitError::Removed(_) => "removed",
            AdmitError::Grammar { .. } => "grammar",
            AdmitError::Taken(_) => "taken",
            AdmitError::Full(_) => "max_devices",
            AdmitError::Store(_) => "store",
        });
        self.refused.get_or_create(&Refused { reason }).inc();
    }
}
