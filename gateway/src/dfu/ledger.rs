//! Turning points on their way to the disk: one task writes all that wait in one synced transaction, and then sends what
//! waited for it.
//!
//! What waits is merged: of each device there is its newest standing, so there is at most one record for each device
//! that is watched over. Commands that wait are bounded by `dfu.max_waiting`; one that finds no room is not sent, and its
//! device asks again. When a transaction fails nothing is sent either, and its records wait for the next.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_core::dfu::update::{Ended, Standing};
use causeway_core::message::Message;
use rusqlite::Transaction;
use tokio::sync::{Notify, oneshot};

use super::Publish;
use super::metrics::DfuMetrics;
use crate::store::{Store, WriteError, dfu};

/// Records of one transaction at most.
const GROUP: usize = 1_024;

/// Ended attempts, and rows of campaigns, that one device may have waiting while the store does not take them.
const WAITING: usize = 64;

/// What else is written in the transaction of a turning point. It may run more than once, and takes effect once.
pub type Also = Arc<dyn Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + Sync>;

/// What is to be written of a device.
#[derive(Clone)]
pub(super) struct Record {
    /// Of two records the one with the higher number is newer.
    pub(super) number: u64,
    pub(super) standing: Standing,
    pub(super) ended: Vec<Ended>,
    pub(super) also: Vec<Also>,
}

/// What is sent when everything that was recorded before it is on the disk.
pub(super) struct Reply {
    pub(super) device: Arc<str>,
    pub(super) message: Message,
    pub(super) publish: Publish,
    /// It tells a device to start a release, and is not just for those who watch.
    pub(super) command: bool,
}

#[derive(Default)]
struct Waiting {
    records: HashMap<Arc<str>, Record>,
    replies: Vec<Reply>,
    /// Who is told when everything that waits now is on the disk.
    waiters: Vec<oneshot::Sender<()>>,
    /// Nobody writes any more.
    closed: bool,
}

pub(super) struct Ledger {
    store: Store,
    waiting: Mutex<Waiting>,
    wake: Notify,
    max_waiting: usize,
    /// Attempts that are kept of each device.
    history: usize,
    metrics: DfuMetrics,
}

type Group = Vec<(Arc<str>, Record)>;

/// What was written: the numbers of the records, by device.
pub(super) type Written = Vec<(Arc<str>, u64)>;

impl Ledger {
    pub(super) fn new(store: Store, history: usize, max_waiting: usize, metrics: DfuMetrics) -> Self {
        Self { store, waiting: Mutex::default(), wake: Notify::new(), max_waiting, history, metrics }
    }

    /// Takes a record, and what waits for it.
    pub(super) fn submit(&self, device: &Arc<str>, record: Record, replies: impl IntoIterator<Item = Reply>) {
        let mut waiting = self.lock();
        waiting.add(device.clone(), record, &self.metrics);
        for reply in replies {
            if waiting.replies.len() < self.max_waiting {
                waiting.replies.push(reply);
            } else if reply.command {
                self.metrics.unsent("full");
            }
        }
        self.metrics.waiting.set(count(waiting.records.len()));
        drop(waiting);
        self.wake.notify_one();
    }

    /// Resolves when everything that was taken so far is on the disk; an error if nobody writes any more.
    pub(super) fn written(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.waiters.push(done);
        }
        drop(waiting);
        self.wake.notify_one();
        written
    }

    /// Whoever waits is told that nobody writes any more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.waiters.clear();
    }

    /// Resolves when something waits.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Writes what waits, and sends what waited for it; none if something has to be tried again.
    pub(super) async fn write(&self) -> Option<Written> {
        let (mut written, mut lost) = (Written::new(), HashSet::new());
        loop {
            let (records, mut replies, waiters) = self.take();
            if records.is_empty() && replies.is_empty() && waiters.is_empty() {
                return Some(written);
            }
            let group: Arc<Group> = Arc::new(records);
            let swap = replies.iter().any(|reply| reply.command);
            point(swap, "swap-unwritten");
            if !self.commit(&group, &mut lost).await {
                self.give_back(group, &replies, waiters);
                return None;
            }
            written.extend(group.iter().map(|(device, record)| (device.clone(), record.number)));
            // Nobody is told anything that would follow from what cannot be written.
            replies.retain(|reply| !lost.contains(&reply.device));
            point(swap, "swap-written");
            self.send(replies);
            for waiter in waiters {
                // Whoever does not want to know any more is not told.
                let _ = waiter.send(());
            }
            point(swap, "swap-sent");
        }
    }

    /// A group; with it who waits for it, if it is all that there is: that was taken before them.
    fn take(&self) -> (Group, Vec<Reply>, Vec<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        let taken = if waiting.records.len() <= GROUP {
            mem::take(&mut waiting.records).into_iter().collect()
        } else {
            let devices: Vec<_> = waiting.records.keys().take(GROUP).cloned().collect();
            devices.into_iter().filter_map(|device| waiting.records.remove_entry(&device)).collect()
        };
        self.metrics.waiting.set(count(waiting.records.len()));
        if waiting.records.is_empty() {
            (taken, mem::take(&mut waiting.replies), mem::take(&mut waiting.waiters))
        } else {
            (taken, Vec::new(), Vec::new())
        }
    }

    /// Writes a group; `false` if it has to be tried again.
    async fn commit(&self, group: &Arc<Group>, lost: &mut HashSet<Arc<str>>) -> bool {
        let (records, keep) = (group.clone(), self.history);
        let all =
            move |tx: &Transaction<'_>| records.iter().try_for_each(|(device, record)| write(tx, device, record, keep));
        match self.store.write_synced(all).await {
            Ok(()) => {
                self.metrics.transactions.inc();
                true
            }
            Err(WriteError::Refused(error)) => {
                tracing::error!(%error, records = group.len(), "dfu: turning points were refused; each is tried alone");
                self.commit_each(group, lost).await
            }
            Err(error) => {
                tracing::error!(%error, records = group.len(), "dfu: turning points were not written");
                false
            }
        }
    }

    /// One record that can never be written must not hold up the others.
    async fn commit_each(&self, group: &Arc<Group>, lost: &mut HashSet<Arc<str>>) -> bool {
        for (place, (device, _)) in group.iter().enumerate() {
            let (records, keep) = (group.clone(), self.history);
            let one = move |tx: &Transaction<'_>| {
                records.get(place).map_or(Ok(()), |(device, record)| write(tx, device, record, keep))
            };
            match self.store.write_synced(one).await {
                Ok(()) => {}
                Err(WriteError::Refused(error)) => {
                    tracing::error!(%device, %error, "dfu: a turning point is given up");
                    self.metrics.lost.inc();
                    lost.insert(device.clone());
                }
                Err(_) => return false,
            }
        }
        self.metrics.transactions.inc();
        true
    }

    fn send(&self, replies: Vec<Reply>) {
        for Reply { message, publish, command, .. } in replies {
            publish(message);
            if !command {
                self.metrics.published.inc();
            }
        }
    }

    /// Nothing is sent of what could not be written; the records wait for the next transaction.
    fn give_back(&self, group: Arc<Group>, replies: &[Reply], waiters: Vec<oneshot::Sender<()>>) {
        for _ in replies.iter().filter(|reply| reply.command) {
            self.metrics.unsent("store");
        }
        // The closure that shares the group may be alive for a moment still.
        let group = Arc::try_unwrap(group).unwrap_or_else(|shared| (*shared).clone());
        let mut waiting = self.lock();
        waiting.waiters.extend(waiters);
        for (device, record) in group {
            waiting.add(device, record, &self.metrics);
        }
        self.metrics.waiting.set(count(waiting.records.len()));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Merges a record with what waits of its device, whichever is newer.
    fn add(&mut self, device: Arc<str>, record: Record, metrics: &DfuMetrics) {
        let Some(there) = self.records.get_mut(&device) else {
            self.records.insert(device, record);
            return;
        };
        let (mut older, newer) =
            if there.number <= record.number { (mem::replace(there, record), there) } else { (record, there) };
        older.ended.append(&mut newer.ended);
        older.also.append(&mut newer.also);
        let lost = older.ended.len().saturating_sub(WAITING) + older.also.len().saturating_sub(WAITING);
        metrics.lost.inc_by(lost as u64);
        older.ended.drain(..older.ended.len().saturating_sub(WAITING));
        older.also.drain(..older.also.len().saturating_sub(WAITING));
        (newer.ended, newer.also) = (older.ended, older.also);
    }
}

/// Where a test ends the process, on the way of an order to start a release.
fn point(swap: bool, name: &str) {
    if swap {
        crate::crash::point(name, "");
    }
}

fn write(tx: &Transaction<'_>, device: &str, record: &Record, keep: usize) -> rusqlite::Result<()> {
    if dfu::put(tx, device, &record.standing)? {
        record.ended.iter().try_for_each(|ended| dfu::add(tx, device, ended, keep))?;
    }
    record.also.iter().try_for_each(|also| also(tx))
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
