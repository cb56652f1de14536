//! The guests of all kinds, as far as it takes to decide which version runs: what makes, starts and replaces them. What a
//! guest is asked is its kind's business: `calls` for telemetry, `statuses` for DFU.

use std::sync::Arc;

use causeway_host::{Component, Digest, Engine, Limits, LoadError, Setup, StartError};

use crate::config::PluginKind;
use crate::dfu;
use crate::plugins::Log;
use crate::recording::Tap;
use crate::telemetry::{self, Answers};

/// A plugin of one kind and, while it behaves, its instance.
#[derive(Debug)]
pub(super) enum Guest {
    /// It gets batches of messages.
    Telemetry(telemetry::Guest),
    /// It gets statuses of devices.
    Dfu(dfu::Guest),
}

impl Guest {
    /// Checks that the component is a plugin of the kind.
    pub(super) fn new(
        kind: PluginKind,
        engine: &Arc<Engine>,
        component: &Component,
        setup: Setup,
        limits: Limits,
        log: Log,
    ) -> Result<Self, LoadError> {
        Ok(match kind {
            PluginKind::Telemetry => Self::Telemetry(telemetry::Guest::new(engine, component, setup, limits, log)?),
            PluginKind::Dfu => Self::Dfu(dfu::Guest::new(engine, component, setup, limits, log)?),
        })
    }

    /// Makes the instance, if there is none.
    pub(super) fn start(&mut self) -> Result<(), StartError> {
        match self {
            Self::Telemetry(guest) => guest.start(),
            Self::Dfu(guest) => guest.start(),
        }
    }

    /// The same plugin for another thread, with what answers there what it asks of the store.
    pub(super) fn another(&self, answers: impl FnOnce() -> Answers) -> Self {
        match self {
            Self::Telemetry(guest) => Self::Telemetry(guest.another(answers())),
            Self::Dfu(guest) => Self::Dfu(guest.another()),
        }
    }

    /// Lets what the plugin is asked and answers be recorded, if that of its kind can be.
    pub(super) fn record(&mut self, tap: impl FnOnce() -> Tap) {
        if let Self::Telemetry(guest) = self {
            guest.record(tap());
        }
    }

    /// Whether it can read what earlier calls wrote.
    pub(super) const fn reads(&self) -> bool {
        match self {
            Self::Telemetry(guest) => guest.reads(),
            Self::Dfu(_) => false,
        }
    }

    /// How the values that it leaves in its state are to be read; a kind without state leaves none.
    pub(super) const fn state_version(&self) -> u32 {
        match self {
            Self::Telemetry(guest) => guest.state_version(),
            Self::Dfu(_) => 0,
        }
    }

    /// The digest of the plugin.
    pub(super) const fn digest(&self) -> Digest {
        match self {
            Self::Telemetry(guest) => guest.digest(),
            Self::Dfu(guest) => guest.digest(),
        }
    }
}
