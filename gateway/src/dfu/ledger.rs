//! Turning points on their way to the disk: one task writes all that wait in one synced transaction, and then what waited
//! for it may be sent.
//!
//! What waits is merged: of each device there is its newest standing, so there is at most one record for each device
//! that is watched over. Commands that wait are bounded by `dfu.max_waiting`; one that finds no room is not sent, and its
//! device asks again. When a transaction fails nothing is sent either, and its records wait for the next. What is sent,
//! and what follows for a device that is not told, is the business of the fleet.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_core::dfu::update::{Ended, Standing};
use causeway_core::message::Message;
use rusqlite::{ErrorCode, Transaction};
use tokio::sync::{Notify, oneshot};

use super::Publish;
use super::metrics::DfuMetrics;
use crate::store::{Store, WriteError, dfu};

/// Records of one transaction at most.
const GROUP: usize = 1_024;

/// Ended attempts, and rows of campaigns, that one device may have waiting while the store does not take them.
const WAITING: usize = 64;

/// What else is written in the transaction of a turning point. It runs again when the transaction that it ran in was not
/// committed, as far as is known; should it have been, it changes nothing then.
pub type Also = Arc<dyn Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + Sync>;

/// What else is written, and the order to start a release that it tells of, if it does.
#[derive(Clone)]
pub(super) struct AlsoOf {
    /// The turning point of the order.
    pub(super) order: Option<u64>,
    pub(super) also: Also,
}

/// What is to be written of a device.
#[derive(Clone)]
pub(super) struct Record {
    /// Of two records the one with the higher number is newer.
    pub(super) number: u64,
    pub(super) standing: Standing,
    pub(super) ended: Vec<Ended>,
    pub(super) also: Vec<AlsoOf>,
}

/// What is sent when everything that was recorded before it of its device is on the disk.
pub(super) struct Reply {
    pub(super) device: Arc<str>,
    pub(super) message: Message,
    pub(super) publish: Publish,
    /// It tells the device to start a release, which is this turning point; without it, it is for those who watch.
    pub(super) command: Option<u64>,
}

/// Who is told what became of a record.
pub(super) struct Waiter {
    device: Arc<str>,
    number: u64,
    pub(super) done: oneshot::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    records: HashMap<Arc<str>, Record>,
    replies: Vec<Reply>,
    /// Who is told when everything that waits now is on the disk.
    waiters: Vec<Waiter>,
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

/// What came of a group of records.
#[derive(Default)]
pub(super) struct Round {
    /// The numbers of the records that are on the disk, by device.
    pub(super) written: Vec<(Arc<str>, u64)>,
    /// What may be sent now.
    pub(super) due: Vec<Reply>,
    /// What must not be sent: what it follows from is not on the disk.
    pub(super) dropped: Vec<Reply>,
    /// Who is told now, and whether that what they waited for is on the disk.
    pub(super) waiters: Vec<(Waiter, bool)>,
    /// Something has to be tried again.
    pub(super) again: bool,
    /// The numbers of the records that were given up, by device.
    pub(super) lost: Vec<(Arc<str>, u64)>,
}

impl Ledger {
    pub(super) fn new(store: Store, history: usize, max_waiting: usize, metrics: DfuMetrics) -> Self {
        Self { store, waiting: Mutex::default(), wake: Notify::new(), max_waiting, history, metrics }
    }

    /// Takes a record, and what waits for it; `false` if a command finds no room.
    pub(super) fn submit(&self, device: &Arc<str>, record: Record, replies: impl IntoIterator<Item = Reply>) -> bool {
        let mut room = true;
        let mut waiting = self.lock();
        waiting.add(device.clone(), record, &self.metrics);
        for reply in replies {
            if waiting.replies.len() < self.max_waiting {
                waiting.replies.push(reply);
            } else if let Some(order) = reply.command {
                room = false;
                waiting.withdraw(device, order);
            }
        }
        self.metrics.waiting.set(count(waiting.records.len()));
        drop(waiting);
        self.wake.notify_one();
        room
    }

    /// Has a command that waits go out as this message instead.
    pub(super) fn readdress(&self, device: &str, order: u64, message: Message, publish: &Publish) {
        let mut waiting = self.lock();
        let mut replies = waiting.replies.iter_mut();
        if let Some(reply) = replies.find(|reply| reply.command == Some(order) && *reply.device == *device) {
            (reply.message, reply.publish) = (message, publish.clone());
        }
    }

    /// Resolves when everything that was taken so far is on the disk, or when that record of the device is given up,
    /// which is `false`; an error if nobody writes any more.
    pub(super) fn written(&self, device: Arc<str>, number: u64) -> oneshot::Receiver<bool> {
        let (done, written) = oneshot::channel();
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.waiters.push(Waiter { device, number, done });
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

    /// Writes a group of what waits; none if nothing does.
    pub(super) async fn write(&self) -> Option<Round> {
        let (group, waiters, swap) = self.take()?;
        point(swap, "swap-unwritten");
        let mut round = Round::default();
        let left = if group.is_empty() { group } else { self.commit(group.into(), &mut round).await };
        round.again = !left.is_empty();
        self.settle(left, waiters, &mut round);
        point(swap && !round.again, "swap-written");
        Some(round)
    }

    /// A group, with those who wait for it, if it is all that there is, and whether a command waits.
    fn take(&self) -> Option<(Group, Vec<Waiter>, bool)> {
        let mut waiting = self.lock();
        if waiting.records.is_empty() && waiting.waiters.is_empty() {
            return None;
        }
        let taken = if waiting.records.len() <= GROUP {
            mem::take(&mut waiting.records).into_iter().collect()
        } else {
            let devices: Vec<_> = waiting.records.keys().take(GROUP).cloned().collect();
            devices.into_iter().filter_map(|device| waiting.records.remove_entry(&device)).collect()
        };
        self.metrics.waiting.set(count(waiting.records.len()));
        let waiters = if waiting.records.is_empty() { mem::take(&mut waiting.waiters) } else { Vec::new() };
        Some((taken, waiters, waiting.replies.iter().any(|reply| reply.command.is_some())))
    }

    /// Writes a group; what has to be tried again.
    async fn commit(&self, group: Arc<[(Arc<str>, Record)]>, round: &mut Round) -> Group {
        let (records, keep) = (group.clone(), self.history);
        let all =
            move |tx: &Transaction<'_>| records.iter().try_for_each(|(device, record)| write(tx, device, record, keep));
        match self.store.write_synced(all).await {
            Ok(()) => {
                self.metrics.transactions.inc();
                round.written = group.iter().map(|(device, record)| (device.clone(), record.number)).collect();
                Group::new()
            }
            Err(error) if is_final(&error) => {
                tracing::error!(%error, records = group.len(), "dfu: turning points were refused; each is tried alone");
                self.commit_each(&group, round).await
            }
            Err(error) => {
                tracing::error!(%error, records = group.len(), "dfu: turning points were not written");
                group.to_vec()
            }
        }
    }

    /// One record that can never be written must not hold up the others.
    async fn commit_each(&self, group: &[(Arc<str>, Record)], round: &mut Round) -> Group {
        for (place, (device, record)) in group.iter().enumerate() {
            let (of, one, keep) = (device.clone(), record.clone(), self.history);
            match self.store.write_synced(move |tx| write(tx, &of, &one, keep)).await {
                Ok(()) => {
                    self.metrics.transactions.inc();
                    round.written.push((device.clone(), record.number));
                }
                Err(error) if is_final(&error) => {
                    tracing::error!(%device, %error, "dfu: a turning point is given up");
                    self.metrics.lost.inc();
                    round.lost.push((device.clone(), record.number));
                }
                Err(error) => {
                    let left = group.get(place..).unwrap_or_default().to_vec();
                    tracing::error!(%error, records = left.len(), "dfu: turning points were not written");
                    return left;
                }
            }
        }
        Group::new()
    }

    /// Sorts what waited, and takes back what has to be tried again. What follows from a record that waits still waits
    /// with it, unless the store fails: by then its device has asked again.
    fn settle(&self, left: Group, mut waiters: Vec<Waiter>, round: &mut Round) {
        let mut waiting = self.lock();
        for (device, record) in left {
            waiting.add(device, record, &self.metrics);
        }
        if round.again {
            waiting.waiters.append(&mut waiters);
        }
        let Round { due, dropped, waiters: told, again, lost, .. } = round;
        // Whoever waits for what is lost waits no longer.
        let of =
            |waiter: &Waiter, (device, number): &(Arc<str>, u64)| waiter.device == *device && waiter.number <= *number;
        let is_lost = |waiter: &Waiter| lost.iter().any(|lost| of(waiter, lost));
        waiters.extend(waiting.waiters.extract_if(.., |waiter| is_lost(waiter)));
        told.extend(waiters.into_iter().map(|waiter| {
            let written = !is_lost(&waiter);
            (waiter, written)
        }));
        for reply in mem::take(&mut waiting.replies) {
            let lost = lost.iter().any(|(device, _)| *device == reply.device);
            match (lost, waiting.records.contains_key(&reply.device)) {
                (false, false) => due.push(reply),
                (false, true) if !*again => waiting.replies.push(reply),
                _ => {
                    if let Some(order) = reply.command {
                        waiting.withdraw(&reply.device, order);
                    }
                    dropped.push(reply);
                }
            }
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

    /// An order does not go out: as long as it waits, nobody is told of it.
    fn withdraw(&mut self, device: &str, order: u64) {
        if let Some(record) = self.records.get_mut(device) {
            record.also.retain(|row| row.order != Some(order));
        }
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
    record.also.iter().try_for_each(|row| (row.also)(tx))
}

/// Whether the fault is in what is written, and not in a store that has no room or cannot write just now.
fn is_final(error: &WriteError<rusqlite::Error>) -> bool {
    match error {
        WriteError::Refused(error) => !matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::OutOfMemory
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::ReadOnly
            )
        ),
        WriteError::Panicked => true,
        WriteError::Commit(_) | WriteError::Closed => false,
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
