//! Canaries: a second version of a binding's plugin that sees what the binding sees and of which nothing takes effect.
//!
//! Each runs on a thread of its own behind the binding's tap. The binding never waits for it and does not know whether it
//! is there; whatever becomes of a canary, its binding goes on. What both made of an input is compared and counted.

mod metrics;
mod shadow;
mod state;
mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::open::Problem;
use crate::clock::Clock;
use crate::config::{BindingConfig, CanaryConfig};
use crate::recording::{FeedBounds, FeedHandle, Recordings, Rehearsal};

pub(super) use metrics::CanaryMetrics;
pub use tally::{CanaryCounts, Difference};

use shadow::Shadow;
use tally::{Keep, Tally};

/// How much a canary's thread gives way to those of bindings, devices and the disk.
const NICE: i32 = 10;

/// Makes a canary's version of what its configuration names, in the role of its binding.
pub(super) type Cast = Arc<dyn Fn(&BindingConfig, &CanaryConfig) -> Result<Rehearsal, Problem> + Send + Sync>;

/// Whether a canary sees what its binding sees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CanaryState {
    /// Its version is being found and compiled.
    Preparing,
    /// It does.
    Running,
    /// Its version is not to be had, or is not to be run.
    Refused(String),
    /// It did, until it was of no more use.
    Ended(String),
}

impl CanaryState {
    /// The words of the closed set.
    const WORDS: [&'static str; 4] = ["preparing", "running", "refused", "ended"];

    /// The state in one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Refused(_) => "refused",
            Self::Ended(_) => "ended",
        }
    }

    /// Why it is not running, if something is wrong.
    #[must_use]
    pub const fn reason(&self) -> Option<&String> {
        match self {
            Self::Preparing | Self::Running => None,
            Self::Refused(reason) | Self::Ended(reason) => Some(reason),
        }
    }
}

/// How a canary is.
#[derive(Clone, Debug)]
pub struct CanaryStatus {
    /// Where its version comes from.
    pub plugin: String,
    /// The digest of its version, once it is known.
    pub digest: Option<String>,
    /// Whether it runs.
    pub state: CanaryState,
    /// The digest of the binding's version that it is compared with, once there was an input.
    pub against: Option<String>,
    /// Since when it is compared with that, Unix ms.
    pub since_ms: u64,
    /// What came of the inputs since then.
    pub counts: CanaryCounts,
    /// Inputs that it did not see because it was too slow, since it began.
    pub dropped: u64,
    /// Inputs that wait for it.
    pub waiting: u64,
    /// Bytes that it remembers otherwise than the binding.
    pub state_bytes: usize,
    /// The last inputs of which it did not make the same.
    pub differences: Vec<Difference>,
}

/// The canaries of a gateway; clones share them.
#[derive(Clone)]
pub struct Canaries(Arc<Shared>);

struct Shared {
    cast: Cast,
    recordings: Recordings,
    clock: Clock,
    metrics: CanaryMetrics,
    stages: Mutex<BTreeMap<String, Running>>,
}

/// The canary of one binding.
struct Running {
    config: CanaryConfig,
    stage: Arc<Stage>,
}

/// What a canary's thread shares with those who look at it and who stop it.
struct Stage {
    stopping: AtomicBool,
    picture: Mutex<Picture>,
}

struct Picture {
    state: CanaryState,
    digest: Option<String>,
    feed: Option<FeedHandle>,
    tally: Tally,
    state_bytes: usize,
}

impl Canaries {
    pub(super) fn new(cast: Cast, recordings: Recordings, clock: Clock, metrics: CanaryMetrics) -> Self {
        Self(Arc::new(Shared { cast, recordings, clock, metrics, stages: Mutex::default() }))
    }

    /// Gives a binding the canary that its configuration says, or takes it away. One that runs as it should is left alone;
    /// one that was refused or ended begins anew. Does not wait: finding and compiling a version takes a while.
    pub fn apply(&self, binding: &BindingConfig) {
        let mut stages = self.lock();
        let name = &binding.name;
        let goes_on = |running: &Running| {
            Some(&running.config) == binding.canary.as_ref() && running.stage.picture().state.reason().is_none()
        };
        if stages.get(name).is_some_and(goes_on) {
            return;
        }
        if let Some(before) = stages.remove(name) {
            before.stage.stop();
            self.0.metrics.state(name, None);
            tracing::info!(binding = name, plugin = before.config.plugin, "the canary of a binding was taken away");
        }
        if let Some(config) = binding.canary.clone() {
            let stage = Arc::new(Stage::new(&config, self.0.clock.now_ms()));
            stages.insert(name.clone(), Running { config: config.clone(), stage: Arc::clone(&stage) });
            self.0.spawn(binding.clone(), config, stage);
        }
    }

    /// How the canary of a binding is; none if it has none.
    #[must_use]
    pub fn status(&self, binding: &str) -> Option<CanaryStatus> {
        let stages = self.lock();
        let Running { config, stage } = stages.get(binding)?;
        let picture = stage.picture();
        let Tally { against, since_ms, counts, differences, .. } = &picture.tally;
        Some(CanaryStatus {
            plugin: config.plugin.clone(),
            digest: picture.digest.clone(),
            state: picture.state.clone(),
            against: (against.number > 0).then(|| against.digest.clone()),
            since_ms: *since_ms,
            counts: *counts,
            dropped: picture.feed.as_ref().map_or(0, FeedHandle::dropped),
            waiting: picture.feed.as_ref().map_or(0, FeedHandle::waiting),
            state_bytes: picture.state_bytes,
            differences: differences.iter().cloned().collect(),
        })
    }

    /// Stops all canaries: the gateway ends. What they have not seen yet is of no more use.
    pub(super) fn close(&self) {
        for running in std::mem::take(&mut *self.lock()).into_values() {
            running.stage.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.0.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Canaries {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Canaries").finish_non_exhaustive()
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, binding: BindingConfig, config: CanaryConfig, stage: Arc<Stage>) {
        let (name, shared, own) = (binding.name.clone(), Arc::clone(self), Arc::clone(&stage));
        self.enter(&name, &stage, CanaryState::Preparing);
        let thread = std::thread::Builder::new().name(format!("canary-{name}"));
        if let Err(error) = thread.spawn(move || shared.perform(&binding, &config, &own)) {
            self.enter(&name, &stage, CanaryState::Refused(format!("there is no thread for it: {error}")));
        }
    }

    /// The whole life of a canary.
    fn perform(&self, binding: &BindingConfig, config: &CanaryConfig, stage: &Arc<Stage>) {
        let name = &binding.name;
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(binding = name, %error, "a canary runs with the priority of its binding");
        }
        let shadow = match self.prepare(binding, config, stage) {
            Ok(shadow) => shadow,
            Err(reason) => return self.enter(name, stage, CanaryState::Refused(reason)),
        };
        self.enter(name, stage, CanaryState::Running);
        if let Err(ended) = shadow.run() {
            self.enter(name, stage, CanaryState::Ended(ended.to_string()));
        }
    }

    fn prepare(&self, binding: &BindingConfig, config: &CanaryConfig, stage: &Arc<Stage>) -> Result<Shadow, String> {
        let rehearsal = (self.cast)(binding, config).map_err(|problem| problem.told().0)?;
        let bounds = FeedBounds { inputs: config.queue_messages, bytes: config.queue_bytes.in_memory() };
        let feeding = self.recordings.feed(&binding.name, bounds);
        let mut picture = stage.picture();
        picture.digest = Some(rehearsal.digest().to_string());
        picture.feed = Some(feeding.handle());
        drop(picture);
        if stage.stopping() {
            feeding.handle().end();
        }
        let metrics = self.metrics.of(&binding.name);
        Ok(Shadow::new(binding, config, rehearsal, feeding, Arc::clone(stage), metrics, self.clock.clone()))
    }

    /// Notes how a canary is, unless another one is in its place already.
    fn enter(&self, name: &str, stage: &Stage, state: CanaryState) {
        if stage.stopping() {
            return;
        }
        let digest = stage.picture().digest.clone();
        match &state {
            CanaryState::Preparing => tracing::info!(binding = name, "a canary of a binding is prepared"),
            CanaryState::Running => tracing::info!(binding = name, digest, "a canary sees what its binding sees"),
            CanaryState::Refused(reason) => tracing::warn!(binding = name, reason, "a canary is not run"),
            CanaryState::Ended(reason) => tracing::warn!(binding = name, digest, reason, "a canary ended"),
        }
        self.metrics.state(name, Some(&state));
        stage.picture().state = state;
    }
}

impl Stage {
    fn new(config: &CanaryConfig, now_ms: u64) -> Self {
        let keep =
            Keep { most: config.differences, bytes: config.differences_bytes.in_memory(), outcomes: config.outcomes };
        let picture = Picture {
            state: CanaryState::Preparing,
            digest: None,
            feed: None,
            tally: Tally::new(keep, now_ms),
            state_bytes: 0,
        };
        Self { stopping: AtomicBool::new(false), picture: Mutex::new(picture) }
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(feed) = &self.picture().feed {
            feed.end();
        }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
