//! The import `log`: a guest's lines within the budget of one call.

use crate::bindings::telemetry::causeway::plugin::log::{Host, Level as Raw};
use crate::instance::Context;
use crate::limits::Limits;

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
    /// Takes one line of at most [`Limits::log_line_bytes`](crate::Limits::log_line_bytes).
    fn write(&mut self, level: Level, text: &str);

    /// Learns after a call what was lost of its lines.
    fn lost(&mut self, lost: LostLines);
}

/// Lines of one call that did not arrive whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LostLines {
    /// Lines beyond the call's budget.
    pub dropped: u64,
    /// Lines that were longer than a line may be.
    pub cut: u64,
}

/// What is left of a call's budget.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    line_bytes: usize,
    lost: LostLines,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { bytes: limits.log_bytes, line_bytes: limits.log_line_bytes, lost: LostLines::default() }
    }

    /// What was lost, if anything.
    pub(crate) fn lost(&self) -> Option<LostLines> {
        (self.lost != LostLines::default()).then_some(self.lost)
    }

    /// The part of a line that may be written; `None` when the budget is used up. An empty line costs one byte.
    fn take<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let line = text.get(..text.floor_char_boundary(self.line_bytes)).unwrap_or(text);
        match self.bytes.checked_sub(line.len().max(1)) {
            Some(left) => {
                self.bytes = left;
                self.lost.cut += u64::from(line.len() < text.len());
                Some(line)
            }
            None => {
                self.lost.dropped += 1;
                None
            }
        }
    }
}

impl<R> Host for Context<R> {
    fn write(&mut self, level: Raw, text: String) -> wasmtime::Result<()> {
        self.host_call()?;
        let level = match level {
            Raw::Error => Level::Error,
            Raw::Warn => Level::Warn,
            Raw::Info => Level::Info,
            Raw::Debug => Level::Debug,
        };
        if let Some(line) = self.budget.take(&text) {
            self.log.write(level, line);
        }
        Ok(())
    }
}
