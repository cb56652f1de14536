//! What updates of devices are made of, built in order: the firmware there is, who gets it, and what becomes of it.

use prometheus_client::registry::Registry;

use super::StartError;
use crate::artifacts::Artifacts;
use crate::config::Config;
use crate::firmware::{Firmware, FirmwareMetrics};

/// Starts the catalogue of firmware.
pub(super) fn open(config: &Config, artifacts: &Artifacts, registry: &mut Registry) -> Result<Firmware, StartError> {
    let metrics = FirmwareMetrics::new(registry);
    Firmware::start(&config.firmware, artifacts, metrics).map_err(StartError::line)
}
