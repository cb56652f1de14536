//! What operators see of the fleet, and what they may change of it.

use std::sync::Arc;

use causeway_core::dfu::By;
use causeway_core::dfu::query::{Query, Subject};
use causeway_core::dfu::update::{Attempt, State};

use thiserror::Error;

use super::table::Entry;
use super::{Fleet, Parts, millis};
use crate::devices::{self, Device};
use crate::dfu::progress;

/// Devices that are looked at together.
const PAGE: usize = 1_000;

/// Which devices are meant; the default means all that have said something about their firmware.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of a query.
    pub query: Option<Query>,
    /// Those whose updates are there.
    pub state: Option<State>,
    /// Those that are stalled, or are not.
    pub stalled: Option<bool>,
    /// Those with ids behind this one: the last of the page before.
    pub after: Option<String>,
}

/// What was forgiven is not on the disk.
#[derive(Clone, Copy, Debug, Error)]
pub enum ForgiveError {
    /// Nobody writes any more.
    #[error("the gateway is ending and wrote nothing: ask again when it is back")]
    Ending,
    /// The store has an objection to what there was to write of the device.
    #[error("the store refused it, and it holds only until the gateway is started again: see why in the gateway's log")]
    Refused,
}

/// One device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceView {
    /// Its id.
    pub device: String,
    /// What it runs.
    pub running: Option<Arc<str>>,
    /// Where its update is.
    pub state: State,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// When it was last heard, Unix ms.
    pub heard_ms: u64,
    /// Whether it says nothing in the middle of an attempt.
    pub stalled: bool,
    /// The release that the state is about.
    pub target: Option<TargetView>,
    /// Why it does not get what is assigned to it.
    pub why: Option<String>,
    /// Why its last attempt failed.
    pub reason: Option<String>,
    /// What was wrong with its last status, and when, Unix ms.
    pub problem: Option<(String, u64)>,
    /// Its attempts at versions: starts that it was told, and transfers that failed.
    pub attempts: Vec<Attempt>,
}

/// A release on its way to a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetView {
    /// The firmware's name.
    pub name: String,
    /// The release's version.
    pub version: String,
    /// Who assigned it.
    pub by: By,
    /// What the device ran before.
    pub from: String,
    /// Which attempt it is or was, from 1.
    pub attempt: u32,
    /// What the device has.
    pub offset: u64,
    /// Of how much.
    pub size: u64,
    /// The same in percent.
    pub percent: u64,
    /// The format of the patch that it gets.
    pub patch: Option<String>,
    /// Blocks of this attempt.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How often the device began anew in this attempt.
    pub restarts: u32,
    /// Bytes in a second.
    pub rate: Option<u64>,
    /// Milliseconds until it has everything.
    pub left_ms: Option<u64>,
}

impl Fleet {
    /// One device, if it has said something about its firmware.
    #[must_use]
    pub fn device(&self, id: &str, now_ms: u64) -> Option<DeviceView> {
        let device = self.parts.devices.get(id)?;
        self.parts.view(&device, now_ms)
    }

    /// The devices that are meant, in the order of their ids.
    #[must_use]
    pub fn devices(&self, filter: &Filter, limit: usize, now_ms: u64) -> Vec<DeviceView> {
        let mut found = Vec::new();
        let mut page = devices::Filter { after: filter.after.clone(), limit: Some(PAGE), ..Default::default() };
        loop {
            let devices = self.parts.devices.list(&page);
            for device in &devices {
                if found.len() >= limit {
                    return found;
                }
                found.extend(self.parts.selected(device, filter, now_ms));
            }
            let Some(last) = devices.last() else { return found };
            page.after = Some(last.id.clone());
        }
    }

    /// How many devices are where.
    #[must_use]
    pub fn states(&self, now_ms: u64) -> (Vec<(State, u64)>, u64) {
        let mut states = State::ALL.map(|state| (state, 0)).to_vec();
        let (mut stalled, stalled_ms) = (0, millis(self.parts.config.stalled));
        self.parts.table.each(|_, entry| {
            stalled += u64::from(entry.standing.is_stalled(stalled_ms, now_ms));
            for (_, count) in states.iter_mut().filter(|(state, _)| *state == entry.standing.state) {
                *count += 1;
            }
        });
        (states, stalled)
    }

    /// Lets a device have again what it failed at, and resolves when that is on the disk; `false` if there is nothing to
    /// forgive.
    ///
    /// # Errors
    /// It is not on the disk.
    pub async fn forgive(&self, id: &str, now_ms: u64) -> Result<bool, ForgiveError> {
        let ledger = &self.parts.ledger;
        let forgiven = self.parts.table.change_known(id, |entry| {
            let record = entry.standing.forgive(now_ms).then(|| entry.record())?;
            let (device, number) = (id.into(), record.number);
            ledger.submit(&device, record, []);
            Some(ledger.written(device, number))
        });
        let Some(written) = forgiven.flatten() else { return Ok(false) };
        match written.await {
            Ok(true) => Ok(true),
            Ok(false) => Err(ForgiveError::Refused),
            Err(_) => Err(ForgiveError::Ending),
        }
    }
}

impl Parts {
    fn selected(&self, device: &Device, filter: &Filter, now_ms: u64) -> Option<DeviceView> {
        if let Some(query) = &filter.query {
            let running = self.table.look(&device.id, |entry| entry.standing.running.clone()).flatten();
            let subject = Subject {
                id: &device.id,
                groups: &device.groups,
                parent: device.parent.as_deref(),
                attributes: &device.attributes,
                version: running.as_deref(),
            };
            if !query.matches(&subject) {
                return None;
            }
        }
        let view = self.view(device, now_ms)?;
        let in_state = filter.state.is_none_or(|state| state == view.state);
        let as_stalled = filter.stalled.is_none_or(|stalled| stalled == view.stalled);
        (in_state && as_stalled).then_some(view)
    }

    fn view(&self, device: &Device, now_ms: u64) -> Option<DeviceView> {
        let stalled_ms = millis(self.config.stalled);
        let view = self.table.look(&device.id, |entry| {
            let standing = &entry.standing;
            DeviceView {
                device: device.id.clone(),
                running: standing.running.clone(),
                state: standing.state,
                since_ms: standing.since_ms,
                heard_ms: standing.heard_ms,
                stalled: standing.is_stalled(stalled_ms, now_ms),
                target: target(entry, now_ms),
                why: None,
                reason: standing.reason.clone(),
                problem: entry.problem.clone(),
                attempts: standing.attempts.all().to_vec(),
            }
        })?;
        Some(DeviceView { why: self.decide(device, now_ms).why, ..view })
    }
}

fn target(entry: &Entry, now_ms: u64) -> Option<TargetView> {
    let (standing, size) = (&entry.standing, entry.size());
    let target = standing.target.as_deref()?;
    let tally = &target.tally;
    let moving = standing.state == State::Transferring;
    let left = size.saturating_sub(tally.offset);
    Some(TargetView {
        name: target.name.clone(),
        version: target.version.clone(),
        by: target.by.clone(),
        from: target.from.clone(),
        attempt: standing.latest_attempt(),
        offset: tally.offset,
        size,
        percent: progress::percent(standing, size),
        patch: tally.patch.clone(),
        blocks: tally.blocks,
        bytes: tally.bytes,
        restarts: tally.restarts,
        rate: entry.pace.rate(tally.bytes, now_ms).filter(|_| moving),
        left_ms: entry.pace.left_ms(left, tally.bytes, now_ms).filter(|_| moving),
    })
}
