//! Everything about bindings that can be wrong is found here, before the first socket: plugins are loaded and try their
//! configuration, and each durable binding's place in the journal is on disk.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use causeway_core::selector::SelectorError;
use causeway_host::{Component, Digest, Limits, Setup};
use rusqlite::Transaction;
use thiserror::Error;

use super::binding::{Binding, Counts, Shared, Standing, Topics};
use super::canary::{Canaries, Cast, Ground};
use super::guest::Guest;
use super::inbox::Inbox;
use super::metrics::BindingMetrics;
use super::orders::Desk;
use super::permissions::{Denial, Permissions};
use super::places::{self, Spread};
use super::versions::{Build, Configured, Deciding, Rehearse, Versions};
use super::worker::Worker;
use super::{Dispatch, Parts};
use crate::config::{self, BindingConfig, CanaryConfig, Delivery, PluginKind};
use crate::dfu::Conversation;
use crate::journal::{Budget, Cursor, Overflow, Position};
use crate::plugins::{self, GuestError, Log, Origin, Plugins, Wanted};
use crate::policy::Policies;
use crate::recording::{Header, Rehearsal, Role, TrialError};
use crate::store::{WriteError, choices};

/// What is wrong with one binding; the operator mends it.
#[derive(Debug, Error)]
pub enum Problem {
    /// One of its filters selects no topics.
    #[error(transparent)]
    Topics(#[from] SelectorError),
    /// Its plugin is not to be had.
    #[error(transparent)]
    Plugin(#[from] plugins::LoadError),
    /// Its plugin is of another kind, or wants what it may not have.
    #[error(transparent)]
    Load(#[from] causeway_host::LoadError),
    /// Its plugin was not granted what it imports.
    #[error("{0}")]
    Grant(Denial),
    /// Its plugin does not start with this configuration.
    #[error(transparent)]
    Start(#[from] causeway_host::StartError),
    /// Its plugin did not do before.
    #[error("{digest} is not run again: {reason}; `causeway binding resume {binding}` forgives it")]
    Bad {
        /// The binding.
        binding: String,
        /// The digest of its plugin.
        digest: String,
        /// What it did.
        reason: String,
    },
    /// Its plugin is older than what ran before.
    #[error(
        "version {version} of {repository} is older than {highest}, which ran here: set `allow_downgrade`, or give `--allow-downgrade`"
    )]
    Downgrade {
        /// The plugin's repository.
        repository: String,
        /// Its version.
        version: String,
        /// The highest version that ran.
        highest: String,
    },
    /// Its plugin does not bear what was recorded of the one before.
    #[error("tried on what was recorded: {0}")]
    Rehearsal(#[source] TrialError),
    /// There is no second answer to compare with.
    #[error("binding `{binding}` is of kind {kind}: only telemetry bindings have canaries")]
    Canary {
        /// The binding.
        binding: String,
        /// Its kind.
        kind: &'static str,
    },
    /// Nobody knows where its path begins.
    #[error("`{0}` does not say where it begins: write the whole path")]
    Relative(String),
    /// Something else was asked for meanwhile.
    #[error("another version was asked for meanwhile")]
    Overtaken,
    /// Its place in the journal cannot be stored, or which version it runs.
    #[error("what it runs and where it is in the journal cannot be stored: {0}")]
    Store(#[source] WriteError<rusqlite::Error>),
}

/// A binding cannot be served; the gateway does not start.
#[derive(Debug, Error)]
#[error("binding `{binding}`: {problem}")]
pub struct OpenError {
    /// The binding.
    pub binding: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Problem {
    /// Whether the plugin may be to be had later without anybody's doing.
    pub(super) const fn waits(&self) -> bool {
        matches!(self, Self::Plugin(error) if error.waits())
    }

    /// Whether the binding is parked for it, and the gateway runs.
    pub(super) const fn parks(&self) -> bool {
        let refused = matches!(self, Self::Plugin(error) if error.is_refused());
        self.waits() || refused || matches!(self, Self::Bad { .. } | Self::Downgrade { .. })
    }

    /// Whether nothing is wrong with what was asked for: the plugin did not do before, or is not to be had now.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.waits() || matches!(self, Self::Bad { .. })
    }

    /// What is wrong, and what the operator can do about it.
    #[must_use]
    pub fn told(&self) -> (String, String) {
        match self {
            Self::Grant(denial) => (denial.text.clone(), denial.remedy.clone()),
            other => (other.to_string(), "mend `plugin` or `config` of this binding".to_owned()),
        }
    }
}

impl Dispatch {
    /// Prepares the bindings. Nothing is called and nothing is read until [`Dispatch::start`], but the journal keeps what
    /// is appended from now on. Blocks: for a thread outside the runtime.
    ///
    /// # Errors
    /// All bindings that cannot be served.
    pub fn open(configs: &[BindingConfig], plugins: &Plugins, parts: Parts) -> Result<Self, Vec<OpenError>> {
        let mut errors = Vec::new();
        let (mut bindings, mut waiting) = (Vec::new(), Vec::new());
        let canaries = Canaries::open(ground(plugins, &parts), configs);
        forget_components(plugins, &parts);
        for config in configs {
            match open(config, plugins, &parts) {
                Ok((binding, workers)) => {
                    bindings.push(binding);
                    waiting.extend(workers);
                }
                Err(problem) => errors.push(OpenError { binding: config.name.clone(), problem }),
            }
        }
        if errors.is_empty() { Ok(Self { parts, bindings, waiting, canaries, running: None }) } else { Err(errors) }
    }
}

/// Removes the components that no binding goes back to; those that run from now on are kept anew.
fn forget_components(plugins: &Plugins, parts: &Parts) {
    match parts.store.read_blocking(crate::store::versions::needed) {
        Ok(digests) => plugins.retain(&digests),
        Err(error) => tracing::warn!(%error, "which components are needed cannot be read; all are kept"),
    }
}

/// Loads the plugins of all bindings and lets each try its configuration; nothing is stored. Blocks.
///
/// Without policies, because they have problems of their own, the grants are not checked.
pub fn check<'b>(
    bindings: &'b [BindingConfig],
    plugins: &Plugins,
    gateway: &str,
    policies: Option<&Policies>,
) -> Vec<(&'b BindingConfig, Problem)> {
    let try_one = |config: &BindingConfig| guest(config, plugins, gateway, policies).map(drop);
    bindings.iter().filter_map(|config| try_one(config).err().map(|problem| (config, problem))).collect()
}

/// The same for the canaries that the configuration names, each in the role of its binding. Blocks.
pub fn check_canaries<'b>(
    bindings: &'b [BindingConfig],
    plugins: &Plugins,
    gateway: &str,
    policies: Option<&Policies>,
) -> Vec<(&'b CanaryConfig, &'b BindingConfig, Problem)> {
    let check = |binding: &'b BindingConfig| {
        let canary = binding.canary.as_ref()?;
        let (plugin, signed_as) = (canary.plugin.clone(), canary.signed_as.clone());
        let as_plugin = BindingConfig { plugin, signed_as, ..binding.clone() };
        let problem = guest(&as_plugin, plugins, gateway, policies).err()?;
        Some((canary, binding, problem))
    };
    bindings.iter().filter_map(check).collect()
}

/// The binding's plugin with a first instance that has taken its configuration.
fn guest(
    config: &BindingConfig,
    plugins: &Plugins,
    gateway: &str,
    policies: Option<&Policies>,
) -> Result<Guest, Problem> {
    let (component, origin) =
        plugins.load(&Wanted::locked(kind(config), &config.plugin, config.signed_as.as_deref()))?;
    build(config, plugins, (&component, &origin), gateway, log(config, None), policies)
}

/// What canaries stand on.
fn ground(plugins: &Plugins, parts: &Parts) -> Ground {
    let (recordings, clock, store) = (parts.recordings.clone(), parts.clock.clone(), parts.store.clone());
    Ground { cast: cast(plugins, parts), recordings, clock, metrics: parts.metrics.canaries.clone(), store }
}

/// Makes the versions of canaries: they may import what their bindings' plugins may, and have to take the same
/// configuration.
fn cast(plugins: &Plugins, parts: &Parts) -> Cast {
    let (plugins, policies, gateway) = (plugins.clone(), parts.policies.clone(), parts.gateway.clone());
    Arc::new(move |binding, canary| {
        if binding.kind != PluginKind::Telemetry {
            return Err(Problem::Canary { binding: binding.name.clone(), kind: kind(binding) });
        }
        let wanted = Wanted::locked(kind(binding), &canary.plugin, canary.signed_as.as_deref());
        let (component, origin) = plugins.load(&wanted)?;
        let mut permissions = Permissions::new(&binding.name, kind(binding), &origin, policies.clone());
        permissions.imports(component.imports()).map_err(Problem::Grant)?;
        let mut rehearsal = Rehearsal::new(plugins.engine(), &component, role(binding, &gateway))?;
        rehearsal.start()?;
        Ok(rehearsal)
    })
}

/// What a version of the binding's plugin is run as without having an effect.
fn role(config: &BindingConfig, gateway: &str) -> Role {
    let (setup, limits) = (setup(config, gateway), limits(config));
    Role { setup, limits, batch_inputs: config.batch.messages, batch_bytes: config.batch.bytes.in_memory() }
}

/// A component as the binding's plugin with a first instance, if it may be that and takes its configuration.
fn build(
    config: &BindingConfig,
    plugins: &Plugins,
    (component, origin): (&Component, &Origin),
    gateway: &str,
    log: Log,
    policies: Option<&Policies>,
) -> Result<Guest, Problem> {
    let (setup, limits) = (setup(config, gateway), limits(config));
    let mut guest = Guest::new(config.kind, plugins.engine(), component, setup, limits, log)?;
    if let Some(policies) = policies {
        let mut permissions = Permissions::new(&config.name, kind(config), origin, policies.clone());
        permissions.imports(component.imports()).map_err(Problem::Grant)?;
    }
    guest.start()?;
    Ok(guest)
}

/// The versions of the binding's plugin, each made like the others.
fn versions(config: &BindingConfig, plugins: &Plugins, parts: &Parts, metrics: &BindingMetrics) -> Versions {
    let (binding, kind) = (config.name.clone(), kind(config));
    let (store, clock, trial) = (parts.store.clone(), parts.clock.clone(), config.trial.clone());
    let choice = store.read_blocking(|store| choices::get(store, &binding)).unwrap_or_else(|error| {
        tracing::error!(binding, %error, "which plugin an operator chose cannot be read");
        None
    });
    let deciding = Mutex::new(Deciding::new(Configured::from(config), choice));
    let role = role(config, &parts.gateway);
    let (recordings, engine) = (parts.recordings.clone(), Arc::clone(plugins.engine()));
    let rehearse: Rehearse = match config.kind {
        PluginKind::Telemetry => {
            Arc::new(move |component| recordings.trial(&engine, component, role.clone()).map(drop))
        }
        // What nobody can record has nothing to be tried on.
        PluginKind::Dfu => {
            recordings.refuse(&binding, kind);
            Arc::new(|_| Ok(()))
        }
    };
    let (config, engine, log) = (config.clone(), plugins.clone(), log(config, Some(metrics)));
    let parts = parts.clone();
    let build: Build = Arc::new(move |component, origin| {
        let (gateway, policies) = (&parts.gateway, Some(&parts.policies));
        let mut guest = build(&config, &engine, (component, origin), gateway, log.clone(), policies)?;
        let digest = guest.digest();
        guest.record(|| parts.recordings.tap(header(&config, &parts.gateway, origin, digest)));
        Ok(guest)
    });
    let (plugins, desk, told, retrying) = (plugins.clone(), Desk::default(), Mutex::default(), AtomicBool::new(false));
    Versions { binding, kind, plugins, store, clock, build, rehearse, trial, desk, deciding, told, retrying }
}

fn open(config: &BindingConfig, plugins: &Plugins, parts: &Parts) -> Result<(Shared, Vec<Worker>), Problem> {
    let topics = Topics::new(config)?;
    let conversation = match config.kind {
        PluginKind::Telemetry => None,
        PluginKind::Dfu => Some(conversation(config, parts)?),
    };
    let metrics = parts.metrics.of(&config.name);
    let versions = versions(config, plugins, parts, &metrics);
    versions.choose()?;
    let assigned = versions.desk.assigned();
    let (cursors, before) = install(config, parts, &topics)?;
    let partitions = usize::from(config.partitions.max(1));
    let inboxes = (0..partitions).map(|_| Inbox::new(config.queue_messages)).collect();
    let standing = Standing { state: assigned.state.clone(), digest: assigned.digest.clone(), ..Standing::default() };
    let binding = Arc::new(Binding {
        config: config.clone(),
        kind: kind(config),
        topics,
        before,
        cursors,
        inboxes,
        counts: Counts::default(),
        metrics,
        standings: Mutex::new(vec![standing; partitions]),
        versions,
    });
    let collections = parts.store.declared();
    let worker = |partition| {
        let (binding, collections) = (Arc::clone(&binding), Arc::clone(&collections));
        Worker::new(binding, partition, collections, conversation.clone(), parts.clone())
    };
    let workers = (0..partitions).map(worker).collect();
    Ok((binding, workers))
}

/// What a DFU binding's partitions say to devices.
fn conversation(config: &BindingConfig, parts: &Parts) -> Result<Conversation, Problem> {
    let Parts { updates, devices, policies, clock, .. } = parts.clone();
    let conversation = Conversation::new(&config.topics, updates, devices, policies, clock);
    Ok(conversation.map_err(SelectorError::from)?)
}

/// The word for the binding's kind.
fn kind(config: &BindingConfig) -> &'static str {
    config.kind.word()
}

/// Where the plugin's lines go; without metrics nobody counts what is lost of them.
fn log(config: &BindingConfig, metrics: Option<&BindingMetrics>) -> Log {
    let counters = metrics.map(|metrics| (metrics.log_dropped.clone(), metrics.log_cut.clone()));
    let (dropped, cut) = counters.unwrap_or_default();
    Log { binding: config.name.as_str().into(), dropped, cut }
}

/// How a recording of the binding begins.
fn header(config: &BindingConfig, gateway: &str, origin: &Origin, digest: Digest) -> Header {
    let Setup { gateway, binding, config: text } = setup(config, gateway);
    let (kind, plugin, digest) = (kind(config).to_owned(), origin.reference.clone(), digest.to_string());
    Header { binding, kind, plugin, digest, gateway, config: text, started_ms: 0 }
}

fn setup(config: &BindingConfig, gateway: &str) -> Setup {
    let text = serde_json::Value::Object(config.config.0.clone()).to_string();
    Setup { gateway: gateway.to_owned(), binding: config.name.clone(), config: text }
}

fn limits(config: &BindingConfig) -> Limits {
    let limits = &config.limits;
    Limits {
        memory_bytes: limits.memory.in_memory(),
        table_elements: limits.table_elements,
        instances: limits.instances,
        memories: limits.memories,
        tables: limits.tables,
        handles: limits.handles,
        deadline: limits.deadline,
        output_bytes: limits.output.in_memory(),
        effects: limits.effects,
        log_bytes: limits.log.in_memory(),
        log_line_bytes: limits.log_line.in_memory(),
        host_calls: limits.host_calls,
    }
}

/// Stores the cursors, and registers them with the journal.
fn install(config: &BindingConfig, parts: &Parts, topics: &Topics) -> Result<(Vec<Cursor>, Vec<Spread>), Problem> {
    let durable = config.delivery == Delivery::Durable;
    let end = parts.journal.status().durable;
    let (name, key) = (config.name.clone(), config.key.clone());
    let partitions = if durable { config.partitions.max(1) } else { 0 };
    let work = move |tx: &Transaction<'_>| places::settle(tx, &name, key.as_deref(), partitions, end);
    let places = parts.store.write_blocking(work).map_err(Problem::Store)?;
    let budget = Budget { bytes: config.budget.bytes.0, age: config.budget.age };
    let overflow = match config.budget.overflow {
        config::Overflow::Refuse => Overflow::Refuse,
        config::Overflow::DropOldest => Overflow::DropOldest,
        config::Overflow::Park => Overflow::Park,
    };
    let register = |(name, at): (String, Position)| {
        let topics = topics.clone();
        let cursor = parts.journal.cursor(&name, Some(at), budget, overflow);
        cursor.wanting(move |kind, body| super::intake::wanted(kind, body, &topics))
    };
    Ok((places.cursors.into_iter().map(register).collect(), places.before))
}

/// Why a partition stops calling its plugin: it does not start although it once did.
pub(super) fn cannot_start(error: &GuestError) -> String {
    match error {
        GuestError::Start(causeway_host::StartError::Trap(trap)) => format!("the plugin does not start: {trap}"),
        error => error.to_string(),
    }
}
