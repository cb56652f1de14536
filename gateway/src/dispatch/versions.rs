//! Which version of its plugin a binding runs: the one that an operator chose or the configuration names, unless that is
//! not to be had or known to be bad; then the newest that ran well.
//!
//! Decisions are taken here, one at a time, and handed to all partitions through the desk; what takes long is prepared
//! before, on the thread of whoever asks. A version that refuses its configuration is tried again at the next start,
//! because the configuration may have changed; one that trapped or failed too often is not, until an operator says so.

mod assigned;
mod prepare;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_host::Component;

use super::binding::State;
use super::guest::Guest;
use super::open::Problem;
use super::orders::Desk;
use crate::artifacts::Reference;
use crate::clock::Clock;
use crate::config::{BindingConfig, TrialConfig};
use crate::plugins::{self, Found, Origin, Plugins, Wanted};
use crate::recording::TrialError;
use crate::store::choices::{self, Choice};
use crate::store::versions::{self, Verdict, Version};
use crate::store::{Store, WriteError};

pub(super) use assigned::{Assigned, Gone, InUse, Trial};
use prepare::{Asked, Prepared};

/// Makes a plugin of a component that may be one of this binding, and starts it once.
pub(super) type Build = Arc<dyn Fn(&Component, &Origin) -> Result<Guest, Problem> + Send + Sync>;

/// Tries a component on what was recorded of the binding.
pub(super) type Rehearse = Arc<dyn Fn(&Component) -> Result<(), TrialError> + Send + Sync>;

/// What the configuration says about a binding's plugin; a reload may change it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Configured {
    /// Where it comes from.
    pub plugin: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
    /// Whether it may be older than what ran before.
    pub allow_downgrade: bool,
}

impl From<&BindingConfig> for Configured {
    fn from(config: &BindingConfig) -> Self {
        let BindingConfig { plugin, signed_as, allow_downgrade, .. } = config;
        Self { plugin: plugin.clone(), signed_as: signed_as.clone(), allow_downgrade: *allow_downgrade }
    }
}

/// What an operator chooses for a binding.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Where the plugin comes from.
    pub reference: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
    /// Whether it may be older than what ran before.
    pub allow_downgrade: bool,
}

/// What came of asking for a version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TookOver {
    /// The digest of the version that the binding is to run.
    pub digest: String,
    /// Every partition whose number is this or higher runs it.
    pub number: u64,
    /// Whether another version ran before.
    pub changed: bool,
}

/// The versions of one binding's plugin.
pub(super) struct Versions {
    pub(super) binding: String,
    pub(super) kind: &'static str,
    pub(super) plugins: Plugins,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) build: Build,
    pub(super) rehearse: Rehearse,
    pub(super) trial: TrialConfig,
    pub(super) desk: Desk,
    /// Held while a decision is taken, which may be long.
    pub(super) deciding: Mutex<Deciding>,
    /// What whoever looks at the binding is told.
    pub(super) told: Mutex<Told>,
    /// What is not to be had is being asked for again.
    pub(super) retrying: AtomicBool,
}

/// How what is asked for stands to what runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// The reference of what is asked for.
    pub(super) reference: String,
    /// Whether an operator chose it.
    pub(super) chosen: bool,
    /// It is not to be had now, and is asked for again.
    pub(super) waits: bool,
    /// Why it does not run, although another version does.
    pub(super) problem: Option<String>,
}

/// What decisions are made from.
#[derive(Debug)]
pub(super) struct Deciding {
    configured: Configured,
    choice: Option<Choice>,
    /// How often a version was asked for: what was prepared for an earlier question is not run.
    asked: u64,
    /// The number of the last decision.
    number: u64,
}

impl Deciding {
    pub(super) fn new(configured: Configured, choice: Option<Choice>) -> Self {
        Self { configured, choice, asked: 0, number: 0 }
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("binding", &self.binding).finish_non_exhaustive()
    }
}

impl Versions {
    /// Chooses the version to run at the start, and when an operator wants it looked up anew.
    ///
    /// # Errors
    /// The reference leads to nothing, or to what does not start, and no other version ran. The operator has to mend it;
    /// what may be mended by waiting parks the binding.
    pub(super) fn choose(&self) -> Result<TookOver, Problem> {
        let (ticket, asked) = self.ask(|_| {});
        match self.prepare(&asked) {
            Ok(prepared) => self.take_over(ticket, prepared, None),
            Err(problem) => self.fall_back(ticket, problem),
        }
    }

    /// Looks the plugin up anew for an operator who has forgiven it, or who has mended what was wrong.
    ///
    /// # Errors
    /// Why it does not run; what runs goes on.
    pub(super) fn resume(&self) -> Result<TookOver, Problem> {
        if self.desk.assigned().version.is_none() {
            return self.choose();
        }
        let (ticket, asked) = self.ask(|_| {});
        let prepared = self.prepare(&asked);
        prepared
            .and_then(|prepared| self.take_over(ticket, prepared, None))
            .map_err(|problem| self.note(ticket, problem))
    }

    /// Looks the plugin up anew, because the configuration was read again or what was not to be had may be.
    ///
    /// # Errors
    /// Why it does not run; what runs goes on.
    pub(super) fn refresh(&self, configured: Option<Configured>) -> Result<TookOver, Problem> {
        let (ticket, asked) = self.ask(|deciding| {
            if let Some(configured) = configured {
                deciding.configured = configured;
            }
        });
        self.forget_choice();
        let assigned = self.desk.assigned();
        match self.prepare(&asked) {
            Ok(prepared) if self.runs(&assigned, &prepared) => {
                self.tell(false, None);
                Ok(TookOver { digest: prepared.digest, number: assigned.number, changed: false })
            }
            Ok(prepared) => self.take_over(ticket, prepared, None),
            Err(problem) if assigned.version.is_none() => self.fall_back(ticket, problem),
            Err(problem) => Err(self.note(ticket, problem)),
        }
    }

    /// Looks a plugin up anew that was not to be had; one question at a time.
    pub(super) fn ask_again(&self) {
        if !self.retrying.swap(true, Ordering::AcqRel) {
            // Whoever looks at the binding sees why it does not run.
            let _ = self.refresh(None);
            self.retrying.store(false, Ordering::Release);
        }
    }

    /// Runs what an operator chose, also at later starts, until the configuration names another plugin.
    ///
    /// # Errors
    /// Why it does not run; nothing has changed.
    pub(super) fn set(&self, chosen: &Chosen) -> Result<TookOver, Problem> {
        let (ticket, _) = self.ask(|_| {});
        self.set_asked(ticket, chosen).map_err(|problem| self.note(ticket, problem))
    }

    fn set_asked(&self, ticket: u64, chosen: &Chosen) -> Result<TookOver, Problem> {
        let configured = self.lock().configured.clone();
        let reference = written(&chosen.reference)?;
        let wanted = Wanted::newest(self.kind, &reference, chosen.signed_as.as_deref());
        let prepared = self.prepare(&Asked { wanted, allow_downgrade: chosen.allow_downgrade })?;
        let own = reference != configured.plugin || chosen.signed_as != configured.signed_as;
        let own = own || chosen.allow_downgrade;
        let choice = own.then(|| Choice {
            reference,
            signed_as: chosen.signed_as.clone(),
            allow_downgrade: chosen.allow_downgrade,
            configured: configured.plugin,
            at_ms: self.clock.now_ms(),
        });
        self.take_over(ticket, prepared, Some(choice))
    }

    /// Puts the last good version in place of one that does not do; a partition whose version has changed meanwhile is
    /// told so. Without a good one the binding is parked, or goes on if it can.
    pub(super) fn gave_up(&self, number: u64, reason: &str, can_go_on: bool) -> Arc<Assigned> {
        let mut deciding = self.lock();
        let current = self.desk.assigned();
        if current.number != number {
            return current;
        }
        let known = self.known();
        let good = self.last_good(&known, &current.digest);
        if good.is_none() && can_go_on {
            if let Some(trial) = &current.trial {
                trial.end();
            }
            return current;
        }
        let (binding, bad, why) = (self.binding.clone(), current.digest.clone(), reason.to_owned());
        let now_ms = self.clock.now_ms();
        let written = self.store.write_blocking(move |tx| versions::failed(tx, &binding, &bad, &why, now_ms));
        self.complain(written);
        let state = match &good {
            Some(_) => State::RolledBack(format!("{}: {reason}", current.digest)),
            None => State::Parked(reason.to_owned()),
        };
        let gone = gone(&known, &current.digest);
        self.assign(&mut deciding, good, state, gone, &current.digest, None)
    }

    /// Makes sure that what runs may still be run with today's trust.
    pub(super) fn review(&self) {
        let current = self.desk.assigned();
        let Some(version) = self.known().into_iter().find(|version| version.digest == current.digest) else { return };
        if current.version.is_none() {
            return;
        }
        if let Err(problem) = self.plugins.again(&version.digest, &version.came, self.kind) {
            let mut deciding = self.lock();
            if self.desk.assigned().number == current.number {
                let reason = problem.to_string();
                let good = self.last_good(&self.known(), &current.digest);
                let state = if good.is_some() { State::RolledBack(reason) } else { State::Parked(reason) };
                self.assign(&mut deciding, good, state, None, &current.digest, None);
            }
        }
    }

    /// A version has run well: it is the one to go back to.
    pub(super) fn ran_well(&self, digest: &str) {
        let (binding, digest, now_ms) = (self.binding.clone(), digest.to_owned(), self.clock.now_ms());
        let written = self.store.write_blocking(move |tx| versions::ran_well(tx, &binding, &digest, now_ms));
        self.complain(written);
    }

    /// How what is asked for stands to what runs.
    pub(super) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, waits: bool, problem: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.waits, told.problem) = (waits, problem);
    }

    /// Begins a question: what was asked before is not waited for any more.
    fn ask(&self, change: impl FnOnce(&mut Deciding)) -> (u64, Asked) {
        let mut deciding = self.lock();
        change(&mut deciding);
        deciding.asked += 1;
        let asked = self.asked(&deciding);
        self.tell_asked(&deciding);
        (deciding.asked, asked)
    }

    fn tell_asked(&self, deciding: &Deciding) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.chosen = Self::chosen(deciding).is_some();
        told.reference = self.asked(deciding).wanted.reference;
    }

    fn runs(&self, assigned: &Assigned, prepared: &Prepared) -> bool {
        let same = assigned.version.as_ref().is_some_and(|version| version.origin == prepared.origin);
        same && assigned.digest == prepared.digest && assigned.state == State::Running
    }

    /// Gives a version to all partitions; with it an operator's choice is written down, or taken back.
    fn take_over(&self, ticket: u64, prepared: Prepared, choice: Option<Option<Choice>>) -> Result<TookOver, Problem> {
        let mut deciding = self.lock();
        if deciding.asked != ticket {
            return Err(Problem::Overtaken);
        }
        let known = self.known();
        self.check_bad(&known, &prepared.digest)?;
        let now_ms = self.clock.now_ms();
        let since_ms = since(&known, &prepared.digest).unwrap_or(now_ms);
        self.write_down(&prepared, since_ms, choice.clone())?;
        if let Some(choice) = choice {
            deciding.choice = choice;
            self.tell_asked(&deciding);
        }
        let others = known.iter().any(|version| version.verdict != Verdict::Bad && version.digest != prepared.digest);
        let ago = Duration::from_millis(now_ms.saturating_sub(since_ms));
        let trial = Trial::new(&self.trial, ago, Instant::now()).filter(|_| others);
        self.retain();
        self.tell(false, None);
        let changed = self.desk.assigned().digest != prepared.digest;
        let digest = prepared.digest;
        let version = InUse::new(prepared.guest, prepared.origin);
        let assigned =
            self.assign(&mut deciding, Some((digest.clone(), version)), State::Running, None, &digest, trial);
        Ok(TookOver { digest, number: assigned.number, changed })
    }

    /// Writes down which version takes over, before any partition runs it.
    fn write_down(&self, prepared: &Prepared, since_ms: u64, choice: Option<Option<Choice>>) -> Result<(), Problem> {
        let Origin { repository, version, .. } = &prepared.origin;
        let highest = repository
            .as_ref()
            .zip(version.as_ref())
            .filter(|(repository, version)| self.highest(repository).is_none_or(|highest| **version > highest));
        let highest = highest.map(|(repository, version)| (repository.clone(), version.to_string()));
        let (binding, digest, came) = (self.binding.clone(), prepared.digest.clone(), prepared.origin.came());
        let state_version = prepared.guest.state_version();
        let work = move |tx: &rusqlite::Transaction<'_>| {
            versions::activated(tx, &binding, &digest, state_version, &came, since_ms)?;
            if let Some((repository, version)) = &highest {
                versions::set_highest(tx, &binding, repository, version)?;
            }
            choice.map_or(Ok(()), |choice| choices::set(tx, &binding, choice.as_ref()))
        };
        self.store.write_blocking(work).map_err(Problem::Store)
    }

    /// The version to run when the one that is asked for does not.
    fn fall_back(&self, ticket: u64, problem: Problem) -> Result<TookOver, Problem> {
        let mut deciding = self.lock();
        if deciding.asked != ticket {
            return Err(Problem::Overtaken);
        }
        let known = self.known();
        let bad = match &problem {
            Problem::Bad { digest, .. } => digest.as_str(),
            _ => "",
        };
        let good = self.last_good(&known, bad);
        let state = match &good {
            Some(_) => State::RolledBack(problem.to_string()),
            None if problem.parks() => State::Parked(problem.to_string()),
            None => return Err(problem),
        };
        self.tell(problem.waits(), None);
        let before = self.desk.assigned();
        if good.is_none() && before.version.is_none() && before.state == state && before.number > 0 {
            // Asked again and told the same.
            return Ok(TookOver { digest: before.digest.clone(), number: before.number, changed: false });
        }
        let assigned = self.assign(&mut deciding, good, state, gone(&known, bad), bad, None);
        let changed = before.digest != assigned.digest;
        Ok(TookOver { digest: assigned.digest.clone(), number: assigned.number, changed })
    }

    fn assign(
        &self,
        deciding: &mut Deciding,
        version: Option<(String, InUse)>,
        state: State,
        gone: Option<Gone>,
        bad: &str,
        trial: Option<Trial>,
    ) -> Arc<Assigned> {
        deciding.number += 1;
        let binding = &self.binding;
        let (digest, version) =
            version.map_or_else(|| (bad.to_owned(), None), |(digest, version)| (digest, Some(version)));
        let reference = version.as_ref().map(|version| version.origin.reference.as_str()).unwrap_or_default();
        match &state {
            State::RolledBack(reason) => {
                tracing::error!(binding, digest, reason, "a binding runs the last good version of its plugin");
            }
            State::Parked(reason) => {
                tracing::error!(binding, reason, "a binding is parked: its plugin is not called");
            }
            _ => tracing::info!(binding, plugin = reference, digest, "a version of a plugin takes over"),
        }
        let assigned = Arc::new(Assigned { number: deciding.number, version, digest, state, gone, trial });
        self.desk.assign(Arc::clone(&assigned));
        assigned
    }

    /// Notes why what was asked for does not run.
    fn note(&self, ticket: u64, problem: Problem) -> Problem {
        if self.lock().asked == ticket {
            if self.told().problem != Some(problem.to_string()) {
                tracing::error!(binding = self.binding, %problem, "a binding goes on with the version that it runs");
            }
            self.tell(problem.waits(), Some(problem.to_string()));
        }
        problem
    }

    /// Forgets a choice that was made over another plugin than the configuration names now.
    fn forget_choice(&self) {
        let mut deciding = self.lock();
        let Deciding { choice, configured, .. } = &mut *deciding;
        let old = choice.take_if(|choice| choice.configured != configured.plugin);
        if let Some(old) = old {
            let binding = self.binding.clone();
            tracing::info!(binding, plugin = old.reference, "the configuration names another plugin: a choice is gone");
            let written = self.store.write_blocking(move |tx| choices::set(tx, &binding, None));
            self.complain(written);
        }
    }

    /// Nothing that a binding runs or may go back to is removed to make room.
    fn retain(&self) {
        match self.store.read_blocking(versions::needed) {
            Ok(digests) => self.plugins.retain(&digests),
            Err(error) => tracing::warn!(%error, "which components are needed cannot be read"),
        }
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

    /// The newest version that ran well and starts, but not `digest`; if none did, the newest that ran.
    fn last_good(&self, known: &[Version], digest: &str) -> Option<(String, InUse)> {
        let others = |verdict: Verdict| {
            known.iter().filter(move |version| version.verdict == verdict && version.digest != digest)
        };
        let mut untried: Vec<_> = others(Verdict::Untried).collect();
        untried.sort_by_key(|version| std::cmp::Reverse(version.activated_ms));
        others(Verdict::Good).chain(untried).find_map(|version| {
            let built = self.plugins.again(&version.digest, &version.came, self.kind).map_err(Problem::Plugin);
            let built = built.and_then(|Found { binary, origin }| Ok((self.build(&binary, &origin)?, origin)));
            let warn = |error: &Problem| {
                tracing::warn!(binding = self.binding, digest = version.digest, %error, "a version that ran is not to be had");
            };
            let (guest, origin) = built.inspect_err(warn).ok()?;
            Some((version.digest.clone(), InUse::new(guest, origin)))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Deciding> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reference as the configuration writes it, so that they can be compared.
pub(super) fn written(reference: &str) -> Result<String, Problem> {
    let parsed: Reference = reference.parse().map_err(plugins::LoadError::Reference)?;
    match &parsed {
        Reference::File(path) | Reference::Layout { path, .. } if !path.is_absolute() => {
            Err(Problem::Relative(reference.to_owned()))
        }
        _ => Ok(parsed.to_string()),
    }
}

/// Since when a version runs, if it was the last that took over.
fn since(known: &[Version], digest: &str) -> Option<u64> {
    let last = known.iter().max_by_key(|version| version.activated_ms)?;
    last.activated_ms.filter(|_| last.digest == digest)
}

/// A version that is not run any more, if anyone knows since when it ran.
fn gone(known: &[Version], digest: &str) -> Option<Gone> {
    let version = known.iter().find(|version| version.digest == digest)?;
    Some(Gone { digest: version.digest.clone(), since_ms: version.activated_ms? })
}
