//! What updates of devices are made of, built in order: the firmware there is, who gets it, and what becomes of it.

use causeway_core::dfu::{By, Release, Turn};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

use super::StartError;
use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::config::{AssignmentConfig, Config};
use crate::devices::{Device, Devices};
use crate::dfu::{Also, Campaigns, CampaignsMetrics, Desire, Desired, DfuMetrics, Fleet, Releases, Sources};
use crate::firmware::{Firmware, FirmwareMetrics, Followed};
use crate::store::Store;

/// The parts that update devices.
pub(super) struct Updates {
    pub(super) firmware: Firmware,
    pub(super) desired: Desired,
    pub(super) fleet: Fleet,
}

/// Starts the catalogue of firmware, and reads how the updates of all devices stand. Blocks.
pub(super) fn open(
    config: &Config,
    artifacts: &Artifacts,
    store: &Store,
    devices: &Devices,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<Updates, StartError> {
    let metrics = FirmwareMetrics::new(registry);
    let firmware = Firmware::start(&config.firmware, artifacts, metrics).map_err(StartError::line)?;
    firmware.follow(&followed(&config.assignments));
    let metrics = CampaignsMetrics::new(registry);
    let campaigns = Campaigns::open(store.clone(), devices.clone(), &config.campaigns, metrics);
    let campaigns = campaigns.map_err(StartError::line)?;
    let desired = Desired::new(config.assignments.clone(), campaigns, releases(&firmware));
    let sources = Box::new(Assigned { firmware: firmware.clone(), desired: desired.clone() });
    let metrics = DfuMetrics::new(registry);
    let fleet = Fleet::open(&config.dfu, store.clone(), devices.clone(), clock.clone(), sources, metrics);
    Ok(Updates { firmware, desired, fleet: fleet.map_err(StartError::line)? })
}

/// The tags that the rules of a configuration follow. Those of one tag say the same about it.
pub(super) fn followed(rules: &[AssignmentConfig]) -> Vec<Followed> {
    let followed = rules.iter().filter(|rule| rule.follow).map(|rule| (&rule.release, rule.approval));
    let followed: BTreeMap<_, _> = followed.collect();
    followed.into_iter().map(|(reference, approval)| Followed { reference: reference.clone(), approval }).collect()
}

fn releases(firmware: &Firmware) -> Releases {
    let (release, image) = (firmware.clone(), firmware.clone());
    Releases {
        release: Box::new(move |reference| release.release(reference)),
        image: Box::new(move |digest| image.image(digest).map(drop)),
    }
}

/// Who gets what, and how large the patch is that leads there.
struct Assigned {
    firmware: Firmware,
    desired: Desired,
}

impl Sources for Assigned {
    fn desire(&self, device: &Device, running: Option<&str>, now_ms: u64) -> Option<Desire> {
        self.desired.of(device, running, now_ms)
    }

    fn turned(&self, device: &str, by: &By, turn: &Turn, now_ms: u64) -> Vec<Also> {
        self.desired.turned(device, by, turn, now_ms)
    }

    fn patch_size(&self, running: &str, release: &Release, format: &str) -> Option<u64> {
        let patch = self.firmware.patch(&release.name, running, release, &[format.to_owned()]);
        patch.ok().flatten().map(|patch| patch.size)
    }
}
