//! What a device is to get by its assignments, whatever is known of the device.

use std::sync::Arc;

use causeway_core::dfu::{By, Hold, Release};

/// What a device is to get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Desire {
    /// Who says so.
    pub by: By,
    /// The release, or why it cannot be looked up now.
    pub release: Result<Arc<Release>, Hold>,
    /// Why the device does not get it now.
    pub hold: Option<Hold>,
    /// Whether a device that has all of it may be told to start it.
    pub swap: bool,
    /// Why the device must not get it, from what it runs.
    pub refused: Option<String>,
    /// Attempts at most; as the configuration says without it.
    pub attempts: Option<u32>,
}
