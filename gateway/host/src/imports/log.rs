//! The import `log`: a guest's lines within the budget of one call.

use crate::bindings::telemetry::causeway::plugin::log::{Host, Level as Raw};
use crate::instance::State;

/// The longest line in bytes; the rest of a longer one is cut off.
const MAX_LINE_BYTES: usize = 1024;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Wrong, and the plugin goes on.
    Warn,
    /// A turning point.
    Info,
    /// For the plugin's author.
    Debug,
}

/// Where the lines of a plugin go.
pub trait Log: Send {
    /// Takes one line of at most 1 KiB.
    fn write(&mut self, level: Level, text: &str);

    /// Learns after a call that `lines` lines exceeded the call's budget and are lost.
    fn dropped(&mut self, lines: u64);
}

/// What is left of a call's budget.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    pub(crate) dropped: u64,
}

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self { bytes, dropped: 0 }
    }

    /// The part of a line that may be written; `None` when the budget is used up. An empty line costs one byte.
    fn take<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let line = text.get(..text.floor_char_boundary(MAX_LINE_BYTES)).unwrap_or(text);
        match self.bytes.checked_sub(line.len().max(1)) {
            Some(left) => {
                self.bytes = left;
                Some(line)
            }
            None => {
                self.dropped = self.dropped.saturating_add(1);
                None
            }
        }
    }
}

impl Host for State {
    fn write(&mut self, level: Raw, text: String) {
        let level = match level {
            Raw::Error => Level::Error,
            Raw::Warn => Level::Warn,
            Raw::Info => Level::Info,
            Raw::Debug => Level::Debug,
        };
        if let Some(line) = self.budget.take(&text) {
            self.log.write(level, line);
        }
    }
}
