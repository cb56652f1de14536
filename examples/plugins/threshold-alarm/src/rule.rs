//! The rule: two thresholds, and a level that changes only beyond the one that leads to the other level.

use serde::Deserialize;

/// What a device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    Normal,
    Alarm,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Alarm => "alarm",
        }
    }

    /// What was remembered of a device.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        if bytes == b"alarm" { Self::Alarm } else { Self::Normal }
    }
}

/// An alarm on high values when `raise` is above `clear`, and on low values when it is below.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Rule {
    raise: f64,
    clear: f64,
}

impl Rule {
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.raise == self.clear {
            true => Err("clear: is the same as `raise`; leave room, or every tremble is an alarm".to_owned()),
            false => Ok(()),
        }
    }

    pub(crate) fn next(&self, level: Level, value: f64) -> Level {
        let low = self.raise < self.clear;
        let beyond = |threshold: f64, up: bool| if up { value >= threshold } else { value <= threshold };
        match level {
            Level::Normal if beyond(self.raise, !low) => Level::Alarm,
            Level::Alarm if beyond(self.clear, low) => Level::Normal,
            unchanged => unchanged,
        }
    }
}
