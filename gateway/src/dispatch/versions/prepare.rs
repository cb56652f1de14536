//! From a reference to a version that could be run: found, allowed, compiled, checked and started. Nothing that runs is
//! touched by it, and it may take minutes: for a thread of its own.

use causeway_host::Binary;
use semver::Version as Number;

use super::super::guest::Guest;
use super::super::open::Problem;
use super::{Deciding, Versions, since};
use crate::plugins::{Found, Origin, Wanted};
use crate::store::choices::Choice;
use crate::store::versions::{self, Verdict, Version};

/// A version that could be run.
pub(super) struct Prepared {
    pub(super) guest: Guest,
    pub(super) origin: Origin,
    pub(super) digest: String,
}

/// What a binding is to run.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) allow_downgrade: bool,
}

impl Versions {
    /// Finds a version, and makes sure that it would run.
    pub(super) fn prepare(&self, asked: &Asked) -> Result<Prepared, Problem> {
        let Found { binary, origin } = self.plugins.find(&asked.wanted)?;
        let digest = binary.digest().to_string();
        let known = self.known();
        self.check_bad(&known, &digest)?;
        let ran = since(&known, &digest).is_some() || self.desk.assigned().digest == digest;
        if !ran && !asked.allow_downgrade {
            self.check_downgrade(&origin)?;
        }
        let component = self.plugins.compile(&binary).map_err(Problem::Load)?;
        let guest = (self.build)(&component, &origin)?;
        if !ran {
            (self.rehearse)(&component).map_err(Problem::Rehearsal)?;
        }
        self.plugins.keep(&binary);
        Ok(Prepared { guest, origin, digest })
    }

    /// A version that did not do is not run again until an operator forgives it.
    pub(super) fn check_bad(&self, known: &[Version], digest: &str) -> Result<(), Problem> {
        let bad = |version: &&Version| version.verdict == Verdict::Bad && version.digest == digest;
        match known.iter().find(bad) {
            Some(bad) => Err(Problem::Bad {
                binding: self.binding.clone(),
                digest: bad.digest.clone(),
                reason: bad.reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A version that is older than what ran from the same repository is not run by accident: its faults are known.
    fn check_downgrade(&self, origin: &Origin) -> Result<(), Problem> {
        let Some(repository) = &origin.repository else { return Ok(()) };
        let highest = self.highest(repository);
        if highest.as_ref().is_some_and(|highest| origin.version.as_ref().is_none_or(|version| version < highest)) {
            let version = origin.version.as_ref().map_or_else(|| "without a number".to_owned(), Number::to_string);
            let highest = highest.map(|highest| highest.to_string()).unwrap_or_default();
            return Err(Problem::Downgrade { repository: repository.clone(), version, highest });
        }
        Ok(())
    }

    /// The highest version of a repository that ever ran.
    pub(super) fn highest(&self, repository: &str) -> Option<Number> {
        let read = self.store.read_blocking(|store| versions::highest(store, &self.binding, repository));
        let complain = |error: &rusqlite::Error| {
            tracing::error!(binding = self.binding, %error, "the highest version of a plugin cannot be read");
        };
        read.inspect_err(complain).ok()?.and_then(|version| version.parse().ok())
    }

    /// What the binding is to run.
    pub(super) fn asked(&self, deciding: &Deciding) -> Asked {
        let configured = &deciding.configured;
        match Self::chosen(deciding) {
            Some(choice) => Asked {
                wanted: Wanted::locked(self.kind, &choice.reference, choice.signed_as.as_deref()),
                allow_downgrade: choice.allow_downgrade,
            },
            None => Asked {
                wanted: Wanted::locked(self.kind, &configured.plugin, configured.signed_as.as_deref()),
                allow_downgrade: configured.allow_downgrade,
            },
        }
    }

    /// What an operator chose, as long as the configuration says what it said then.
    pub(super) fn chosen(deciding: &Deciding) -> Option<&Choice> {
        deciding.choice.as_ref().filter(|choice| choice.configured == deciding.configured.plugin)
    }

    /// A component as the binding's plugin, started once.
    pub(super) fn build(&self, binary: &Binary<'_>, origin: &Origin) -> Result<Guest, Problem> {
        let component = self.plugins.compile(binary).map_err(Problem::Load)?;
        (self.build)(&component, origin)
    }
}
