//! Which release a device is to get: a campaign's before a rule's, the first rule that matches before the others.
//!
//! Nothing is decided here that lasts: what becomes of a device is told to the campaigns by whoever counts its turning
//! points. A lookup takes no time and waits for nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use causeway_core::dfu::campaign::{Change, Fitness, Offer, fitness};
use causeway_core::dfu::query::Subject;
use causeway_core::dfu::window::{Opening, opening};
use causeway_core::dfu::{By, Hold, Release, Turn};

use super::campaigns::{Campaigns, Found};
use super::{Also, Desire};
use crate::config::AssignmentConfig;
use crate::devices::Device;
use crate::firmware::Unready;
use crate::store::campaigns::CampaignRow;

/// Time between two looks at a release that is being fetched.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where releases are looked up; nothing here waits.
pub struct Releases {
    /// What a reference stands for now.
    pub release: Find<Arc<Release>>,
    /// Whether the image of that digest can be served.
    pub image: Find<()>,
}

/// Looks something up, or says why it is not to be had now.
type Find<T> = Box<dyn Fn(&str) -> Result<T, Unready> + Send + Sync>;

/// Who gets what; clones share it.
#[derive(Clone)]
pub struct Desired {
    parts: Arc<Parts>,
}

struct Parts {
    rules: ArcSwap<Vec<AssignmentConfig>>,
    campaigns: Campaigns,
    releases: Releases,
}

impl Desired {
    /// Asks these rules and campaigns.
    pub fn new(rules: Vec<AssignmentConfig>, campaigns: Campaigns, releases: Releases) -> Self {
        let rules = ArcSwap::from_pointee(rules);
        Self { parts: Arc::new(Parts { rules, campaigns, releases }) }
    }

    /// What the device is to get, as far as it is known what it runs; nothing if it keeps that.
    #[must_use]
    pub fn of(&self, device: &Device, running: Option<&str>, now_ms: u64) -> Option<Desire> {
        match self.parts.campaigns.offer(&device.id, now_ms) {
            Some(found) => self.of_campaign(&device.id, running, found, now_ms),
            None => self.of_rules(device, running, now_ms),
        }
    }

    /// What a turning point of a device's update means to campaigns: written in the transaction of the turning point.
    #[must_use]
    pub fn turned(&self, device: &str, by: &By, turn: &Turn, now_ms: u64) -> Vec<Also> {
        let By::Campaign(campaign) = by else { return Vec::new() };
        let change = Change::of_turn(turn, now_ms);
        let row = CampaignRow { campaign: campaign.clone(), device: device.to_owned(), change };
        vec![self.parts.campaigns.turned(row)]
    }

    /// Takes over the rules of a configuration that was read again.
    pub fn reload(&self, rules: Vec<AssignmentConfig>) {
        self.parts.rules.store(Arc::new(rules));
    }

    /// What a reference stands for, waited for as long as it is being fetched and `patience` lasts.
    ///
    /// # Errors
    /// It cannot be had, or not yet.
    pub async fn release(&self, reference: &str, patience: Duration) -> Result<Arc<Release>, Unready> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match (self.parts.releases.release)(reference) {
                Err(Unready::Fetching) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                found => return found,
            }
        }
    }

    /// The campaigns that are asked.
    #[must_use]
    pub fn campaigns(&self) -> &Campaigns {
        &self.parts.campaigns
    }

    fn of_campaign(&self, device: &str, running: Option<&str>, found: Found, now_ms: u64) -> Option<Desire> {
        let Found { id, release, reference, attempts, downgrade, offer, settled } = found;
        let desire = |hold, swap, refused| {
            Some(Desire { by: By::Campaign(id.clone()), release: Ok(release.clone()), hold, swap, refused, attempts })
        };
        let notice = |change| {
            self.parts.campaigns.notice(CampaignRow { campaign: id.clone(), device: device.to_owned(), change });
        };
        let (hold, swap) = match offer {
            Offer::Nothing | Offer::Stay => return None,
            Offer::Hold(hold) => (Some(hold), false),
            Offer::Get { swap } => (None, swap),
        };
        match fitness(running, &release, downgrade) {
            // It is told that what it runs is right, also while the campaign stands still.
            Fitness::Done => {
                notice(Change::found(now_ms));
                desire(None, true, None)
            }
            Fitness::Unfit(reason) => {
                if !settled {
                    notice(Change::skipped(reason.clone(), now_ms));
                }
                desire(None, false, Some(reason))
            }
            Fitness::Due => desire(hold.or_else(|| self.missing(&release, &reference)), swap, None),
        }
    }

    /// Why the image of a release that was fixed earlier cannot be served. Whatever its reference stands for by now, it
    /// is that image.
    fn missing(&self, release: &Release, reference: &str) -> Option<Hold> {
        let absent = (self.parts.releases.image)(&release.image).err()?.to_string();
        let why = match (self.parts.releases.release)(reference) {
            Ok(now) if now.image == release.image => absent,
            Ok(_) => format!("`{reference}` stands for another image by now, and the one that was meant is not here"),
            Err(unready) => unready.to_string(),
        };
        Some(Hold::Image(why))
    }

    fn of_rules(&self, device: &Device, running: Option<&str>, now_ms: u64) -> Option<Desire> {
        let subject = subject(device, running);
        let rules = self.parts.rules.load();
        let rule = rules.iter().find(|rule| rule.devices.matches(&subject))?;
        let by = By::Rule(rule.name.clone());
        let release = match (self.parts.releases.release)(&rule.release) {
            Ok(release) => release,
            Err(unready) => {
                let release = Err(Hold::Image(unready.to_string()));
                return Some(Desire { by, release, hold: None, swap: false, refused: None, attempts: rule.attempts });
            }
        };
        let (hold, swap, refused) = match fitness(running, &release, rule.downgrade) {
            Fitness::Done => (None, true, None),
            Fitness::Unfit(reason) => (None, false, Some(reason)),
            Fitness::Due => match opening(&rule.windows, now_ms) {
                Opening::Open => (self.missing(&release, &rule.release), true, None),
                Opening::Shut(_) if rule.preload => (self.missing(&release, &rule.release), false, None),
                Opening::Shut(opens) => (Some(Hold::Window { opens_ms: Some(opens) }), false, None),
            },
        };
        Some(Desire { by, release: Ok(release), hold, swap, refused, attempts: rule.attempts })
    }
}

/// A device as queries see it.
pub(super) fn subject<'a>(device: &'a Device, running: Option<&'a str>) -> Subject<'a> {
    Subject {
        id: &device.id,
        groups: &device.groups,
        parent: device.parent.as_deref(),
        attributes: &device.attributes,
        version: running,
    }
}

#[cfg(test)]
mod tests;
