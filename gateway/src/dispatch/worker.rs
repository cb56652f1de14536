//! One partition of a binding: take in, call, check the effects, commit, and again. Each runs on a thread of its own, so
//! a guest that computes for long disturbs nobody.

mod replay;
mod version;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Transaction;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::batch::{Bounds, End};
use super::binding::{Counts, Shared};
use super::calls::{Caller, Reason, Unanswered, Verdict};
use super::commit::{Owner, Pending};
use super::effects::{Collections, Gate};
use super::health::Health;
use super::intake::{Input, Intake, Taken};
use super::orders::Orders;
use super::reads::Reads;
use super::statuses::Answering;
use super::versions::Assigned;
use super::{Parts, Publish};
use crate::config::Overflow;
use crate::dfu::{self, Conversation};
use crate::journal::{Cursor, Durable, Position};
use crate::store::WriteError;
use crate::telemetry::World;
use replay::Replay;

/// Pauses between attempts at a disk that refuses: the first and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a partition that waits looks at its budget.
const LOOK: Duration = Duration::from_secs(1);

/// What a worker is told while it runs.
#[derive(Clone)]
pub(super) struct Signals {
    /// Finish what is there, then end.
    pub(super) draining: CancellationToken,
    /// Commit and end.
    pub(super) stopping: CancellationToken,
    /// To be told when the outbox has something.
    pub(super) outbox: Arc<Notify>,
    pub(super) publish: Publish,
    /// Dropped when the worker ends.
    pub(super) alive: mpsc::Sender<()>,
}

/// A partition that waits for its start.
pub(super) struct Worker {
    binding: Shared,
    partition: usize,
    caller: Caller,
    /// What only a DFU binding has.
    conversation: Option<Conversation>,
    bounds: Bounds,
    gate: Gate,
    owner: Arc<Owner>,
    parts: Parts,
}

impl Worker {
    pub(super) fn new(
        binding: Shared,
        partition: usize,
        collections: Collections,
        conversation: Option<Conversation>,
        parts: Parts,
    ) -> Self {
        let name = &binding.config.name;
        let policies = parts.policies.clone();
        let reads = Reads::new(&binding, Arc::clone(&collections), policies.clone(), parts.store.clone());
        let gate = Gate::new(&binding, Arc::clone(&collections), reads.clone(), &parts);
        let owner = Owner {
            binding: name.clone(),
            cursor: binding.cursors.get(partition).map(|cursor| cursor.name().to_owned()),
            collections,
            max_skew_ms: binding.max_skew_ms(),
            commit: binding.config.commit.clone(),
            digest: String::new(),
        };
        let world = World { devices: parts.devices.clone(), policies };
        let health = Health::new(binding.config.traps.clone(), Instant::now());
        let bounds = Bounds::new(&binding.config.batch, false);
        let caller = Caller { binding: Arc::clone(&binding), partition, guest: None, reads, world, health };
        Self { binding, partition, caller, conversation, bounds, gate, owner: Arc::new(owner), parts }
    }

    /// Starts the thread.
    pub(super) fn spawn(self, signals: Signals) -> io::Result<()> {
        let runtime = Handle::current();
        let name = format!("plugin-{}-{}", self.binding.config.name, self.partition);
        std::thread::Builder::new().name(name).spawn(move || Running::new(self, signals, runtime).run())?;
        Ok(())
    }
}

/// A partition that runs.
struct Running {
    worker: Worker,
    intake: Intake,
    cursor: Option<Cursor>,
    durable: watch::Receiver<Durable>,
    pending: Pending,
    /// The binding's plugin is not called.
    parked: bool,
    /// The version is known to have run well.
    proven: bool,
    /// What the partition was told to run, and runs.
    assigned: Arc<Assigned>,
    /// Inputs that were taken in, and that another version is asked about.
    held: Option<Taken>,
    replay: Replay,
    orders: watch::Receiver<Orders>,
    signals: Signals,
    /// The way of commands to devices.
    send: dfu::Publish,
    runtime: Handle,
}

impl Running {
    fn new(worker: Worker, signals: Signals, runtime: Handle) -> Self {
        let cursor = worker.binding.cursors.get(worker.partition).cloned();
        let reader = cursor.as_ref().map(|cursor| worker.parts.journal.reader(cursor.position() + 1));
        let intake = Intake::new(Arc::clone(&worker.binding), worker.partition, reader);
        let durable = worker.parts.journal.durable();
        let send = send(&worker.binding, Arc::clone(&signals.publish));
        let (pending, replay, orders) = (Pending::default(), Replay::new(), worker.binding.versions.desk.listen());
        Self {
            worker,
            intake,
            cursor,
            durable,
            pending,
            parked: false,
            proven: false,
            assigned: Arc::default(),
            held: None,
            replay,
            orders,
            signals,
            send,
            runtime,
        }
    }

    fn run(mut self) {
        while !self.signals.stopping.is_cancelled() {
            // Seen before it is read: what comes in between wakes the wait at once.
            self.durable.borrow_and_update();
            self.orders.borrow_and_update();
            self.obey();
            let more = if self.replay.comes_first() { self.replay() } else { self.round() | self.replay() };
            if !more && self.signals.draining.is_cancelled() {
                break;
            }
            if !more {
                self.wait();
            }
        }
        self.commit();
        drop(self.signals.alive);
    }

    /// Handles what is there; says whether there may be more at once.
    fn round(&mut self) -> bool {
        let spill = self.spill();
        if self.parked && spill.is_none() {
            return false;
        }
        let taken = match self.held.take().map_or_else(|| self.intake.take(), Ok) {
            Ok(taken) => taken,
            Err(error) => {
                let binding = &self.worker.binding.config.name;
                tracing::error!(binding, %error, "a binding cannot read the journal; it tries again");
                return false;
            }
        };
        let more = taken.more || !taken.inputs.is_empty();
        let lagging = taken.lagging();
        self.handle(taken, spill);
        let config = &self.worker.owner.commit;
        if self.pending.is_full(config, lagging) {
            self.worker.binding.metrics.full("rows");
        }
        if self.pending.is_due(config, Instant::now(), lagging) {
            self.commit();
        }
        more
    }

    /// With `overflow: park`, the position up to which the backlog is too much: it becomes dead letters.
    fn spill(&self) -> Option<Position> {
        let parks = self.worker.binding.config.budget.overflow == Overflow::Park;
        self.cursor.as_ref().filter(|_| parks).and_then(Cursor::excess)
    }

    fn handle(&mut self, taken: Taken, spill: Option<Position>) {
        let late = |input: &Input| spill.is_some_and(|spill| input.position.is_some_and(|position| position <= spill));
        let parked = self.parked;
        let (dead, mut asked): (Vec<_>, Vec<_>) = taken.inputs.into_iter().partition(|input| parked || late(input));
        for input in &dead {
            self.dead_letter(input, &Reason::new("overflow", "the binding is further behind than its budget"));
        }
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let (call, later) = self.next_call(rest);
            match self.call(call) {
                Ok(verdicts) => {
                    for (input, verdict) in call.iter().zip(verdicts) {
                        self.settle(input, verdict);
                    }
                    self.prove();
                    rest = later;
                    if !self.stands_trial() {
                        break;
                    }
                }
                Err(Unanswered::GaveUp(reason)) if self.gives_way(&reason, false) => break,
                Err(Unanswered::GaveUp(_)) => return self.let_go(call),
                Err(Unanswered::Stopped) => return,
            }
        }
        if rest.is_empty() {
            return self.pending.passed(taken.passed);
        }
        // The version in its place is asked about the same; letters are found again where they wait.
        let mut inputs = asked.split_off(asked.len() - rest.len());
        inputs.retain(|input| input.letter.is_none());
        self.held = Some(Taken::held(inputs, taken.passed));
    }

    fn next_call<'i>(&self, inputs: &'i [Input]) -> (&'i [Input], &'i [Input]) {
        if self.worker.conversation.is_some() {
            return inputs.split_at_checked(1).unwrap_or((inputs, &[]));
        }
        let (call, end, later) = self.worker.bounds.cut(inputs);
        match end {
            End::Messages => self.worker.binding.metrics.full("messages"),
            End::Bytes => self.worker.binding.metrics.full("bytes"),
            End::Inputs | End::Key => {}
        }
        (call, later)
    }

    fn call(&mut self, inputs: &[Input]) -> Result<Vec<Verdict>, Unanswered> {
        if let Worker { caller, gate, conversation: Some(conversation), .. } = &mut self.worker {
            let with = &mut Answering { conversation, gate, publish: &self.send };
            return inputs.iter().map(|input| caller.converse(input, with)).collect();
        }
        let (runtime, stopping) = (&self.runtime, &self.signals.stopping);
        let wait = |pause| runtime.block_on(async { tokio::time::timeout(pause, stopping.cancelled()).await.is_err() });
        self.worker.caller.call(inputs, &mut self.pending, &wait)
    }

    fn settle(&mut self, input: &Input, verdict: Verdict) {
        let allowed = match verdict {
            Verdict::Effects(effects) => self.worker.gate.allow(input, effects, &self.pending),
            Verdict::Dead(reason) => Err(reason),
            Verdict::Answered { failed } => {
                self.count_handled(1);
                return self.try_out(input, failed);
            }
        };
        let failed = allowed.is_err();
        match allowed {
            Ok(allowed) => self.pending.effects(input, allowed),
            Err(reason) => self.dead_letter(input, &reason),
        }
        self.try_out(input, failed);
        if input.letter.is_none() && input.position.is_some() {
            self.pending.passed(input.position);
        }
    }

    fn dead_letter(&mut self, input: &Input, reason: &Reason) {
        let binding = &self.worker.binding;
        let (name, device, topic) = (&binding.config.name, &input.message.sender, &input.message.topic);
        tracing::info!(binding = name, %device, %topic, kind = reason.kind, "a message became a dead letter");
        binding.metrics.dead_letter(reason.kind);
        let now_ms = self.worker.parts.clock.now_ms();
        self.pending.dead_letter(&self.worker.owner, input, reason, now_ms);
    }

    /// What a plugin that is not called any more has not handled stays in the journal, behind the cursor.
    fn let_go(&mut self, unhandled: &[Input]) {
        self.commit();
        let journalled = |input: &Input| input.position.filter(|_| input.letter.is_none());
        let next = unhandled.iter().find_map(journalled);
        let next = next.or_else(|| self.cursor.as_ref().map(|cursor| cursor.position() + 1));
        let reader = next.map(|next| self.worker.parts.journal.reader(next));
        self.intake = Intake::new(Arc::clone(&self.worker.binding), self.worker.partition, reader);
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let wake = self.pending.due(&self.worker.owner.commit).unwrap_or_else(|| Instant::now() + LOOK);
        let parked = self.parked;
        // A parked backlog has to become dead letters before the journal gives it up.
        let reads = !parked || self.worker.binding.config.budget.overflow == Overflow::Park;
        self.runtime.block_on(async {
            tokio::select! {
                () = self.signals.stopping.cancelled() => {}
                () = self.signals.draining.cancelled() => {}
                () = self.intake.arrived(), if !parked => {}
                _ = self.durable.changed(), if reads => {}
                _ = self.orders.changed() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        });
        if self.pending.is_due(&self.worker.owner.commit, Instant::now(), false) {
            self.commit();
        }
    }

    /// Commits what is pending, trying until the store takes it or the gateway stops; then sends what is to be sent.
    fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = Arc::new(std::mem::take(&mut self.pending));
        let name = &self.worker.binding.config.name;
        let point = |point| {
            if pending.handled > 0 {
                crate::crash::point(point, name)
            }
        };
        point("handled");
        if !self.write(&pending) {
            return;
        }
        point("committed");
        self.count(&pending);
        if let (Some(cursor), Some(position)) = (&self.cursor, pending.position)
            && self.worker.parts.store.sync_blocking().is_ok()
        {
            cursor.advance(position);
        }
        for message in &pending.direct {
            if let Err(error) = (self.signals.publish)(message) {
                let binding = &self.worker.binding.config.name;
                tracing::debug!(binding, topic = %message.topic, %error, "a QoS 0 publication was not taken");
            }
        }
        if pending.publishes() {
            self.signals.outbox.notify_one();
        }
    }

    /// Whether the transaction was committed; if not, its inputs are read again at the next start.
    fn write(&self, pending: &Arc<Pending>) -> bool {
        let (pending, owner) = (Arc::clone(pending), Arc::clone(&self.worker.owner));
        self.transact(move |tx| pending.apply(tx, &owner)).is_some()
    }

    /// Runs a transaction, trying until the store takes it; none if the gateway stops.
    fn transact<T: Send + 'static>(
        &self,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T> + Clone + Send + 'static,
    ) -> Option<T> {
        let binding = &self.worker.binding;
        let mut pause = PAUSE;
        loop {
            let error = match self.worker.parts.store.write_blocking(work.clone()) {
                Ok(done) => {
                    if pause > PAUSE {
                        binding.set_stuck(self.worker.partition, None);
                    }
                    return Some(done);
                }
                Err(WriteError::Closed) => return None,
                Err(error) => error,
            };
            if pause == PAUSE {
                tracing::error!(binding = binding.config.name, %error, "the store does not take a binding's effects; it tries again");
                binding.set_stuck(self.worker.partition, Some(error.to_string()));
            }
            let stopping = self.signals.stopping.cancelled();
            if self.runtime.block_on(async { tokio::time::timeout(pause, stopping).await.is_ok() }) {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn count_handled(&self, handled: usize) {
        Counts::add(&self.worker.binding.counts.handled, handled);
        self.worker.binding.metrics.handled.inc_by(handled as u64);
    }

    fn count(&self, pending: &Pending) {
        let binding = &self.worker.binding;
        self.count_handled(pending.handled);
        Counts::add(&binding.counts.dead_letters, pending.letters.len());
        binding.metrics.rows.inc_by(pending.row_count as u64);
        binding.metrics.replayed(pending.replayed.len(), pending.failed_again.len());
        tracing::trace!(
            binding = binding.config.name,
            handled = binding.counts.handled.load(Ordering::Relaxed),
            "committed"
        );
    }
}

/// A command that is not taken is not sent again: its device asks again.
fn send(binding: &Shared, publish: Publish) -> dfu::Publish {
    let binding = Arc::clone(binding);
    Arc::new(move |message| {
        if let Err(error) = publish(&message) {
            tracing::warn!(binding = binding.config.name, topic = %message.topic, %error, "a command was not taken");
        }
    })
}
