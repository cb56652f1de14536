//! Counts answers and reloads.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Decision, Problem, Reloaded};

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Default)]
pub(super) struct PolicyMetrics {
    decisions: Family<Outcome, Counter>,
    reloads: Family<Outcome, Counter>,
}

impl PolicyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let decisions = "Requests that policies have decided, kept answers not counted";
        registry.register("causeway_policy_decisions", decisions, self.decisions.clone());
        let reloads = "Reloads of the policies, by what became of them";
        registry.register("causeway_policy_reloads", reloads, self.reloads.clone());
    }

    pub(super) fn decided(&self, decision: &Decision) {
        let outcome = if decision.allowed { "allowed" } else { "denied" };
        self.decisions.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn reloaded(&self, reloaded: &Result<Reloaded, Vec<Problem>>) {
        let outcome = match reloaded {
            Ok(Reloaded::Unchanged) => "unchanged",
            Ok(Reloaded::Changed { .. }) => "changed",
            Err(_) => "refused",
        };
        self.reloads.get_or_create(&Outcome { outcome }).inc();
    }
}
