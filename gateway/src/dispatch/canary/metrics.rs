//! What canaries count. Labels are names from the configuration and words of closed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::CanaryState;
use super::tally::Verdict;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Came {
    binding: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InState {
    binding: String,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfBinding {
    binding: String,
}

/// The counters of all canaries; clones share them.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct CanaryMetrics {
    inputs: Family<Came, Counter>,
    states: Family<InState, Gauge>,
    state_bytes: Family<OfBinding, Gauge>,
}

/// The counters of one canary.
#[derive(Clone, Debug)]
pub(super) struct ShadowMetrics {
    equal: Counter,
    different: Counter,
    not_comparable: Counter,
    trapped: Counter,
    dropped: Counter,
    state_bytes: Gauge,
}

impl CanaryMetrics {
    /// Registers the counters.
    pub(in super::super) fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        let help = "Messages that canaries were to see, by what came of them";
        registry.register("causeway_canary_inputs", help, new.inputs.clone());
        let help = "1 for the state that the canary of a binding is in, else 0";
        registry.register("causeway_canary_state", help, new.states.clone());
        let help = "Bytes that a canary remembers otherwise than its binding";
        registry.register("causeway_canary_own_state_bytes", help, new.state_bytes.clone());
        new
    }

    /// The canary of a binding is in a state; none if there is none any more.
    pub(super) fn state(&self, binding: &str, current: Option<&CanaryState>) {
        for state in CanaryState::WORDS {
            let label = InState { binding: binding.to_owned(), state };
            self.states.get_or_create(&label).set(current.is_some_and(|current| current.word() == state).into());
        }
    }

    pub(super) fn of(&self, binding: &str) -> ShadowMetrics {
        let binding = binding.to_owned();
        let came = |outcome| self.inputs.get_or_create_owned(&Came { binding: binding.clone(), outcome });
        ShadowMetrics {
            equal: came("equal"),
            different: came("different"),
            not_comparable: came("not-comparable"),
            trapped: came("trapped"),
            dropped: came("dropped"),
            state_bytes: self.state_bytes.get_or_create_owned(&OfBinding { binding: binding.clone() }),
        }
    }
}

impl ShadowMetrics {
    pub(super) fn came(&self, verdict: Verdict) {
        match verdict {
            Verdict::Equal => self.equal.inc(),
            Verdict::Different => self.different.inc(),
            Verdict::NotComparable => self.not_comparable.inc(),
            Verdict::Trapped => self.trapped.inc(),
        };
    }

    pub(super) fn dropped(&self, count: u64) {
        self.dropped.inc_by(count);
    }

    pub(super) fn state_bytes(&self, bytes: usize) {
        self.state_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
