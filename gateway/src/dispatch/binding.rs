//! A binding as others see it: which topics it handles, whether it has room, how it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytestring::ByteString;
use causeway_core::message::{Message, QoS};
use causeway_core::selector::{Selector, SelectorError};
use causeway_core::template::Vars;

use super::inbox::Inbox;
use super::metrics::BindingMetrics;
use super::open::Problem;
use super::places::{self, Spread};
use super::versions::{Chosen, Configured, TookOver, Versions};
use crate::config::{BindingConfig, Delivery, Overflow};
use crate::journal::{Cursor, Position};

/// Whether a binding works.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// It does.
    #[default]
    Running,
    /// Its plugin trapped too often, or does not start any more: it is not called until an operator resumes it or the
    /// gateway starts with another version.
    Parked(String),
    /// It does, with the last good version of its plugin in place of one that does not.
    RolledBack(String),
    /// The store does not take its effects; it goes on trying.
    Stuck(String),
}

impl State {
    /// The words of the closed set.
    pub(super) const WORDS: [&str; 4] = ["running", "rolled-back", "stuck", "parked"];

    /// The state in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        Self::WORDS.get(self.rank()).copied().unwrap_or("parked")
    }

    const fn rank(&self) -> usize {
        match self {
            Self::Running => 0,
            Self::RolledBack(_) => 1,
            Self::Stuck(_) => 2,
            Self::Parked(_) => 3,
        }
    }
}

/// How a partition is, and which version of the plugin it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) state: State,
    /// Why the store does not take or give what it should, right now.
    pub(super) stuck: Option<String>,
    pub(super) digest: String,
    /// The number of the decision that it obeys.
    pub(super) number: u64,
}

impl Standing {
    fn state(&self) -> State {
        match (&self.state, &self.stuck) {
            (State::Parked(_), _) | (_, None) => self.state.clone(),
            (_, Some(reason)) => State::Stuck(reason.clone()),
        }
    }
}

/// How a binding is.
#[derive(Clone, Debug)]
pub struct BindingStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where its plugin comes from.
    pub plugin: String,
    /// The digest of its plugin.
    pub digest: String,
    /// The version that its plugin says it is.
    pub version: Option<String>,
    /// The id of the key that signed its plugin.
    pub signer: Option<String>,
    /// Whether it works.
    pub state: State,
    /// Why the plugin that is asked for does not run, although another version does.
    pub problem: Option<String>,
    /// Whether an operator chose the plugin over that of the configuration.
    pub chosen: bool,
    /// How many times the version was decided on since the start, and all partitions have obeyed.
    pub decisions: u64,
    /// Whether it reads the journal.
    pub durable: bool,
    /// Bytes of the journal that wait for it.
    pub lag_bytes: u64,
    /// Age of the oldest message that waits for it.
    pub lag: Duration,
    /// Messages that wait in memory.
    pub queued: usize,
    /// Positions that the journal gave up for it.
    pub gap: u64,
    /// Messages that were handled since the start.
    pub handled: u64,
    /// Calls since the start.
    pub calls: u64,
    /// Calls that ended in a trap since the start.
    pub traps: u64,
    /// Messages that became dead letters since the start.
    pub dead_letters: u64,
    /// Messages that found no room in memory since the start.
    pub dropped: u64,
}

/// What a binding's threads count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) handled: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) traps: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A plugin bound to topics.
#[derive(Debug)]
pub struct Binding {
    pub(super) config: BindingConfig,
    pub(super) kind: &'static str,
    /// The topics that it handles.
    pub(super) topics: Topics,
    /// What was handled when its partitions were others.
    pub(super) before: Vec<Spread>,
    /// One for each partition; empty for a live binding.
    pub(super) cursors: Vec<Cursor>,
    /// One for each partition.
    pub(super) inboxes: Vec<Inbox>,
    pub(super) counts: Counts,
    pub(super) metrics: BindingMetrics,
    /// One for each partition.
    pub(super) standings: Mutex<Vec<Standing>>,
    pub(super) versions: Versions,
}

impl Binding {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// MQTT filters that match all topics that it handles.
    #[must_use]
    pub fn filters(&self) -> Vec<String> {
        self.topics.0.iter().map(Selector::filter).collect()
    }

    /// Has the dead letters that wait for it handled again.
    pub fn replay(&self) {
        self.versions.desk.replay();
    }

    /// Whether QoS 1 and 2 messages have to be journalled for it.
    #[must_use]
    pub fn durable(&self) -> bool {
        self.config.delivery == Delivery::Durable
    }

    /// Whether it is so far behind that messages for it are refused.
    #[must_use]
    pub fn over_budget(&self) -> bool {
        self.config.budget.overflow == Overflow::Refuse && self.cursors.iter().any(Cursor::over_budget)
    }

    /// Takes a message that one of its filters matches, without waiting. What it reads in the journal anyway is ignored.
    pub fn offer(&self, message: &Message) {
        if self.durable() && message.qos != QoS::AtMostOnce || !self.topics.want(&message.topic) {
            return;
        }
        let Some(inbox) = self.inboxes.get(self.partition(&self.key(message))) else { return };
        if !inbox.push(message.clone()) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.dropped.inc();
        }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> BindingStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let worst = self.worst();
        let assigned = self.versions.desk.assigned();
        let origin = assigned.version.as_ref().map(|version| &version.origin);
        let told = self.versions.told();
        let lags: Vec<_> = self.cursors.iter().map(Cursor::lag).collect();
        BindingStatus {
            name: self.config.name.clone(),
            kind: self.kind,
            plugin: origin.map_or(told.reference, |origin| origin.reference.clone()),
            version: origin.and_then(|origin| origin.version.as_ref()).map(ToString::to_string),
            signer: origin.and_then(|origin| origin.signer.clone()),
            state: worst.state(),
            digest: worst.digest,
            problem: told.problem,
            chosen: told.chosen,
            decisions: self.obeyed(),
            durable: self.durable(),
            lag_bytes: lags.iter().map(|lag| lag.bytes).max().unwrap_or(0),
            lag: lags.iter().map(|lag| lag.age).max().unwrap_or_default(),
            queued: self.inboxes.iter().map(Inbox::len).sum(),
            gap: self.cursors.iter().map(Cursor::gap).sum(),
            handled: load(&self.counts.handled),
            calls: load(&self.counts.calls),
            traps: load(&self.counts.traps),
            dead_letters: load(&self.counts.dead_letters),
            dropped: load(&self.counts.dropped),
        }
    }

    pub(super) fn max_skew_ms(&self) -> u64 {
        u64::try_from(self.config.max_skew.as_millis()).unwrap_or(u64::MAX)
    }

    /// The number of the last decision on its version that every partition obeys.
    fn obeyed(&self) -> u64 {
        self.standings().iter().map(|standing| standing.number).min().unwrap_or_default()
    }

    /// What each partition runs.
    #[cfg(test)]
    pub(super) fn digests(&self) -> Vec<String> {
        self.standings().iter().map(|standing| standing.digest.clone()).collect()
    }

    /// Notes how a partition is, since which decision.
    pub(super) fn set_state(&self, partition: usize, state: State, digest: &str, number: u64) {
        if let Some(standing) = self.standings().get_mut(partition) {
            *standing = Standing { state, stuck: standing.stuck.take(), digest: digest.to_owned(), number };
        }
        self.metrics.state(self.worst().state().word());
    }

    /// Notes why the store holds a partition up, or that it does not any more.
    pub(super) fn set_stuck(&self, partition: usize, stuck: Option<String>) {
        if let Some(standing) = self.standings().get_mut(partition) {
            standing.stuck = stuck;
        }
        self.metrics.state(self.worst().state().word());
    }

    /// The partition that is worst off speaks for the binding.
    fn worst(&self) -> Standing {
        self.standings().iter().max_by_key(|standing| standing.state().rank()).cloned().unwrap_or_default()
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks its plugin up anew, and has it called again if it was parked. Blocks, as do all that ask for a version: for
    /// a thread of its own.
    ///
    /// # Errors
    /// Why the plugin does not run; what runs goes on.
    pub fn resume(&self) -> Result<TookOver, Problem> {
        self.versions.resume()
    }

    /// Runs another plugin, also at later starts, until the configuration names another one. Blocks.
    ///
    /// # Errors
    /// Why it does not run; nothing has changed.
    pub fn set(&self, chosen: &Chosen) -> Result<TookOver, Problem> {
        self.versions.set(chosen)
    }

    /// Takes over what the configuration says now, and looks the plugin up anew. Blocks.
    ///
    /// # Errors
    /// Why it does not run; what runs goes on.
    pub fn reconfigure(&self, configured: Configured) -> Result<TookOver, Problem> {
        self.versions.review();
        self.versions.refresh(Some(configured))
    }

    /// Whether its plugin is not to be had, and asked for again.
    pub(super) fn waits(&self) -> bool {
        self.versions.told().waits
    }

    /// Looks its plugin up anew. Blocks.
    pub(super) fn ask_again(&self) {
        self.versions.ask_again();
    }

    /// The unit of order and of state that a message belongs to.
    pub(super) fn key(&self, message: &Message) -> ByteString {
        // All filters of a binding with a key have it, so that no message is without one.
        self.topics.key(self.config.key.as_deref(), message).unwrap_or_default()
    }

    pub(super) fn partition(&self, key: &str) -> usize {
        places::partition(key, usize::from(self.config.partitions.max(1)))
    }

    /// Whether a message was handled when the partitions were others.
    pub(super) fn handled_before(&self, message: &Message, position: Position) -> bool {
        self.before.iter().any(|spread| {
            let key = self.topics.key(spread.key.as_deref(), message);
            key.is_some_and(|key| spread.handled(&key, position))
        })
    }
}

/// The topics that a binding handles.
#[derive(Clone, Debug)]
pub(super) struct Topics(Arc<[Selector]>);

impl Topics {
    pub(super) fn new(config: &BindingConfig) -> Result<Self, SelectorError> {
        config.filters.iter().map(|filter| Selector::parse(filter)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn want(&self, topic: &str) -> bool {
        self.0.iter().any(|selector| selector.matches(topic))
    }

    /// The variables of the first of the binding's own templates that selects the topic.
    pub(super) fn variables<'a>(&'a self, topic: &'a str) -> Option<Vars<'a>> {
        self.0.iter().find_map(|selector| selector.variables(topic))
    }

    /// The value of a variable in a message's topic; without a variable, the sender.
    fn key(&self, variable: Option<&str>, message: &Message) -> Option<ByteString> {
        match variable {
            None => Some(message.sender.clone()),
            Some(variable) => self.variables(&message.topic)?.get(variable).map(|value| message.topic.slice_ref(value)),
        }
    }
}

/// A binding that many share.
pub(super) type Shared = Arc<Binding>;
