//! The fleet's one task: writes turning points as they come, sends what waited for them, writes counts now and then, and
//! forgets removed devices.
//!
//! All of it is written by this task, one after the other, so that what is older never comes behind what is newer.

use std::sync::Arc;
use std::time::Duration;

use causeway_core::dfu::update::Standing;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::table::Entry;
use super::{Fleet, Parts, millis};
use crate::crash;
use crate::dfu::ledger::{Reply, Round};
use crate::store::dfu;

/// Devices of one transaction at most.
const GROUP: usize = 512;

/// Time after which what the store did not take is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Fleet {
    /// Works until it is stopped; writes what there is then.
    pub async fn run(self, stop: CancellationToken) {
        let parts = &self.parts;
        let mut flush = tokio::time::interval(parts.config.flush);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut registry = parts.devices.changed();
        registry.mark_changed();
        let mut retry = None;
        loop {
            let retrying = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = parts.ledger.woken(), if retry.is_none() => retry = parts.write().await,
                () = retrying => retry = parts.write().await,
                _ = flush.tick() => {
                    if registry.has_changed().unwrap_or(false) {
                        registry.borrow_and_update();
                        parts.forget_removed();
                    }
                    parts.flush().await;
                }
            }
        }
        parts.write().await;
        parts.flush().await;
        parts.ledger.close();
    }
}

impl Parts {
    pub(super) fn forget_removed(&self) {
        self.table.retain(|device| self.devices.get(device).is_some());
    }

    /// Writes the turning points that wait; when to try again, if the store does not take them.
    pub(super) async fn write(&self) -> Option<Instant> {
        while let Some(round) = self.ledger.write().await {
            let again = round.again;
            self.take_in(round);
            if again {
                return Some(Instant::now() + RETRY);
            }
        }
        None
    }

    fn take_in(&self, round: Round) {
        let Round { written, lost, due, dropped, waiters, .. } = round;
        for (device, number) in written.into_iter().chain(lost) {
            self.table.change_known(&device, |entry| entry.settled = entry.settled.max(number));
        }
        let mut swap = false;
        for reply in due {
            swap |= reply.command.is_some();
            self.send(reply);
        }
        for (waiter, written) in waiters {
            // Whoever does not want to know any more is not told.
            let _ = waiter.done.send(written);
        }
        if swap {
            crash::point("swap-sent", "");
        }
        for Reply { device, command, .. } in dropped {
            if let Some(number) = command {
                self.unsent("store", &device, number);
            }
        }
    }

    fn send(&self, Reply { device, message, publish, command }: Reply) {
        match command {
            None => {
                publish(message);
                self.metrics.published.inc();
            }
            Some(number) if self.goes_out(&device, number) => publish(message),
            Some(_) => self.metrics.unsent("late"),
        }
    }

    /// Whether an order to start a release is to go out still, which it does then.
    fn goes_out(&self, device: &str, number: u64) -> bool {
        let sent = self.table.change_known(device, |entry| entry.ordered == number && entry.standing.sent());
        sent.unwrap_or(false)
    }

    /// The device is told something else than to start the release: an order that waits is none any more.
    pub(super) fn take_back(&self, device: &str, now_ms: u64) {
        self.withdraw(device, now_ms, |_| true);
    }

    /// An order to start a release does not go out: it does not count.
    pub(super) fn unsent(&self, reason: &'static str, device: &str, number: u64) {
        self.metrics.unsent(reason);
        self.withdraw(device, self.clock.now_ms(), |entry| entry.ordered == number);
    }

    /// Takes an order that waits back, if it is the one that is meant, in memory and on the disk.
    fn withdraw(&self, device: &str, now_ms: u64, is_meant: impl FnOnce(&Entry) -> bool) {
        self.table.change_known(device, |entry| {
            if is_meant(entry) && entry.standing.unsent(now_ms) {
                self.ledger.submit(&device.into(), entry.record(), []);
            }
        });
    }

    /// Writes what was counted since the last time, and counts who is stalled.
    pub(super) async fn flush(&self) {
        let touched = self.collect();
        for group in touched.chunks(GROUP) {
            let group: Arc<[(Arc<str>, Standing)]> = group.into();
            let rows = group.clone();
            let written = self.store.write(move |tx| {
                rows.iter().try_for_each(|(device, standing)| dfu::note(tx, device, standing).map(drop))
            });
            if let Err(error) = written.await {
                // Until it is written a restart believes what was counted before; devices know how far they are.
                tracing::error!(%error, devices = group.len(), "dfu: counts were not written");
                for (device, _) in group.iter() {
                    self.table.change_known(device, |entry| entry.touched = true);
                }
            }
        }
    }

    /// What was touched and is not about to be written with its turning point.
    fn collect(&self) -> Vec<(Arc<str>, Standing)> {
        let (stalled_ms, now_ms) = (millis(self.config.stalled), self.clock.now_ms());
        let (mut touched, mut stalled) = (Vec::new(), 0);
        self.table.each(|device, entry| {
            stalled += i64::from(entry.standing.is_stalled(stalled_ms, now_ms));
            if entry.touched && entry.settled >= entry.turned {
                entry.touched = false;
                touched.push((device.clone(), entry.standing.clone()));
            }
        });
        self.metrics.stalled.set(stalled);
        touched
    }
}
