//! What updates of devices are made of, built in order: the firmware there is, who gets it, and what becomes of it.

use causeway_core::dfu::{By, Hold, Release, Turn};
use prometheus_client::registry::Registry;

use super::StartError;
use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::config::Config;
use crate::devices::{Device, Devices};
use crate::dfu::{Also, Desire, DfuMetrics, Fleet, Sources};
use crate::firmware::{Firmware, FirmwareMetrics};
use crate::store::Store;

/// The parts that update devices.
pub(super) struct Updates {
    pub(super) firmware: Firmware,
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
    let sources = Box::new(Assigned { firmware: firmware.clone() });
    let metrics = DfuMetrics::new(registry);
    let fleet = Fleet::open(&config.dfu, store.clone(), devices.clone(), clock.clone(), sources, metrics);
    Ok(Updates { firmware, fleet: fleet.map_err(StartError::line)? })
}

/// Who gets what, and whether it is there.
struct Assigned {
    firmware: Firmware,
}

impl Sources for Assigned {
    fn desire(&self, _: &Device, _: Option<&str>, _: u64) -> Option<Desire> {
        None
    }

    fn turned(&self, _: &str, _: &By, _: &Turn, _: u64) -> Vec<Also> {
        Vec::new()
    }

    fn unready(&self, release: &Release) -> Option<Hold> {
        self.firmware.image(&release.image).err().map(|unready| Hold::Image(unready.to_string()))
    }

    fn patch_size(&self, running: &str, release: &Release, format: &str) -> Option<u64> {
        let patch = self.firmware.patch(&release.name, running, release, &[format.to_owned()]);
        patch.ok().flatten().map(|patch| patch.size)
    }
}
