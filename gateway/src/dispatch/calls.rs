//! One plugin call and what follows from its end: outcomes, a trap, or an input that has to wait.
//!
//! After a trap the instance is gone and the batch is asked again one input at a time; the input that traps again
//! becomes a dead letter, and those after it go on.

use std::time::{Duration, Instant};

use causeway_host::{Effect, Failure, Outcome};

use super::binding::{Counts, Shared};
use super::health::Health;
use super::intake::Input;
use super::open::cannot_start;
use crate::telemetry::{Asked, Guest, GuestError, World};

/// Pauses before an input that the plugin calls unavailable is asked again: they double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The longest reason that a dead letter keeps, in bytes.
const MAX_REASON: usize = 1024;

/// What becomes of one input.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has these effects, if it may.
    Effects(Vec<Effect>),
    /// It is a dead letter.
    Dead(Reason),
}

/// Why an input is a dead letter.
#[derive(Debug)]
pub(super) struct Reason {
    /// A word of a closed set.
    pub(super) kind: &'static str,
    /// What the plugin or the gateway said.
    pub(super) text: String,
}

impl Reason {
    pub(super) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_REASON));
        Self { kind, text }
    }
}

/// Why inputs stay unanswered, and in the journal.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The plugin does not start, or traps too often: it is not to be called any more.
    GaveUp(String),
    /// The gateway stops while an input waits.
    Stopped,
}

/// Waits; `false` when the gateway stops meanwhile.
pub(super) type Wait<'w> = &'w dyn Fn(Duration) -> bool;

/// Calls a plugin for one partition.
pub(super) struct Caller {
    pub(super) binding: Shared,
    pub(super) guest: Guest,
    pub(super) world: World,
    pub(super) health: Health,
}

impl Caller {
    /// Asks about the inputs of one call.
    pub(super) fn call(&mut self, inputs: &[Input], wait: Wait<'_>) -> Result<Vec<Verdict>, Unanswered> {
        match self.ask(inputs)? {
            Some(outcomes) => self.settle(inputs, outcomes, wait),
            None => inputs.iter().map(|input| self.call_again(input, wait)).collect(),
        }
    }

    /// Asks about one input of a batch that trapped.
    fn call_again(&mut self, input: &Input, wait: Wait<'_>) -> Result<Verdict, Unanswered> {
        let inputs = std::slice::from_ref(input);
        match self.ask(inputs)? {
            Some(outcomes) => Ok(self.settle(inputs, outcomes, wait)?.pop().unwrap_or_else(no_outcome)),
            None => Ok(Verdict::Dead(Reason::new("trap", self.health.last_trap()))),
        }
    }

    /// Makes one call; none means that it trapped.
    fn ask(&mut self, inputs: &[Input]) -> Result<Option<Vec<Outcome>>, Unanswered> {
        let topics = &self.binding.topics;
        let asked = inputs.iter().map(|Input { message, key, .. }| {
            let variables = topics.variables(&message.topic);
            Asked { message, variables, key }
        });
        let asked: Vec<_> = asked.collect();
        let started = Instant::now();
        let answer = self.guest.route(&asked, &self.world);
        self.binding.metrics.call_seconds.observe(started.elapsed().as_secs_f64());
        Counts::add(&self.binding.counts.calls, 1);
        match answer {
            Ok(outcomes) => {
                self.health.answered(started, inputs.len());
                Ok(Some(outcomes))
            }
            Err(GuestError::Trap(trap)) => {
                let (binding, reason) = (&self.binding.config.name, &trap.reason);
                tracing::warn!(
                    binding,
                    limit = trap.limit.as_str(),
                    reason,
                    messages = inputs.len(),
                    "a plugin call was stopped"
                );
                self.binding.metrics.trapped(trap.limit.as_str());
                Counts::add(&self.binding.counts.traps, 1);
                match self.health.trapped(started, &trap) {
                    true => Ok(None),
                    false => Err(Unanswered::GaveUp(format!("the plugin traps too often, last: {trap}"))),
                }
            }
            Err(error) => Err(Unanswered::GaveUp(cannot_start(&error))),
        }
    }

    fn settle(&mut self, inputs: &[Input], outcomes: Vec<Outcome>, wait: Wait<'_>) -> Result<Vec<Verdict>, Unanswered> {
        inputs.iter().zip(outcomes).map(|(input, outcome)| self.verdict(input, outcome, wait)).collect()
    }

    fn verdict(&mut self, input: &Input, outcome: Outcome, wait: Wait<'_>) -> Result<Verdict, Unanswered> {
        Ok(match outcome {
            Ok(effects) => Verdict::Effects(effects),
            Err(Failure::Malformed(text)) => Verdict::Dead(Reason::new("malformed", text)),
            Err(Failure::Rejected(text)) => Verdict::Dead(Reason::new("rejected", text)),
            Err(Failure::Unavailable(text)) => return self.wait_for(input, text, wait),
        })
    }

    /// Asks again about an input that is not available yet. Its partition waits meanwhile, which keeps the order.
    fn wait_for(&mut self, input: &Input, mut text: String, wait: Wait<'_>) -> Result<Verdict, Unanswered> {
        for retry in 0..self.binding.config.retries {
            if !wait(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(retry)).min(LONGEST_PAUSE)) {
                return Err(Unanswered::Stopped);
            }
            let Some(outcomes) = self.ask(std::slice::from_ref(input))? else {
                return Ok(Verdict::Dead(Reason::new("trap", self.health.last_trap())));
            };
            text = match outcomes.into_iter().next() {
                Some(Err(Failure::Unavailable(text))) => text,
                Some(outcome) => return self.verdict(input, outcome, wait),
                None => return Ok(no_outcome()),
            };
        }
        Ok(Verdict::Dead(Reason::new("unavailable", text)))
    }
}

/// The host has checked that there is an outcome for each input.
fn no_outcome() -> Verdict {
    Verdict::Dead(Reason::new("trap", "no outcome"))
}
