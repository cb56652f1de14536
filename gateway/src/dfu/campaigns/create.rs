//! How a campaign is made: which devices it is for, in which waves, and which of them not and why. A dry run is the same
//! without the last step.

use std::sync::Arc;

use causeway_core::dfu::Release;
use causeway_core::dfu::campaign::{Fitness, Plan, Progress, Standing, Target, fitness};
use causeway_core::dfu::query::Query;
use rusqlite::Transaction;

use super::super::desired::subject;
use super::table::Rollout;
use super::{CampaignError, Campaigns};
use crate::devices::Device;
use crate::store::campaigns::{self as rows, Asked, Campaign};
use crate::store::dfu;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// What it installs.
    pub release: Arc<Release>,
    /// Where that comes from.
    pub reference: String,
    /// Which devices were asked for.
    pub asked: Asked,
    /// Which those are, in the order of the waves.
    pub devices: Vec<Arc<Device>>,
    /// What is wanted of it.
    pub plan: Plan,
    /// Who makes it.
    pub operator: String,
}

/// A device of a campaign that is to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drawn {
    /// The device.
    pub device: String,
    /// What it runs, if it has said so.
    pub running: Option<String>,
    /// Its place in the campaign.
    pub target: Target,
}

/// What a device runs.
pub type Running<'r> = &'r (dyn Fn(&str) -> Option<String> + Sync);

/// Names that are words of the API.
const TAKEN: &[&str] = &["preview"];
const MAX_ID_BYTES: usize = 64;

impl Campaigns {
    /// The devices that a query means, in the order of their ids.
    #[must_use]
    pub fn matching(&self, query: &Query, running: Running<'_>) -> Vec<Arc<Device>> {
        let mut devices = self.registered();
        devices.retain(|device| {
            let running = if query.asks_version() { running(&device.id) } else { None };
            query.matches(&subject(device, running.as_deref()))
        });
        devices
    }

    /// The devices of that ids, each once and in their order.
    ///
    /// # Errors
    /// Some are not registered.
    pub fn named(&self, ids: &[String]) -> Result<Vec<Arc<Device>>, CampaignError> {
        const SHOWN: usize = 5;
        let mut seen = std::collections::HashSet::new();
        let (mut devices, mut unknown) = (Vec::new(), Vec::new());
        for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
            match self.parts.devices.get(id) {
                Some(device) => devices.push(device),
                None => unknown.push(format!("`{}`", id.escape_debug())),
            }
        }
        if unknown.is_empty() {
            return Ok(devices);
        }
        let more = unknown.len().saturating_sub(SHOWN);
        unknown.truncate(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Err(CampaignError::Devices(unknown.join(", ") + &more))
    }

    /// What would become of each device: this is what [`Campaigns::create`] writes.
    ///
    /// # Errors
    /// [`CampaignError`]: it could not be made.
    pub fn draw(&self, order: &Order, running: Running<'_>, now_ms: u64) -> Result<Vec<Drawn>, CampaignError> {
        check_id(&order.id)?;
        if order.devices.is_empty() {
            return Err(CampaignError::NoDevices);
        }
        let judged = order.devices.iter().map(|device| {
            let running = running(&device.id);
            let fitness = fitness(running.as_deref(), &order.release, order.plan.downgrade);
            (device.id.clone(), running, fitness)
        });
        let judged: Vec<_> = judged.collect();
        let due = judged.iter().filter(|(_, _, fitness)| *fitness == Fitness::Due).count();
        let sizes = order.plan.divide(u32::try_from(due).unwrap_or(u32::MAX));
        let mut waves = (1..).zip(sizes).flat_map(|(wave, size)| std::iter::repeat_n(wave, size as usize));
        let drawn = judged.into_iter().map(|(device, running, fitness)| {
            let target = |standing, reason| Target { standing, reason, ..Target::queued(0, now_ms) };
            let target = match fitness {
                Fitness::Due => Target::queued(waves.next().unwrap_or(1), now_ms),
                Fitness::Done => target(Standing::Succeeded, Some(DONE.to_owned())),
                Fitness::Unfit(reason) => target(Standing::Skipped, Some(reason)),
            };
            Drawn { device, running, target }
        });
        Ok(drawn.collect())
    }

    /// Makes a campaign. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`CampaignError`]; there is none then.
    pub async fn create(&self, order: Order, running: Running<'_>, now_ms: u64) -> Result<(), CampaignError> {
        let drawn = self.draw(&order, running, now_ms)?;
        let devices: Vec<_> = drawn.into_iter().map(|drawn| (drawn.device, drawn.target)).collect();
        let campaign = Campaign {
            id: order.id,
            release: Release::clone(&order.release),
            reference: order.reference,
            asked: order.asked,
            operator: order.operator,
            created_ms: now_ms,
            progress: Progress::new(&order.plan),
            plan: order.plan,
        };
        let (parts, config) = (self.parts.clone(), self.parts.config.clone());
        let work = move |tx: &Transaction<'_>| {
            if rows::get(tx, &campaign.id)?.is_some() {
                return Err(CampaignError::Exists(campaign.id));
            }
            // What devices come to under the old one would count for this one.
            let devices_left = dfu::of_campaign(tx, &campaign.id)?;
            if devices_left > 0 {
                return Err(CampaignError::Used { id: campaign.id, devices: devices_left });
            }
            if rows::count(tx)? >= config.max_campaigns as u64 {
                return Err(CampaignError::Full(config.max_campaigns));
            }
            let open = rows::open_devices(tx)? + devices.len() as u64;
            if open > config.max_devices as u64 {
                return Err(CampaignError::TooManyDevices { devices: open, most: config.max_devices });
            }
            rows::insert(tx, &campaign, &devices)?;
            Ok((campaign, devices))
        };
        let made = move |(campaign, devices): &(Campaign, Vec<(String, Target)>)| {
            parts.publish(|table| table.push(Rollout::new(campaign.clone(), devices.clone())));
            // One of them may have been removed since they were chosen.
            parts.pending().look = true;
        };
        let written = self.parts.store.write_then(work, made).await.map_err(CampaignError::from);
        if let Err(CampaignError::Full(_) | CampaignError::TooManyDevices { .. }) = &written {
            self.parts.metrics.refused();
        }
        written?;
        self.advance(now_ms).await;
        Ok(())
    }
}

/// The reason of devices that run the release when the campaign is made.
const DONE: &str = "it runs the release already";

fn check_id(id: &str) -> Result<(), CampaignError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let begins = id.bytes().next().is_some_and(plain);
    let rest = id.bytes().all(|byte| plain(byte) || b"._-".contains(&byte));
    if begins && rest && id.len() <= MAX_ID_BYTES && !TAKEN.contains(&id) {
        return Ok(());
    }
    Err(CampaignError::Name(id.chars().take(MAX_ID_BYTES).flat_map(char::escape_debug).collect()))
}
