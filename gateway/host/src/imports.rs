//! The imports: one file and one plain trait for each. The gateway implements the trait; only this package knows how a
//! guest reaches it.

pub(crate) mod firmware;
pub(crate) mod log;
pub(crate) mod records;
pub(crate) mod state;

use std::fmt::{self, Debug, Formatter};

use self::firmware::Firmware;
use self::log::Log;
use self::records::Records;
use self::state::State;

/// What answers the imports of one instance of a telemetry plugin.
///
/// A plugin reaches those that its component imports, see [`Component::imports`](crate::Component::imports); whoever
/// makes the instance has decided whether it may.
pub struct Imports {
    /// Its lines.
    pub log: Box<dyn Log>,
    /// What it remembers about a key.
    pub state: Box<dyn State>,
    /// Single documents.
    pub records: Box<dyn Records>,
}

impl Debug for Imports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imports").finish_non_exhaustive()
    }
}

/// What answers the imports of one instance of a DFU plugin.
pub struct DfuImports {
    /// Its lines.
    pub log: Box<dyn Log>,
    /// The image that its device is to get.
    pub firmware: Box<dyn Firmware>,
}

impl Debug for DfuImports {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("DfuImports").finish_non_exhaustive()
    }
}

/// What a telemetry plugin can read.
pub(crate) struct Reads {
    pub(crate) state: Box<dyn State>,
    pub(crate) records: Box<dyn Records>,
}
