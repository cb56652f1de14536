//! What the admin servers count.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The counters of the admin servers.
#[derive(Debug, Clone)]
pub struct AdminMetrics {
    requests: Family<Labels, Counter>,
    /// Connections that had to wait for another to end.
    pub(super) waits: Counter,
    /// Requests that took too long.
    pub(super) timeouts: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    Done,
    Denied,
    Unauthenticated,
    Limited,
    Invalid,
    Failed,
}

impl AdminMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let (requests, waits, timeouts) = (Family::default(), Counter::default(), Counter::default());
        registry.register("causeway_admin_requests", "Admin requests by how they ended", Family::clone(&requests));
        let help = "Admin connections that waited for another to end";
        registry.register("causeway_admin_connection_waits", help, Counter::clone(&waits));
        let help = "Admin requests that took too long";
        registry.register("causeway_admin_request_timeouts", help, Counter::clone(&timeouts));
        Self { requests, waits, timeouts }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.requests.get_or_create(&Labels { outcome }).inc();
    }
}
