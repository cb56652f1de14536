//! The campaigns: a table in memory over the store, changed only by what is committed, and by time that passes.
//!
//! An operator's order is decided and written in one transaction and is on the disk before its answer. What campaigns do
//! by themselves is done by one task, [`Campaigns::run`], which is woken when a device turned and now and then.

mod create;
mod error;
mod metrics;
mod table;
mod waits;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{Change, Command, Offer, Progress, State, Tally, Target};
use rusqlite::Transaction;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

pub use self::create::{Drawn, Order, Running};
pub use self::error::CampaignError;
pub use self::metrics::CampaignsMetrics;
use self::table::{Rollout, Table};
use super::Also;
use crate::clock::Clock;
use crate::config::CampaignsConfig;
use crate::devices::{Device, Devices, Filter};
use crate::store::campaigns::{self as rows, Campaign, CampaignRow, Page};
use crate::store::{Store, WriteError};

/// How often campaigns are looked at without a reason: for their starts, and for devices that were removed or take too
/// long.
const TICK: Duration = Duration::from_secs(1);

/// Devices found done, unfit or late that wait to be written; one more is found again. So many are found to be removed at
/// one look, too.
const MAX_NOTICES: usize = 4_096;

/// The campaigns; clones share them.
#[derive(Clone, Debug)]
pub struct Campaigns {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: Store,
    devices: Devices,
    table: RwLock<Table>,
    pending: Mutex<Pending>,
    wake: Notify,
    config: CampaignsConfig,
    metrics: CampaignsMetrics,
}

/// What is to be taken in of devices.
#[derive(Debug, Default)]
struct Pending {
    /// Found done, unfit or late; not written yet.
    notices: Vec<CampaignRow>,
    /// Written by others, with their turning points: campaign and device.
    written: HashSet<(String, String)>,
    /// Devices that are waited for may have been removed, and it may not be written yet.
    look: bool,
}

/// What a campaign means to a device.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) release: Arc<Release>,
    pub(super) reference: String,
    pub(super) attempts: Option<u32>,
    pub(super) downgrade: bool,
    pub(super) offer: Offer,
    /// The campaign does not wait for the device, which may have the release all the same.
    pub(super) settled: bool,
}

/// A campaign and how many of its devices are how far, by wave from wave 0 on.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The campaign.
    pub campaign: Arc<Campaign>,
    /// Its devices, counted.
    pub tallies: Arc<Vec<Tally>>,
}

impl Campaigns {
    /// Reads all campaigns from the store. Blocks.
    pub fn open(
        store: Store,
        devices: Devices,
        config: &CampaignsConfig,
        metrics: CampaignsMetrics,
    ) -> rusqlite::Result<Self> {
        let mut table = Table::default();
        for campaign in store.read_blocking(rows::all)? {
            let every = Page { limit: u64::from(u32::MAX), ..Page::default() };
            let targets = if campaign.progress.state.is_over() {
                Vec::new()
            } else {
                store.read_blocking(|connection| rows::devices(connection, &campaign.id, &every))?
            };
            table.push(Rollout::new(campaign, targets));
        }
        metrics.show(&table);
        let (table, config) = (RwLock::new(table), config.clone());
        let parts = Parts { store, devices, table, pending: Mutex::default(), wake: Notify::new(), config, metrics };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Does what an operator says.
    ///
    /// # Errors
    /// [`CampaignError`]; nothing changes then.
    pub async fn command(&self, id: &str, command: Command, now_ms: u64) -> Result<(), CampaignError> {
        let asked = id.to_owned();
        self.decide(id, now_ms, move |campaign, tallies| {
            let progress = campaign.progress.command(&command, &campaign.plan, tallies, now_ms);
            progress.map(Some).map_err(|error| CampaignError::Command { id: asked, error })
        })
        .await?;
        self.advance(now_ms).await;
        Ok(())
    }

    /// Deletes a campaign that is over.
    ///
    /// # Errors
    /// [`CampaignError`]; nothing changes then.
    pub async fn delete(&self, id: &str) -> Result<(), CampaignError> {
        let (asked, gone, parts) = (id.to_owned(), id.to_owned(), self.parts.clone());
        let work = move |tx: &Transaction<'_>| {
            let state = rows::get(tx, &asked)?.ok_or_else(|| CampaignError::Unknown(asked.clone()))?.progress.state;
            if !state.is_over() {
                return Err(CampaignError::NotOver { id: asked, state });
            }
            Ok(rows::delete(tx, &asked)?)
        };
        Ok(self.parts.store.write_then(work, move |()| parts.publish(|table| table.remove(&gone))).await?)
    }

    /// All campaigns, in the order in which they were made.
    ///
    /// # Errors
    /// [`CampaignError::Store`].
    pub async fn list(&self) -> Result<Vec<Shown>, CampaignError> {
        let ids: Vec<_> = self.parts.table().iter().map(|rollout| rollout.campaign.id.clone()).collect();
        let mut shown = Vec::new();
        for id in ids {
            match self.show(&id).await {
                Ok(campaign) => shown.push(campaign),
                // It was deleted meanwhile.
                Err(CampaignError::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    /// One campaign.
    ///
    /// # Errors
    /// There is none of that id, or [`CampaignError::Store`].
    pub async fn show(&self, id: &str) -> Result<Shown, CampaignError> {
        let look = |rollout: &Rollout| (rollout.campaign.clone(), rollout.tallies.clone(), rollout.late);
        let known = self.parts.table().get(id).map(look);
        let (campaign, tallies, late) = known.ok_or_else(|| CampaignError::Unknown(id.to_owned()))?;
        if let Some(tallies) = tallies {
            return Ok(Shown { campaign, tallies });
        }
        let asked = id.to_owned();
        let read = self.parts.store.read(move |connection| rows::tallies(connection, &asked)).await;
        let tallies = Arc::new(read.map_err(|error| CampaignError::Store(error.to_string()))?);
        let mut table = self.parts.table.write().unwrap_or_else(PoisonError::into_inner);
        // Nothing has come late, and it is no other campaign, since they were asked for.
        let same = |rollout: &&mut Rollout| Arc::ptr_eq(&rollout.campaign, &campaign) && rollout.late == late;
        if let Some(rollout) = table.get_mut(id).filter(same) {
            rollout.tallies = Some(tallies.clone());
        }
        Ok(Shown { campaign, tallies })
    }

    /// The devices of a campaign, in their order.
    ///
    /// # Errors
    /// [`CampaignError::Store`].
    pub async fn devices(&self, id: &str, page: Page) -> Result<Vec<(String, Target)>, CampaignError> {
        let id = id.to_owned();
        let read = self.parts.store.read(move |connection| rows::devices(connection, &id, &page)).await;
        read.map_err(|error| CampaignError::Store(error.to_string()))
    }

    /// One device of a campaign; none if it is not in it.
    ///
    /// # Errors
    /// [`CampaignError::Store`].
    pub async fn target(&self, id: &str, device: &str) -> Result<Option<Target>, CampaignError> {
        let (id, device) = (id.to_owned(), device.to_owned());
        let read = self.parts.store.read(move |connection| rows::device(connection, &id, &device)).await;
        read.map_err(|error| CampaignError::Store(error.to_string()))
    }

    /// All registered devices.
    pub(super) fn registered(&self) -> Vec<Arc<Device>> {
        self.parts.devices.list(&Filter::default())
    }

    pub(super) fn device(&self, id: &str) -> Option<Arc<Device>> {
        self.parts.devices.get(id)
    }

    pub(super) fn store(&self) -> Store {
        self.parts.store.clone()
    }

    /// What a campaign means to the device.
    pub(super) fn offer(&self, device: &str, now_ms: u64) -> Option<Found> {
        self.parts.table().offer(device, now_ms)
    }

    /// A device was found to be done, or unfit; that is written soon.
    pub(super) fn notice(&self, row: CampaignRow) {
        let mut pending = self.parts.pending();
        if pending.notices.len() >= MAX_NOTICES {
            self.parts.metrics.dropped();
            return;
        }
        pending.notices.push(row);
        drop(pending);
        self.parts.wake.notify_one();
    }

    /// What is to be written with a device's turning point. What it says is seen once it is committed.
    pub(super) fn turned(&self, row: CampaignRow) -> Also {
        let parts = self.parts.clone();
        Arc::new(move |tx| {
            rows::change(tx, &row)?;
            parts.pending().written.insert((row.campaign.clone(), row.device.clone()));
            parts.wake.notify_one();
            Ok(())
        })
    }

    /// Does what campaigns do by themselves, until the task is dropped.
    pub async fn run(self, clock: Clock) {
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut looked = Instant::now();
        let mut changed = self.parts.devices.changed();
        // Nobody looked before.
        changed.mark_changed();
        loop {
            let ticked = tokio::select! {
                _ = timer.tick() => true,
                () = self.parts.wake.notified() => false,
            };
            let now_ms = clock.now_ms();
            if ticked {
                let before = std::mem::replace(&mut looked, Instant::now());
                self.pass(looked - before, now_ms);
            }
            if changed.has_changed().unwrap_or(false) {
                changed.mark_unchanged();
                self.parts.pending().look = true;
            }
            if let Err(error) = self.catch_up(now_ms).await {
                tracing::error!(%error, "campaigns: what devices have come to is not taken in");
            }
            self.advance(now_ms).await;
        }
    }

    /// Opens waves, pauses, aborts and finishes what is due. What does not succeed is due still.
    async fn advance(&self, now_ms: u64) {
        let due = self.parts.table().due(now_ms);
        for id in due {
            let decided = self.decide(&id, now_ms, move |campaign, tallies| {
                let mut progress = campaign.progress.clone();
                let mut moved = false;
                while let Some(next) = progress.next(&campaign.plan, tallies, now_ms) {
                    (progress, moved) = (next, true);
                }
                Ok(moved.then_some(progress))
            });
            match decided.await {
                // It was deleted meanwhile.
                Ok(()) | Err(CampaignError::Unknown(_)) => {}
                Err(error) => tracing::error!(campaign = id, %error, "campaigns: a campaign does not go on"),
            }
        }
    }

    /// Changes how far a campaign is, by what the store says of it: two decisions at once cannot lose one another.
    async fn decide<F>(&self, id: &str, now_ms: u64, decision: F) -> Result<(), CampaignError>
    where
        F: FnOnce(&Campaign, &[Tally]) -> Result<Option<Progress>, CampaignError> + Send + 'static,
    {
        let (asked, parts, shown) = (id.to_owned(), self.parts.clone(), id.to_owned());
        let work = move |tx: &Transaction<'_>| {
            let campaign = rows::get(tx, &asked)?.ok_or_else(|| CampaignError::Unknown(asked.clone()))?;
            let decided = decision(&campaign, &rows::tallies(tx, &asked)?)?;
            if let Some(progress) = &decided {
                rows::set_progress(tx, &asked, progress)?;
                if progress.state == State::Aborted {
                    rows::cancel_open(tx, &asked, now_ms)?;
                }
            }
            Ok::<_, CampaignError>(decided)
        };
        let written = self.parts.store.write_then(work, move |decided| {
            if let Some(progress) = decided {
                let Progress { state, wave, why, .. } = progress;
                tracing::info!(campaign = shown, state = state.word(), wave, why, "a campaign went on");
                parts.publish(|table| table.set_progress(&shown, progress));
            }
        });
        written.await?;
        Ok(())
    }

    /// Devices that are waited for and are no more, whichever state their campaign is in.
    fn removed(&self, now_ms: u64) -> Vec<CampaignRow> {
        let gone = |device: &str| self.parts.devices.get(device).is_none();
        let waiting = self.parts.table().waiting(gone, MAX_NOTICES);
        let change = |(campaign, device)| {
            let change = Change::skipped(REMOVED.to_owned(), now_ms);
            CampaignRow { campaign, device, change }
        };
        waiting.into_iter().map(change).collect()
    }

    /// Writes what was found of devices, and takes in what others wrote of them. The store writes one after the other:
    /// what this transaction reads has been committed when it is.
    async fn catch_up(&self, now_ms: u64) -> Result<(), WriteError<rusqlite::Error>> {
        let Pending { mut notices, written, look } = std::mem::take(&mut *self.parts.pending());
        if look {
            let removed = self.removed(now_ms);
            // There may be more; and when these are not written, they are found again.
            self.parts.pending().look |= !removed.is_empty();
            notices.extend(removed);
        }
        if notices.is_empty() && written.is_empty() {
            return Ok(());
        }
        let (parts, again) = (self.parts.clone(), written.clone());
        let work = move |tx: &Transaction<'_>| {
            notices.iter().try_for_each(|row| rows::change(tx, row))?;
            let noticed = notices.into_iter().map(|row| (row.campaign, row.device));
            let mut devices = Vec::new();
            for (campaign, device) in written.into_iter().chain(noticed) {
                if let Some(target) = rows::device(tx, &campaign, &device)? {
                    devices.push((campaign, device, target));
                }
            }
            Ok(devices)
        };
        let seen = move |devices: &Vec<(String, String, Target)>| {
            parts.publish(|table| {
                devices.iter().for_each(|(campaign, device, target)| table.set(campaign, device, target.clone()));
            });
        };
        let done = self.parts.store.write_then(work, seen).await;
        if done.is_err() {
            // What was noticed is found again: when its device asks, or at the next look.
            self.parts.pending().written.extend(again);
        }
        done.map(drop)
    }
}

/// The reason of devices that are no more.
pub const REMOVED: &str = "it was removed from the registry";

impl Parts {
    /// Locks are held for a lookup or a change in memory, and a panic cannot leave the table half changed.
    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody see what was committed. Runs on the store's thread, hence in the order of the commits.
    fn publish(&self, change: impl FnOnce(&mut Table)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        self.metrics.show(&table);
    }
}

#[cfg(test)]
pub(super) mod tests;
