//! What is counted of updates. Label values are closed sets: never a device, a version or a release.

use causeway_core::dfu::update::State;
use causeway_core::dfu::{Step, Turn};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct InState {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfStep {
    step: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfTurn {
    turn: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Because {
    reason: &'static str,
}

/// The counters of all updates; clones share them.
#[derive(Clone, Debug)]
pub struct DfuMetrics {
    devices: Family<InState, Gauge>,
    commands: Family<OfStep, Counter>,
    turns: Family<OfTurn, Counter>,
    unsent: Family<Because, Counter>,
    pub(super) strangers: Counter,
    pub(super) stalled: Gauge,
    pub(super) blocks: Counter,
    pub(super) bytes: Counter,
    pub(super) refused: Counter,
    pub(super) full: Counter,
    pub(super) waiting: Gauge,
    pub(super) transactions: Counter,
    pub(super) lost: Counter,
    pub(super) published: Counter,
}

impl DfuMetrics {
    /// Registers the counters.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self {
            devices: Family::default(),
            commands: Family::default(),
            turns: Family::default(),
            unsent: Family::default(),
            strangers: Counter::default(),
            stalled: Gauge::default(),
            blocks: Counter::default(),
            bytes: Counter::default(),
            refused: Counter::default(),
            full: Counter::default(),
            waiting: Gauge::default(),
            transactions: Counter::default(),
            lost: Counter::default(),
            published: Counter::default(),
        };
        let mut register = Registering(registry);
        register.add("devices", "Devices by where their updates are", new.devices.clone());
        register.add("commands", "Commands to devices, by what they were told", new.commands.clone());
        register.add("turns", "Turning points of updates", new.turns.clone());
        let help = "Commands that were not sent: not written, too many waiting, one waiting already, or out of date";
        register.add("unsent", help, new.unsent.clone());
        let help = "Statuses about a device that their sender does not answer for";
        register.add("strangers", help, new.strangers.clone());
        register.add("stalled", "Devices that say nothing in the middle of an attempt", new.stalled.clone());
        register.add("blocks", "Blocks that were sent to devices", new.blocks.clone());
        register.add("block_bytes", "Bytes of those blocks", new.bytes.clone());
        register.add("refused", "Statuses that could not be answered as they were meant", new.refused.clone());
        register.add("full", "Statuses of devices that are not watched over, for too many are", new.full.clone());
        register.add("waiting", "Devices whose turning points wait to be written", new.waiting.clone());
        register.add("transactions", "Transactions with turning points", new.transactions.clone());
        let help = "Turning points that were given up: the store refused them, or too many waited for it";
        register.add("lost", help, new.lost.clone());
        register.add("progress", "Publications of devices' progress", new.published.clone());
        new
    }

    pub(super) fn told(&self, step: &Step) {
        let word = match step {
            Step::Wait => "wait",
            Step::Sync => "sync",
            Step::Write { .. } => "write",
            Step::Swap => "swap",
        };
        self.commands.get_or_create(&OfStep { step: word }).inc();
        if let Step::Write { length, .. } = step {
            self.blocks.inc();
            self.bytes.inc_by(u64::from(*length));
        }
    }

    pub(super) fn turned(&self, turn: &Turn) {
        let turn = match turn {
            Turn::Assigned => "assigned",
            Turn::Started => "started",
            Turn::SwapSent(_) => "swap_sent",
            Turn::Confirmed => "confirmed",
            Turn::Failed { .. } => "failed",
            Turn::Quarantined => "quarantined",
        };
        self.turns.get_or_create(&OfTurn { turn }).inc();
    }

    pub(super) fn unsent(&self, reason: &'static str) {
        self.unsent.get_or_create(&Because { reason }).inc();
    }

    /// A device came to a state, from another or from nowhere; or it is not known any more.
    pub(super) fn moved(&self, before: Option<State>, after: Option<State>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.devices.get_or_create(&InState { state: before.word() }).dec();
        }
        if let Some(after) = after {
            self.devices.get_or_create(&InState { state: after.word() }).inc();
        }
    }
}

struct Registering<'r>(&'r mut Registry);

impl Registering<'_> {
    fn add(&mut self, name: &str, help: &str, metric: impl prometheus_client::registry::Metric) {
        self.0.register(format!("causeway_dfu_{name}"), help, metric);
    }
}
