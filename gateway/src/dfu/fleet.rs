//! The fleet: what the gateway knows of each device's firmware, and what it makes of it.
//!
//! One status is one conversation: [`Fleet::orders`] says what is to become of the device, [`Fleet::heard`] takes in what
//! it said and says that anew, and [`Fleet::told`] counts what it is told and sends it, if need be after its turning
//! point is on the disk. None of them waits. Who is to get what is asked of [`Sources`]; the machine of one device is in
//! `causeway_core::dfu::update`.

mod orders;
mod table;
mod upkeep;
mod view;

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use causeway_core::dfu::update::{Limits, Outcome, State, Wanted};
use causeway_core::dfu::{By, Heard, Orders, Release, Step, Turn};
use causeway_core::message::Message;

pub use view::{DeviceView, Filter};

use super::ledger::{Also, AlsoOf, Ledger, Record, Reply};
use super::metrics::DfuMetrics;
use super::progress::{self, Pacing};
use super::{Desire, Publish};
use crate::clock::Clock;
use crate::config::DfuConfig;
use crate::devices::{Device, Devices};
use crate::store::{Store, dfu};
use table::{Entry, Table};

/// The longest text about a status that could not be answered.
const MAX_PROBLEM_BYTES: usize = 512;

/// The fleet; clones share it.
#[derive(Clone)]
pub struct Fleet {
    parts: Arc<Parts>,
}

struct Parts {
    table: Table,
    ledger: Ledger,
    sources: Box<dyn Sources>,
    devices: Devices,
    store: Store,
    clock: Clock,
    limits: Limits,
    pacing: Pacing,
    config: DfuConfig,
    metrics: DfuMetrics,
}

/// Whom the fleet asks. None of these may wait, nor ask the fleet.
pub trait Sources: Send + Sync {
    /// What a device is to get by its assignments, when it runs this version. It is held if the bytes are not there. A
    /// campaign may take note that the device is done or unfit.
    fn desire(&self, device: &Device, running: Option<&str>, now_ms: u64) -> Option<Desire>;
    /// What a turning point of a device means to whoever assigned the release: what is written in the same transaction.
    fn turned(&self, device: &str, by: &By, turn: &Turn, now_ms: u64) -> Vec<Also>;
    /// The size of the patch of a format from a version to a release.
    fn patch_size(&self, running: &str, release: &Release, format: &str) -> Option<u64>;
}

/// The way to a device, and to those who watch its progress.
#[derive(Clone)]
pub struct Line {
    /// The front door, for messages that the device's policies permit.
    pub publish: Publish,
    /// Where its progress is published; nowhere without it.
    pub progress: Option<ByteString>,
}

impl Fleet {
    /// Reads what is known of all devices. Blocks.
    pub fn open(
        config: &DfuConfig,
        store: Store,
        devices: Devices,
        clock: Clock,
        sources: Box<dyn Sources>,
        metrics: DfuMetrics,
    ) -> rusqlite::Result<Self> {
        let table = Table::new(store.read_blocking(dfu::all)?, config.max_devices, metrics.clone());
        let limits = Limits {
            attempts: config.attempts,
            back_off_ms: millis(config.back_off),
            max_back_off_ms: millis(config.max_back_off),
            swaps: config.swaps,
            restarts: config.restarts,
        };
        let parts = Parts {
            table,
            ledger: Ledger::new(store.clone(), config.history, config.max_waiting, metrics.clone()),
            sources,
            devices,
            store,
            clock,
            limits,
            pacing: Pacing { percent: config.progress.into(), interval: config.progress_interval },
            config: config.clone(),
            metrics,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// What is to become of a device now. Nothing changes for the device; its campaign may take note of what it runs.
    #[must_use]
    pub fn orders(&self, device: &Device, now_ms: u64) -> Orders {
        self.parts.decide(device, now_ms).orders
    }

    /// What a device runs, once it has said so.
    #[must_use]
    pub fn running(&self, device: &str) -> Option<Arc<str>> {
        self.parts.table.look(device, |entry| entry.standing.running.clone()).flatten()
    }

    /// Takes in what a device says about itself, and says what is to become of it from then on. What it turns is written
    /// soon.
    pub fn heard(&self, device: &Device, heard: &Heard, line: &Line, now_ms: u64) -> Orders {
        let parts = &self.parts;
        let desire = parts.sources.desire(device, Some(&heard.version), now_ms);
        let wanted = match &desire {
            None | Some(Desire { refused: Some(_), .. }) => Wanted::Nothing,
            Some(Desire { release: Err(_), .. }) => Wanted::Unknown,
            Some(Desire { release: Ok(release), by, .. }) => Wanted::Release(release, by),
        };
        let attempts = desire.as_ref().and_then(|desire| desire.attempts).unwrap_or(parts.limits.attempts);
        let limits = Limits { attempts, ..parts.limits };
        let changed = parts.table.change(&device.id, |id, entry| {
            let outcome = entry.standing.heard(heard, wanted, &limits, now_ms);
            entry.problem = None;
            entry.touched = true;
            parts.note(id, entry, outcome, None, line, now_ms)
        });
        if let Some(noted) = changed {
            parts.finish(&device.id, noted, line);
        }
        parts.follow(device, Some(&heard.version), desire, now_ms).orders
    }

    /// Counts what a device is told, and sends it: at once, or when what has to be on the disk before it is. A command
    /// that finds the store full or failing is not sent and does not count: the device asks again. An order to start a
    /// release that waits still is taken back when the device is told anything else.
    pub fn told(&self, device: &Device, orders: &Orders, step: &Step, reply: Message, line: &Line, now_ms: u64) {
        let parts = &self.parts;
        parts.metrics.told(step);
        let Orders::Update(assignment) = orders else {
            parts.take_back(&device.id, now_ms);
            return (line.publish)(reply);
        };
        let patch_size = parts.patch_size(device, &assignment.release, step);
        let (command, at_once) = if *step == Step::Swap { (Some(reply), None) } else { (None, Some(reply)) };
        let changed = parts.table.change(&device.id, |id, entry| {
            let outcome = entry.standing.told(assignment, step, now_ms);
            entry.patch_size = patch_size.or(entry.patch_size);
            entry.touched = true;
            entry.keep_pace(&outcome, now_ms);
            parts.note(id, entry, outcome, command, line, now_ms)
        });
        // Without a place in the table there are no orders to update.
        let Some(noted) = changed else { return parts.metrics.unsent("full") };
        parts.finish(&device.id, noted, line);
        at_once.into_iter().for_each(|reply| (line.publish)(reply));
    }

    /// Notes that a status could not be answered as it was meant: it is shown beside the device until it says something
    /// that can.
    pub fn refused(&self, device: &str, problem: &str, now_ms: u64) {
        self.parts.metrics.refused.inc();
        let end = problem.floor_char_boundary(MAX_PROBLEM_BYTES);
        let problem = problem.get(..end).unwrap_or_default().to_owned();
        self.parts.table.change(device, |_, entry| entry.problem = Some((problem, now_ms)));
    }

    /// How many seconds a command waits for its device.
    pub(super) fn command_expiry_s(&self) -> u32 {
        u32::try_from(self.parts.config.command_expiry.as_secs()).unwrap_or(u32::MAX)
    }

    /// Counts a status about a device that its sender does not answer for.
    pub(super) fn stranger(&self) {
        self.parts.metrics.strangers.inc();
    }

    /// After how many seconds a device with nothing to do is to ask again: `dfu.poll`, more or less.
    #[must_use]
    pub fn poll(&self, device: &str) -> u32 {
        let (poll, jitter) = (self.parts.config.poll.as_secs(), u64::from(self.parts.config.jitter));
        let spread = poll * jitter / 100;
        let around = self.parts.table.random((device, self.parts.clock.now_ms())) % (2 * spread + 1);
        u32::try_from((poll - spread + around).max(1)).unwrap_or(u32::MAX)
    }
}

/// What is left of a change when its device is not locked any more.
struct Noted {
    /// What is published at once.
    progress: Option<Message>,
    /// The order to start a release that found no room.
    full: Option<u64>,
}

impl Parts {
    /// Hands over what came of a change: what is to be written, and what is sent when that is on the disk. The device is
    /// locked meanwhile, so that its turning points get into the ledger in their order. An order to start a release that
    /// turns nothing finds one that waits, and takes its place.
    fn note(
        &self,
        id: &Arc<str>,
        entry: &mut Entry,
        outcome: Outcome,
        command: Option<Message>,
        line: &Line,
        now_ms: u64,
    ) -> Noted {
        let progress = self.progress(id, entry, !outcome.is_empty(), line, now_ms);
        let (turned, before) = (!outcome.is_empty(), entry.ordered);
        let record = turned.then(|| self.record(id, entry, outcome, now_ms));
        let (command, newer) = if entry.ordered == before { (None, command) } else { (command, None) };
        if let Some(message) = newer {
            self.metrics.unsent("waiting");
            self.ledger.readdress(id, entry.ordered, message, &line.publish);
        }
        let Some(record) = record else { return Noted { progress, full: None } };
        let number = record.number;
        let reply = |message, command| Reply { device: id.clone(), message, publish: line.publish.clone(), command };
        let replies = command.map(|message| reply(message, Some(number))).into_iter();
        let replies = replies.chain(progress.map(|message| reply(message, None)));
        let room = self.ledger.submit(id, record, replies);
        Noted { progress: None, full: (!room).then_some(number) }
    }

    /// What is to be published of a change.
    fn progress(&self, id: &str, entry: &mut Entry, turned: bool, line: &Line, now_ms: u64) -> Option<Message> {
        let percent = progress::percent(&entry.standing, entry.size());
        if turned {
            entry.published.turned(percent, self.pacing, now_ms);
        }
        let moving = entry.standing.state == State::Transferring;
        let shown = turned || (moving && entry.published.is_due(percent, self.pacing, now_ms));
        let topic = line.progress.as_ref().filter(|_| shown);
        topic.map(|topic| progress::message(topic, id, &entry.standing, entry.size(), now_ms))
    }

    /// A turning point: what is to be written of the device, and of whoever assigned the release.
    fn record(&self, id: &str, entry: &mut Entry, outcome: Outcome, now_ms: u64) -> Record {
        let Outcome { turns, ended, .. } = outcome;
        let mut record = Record { ended, ..entry.record() };
        for (by, turn) in &turns {
            self.metrics.turned(turn);
            let order = matches!(turn, Turn::SwapSent(_)).then_some(record.number);
            entry.ordered = order.unwrap_or(entry.ordered);
            let rows = self.sources.turned(id, by, turn, now_ms);
            record.also.extend(rows.into_iter().map(|also| AlsoOf { order, also }));
        }
        record
    }

    fn finish(&self, device: &str, noted: Noted, line: &Line) {
        if let Some(number) = noted.full {
            self.unsent("full", device, number);
        }
        noted.progress.into_iter().for_each(|message| (line.publish)(message));
    }

    fn patch_size(&self, device: &Device, release: &Release, step: &Step) -> Option<u64> {
        let Step::Write { patch: Some(format), .. } = step else { return None };
        let known = self.table.look(&device.id, |entry| {
            let patch = entry.standing.target.as_ref().and_then(|target| target.tally.patch.clone());
            (patch.as_ref() == Some(format), entry.patch_size, entry.standing.running.clone())
        });
        match known {
            Some((true, Some(size), _)) => Some(size),
            Some((_, _, Some(running))) => self.sources.patch_size(&running, release, format),
            _ => None,
        }
    }
}

impl Entry {
    /// The rate is that of one attempt.
    fn keep_pace(&mut self, outcome: &Outcome, now_ms: u64) {
        if outcome.turns.iter().any(|(_, turn)| *turn == Turn::Started) {
            self.pace = Default::default();
        }
        if let Some(target) = &self.standing.target {
            self.pace.note(target.tally.bytes, now_ms);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
