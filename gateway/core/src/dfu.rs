//! Firmware updates, as values: what a device says, what it is to get and what it is told.
//!
//! The language of devices is not here but in plugins; what is decided about devices is in the modules below.

pub mod answer;
pub mod campaign;
pub mod job;
pub mod pace;
pub mod query;
pub mod transition;
pub mod update;
pub mod window;

use std::fmt;
use std::sync::Arc;

/// The longest version, in bytes.
pub const MAX_VERSION_BYTES: usize = 64;

/// A version of a firmware, ready to be served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// The firmware's name.
    pub name: String,
    /// Its version, as devices report it: 1 to [`MAX_VERSION_BYTES`] bytes.
    pub version: String,
    /// The digest of its image, `sha256:` and 64 hexadecimal digits.
    pub image: String,
    /// The image's size in bytes. Devices count in 32 bits, so it is below 2^32.
    pub size: u64,
    /// The SHA-256 of the image.
    pub checksum: [u8; 32],
    /// The versions over which it may be installed; any, if there are none.
    pub from: Vec<String>,
}

/// What a device says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// What it runs.
    pub version: String,
    /// The most data that it takes in one block.
    pub mtu: Option<u32>,
    /// How far it is with a release.
    pub progress: Option<Progress>,
    /// The formats of patches that it can apply.
    pub formats: Vec<String>,
}

/// How far a device is with a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The release's version.
    pub version: String,
    /// The next byte that it wants.
    pub offset: u64,
    /// The format of the patch that it gets, if it is not the image itself.
    pub patch: Option<String>,
}

/// What is to become of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Orders {
    /// It keeps what it runs.
    Stay,
    /// It is to ask again later.
    Hold(Hold),
    /// It is to get a release.
    Update(Assignment),
}

/// A release that a device is to get now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// The release.
    pub release: Arc<Release>,
    /// Who assigned it.
    pub by: By,
    /// Whether a device that has all of it may be told to start it.
    pub swap: bool,
    /// Which attempt at this release it is, from 1.
    pub attempt: u32,
    /// What the device has stored of a release of this version is not to be built on, for it was another image, or an
    /// attempt with it has failed: its transfer begins at 0, whatever offset it reports.
    pub restart: bool,
}

/// Who assigned a release to a device.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum By {
    /// A campaign, by its id.
    Campaign(String),
    /// A rule of the configuration, by its name.
    Rule(String),
}

/// Why a device that is to get a release does not get it now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hold {
    /// The image is being fetched, or cannot be had now. The text is for the operator.
    Image(String),
    /// Its campaign is paused.
    Paused,
    /// No maintenance window is open before this time, Unix ms.
    Window {
        /// When the next one opens; none if there is none any more.
        opens_ms: Option<u64>,
    },
    /// The last attempt failed; the next one is not before this time, Unix ms.
    BackOff {
        /// When the next attempt may begin.
        until_ms: u64,
    },
    /// The gateway watches over as many devices as it may.
    Full,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reason) => f.write_str(reason),
            Self::Paused => f.write_str("its campaign is paused"),
            Self::Window { opens_ms: Some(_) } => f.write_str("no maintenance window is open"),
            Self::Window { opens_ms: None } => f.write_str("no maintenance window opens any more"),
            Self::BackOff { .. } => f.write_str("the last attempt failed, and the next one has to wait"),
            Self::Full => f.write_str("the gateway watches over as many devices as it may (dfu.max_devices)"),
        }
    }
}

/// What a device is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// To ask again later.
    Wait,
    /// That what it runs is what it is to run.
    Sync,
    /// To store a block.
    Write {
        /// Where it begins.
        offset: u64,
        /// Its length in bytes.
        length: u32,
        /// The format of the patch that it belongs to, if it is not of the image itself.
        patch: Option<String>,
    },
    /// To start what it has stored.
    Swap,
}

/// A turning point of a device's update. All are kept; the order to start a release goes out only when its turn is on the
/// disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It was found that it is to get the release.
    Assigned,
    /// The first block goes out.
    Started,
    /// It is about to be told to start what it has; this is the number of the attempt.
    SwapSent(u32),
    /// It runs the release.
    Confirmed,
    /// It runs something else after it was told to start the release, or begins anew again and again.
    Failed {
        /// The number of the attempt.
        attempt: u32,
        /// What it does instead.
        reason: String,
    },
    /// It failed too often, and does not get the release any more.
    Quarantined,
}
