//! Canaries: a second version of a binding's plugin that sees what the binding sees and of which nothing takes effect.
//!
//! Each runs on a thread of its own behind the binding's tap. The binding never waits for it and does not know whether it
//! is there; whatever becomes of a canary, its binding goes on. What both made of an input is compared and counted.
//!
//! Which canary a binding has is what its configuration says, or what an operator chose over that (`place`).

mod metrics;
mod place;
mod shadow;
mod state;
mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::open::Problem;
use super::versions::written;
use crate::clock::Clock;
use crate::config::{BindingConfig, CanaryConfig};
use crate::recording::{FeedBounds, FeedHandle, Recordings, Rehearsal};
use crate::store::Store;
use crate::store::choices;

pub(super) use metrics::CanaryMetrics;
pub use tally::{CanaryCounts, Difference};

use place::{Place, Running};
use shadow::Shadow;
use tally::{Keep, Tally};

/// How much a canary's thread gives way to those of bindings, devices and the disk.
const NICE: i32 = 10;

/// Makes a canary's version of what its configuration names, in the role of its binding.
pub(super) type Cast = Arc<dyn Fn(&BindingConfig, &CanaryConfig) -> Result<Rehearsal, Problem> + Send + Sync>;

/// Whether a canary sees what its binding sees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum CanaryState {
    /// Its version is being found and compiled.
    #[default]
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
#[derive(Clone, Debug, Default)]
pub struct CanaryStatus {
    /// Where its version comes from.
    pub plugin: String,
    /// Whether an operator chose it, or its end, over what the configuration says.
    pub chosen: bool,
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

/// The canary that an operator wants a binding to have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChosenCanary {
    /// Where its version comes from.
    pub reference: String,
    /// The repository that its signature is to be about, if that is another than the reference's.
    pub signed_as: Option<String>,
}

/// The canaries of a gateway; clones share them.
#[derive(Clone)]
pub struct Canaries(Arc<Shared>);

/// What canaries stand on.
pub(super) struct Ground {
    pub(super) cast: Cast,
    pub(super) recordings: Recordings,
    pub(super) clock: Clock,
    pub(super) metrics: CanaryMetrics,
    /// What operators choose is kept there.
    pub(super) store: Store,
}

struct Shared {
    ground: Ground,
    /// By the names of the bindings. Nothing that blocks is done while it is held.
    places: Mutex<BTreeMap<String, Place>>,
    /// Held while a choice is written down and obeyed.
    choosing: Mutex<()>,
}

/// What a canary's thread shares with those who look at it and who stop it.
struct Stage {
    stopping: AtomicBool,
    picture: Mutex<Picture>,
}

struct Picture {
    state: CanaryState,
    /// Its version is not to be had now, and is to be asked for again.
    waits: bool,
    digest: Option<String>,
    feed: Option<FeedHandle>,
    tally: Tally,
    state_bytes: usize,
}

impl Canaries {
    /// The canaries that bindings are to have, none of which runs before it is applied. Blocks.
    pub(super) fn open(ground: Ground, bindings: &[BindingConfig]) -> Self {
        let chosen = |name: &str| {
            ground.store.read_blocking(|store| choices::get_canary(store, name)).unwrap_or_else(|error| {
                tracing::error!(binding = name, %error, "which canary an operator chose cannot be read");
                None
            })
        };
        let place = |binding: &BindingConfig| (binding.name.clone(), Place::new(binding, chosen(&binding.name)));
        let places = Mutex::new(bindings.iter().map(place).collect());
        let canaries = Self(Arc::new(Shared { ground, places, choosing: Mutex::default() }));
        bindings.iter().for_each(|binding| canaries.configure(binding));
        canaries
    }

    /// Lets all begin. Does not wait: finding and compiling a version takes a while.
    pub(super) fn begin(&self) {
        self.lock().values_mut().for_each(|place| self.0.play(place, None));
    }

    /// Gives a binding the canary that its configuration says, unless an operator chose another over that. One that runs
    /// as it should is left alone; one that was refused or ended begins anew. Waits for no version, but blocks to forget a
    /// choice that was made over another canary.
    pub fn apply(&self, binding: &BindingConfig) {
        self.configure(binding);
        if let Some(place) = self.lock().get_mut(&binding.name) {
            self.0.play(place, None);
        }
    }

    fn configure(&self, binding: &BindingConfig) {
        let name = binding.name.clone();
        if !self.lock().get_mut(&name).is_some_and(|place| place.configure(binding)) {
            return;
        }
        tracing::info!(binding = name, "the configuration names another canary: a choice is gone");
        let forgotten = self.0.ground.store.write_blocking(move |tx| choices::set_canary(tx, &name, None));
        if let Err(error) = forgotten {
            tracing::error!(binding = binding.name, %error, "a choice that is gone is still written down");
        }
    }

    /// Gives a binding the canary that an operator chose, or takes it away, also at later starts, until the configuration
    /// names another one. Blocks: for a thread of its own.
    ///
    /// # Errors
    /// Why it does not run; nothing has changed.
    pub fn choose(&self, name: &str, wanted: Option<ChosenCanary>) -> Result<(), Problem> {
        let Some(binding) = self.lock().get(name).map(Place::binding) else { return Ok(()) };
        let wanted = match wanted {
            Some(ChosenCanary { reference, signed_as }) => {
                Some(ChosenCanary { reference: written(&reference)?, signed_as })
            }
            None => None,
        };
        let prepared = match &wanted {
            Some(wanted) => Some((self.0.ground.cast)(&binding, &place::chosen(&binding, wanted))?),
            None => None,
        };
        let _one_at_a_time = self.0.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(choice) = self.lock().get(name).map(|place| place.choice_of(wanted, self.0.ground.clock.now_ms()))
        else {
            return Ok(());
        };
        let (of, kept) = (name.to_owned(), choice.clone());
        let work = move |tx: &rusqlite::Transaction<'_>| choices::set_canary(tx, &of, kept.as_ref());
        self.0.ground.store.write_blocking(work).map_err(Problem::Store)?;
        if let Some(place) = self.lock().get_mut(name) {
            place.choose(choice);
            self.0.play(place, prepared);
        }
        Ok(())
    }

    /// Asks again for the versions that were not to be had, because they may be now. Does not wait.
    pub(super) fn ask_again(&self) {
        for (name, place) in self.lock().iter() {
            if let Some(running) = place.running.as_ref().filter(|running| running.stage.asked_again()) {
                self.0.spawn(&place.binding(), running, None, name);
            }
        }
    }

    /// How the canary of a binding is; none if it has none.
    #[must_use]
    pub fn status(&self, binding: &str) -> Option<CanaryStatus> {
        self.lock().get(binding)?.status()
    }

    /// Stops all canaries: the gateway ends. What they have not seen yet is of no more use.
    pub(super) fn close(&self) {
        for running in std::mem::take(&mut *self.lock()).into_values().filter_map(|place| place.running) {
            running.stage.stop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Canaries {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Canaries").finish_non_exhaustive()
    }
}

impl Shared {
    /// Has a binding's canary be what it is to be; `prepared` is its version, if somebody made it already.
    fn play(self: &Arc<Self>, place: &mut Place, prepared: Option<Rehearsal>) {
        let wanted = place.wanted();
        if place.running.as_ref().is_some_and(|running| running.goes_on(wanted.as_ref())) {
            return;
        }
        let (binding, name) = (place.binding(), place.name().to_owned());
        if let Some(before) = place.running.take() {
            before.stage.stop();
            self.ground.metrics.state(&name, None);
            tracing::info!(binding = name, plugin = before.config.plugin, "the canary of a binding was taken away");
        }
        if let Some(config) = wanted {
            let stage = Arc::new(Stage::new(&config, self.ground.clock.now_ms()));
            let running = place.running.insert(Running { config, stage });
            tracing::info!(binding = name, plugin = running.config.plugin, "a canary of a binding is prepared");
            self.ground.metrics.state(&name, Some(&CanaryState::Preparing));
            self.spawn(&binding, running, prepared, &name);
        }
    }

    fn spawn(self: &Arc<Self>, binding: &BindingConfig, running: &Running, prepared: Option<Rehearsal>, name: &str) {
        let (config, stage) = (running.config.clone(), Arc::clone(&running.stage));
        let (shared, binding) = (Arc::clone(self), binding.clone());
        let thread = std::thread::Builder::new().name(format!("canary-{name}"));
        if let Err(error) = thread.spawn(move || shared.perform(&binding, &config, &stage, prepared)) {
            let refused = CanaryState::Refused(format!("there is no thread for it: {error}"));
            self.enter(name, &running.stage, refused);
        }
    }

    /// The whole life of a canary.
    fn perform(&self, binding: &BindingConfig, config: &CanaryConfig, stage: &Arc<Stage>, prepared: Option<Rehearsal>) {
        let name = &binding.name;
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(binding = name, %error, "a canary runs with the priority of its binding");
        }
        let rehearsal = match prepared.map_or_else(|| (self.ground.cast)(binding, config), Ok) {
            Ok(rehearsal) => rehearsal,
            Err(problem) => {
                self.enter(name, stage, CanaryState::Refused(problem.told().0));
                return stage.picture().waits = problem.waits();
            }
        };
        let shadow = self.shadow(binding, config, stage, rehearsal);
        self.enter(name, stage, CanaryState::Running);
        if let Err(ended) = shadow.run() {
            self.enter(name, stage, CanaryState::Ended(ended.to_string()));
        }
    }

    fn shadow(
        &self,
        binding: &BindingConfig,
        config: &CanaryConfig,
        stage: &Arc<Stage>,
        rehearsal: Rehearsal,
    ) -> Shadow {
        let bounds = FeedBounds { inputs: config.queue_messages, bytes: config.queue_bytes.in_memory() };
        let feeding = self.ground.recordings.feed(&binding.name, bounds);
        let mut picture = stage.picture();
        picture.digest = Some(rehearsal.digest().to_string());
        picture.feed = Some(feeding.handle());
        drop(picture);
        if stage.stopping() {
            feeding.handle().end();
        }
        let (metrics, clock) = (self.ground.metrics.of(&binding.name), self.ground.clock.clone());
        Shadow::new(binding, config, rehearsal, feeding, Arc::clone(stage), metrics, clock)
    }

    /// Notes how a canary is, unless another one is in its place already.
    fn enter(&self, name: &str, stage: &Stage, state: CanaryState) {
        if stage.stopping() || stage.picture().state == state {
            return;
        }
        let digest = stage.picture().digest.clone();
        match &state {
            CanaryState::Preparing => {}
            CanaryState::Running => tracing::info!(binding = name, digest, "a canary sees what its binding sees"),
            CanaryState::Refused(reason) => tracing::warn!(binding = name, reason, "a canary is not run"),
            CanaryState::Ended(reason) => tracing::warn!(binding = name, digest, reason, "a canary ended"),
        }
        self.ground.metrics.state(name, Some(&state));
        stage.picture().state = state;
    }
}

impl Stage {
    fn new(config: &CanaryConfig, now_ms: u64) -> Self {
        let keep =
            Keep { most: config.differences, bytes: config.differences_bytes.in_memory(), outcomes: config.outcomes };
        let picture = Picture {
            state: CanaryState::Preparing,
            waits: false,
            digest: None,
            feed: None,
            tally: Tally::new(keep, now_ms),
            state_bytes: 0,
        };
        Self { stopping: AtomicBool::new(false), picture: Mutex::new(picture) }
    }

    /// Whether its version is to be asked for again, which is to be done now.
    fn asked_again(&self) -> bool {
        std::mem::take(&mut self.picture().waits)
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
