//! The configuration read again while the gateway runs: the plugins of bindings are taken over, other changes are named.
//!
//! Certificates and policies, which are files of their own, are read again by the admin API's part.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value as Json;

use crate::artifacts::{Artifacts, Settings};
use crate::config::{self, Config};
use crate::dfu::Desired;
use crate::dispatch::{Binding, Canaries, Configured, Problem};
use crate::firmware::Firmware;

/// How long a reload waits for plugins to be prepared; they are when nobody waits any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is read again, and who has to hear of it.
pub(super) struct Again {
    /// The file; a gateway that is part of another program has none.
    pub(super) file: Option<PathBuf>,
    /// What the gateway was started with.
    pub(super) config: Arc<Config>,
    /// What operators are shown of the configuration.
    pub(super) in_force: Arc<ArcSwap<Json>>,
    pub(super) bindings: Vec<Arc<Binding>>,
    pub(super) artifacts: Artifacts,
    pub(super) canaries: Canaries,
    pub(super) firmware: Firmware,
    pub(super) desired: Desired,
}

/// What came of one binding.
type Outcome = (String, Result<(), Problem>);

impl Again {
    /// Takes over what can be; says what is wrong, and what is to be looked at. Blocks.
    pub(super) fn run(&self) -> (Vec<String>, Vec<String>) {
        let Some(file) = &self.file else { return Default::default() };
        let read = match config::load(file) {
            Ok(read) => read,
            Err(problems) => return (problems.iter().map(ToString::to_string).collect(), Vec::new()),
        };
        // First, because it decides which versions may go on.
        if let Err(problems) = self.artifacts.retrust(&Settings::of(&read).trust) {
            return (problems.iter().map(ToString::to_string).collect(), Vec::new());
        }
        self.firmware.look_again();
        self.firmware.follow(&super::dfu::followed(&read.assignments));
        self.desired.reload(read.assignments.clone());
        self.in_force.store(Arc::new(config::in_force(&self.config, &read)));
        let (problems, mut warnings) = self.plugins(&read);
        self.give_canaries(&read);
        let late = |key: String| format!("{key} was changed: that needs a restart");
        warnings.extend(config::need_restart(&self.config, &read).into_iter().map(late));
        (problems, warnings)
    }

    /// Gives each binding the canary that the configuration says now, in the role that the binding has had since the start.
    fn give_canaries(&self, read: &Config) {
        for running in &self.config.bindings {
            if let Some(read) = read.bindings.iter().find(|read| read.name == running.name) {
                let (plugin, canary) = (read.plugin.clone(), read.canary.clone());
                self.canaries.apply(&config::BindingConfig { plugin, canary, ..running.clone() });
            }
        }
    }

    /// Gives each binding what the configuration says of its plugin, side by side: preparing one may take minutes.
    fn plugins(&self, read: &Config) -> (Vec<String>, Vec<String>) {
        let (done, outcomes) = mpsc::channel();
        let mut preparing = Vec::new();
        for binding in &self.bindings {
            let named = |config: &&config::BindingConfig| config.name == binding.name();
            let Some(configured) = read.bindings.iter().find(named).map(Configured::from) else { continue };
            let (binding, done, name) = (Arc::clone(binding), done.clone(), binding.name().to_owned());
            preparing.push(name.clone());
            let work = move || {
                let outcome = binding.reconfigure(configured).map(drop);
                // Whoever asked may not wait any more.
                let _ = done.send((binding.name().to_owned(), outcome));
            };
            if let Err(error) = std::thread::Builder::new().name(format!("prepare-{name}")).spawn(work) {
                return (vec![format!("binding {name}: {error}")], Vec::new());
            }
        }
        drop(done);
        gather(preparing, &outcomes)
    }
}

fn gather(mut preparing: Vec<String>, outcomes: &mpsc::Receiver<Outcome>) -> (Vec<String>, Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    // Ends at the deadline, or with the last thread.
    while let Ok((name, outcome)) = outcomes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        preparing.retain(|other| *other != name);
        match outcome {
            Ok(()) => {}
            Err(problem) if problem.is_known() => warnings.push(format!("binding {name}: {problem}")),
            Err(problem) => problems.push(format!("binding {name}: {problem}")),
        }
    }
    let late = |name: String| {
        format!("binding {name}: its plugin is being prepared; `causeway binding list` shows what comes of it")
    };
    warnings.extend(preparing.into_iter().map(late));
    (problems, warnings)
}
