//! What an operator wants of a campaign: how many devices at once, when, and what makes it stop.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::dfu::window::Window;

/// Waves of one campaign at most, without the one of all that remain.
pub const MAX_WAVES: usize = 100;

/// What an operator wants of a campaign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// The sizes of its waves; devices that remain are one more wave.
    pub waves: Vec<Share>,
    /// How many of a hundred devices of a wave must succeed before the next wave.
    pub success: u32,
    /// How many of a hundred devices of a wave may not fail: with so many the campaign stops. Without it no failures stop
    /// it.
    pub error: Option<u32>,
    /// What it does when too many fail.
    pub on_error: OnError,
    /// When it begins.
    pub start: Start,
    /// Whether somebody must approve it before it begins.
    pub approval: bool,
    /// The times of the week in which devices are updated; none for any time.
    pub windows: Vec<Window>,
    /// Whether devices may be sent the release at any time, and start it in a window.
    pub preload: bool,
    /// Whether devices may get an older version than they run.
    pub downgrade: bool,
    /// Attempts of one device at most; the gateway's own number without it.
    pub attempts: Option<u32>,
    /// Minutes for which an attempt of one device may be in progress before the campaign waits for it no longer; no
    /// bound without it.
    pub device_timeout: Option<u32>,
}

/// When a campaign begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// When an operator says so.
    ByHand,
    /// At once.
    Now,
    /// At this time, Unix ms.
    At(u64),
}

/// What a campaign does when too many devices fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// It waits for an operator.
    Pause,
    /// It ends.
    Abort,
}

/// The size of a wave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// So many devices.
    Count(u32),
    /// So many of a hundred of all devices, rounded up.
    Percent(u32),
}

/// A text is no size of a wave.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is no size of a wave; write a number of devices, or of a hundred of them: `5` or `10%`")]
pub struct ShareError(String);

impl Default for Plan {
    fn default() -> Self {
        Self {
            waves: Vec::new(),
            success: 90,
            error: Some(10),
            on_error: OnError::Pause,
            start: Start::ByHand,
            approval: false,
            windows: Vec::new(),
            preload: false,
            downgrade: false,
            attempts: None,
            device_timeout: None,
        }
    }
}

impl Plan {
    /// The sizes of the waves of so many devices; all are in one, and none is empty.
    #[must_use]
    pub fn divide(&self, devices: u32) -> Vec<u32> {
        let mut left = devices;
        let mut sizes = Vec::new();
        for share in &self.waves {
            let size = share.of(devices).min(left);
            left -= size;
            sizes.push(size);
        }
        sizes.push(left);
        sizes.retain(|size| *size > 0);
        sizes
    }
}

impl Share {
    fn of(self, devices: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let share = (u64::from(devices) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(devices)
            }
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let wrong = || ShareError(text.chars().take(40).flat_map(char::escape_debug).collect());
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(wrong);
        match text.strip_suffix('%') {
            Some(percent) => number(percent).and_then(|p| if p <= 100 { Ok(Self::Percent(p)) } else { Err(wrong()) }),
            None => Ok(Self::Count(number(text)?)),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
