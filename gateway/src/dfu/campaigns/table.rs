//! The campaigns in memory: those that are not over with all their devices. It follows the store, commit by commit; only
//! how long devices have been in progress is known to nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{Offer, Progress, State, Tally, Target};

use super::Found;
use super::waits::Waits;
use crate::store::campaigns::{Campaign, CampaignRow};

/// One campaign.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) campaign: Arc<Campaign>,
    release: Arc<Release>,
    /// By device; empty when it is over.
    targets: HashMap<String, Target>,
    /// None if devices may take as long as they like, or it is over.
    waits: Option<Waits>,
    /// Of the waves, from wave 0 on; of one that is over only once somebody has asked.
    pub(super) tallies: Option<Arc<Vec<Tally>>>,
    /// Counts what devices came to after it was over.
    pub(super) late: u64,
}

/// All campaigns, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Rollout>);

impl Rollout {
    pub(super) fn new(campaign: Campaign, devices: Vec<(String, Target)>) -> Self {
        let release = Arc::new(campaign.release.clone());
        let over = campaign.progress.state.is_over();
        let mut rollout = Self {
            campaign: Arc::new(campaign),
            release,
            targets: devices.into_iter().collect(),
            waits: None,
            tallies: None,
            late: 0,
        };
        if over {
            rollout.targets = HashMap::new();
        } else {
            let limit = rollout.campaign.plan.device_timeout;
            rollout.waits = limit.map(|_| Waits::new(&rollout.targets));
            rollout.count();
        }
        rollout
    }

    fn count(&mut self) {
        let waves = self.targets.values().map(|target| target.wave).max().unwrap_or(0);
        let mut tallies = vec![Tally::default(); waves as usize + 1];
        for target in self.targets.values() {
            if let Some(tally) = tallies.get_mut(target.wave as usize) {
                tally.put(target);
            }
        }
        self.tallies = Some(Arc::new(tallies));
    }

    fn progress(&self) -> &Progress {
        &self.campaign.progress
    }

    /// Whether something would happen by itself now.
    fn is_due(&self, now_ms: u64) -> bool {
        let Some(tallies) = &self.tallies else { return false };
        self.progress().next(&self.campaign.plan, tallies, now_ms).is_some()
    }

    fn set(&mut self, device: &str, target: Target) {
        if self.progress().state.is_over() {
            // Counted anew when somebody asks.
            self.tallies = None;
            self.late += 1;
            return;
        }
        let (Some(known), Some(tallies)) = (self.targets.get_mut(device), &mut self.tallies) else { return };
        if let Some(tally) = Arc::make_mut(tallies).get_mut(target.wave as usize) {
            tally.take(known);
            tally.put(&target);
        }
        if let Some(waits) = &mut self.waits {
            waits.see(device, known, &target);
        }
        *known = target;
    }

    fn pass(&mut self, elapsed: Duration, now_ms: u64) {
        let going = self.progress().is_going(&self.campaign.plan, now_ms);
        if let Some(waits) = self.waits.as_mut().filter(|_| going) {
            waits.pass(elapsed);
        }
    }

    fn set_progress(&mut self, progress: &Progress) {
        Arc::make_mut(&mut self.campaign).progress = progress.clone();
        if progress.state.is_over() {
            (self.targets, self.waits, self.tallies) = (HashMap::new(), None, None);
        }
    }
}

impl Table {
    pub(super) fn push(&mut self, rollout: Rollout) {
        self.0.push(rollout);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|rollout| rollout.campaign.id != id);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rollout> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Rollout> {
        self.0.iter().find(|rollout| rollout.campaign.id == id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Rollout> {
        self.0.iter_mut().find(|rollout| rollout.campaign.id == id)
    }

    /// A device of a campaign stands so in the store.
    pub(super) fn set(&mut self, campaign: &str, device: &str, target: Target) {
        if let Some(rollout) = self.get_mut(campaign) {
            rollout.set(device, target);
        }
    }

    pub(super) fn set_progress(&mut self, id: &str, progress: &Progress) {
        if let Some(rollout) = self.get_mut(id) {
            rollout.set_progress(progress);
        }
    }

    /// The campaigns in which something would happen by itself now.
    pub(super) fn due(&self, now_ms: u64) -> Vec<String> {
        self.0.iter().filter(|rollout| rollout.is_due(now_ms)).map(|rollout| rollout.campaign.id.clone()).collect()
    }

    /// What campaigns mean to a device: of several, the one that began first of those that wait for it, or else of those
    /// in which it may come still.
    pub(super) fn offer(&self, device: &str, now_ms: u64) -> Option<Found> {
        let began = |rollout: &&Rollout| matches!(rollout.progress().state, State::Running | State::Paused);
        let mut containing: Vec<_> =
            self.0.iter().filter(began).filter_map(|rollout| Some((rollout, rollout.targets.get(device)?))).collect();
        containing.sort_by_key(|(rollout, target)| (target.standing.is_final(), rollout.progress().started_ms));
        containing.into_iter().find_map(|(rollout, target)| {
            let plan = &rollout.campaign.plan;
            let offer = rollout.progress().offer(plan, target, now_ms);
            (offer != Offer::Nothing).then(|| Found {
                id: rollout.campaign.id.clone(),
                release: rollout.release.clone(),
                reference: rollout.campaign.reference.clone(),
                attempts: plan.attempts,
                downgrade: plan.downgrade,
                offer,
                settled: target.standing.is_final(),
            })
        })
    }

    /// So much time has passed.
    pub(super) fn pass(&mut self, elapsed: Duration, now_ms: u64) {
        self.0.iter_mut().for_each(|rollout| rollout.pass(elapsed, now_ms));
    }

    /// Devices that take too long, with what that means; so many at most.
    pub(super) fn overdue(&self, now_ms: u64, most: usize) -> Vec<CampaignRow> {
        let limited = self.0.iter().filter_map(|rollout| Some((rollout, rollout.waits.as_ref()?)));
        let overdue = limited.flat_map(|(rollout, waits)| {
            waits.iter().filter_map(|(device, passed)| {
                let (campaign, target) = (&rollout.campaign, rollout.targets.get(device)?);
                let change = rollout.progress().overdue(&campaign.plan, target, passed, now_ms)?;
                Some(CampaignRow { campaign: campaign.id.clone(), device: device.clone(), change })
            })
        });
        overdue.take(most).collect()
    }

    /// Devices that campaigns wait for, or will, with their campaigns, of which `gone` is true; so many at most.
    pub(super) fn waiting(&self, gone: impl Fn(&str) -> bool, most: usize) -> Vec<(String, String)> {
        let waiting = self.0.iter().flat_map(|rollout| {
            let open = rollout.targets.iter().filter(|(_, target)| !target.standing.is_final());
            open.map(|(device, _)| (&rollout.campaign.id, device))
        });
        let gone = waiting.filter(|(_, device)| gone(device));
        gone.take(most).map(|(campaign, device)| (campaign.clone(), device.clone())).collect()
    }
}
