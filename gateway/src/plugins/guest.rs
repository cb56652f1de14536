//! What the guests of all kinds share: where their lines go, and why one was not called. What a guest is asked is the
//! business of its kind.

use std::sync::Arc;

use causeway_host::{Level, LostLines, StartError, Trap};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;

/// Why no call was made.
#[derive(Debug, Error)]
pub enum GuestError {
    /// The call ended in a trap; the instance is gone.
    #[error(transparent)]
    Trap(#[from] Trap),
    /// No instance comes to be.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl GuestError {
    /// There is no plugin to call.
    #[must_use]
    pub fn parked() -> Self {
        Self::Start(StartError::Refused("the binding is parked".to_owned()))
    }
}

/// Where a plugin's lines go: the gateway's log, with the binding as a field.
#[derive(Clone, Debug)]
pub struct Log {
    /// The binding.
    pub binding: Arc<str>,
    /// Lines beyond a call's budget.
    pub dropped: Counter,
    /// Lines that were longer than a line may be.
    pub cut: Counter,
}

impl causeway_host::Log for Log {
    fn write(&mut self, level: Level, text: &str) {
        let binding = &*self.binding;
        match level {
            Level::Error => tracing::error!(binding, text, "plugin"),
            Level::Warn => tracing::warn!(binding, text, "plugin"),
            Level::Info => tracing::info!(binding, text, "plugin"),
            Level::Debug => tracing::debug!(binding, text, "plugin"),
        }
    }

    fn lost(&mut self, lost: LostLines) {
        self.dropped.inc_by(lost.dropped);
        self.cut.inc_by(lost.cut);
    }
}
