//! Tries a new version of a plugin on the newest recording of its binding before it is let near a message: the version runs
//! as what the binding is now, whatever it was when it was recorded.
//!
//! Bounded in inputs and time. What it returns is not looked at: another version may answer otherwise, but it must
//! answer.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_host::{Component, Engine, LoadError, StartError};
use thiserror::Error;

use super::format::{Input, Outcome};
use super::reader::{Next, Reading};
use super::rehearsal::{Rehearsal, Role};
use super::{EXTENSION, ReadError, Recordings};

/// What a version made of recorded inputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trial {
    /// It answered about each of them.
    Passed {
        /// The recording.
        recording: String,
        /// How many it was asked about.
        inputs: usize,
        /// Why it was not asked about all of them.
        cut: Option<Cut>,
    },
    /// There is no recording of the binding that can be read.
    Nothing,
}

/// The bound that ended a trial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// `recordings.trial_time`.
    Time,
    /// `recordings.trial_inputs`.
    Inputs,
}

/// A version must not take its binding's place.
#[derive(Debug, Error)]
pub enum TrialError {
    /// It is no plugin of the kind.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not take the binding's configuration, or not any more after some inputs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It does not bear what the version before it answered.
    #[error("it traps at input {input} of recording `{recording}`, topic {topic:?}: {limit}: {reason}")]
    Trapped {
        /// The recording.
        recording: String,
        /// The input, counted from 0 as `causeway plugin replay` does.
        input: usize,
        /// Its topic.
        topic: String,
        /// The limit that it broke.
        limit: String,
        /// What the engine said.
        reason: String,
    },
}

/// The bounds of a trial.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    inputs: usize,
    time: Duration,
}

impl Recordings {
    /// Runs a component in a binding's role with the binding's newest recording. An input that trapped when it was
    /// recorded is not held against it. Blocks: for a thread outside the runtime.
    ///
    /// # Errors
    /// [`TrialError`]: the component is not to take the binding's place.
    pub fn trial(&self, engine: &Arc<Engine>, component: &Component, role: Role) -> Result<Trial, TrialError> {
        let config = &self.0.config;
        let bounds = Bounds { inputs: config.trial_inputs, time: config.trial_time };
        let binding = role.setup.binding.clone();
        let tried = try_newest(self.newest(&binding), Rehearsal::new(engine, component, role)?, bounds);
        let metrics = &self.0.metrics;
        match &tried {
            Ok(Trial::Nothing) => metrics.tried("nothing"),
            Ok(Trial::Passed { cut: None, .. }) => metrics.tried("passed"),
            Ok(Trial::Passed { cut: Some(Cut::Time), .. }) => metrics.tried("passed-time"),
            Ok(Trial::Passed { cut: Some(Cut::Inputs), .. }) => metrics.tried("passed-inputs"),
            Err(_) => metrics.tried("refused"),
        }
        tried
    }

    /// The files of a binding's recordings, the newest first; none that is still being written.
    fn newest(&self, binding: &str) -> Vec<PathBuf> {
        let files = self.0.files().unwrap_or_else(|error| {
            tracing::warn!(binding, %error, "recordings cannot be looked up");
            Vec::new()
        });
        let running = self.lock().get(binding).and_then(|bound| bound.running().cloned());
        let begun = |file: PathBuf| {
            let name = file.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
            let (of, begun) = name.rsplit_once('-')?;
            let mine = of == binding && running.as_ref() != Some(&file);
            mine.then_some((begun.parse::<u64>().ok()?, file))
        };
        let mut files: Vec<_> = files.into_iter().filter_map(begun).collect();
        files.sort_unstable_by(|one, other| other.cmp(one));
        files.into_iter().map(|(_, file)| file).collect()
    }
}

/// A recording that is torn or damaged says nothing against the component: the one before it is taken.
fn try_newest(files: Vec<PathBuf>, rehearsal: Rehearsal, bounds: Bounds) -> Result<Trial, TrialError> {
    let began = Instant::now();
    for file in files {
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let ended = match Reading::open(&file) {
            Ok(reading) => {
                Trying { reading, rehearsal: rehearsal.another(), name: name.clone(), asked: 0 }.run(began, bounds)?
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(trial) => return Ok(trial),
            Err(error) => tracing::warn!(recording = name, %error, "a recording is of no use for a trial"),
        }
    }
    Ok(Trial::Nothing)
}

/// A component on its way through a recording.
struct Trying {
    reading: Reading<std::io::BufReader<fs::File>>,
    rehearsal: Rehearsal,
    name: String,
    asked: usize,
}

impl Trying {
    fn run(mut self, began: Instant, bounds: Bounds) -> Result<Result<Trial, ReadError>, TrialError> {
        let mut next = None;
        let cut = loop {
            let (mut call, mut edge) = (Vec::new(), self.rehearsal.edge());
            let end = loop {
                let input = match next.take().map_or_else(|| self.reading.next(), |held| Ok(Next::Input(held))) {
                    Ok(Next::Input(input)) => input,
                    Ok(Next::End(_)) => break Some(None),
                    Err(error) => return Ok(Err(error)),
                };
                if self.asked + call.len() >= bounds.inputs {
                    break Some(Some(Cut::Inputs));
                }
                if !edge.admits(&input) {
                    next = Some(input);
                    break None;
                }
                call.push(*input);
            };
            if !call.is_empty() {
                if began.elapsed() >= bounds.time {
                    break Some(Cut::Time);
                }
                self.ask(&call)?;
            }
            if let Some(cut) = end {
                break cut;
            }
        };
        Ok(Ok(Trial::Passed { recording: self.name, inputs: self.asked, cut }))
    }

    fn ask(&mut self, inputs: &[Input]) -> Result<(), TrialError> {
        let (asked, answers): (Vec<_>, Vec<_>) = inputs.iter().map(|input| (input, input.answers.clone())).unzip();
        let (mut refused, count, name) = (None, &mut self.asked, &self.name);
        self.rehearsal.ask(&asked, &answers, |input, played| {
            let Outcome::Trap { limit, reason } = played.outcome else {
                *count += 1;
                return ControlFlow::Continue(());
            };
            if matches!(input.outcome, Outcome::Trap { .. }) {
                *count += 1;
                return ControlFlow::Continue(());
            }
            let (recording, topic) = (name.clone(), input.topic.clone());
            refused = Some(TrialError::Trapped { recording, input: *count, topic, limit, reason });
            ControlFlow::Break(())
        })?;
        refused.map_or(Ok(()), Err)
    }
}
