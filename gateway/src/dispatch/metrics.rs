//! What dispatch counts. Labels are names from the configuration and words of closed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::binding::State;
use super::canary::CanaryMetrics;

/// Seconds of one call: from a single message to the default deadline.
const CALL_BUCKETS: [f64; 8] = [0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.01, 0.1, 0.5];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfBinding {
    binding: String,
}

/// A reason from a closed set, of one binding.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Because {
    binding: String,
    reason: &'static str,
}

/// A state from a closed set, of one binding.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InState {
    binding: String,
    state: &'static str,
}

/// What came of a dead letter that was sent again.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Replayed {
    binding: String,
    outcome: &'static str,
}

/// The counters of all bindings; clones share them.
#[derive(Clone, Debug)]
pub struct DispatchMetrics {
    handled: Family<OfBinding, Counter>,
    call_seconds: Family<OfBinding, Histogram>,
    traps: Family<Because, Counter>,
    dead_letters: Family<Because, Counter>,
    rows: Family<OfBinding, Counter>,
    replayed: Family<Replayed, Counter>,
    dropped: Family<OfBinding, Counter>,
    log_dropped: Family<OfBinding, Counter>,
    log_cut: Family<OfBinding, Counter>,
    full: Family<Because, Counter>,
    parked: Family<OfBinding, Gauge>,
    states: Family<InState, Gauge>,
    pub(super) published: Counter,
    pub(super) canaries: CanaryMetrics,
}

/// The counters of one binding.
#[derive(Clone, Debug)]
pub(super) struct BindingMetrics {
    all: DispatchMetrics,
    binding: String,
    pub(super) handled: Counter,
    pub(super) call_seconds: Histogram,
    pub(super) rows: Counter,
    pub(super) dropped: Counter,
    pub(super) log_dropped: Counter,
    pub(super) log_cut: Counter,
    pub(super) parked: Gauge,
}

impl DispatchMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self {
            handled: Family::default(),
            call_seconds: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
            traps: Family::default(),
            dead_letters: Family::default(),
            rows: Family::default(),
            replayed: Family::default(),
            dropped: Family::default(),
            log_dropped: Family::default(),
            log_cut: Family::default(),
            full: Family::default(),
            parked: Family::default(),
            states: Family::default(),
            published: Counter::default(),
            canaries: CanaryMetrics::new(registry),
        };
        let mut register = Registering(registry);
        register.add("handled", "Messages that bindings have handled", new.handled.clone());
        register.0.register_with_unit(
            "causeway_dispatch_call",
            "Time of plugin calls",
            Unit::Seconds,
            new.call_seconds.clone(),
        );
        register.add("traps", "Plugin calls that were stopped, by the limit that they broke", new.traps.clone());
        register.add("dead_letters", "Messages that could not be handled, by reason", new.dead_letters.clone());
        register.add(
            "replayed",
            "Dead letters that were sent again: they took effect, or failed once more",
            new.replayed.clone(),
        );
        register.add("rows", "Rows that plugins gave for collections", new.rows.clone());
        register.add("dropped", "Messages that found no room in a binding's queue", new.dropped.clone());
        register.add("log_dropped", "Log lines of plugins beyond their budget", new.log_dropped.clone());
        register.add("log_cut", "Log lines of plugins that were cut", new.log_cut.clone());
        let help = "Calls and transactions that were full, by the bound: messages, bytes or rows";
        register.add("full", help, new.full.clone());
        register.add("parked", "Partitions that are not called any more", new.parked.clone());
        register.add("state", "1 for the state that a binding is in, else 0", new.states.clone());
        register.add("published", "Publications of plugins that left the outbox", new.published.clone());
        new
    }

    pub(super) fn of(&self, binding: &str) -> BindingMetrics {
        let label = OfBinding { binding: binding.to_owned() };
        BindingMetrics {
            all: self.clone(),
            binding: binding.to_owned(),
            handled: self.handled.get_or_create_owned(&label),
            call_seconds: self.call_seconds.get_or_create_owned(&label),
            rows: self.rows.get_or_create_owned(&label),
            dropped: self.dropped.get_or_create_owned(&label),
            log_dropped: self.log_dropped.get_or_create_owned(&label),
            log_cut: self.log_cut.get_or_create_owned(&label),
            parked: self.parked.get_or_create_owned(&label),
        }
    }
}

impl BindingMetrics {
    pub(super) fn trapped(&self, limit: &'static str) {
        self.all.traps.get_or_create(&self.because(limit)).inc();
    }

    /// A call or a transaction has as much as it may.
    pub(super) fn full(&self, bound: &'static str) {
        self.all.full.get_or_create(&self.because(bound)).inc();
    }

    pub(super) fn dead_letter(&self, reason: &'static str) {
        self.all.dead_letters.get_or_create(&self.because(reason)).inc();
    }

    /// Letters that were sent again took effect, or failed once more.
    pub(super) fn replayed(&self, done: usize, failed: usize) {
        for (outcome, count) in [("done", done), ("failed", failed)] {
            if count > 0 {
                let label = Replayed { binding: self.binding.clone(), outcome };
                self.all.replayed.get_or_create(&label).inc_by(count as u64);
            }
        }
    }

    /// The binding is in a state.
    pub(super) fn state(&self, current: &'static str) {
        for state in State::WORDS {
            let label = InState { binding: self.binding.clone(), state };
            self.all.states.get_or_create(&label).set((state == current).into());
        }
    }

    fn because(&self, reason: &'static str) -> Because {
        Because { binding: self.binding.clone(), reason }
    }
}

struct Registering<'r>(&'r mut Registry);

impl Registering<'_> {
    fn add(&mut self, name: &str, help: &str, metric: impl prometheus_client::registry::Metric) {
        self.0.register(format!("causeway_dispatch_{name}"), help, metric);
    }
}
