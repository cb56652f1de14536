//! One question, one answer: may this principal do this to that, and why.
//!
//! The answers come from Cedar policies over typed topics. A compiled set never changes; a reload builds a new one and
//! swaps it in only if all of it is right. Deciding is pure computation (tens of microseconds), so sessions keep their
//! answers beside the [generation](Policies::generation) that they were given in.
//! Asked by the front door, dispatch and admin; nothing here knows sockets, sessions or routes.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch as channel;

mod compile;
mod evaluate;
mod explain;
mod files;
mod metrics;
mod problem;
mod remedy;
mod request;
mod split;
mod table;
mod templates;
#[cfg(test)]
mod tests;
pub mod watch;

pub use crate::config::Problem;
pub use explain::{Asked, Explanation};
pub use files::{File, Origin, export};
pub use request::{Action, Area, Decision, PluginSource, PolicySource, Principal, Reason, Request, Resource};
pub use table::TableReport;

use compile::Compiled;
use files::Fingerprint;
use metrics::PolicyMetrics;

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files say what they said before.
    Unchanged,
    /// A new set is in force.
    Changed {
        /// The number of policies in it.
        policies: usize,
        /// The number of topic templates in it.
        templates: usize,
    },
}

/// The policies in force; clones share them.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    origin: Origin,
    set: ArcSwap<Compiled>,
    generation: channel::Sender<u64>,
    /// What the files looked like just before they were last read. Held while they are read, one reload at a time, so
    /// that an older text never replaces a newer one.
    read: Mutex<Option<Fingerprint>>,
    metrics: PolicyMetrics,
}

impl fmt::Debug for Policies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.0.origin;
        out.debug_struct("Policies").field("origin", origin).field("generation", &self.generation()).finish()
    }
}

impl Policies {
    /// Loads the policies of a directory, or the shipped ones without any; reports all problems at once.
    pub fn load(directory: Option<&Path>) -> Result<Self, Vec<Problem>> {
        // Without the `.` that a configuration may have written, as the path is shown with each policy.
        let origin = directory.map_or(Origin::Shipped, |path| Origin::Directory(path.components().collect()));
        let read = Mutex::new(origin.fingerprint());
        let set = Compiled::build(origin.read()?)?;
        let inner = Inner {
            origin,
            set: ArcSwap::from_pointee(set),
            generation: channel::Sender::new(1),
            read,
            metrics: PolicyMetrics::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Reads the files again. A set with any problem is refused whole and the one before stays in force.
    ///
    /// Reads files and compiles: not for a thread that serves connections.
    pub fn reload(&self) -> Result<Reloaded, Vec<Problem>> {
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        *read = self.0.origin.fingerprint();
        let reloaded = self.replace();
        self.0.metrics.reloaded(&reloaded);
        reloaded
    }

    fn replace(&self) -> Result<Reloaded, Vec<Problem>> {
        let files = self.0.origin.read()?;
        if files == self.0.set.load().files {
            return Ok(Reloaded::Unchanged);
        }
        let set = Compiled::build(files)?;
        let changed = Reloaded::Changed { policies: set.policies(), templates: set.templates.iter().count() };
        // First the set, then the generation: an answer kept under the new generation is never from the old set.
        self.0.set.store(Arc::new(set));
        self.bump();
        Ok(changed)
    }

    /// Whether the files looked otherwise when they were last read.
    fn differs(&self, now: &Fingerprint) -> bool {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner).as_ref() != Some(now)
    }

    /// The number of policies and of topic templates in force.
    pub fn size(&self) -> (usize, usize) {
        let set = self.0.set.load();
        (set.policies(), set.templates.iter().count())
    }

    /// Where the policies come from.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// A number that changes with the policies and with [`bump`](Self::bump). A kept answer is good while it stays the
    /// same, if the number was read before the question was asked.
    pub fn generation(&self) -> u64 {
        *self.0.generation.borrow()
    }

    /// Tells of each new generation: live subscriptions are then decided again.
    pub fn changed(&self) -> channel::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Starts a new generation because something that policies look at has changed, such as a device's attributes.
    pub fn bump(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }

    /// Answers a request. An error of the evaluation is a denial.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let decision = self.0.set.load().decide(request);
        self.0.metrics.decided(&decision);
        decision
    }

    /// What the operator can do about the denial of a plugin's request: a policy to paste, in one line. Empty when there
    /// is nothing to add.
    pub fn remedy(&self, request: &Request<'_>, decision: &Decision) -> String {
        remedy::remedy(&self.0.origin, request, decision)
    }

    /// The variables of the first template that matches a topic, with their values; empty for an untyped topic.
    pub fn topic_variables(&self, topic: &str) -> Vec<(String, String)> {
        let set = self.0.set.load();
        let matched = set.templates.match_topic(topic);
        let bound = matched.iter().flat_map(|(_, variables)| variables.bound());
        bound.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Answers a request with all that led to the answer; for operators, not for the path of a message.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        self.0.set.load().explain(request)
    }

    /// Decides tables of expected decisions, such as those that lie [beside the policies](Origin::tables).
    pub fn test(&self, tables: &[File]) -> TableReport {
        table::run(&self.0.set.load(), tables)
    }

    /// Makes the counters of decisions and reloads visible.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.metrics.register(registry);
    }
}
