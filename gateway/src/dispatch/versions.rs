//! Which version of its plugin a binding runs: the one that its reference leads to, unless that is known to be bad; then
//! the newest that ran well.
//!
//! Where the bytes come from is not its business. A version that refuses its configuration is tried again at the next
//! start, because the configuration may have changed; one that trapped too often is not, until an operator says so.

use std::fmt;
use std::sync::Arc;

use causeway_host::{Component, Digest};

use super::binding::State;
use super::open::Problem;
use crate::clock::Clock;
use crate::plugins::Plugins;
use crate::store::versions::{self, Version};
use crate::store::{Store, WriteError};
use crate::telemetry::Guest;

/// Makes a plugin of a component that may be one of this binding; whether it is to be started too.
pub(super) type Build = Arc<dyn Fn(&Component, bool) -> Result<Guest, Problem> + Send + Sync>;

/// The versions of one binding's plugin.
#[derive(Clone)]
pub(super) struct Versions {
    pub(super) binding: String,
    pub(super) reference: String,
    pub(super) plugins: Plugins,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) build: Build,
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("binding", &self.binding).finish_non_exhaustive()
    }
}

/// A version that was chosen, and how the binding stands with it.
pub(super) struct Chosen {
    pub(super) guest: Guest,
    pub(super) state: State,
}

impl Versions {
    /// The version to run.
    ///
    /// # Errors
    /// The reference leads to nothing, or to what does not start, and no other version ran well.
    pub(super) fn choose(&self) -> Result<Chosen, Problem> {
        let bytes = self.plugins.bytes(&self.reference)?;
        let digest = Digest::of(&bytes).to_string();
        let known = self.known();
        if let Some(bad) = known.iter().find(|version| !version.good && version.digest == digest) {
            let why = format!("{digest} is not run again: {}", bad.reason);
            return match self.last_good(&known, &digest) {
                Some(guest) => Ok(self.rolled_back(guest, why)),
                None => Ok(Chosen { guest: self.build(&bytes, false)?, state: State::Parked(why) }),
            };
        }
        match self.build(&bytes, true) {
            Ok(guest) => {
                self.plugins.keep(&digest, &bytes);
                Ok(Chosen { guest, state: State::Running })
            }
            Err(problem) => match self.last_good(&known, &digest) {
                Some(guest) => Ok(self.rolled_back(guest, format!("{digest} does not start: {problem}"))),
                None => Err(problem),
            },
        }
    }

    /// The version to run in place of one that trapped too often; none if no other ran well.
    pub(super) fn replace(&self, digest: &str, reason: &str) -> Option<Chosen> {
        let (binding, bad, why) = (self.binding.clone(), digest.to_owned(), reason.to_owned());
        let now_ms = self.clock.now_ms();
        let written = self.store.write_blocking(move |tx| versions::failed(tx, &binding, &bad, &why, now_ms));
        self.complain(written);
        let guest = self.last_good(&self.known(), digest)?;
        Some(self.rolled_back(guest, format!("{digest}: {reason}")))
    }

    /// A version has run well: it is the one to go back to.
    pub(super) fn ran_well(&self, digest: &str) {
        let (binding, digest, now_ms) = (self.binding.clone(), digest.to_owned(), self.clock.now_ms());
        let written = self.store.write_blocking(move |tx| versions::ran_well(tx, &binding, &digest, now_ms));
        self.complain(written);
    }

    fn complain(&self, written: Result<(), WriteError<rusqlite::Error>>) {
        if let Err(error) = written {
            tracing::error!(binding = self.binding, %error, "how a plugin's version did is not written down");
        }
    }

    fn known(&self) -> Vec<Version> {
        self.store.read_blocking(|store| versions::of(store, &self.binding)).unwrap_or_else(|error| {
            tracing::error!(binding = self.binding, %error, "how the plugin's versions did cannot be read");
            Vec::new()
        })
    }

    /// The newest version that ran well and starts, but not `digest`.
    fn last_good(&self, known: &[Version], digest: &str) -> Option<Guest> {
        known.iter().filter(|version| version.good && version.digest != digest).find_map(|version| {
            let bytes = self.plugins.kept(&version.digest)?;
            let built = self.build(&bytes, true);
            let warn = |error: &Problem| {
                tracing::warn!(binding = self.binding, digest = version.digest, %error, "a version that ran well does not start");
            };
            built.inspect_err(warn).ok()
        })
    }

    fn build(&self, bytes: &[u8], start: bool) -> Result<Guest, Problem> {
        let component = self.plugins.compile(bytes).map_err(Problem::Load)?;
        (self.build)(&component, start)
    }

    fn rolled_back(&self, guest: Guest, reason: String) -> Chosen {
        let digest = guest.digest();
        tracing::error!(binding = self.binding, %digest, reason, "a binding runs the last good version of its plugin");
        Chosen { guest, state: State::RolledBack(reason) }
    }
}
