//! Rereads configuration, certificates and policies, for the API and for SIGHUP, and remembers how that went.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::clock::Clock;
use crate::config::Problem;
use crate::mqtt::tls::Tls;
use crate::policy::{Policies, Reloaded};

/// The last reload; clones share it.
#[derive(Clone)]
pub struct Reloads {
    clock: Clock,
    tls: Vec<(String, Tls)>,
    policies: Policies,
    configuration: Configuration,
    last: Arc<Mutex<Option<LastReload>>>,
}

/// Reads the configuration again and takes over what it can; says what is wrong, and what is to be looked at. It may block
/// for some seconds.
pub type Configuration = Arc<dyn Fn() -> (Vec<String>, Vec<String>) + Send + Sync>;

/// How a reload went.
#[derive(Debug, Clone, Serialize)]
pub struct LastReload {
    /// When, Unix ms.
    pub at_ms: u64,
    /// What was read: `certificates`, `policies`, or these and the configuration.
    pub what: &'static str,
    /// What is wrong with the files; the state before stays in force for those that have a problem.
    pub problems: Vec<String>,
    /// What is not wrong enough for that.
    pub warnings: Vec<String>,
}

/// What is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Server certificates, authorities, revocation lists.
    Certificates,
    /// Policies and topic templates.
    Policies,
    /// These and the configuration.
    Everything,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Policies => "policies",
            Self::Everything => "configuration, certificates and policies",
        }
    }
}

impl Reloads {
    /// Nothing was reloaded yet.
    pub fn new(clock: Clock, tls: Vec<(String, Tls)>, policies: Policies, configuration: Configuration) -> Self {
        Self { clock, tls, policies, configuration, last: Arc::default() }
    }

    /// The last reload.
    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again; each listener and the policies take over what is good, or stay as they are.
    pub async fn run(&self, what: What) -> LastReload {
        let own = self.clone();
        let done = tokio::task::spawn_blocking(move || own.run_blocking(what)).await;
        done.unwrap_or_else(|error| self.remember(what, vec![error.to_string()], Vec::new()))
    }

    fn run_blocking(&self, what: What) -> LastReload {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        if what != What::Policies {
            for (listener, tls) in &self.tls {
                let named = |found: Vec<Problem>| found.into_iter().map(move |found| format!("{listener}: {found}"));
                match tls.reload() {
                    Ok(found) => warnings.extend(named(found)),
                    Err(found) => problems.extend(named(found)),
                }
            }
        }
        if what != What::Certificates {
            match self.policies.reload() {
                Ok(Reloaded::Unchanged) => {}
                Ok(Reloaded::Changed { policies, templates }) => {
                    tracing::info!(policies, templates, "policies were reloaded");
                }
                Err(found) => problems.extend(found.iter().map(ToString::to_string)),
            }
        }
        if what == What::Everything {
            // Last, because what plugins may do is up to policies.
            let (wrong, odd) = (self.configuration)();
            problems.extend(wrong);
            warnings.extend(odd);
        }
        self.remember(what, problems, warnings)
    }

    fn remember(&self, what: What, problems: Vec<String>, warnings: Vec<String>) -> LastReload {
        for problem in &problems {
            tracing::error!(problem, "a reload was refused and the state before stays");
        }
        for warning in &warnings {
            tracing::warn!(warning, "a reload found something to look at");
        }
        tracing::info!(what = what.word(), problems = problems.len(), warnings = warnings.len(), "reloaded");
        let last = LastReload { at_ms: self.clock.now_ms(), what: what.word(), problems, warnings };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last.clone());
        last
    }
}

impl LastReload {
    pub(super) fn json(&self) -> Json {
        json!(self)
    }
}
