//! One plugin call and what follows from its end: outcomes, a trap, or an input that has to wait.
//!
//! After a trap the instance is gone and the batch is asked again one input at a time; the input that traps again
//! becomes a dead letter, and those after it go on.

use std::time::{Duration, Instant};

use causeway_host::{Effect, Failure, Outcome};

use super::binding::{Counts, Shared};
use super::commit::Pending;
use super::guest::Guest;
use super::health::Health;
use super::intake::Input;
use super::open::cannot_start;
use super::reads::Reads;
use crate::plugins::GuestError;
use crate::telemetry::{Asked, World};

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
    /// A device was told what there was to tell, and nothing is to be kept.
    Answered {
        /// The plugin could not answer as it was meant.
        failed: bool,
    },
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

    /// What the plugin says.
    fn of(failure: &Failure) -> Self {
        Self::new(failure.kind(), failure.text())
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

/// What calls are made in.
struct Context<'c> {
    /// What earlier calls achieved and is not yet committed.
    pending: &'c mut Pending,
    wait: Wait<'c>,
}

type Answer = Result<Vec<Outcome>, GuestError>;

/// Calls a plugin for one partition.
pub(super) struct Caller {
    pub(super) binding: Shared,
    pub(super) partition: usize,
    /// None while the binding is parked.
    pub(super) guest: Option<Guest>,
    pub(super) reads: Reads,
    pub(super) world: World,
    pub(super) health: Health,
}

impl Caller {
    /// Asks about the inputs of one call, which sees what is `pending`.
    pub(super) fn call(
        &mut self,
        inputs: &[Input],
        pending: &mut Pending,
        wait: Wait<'_>,
    ) -> Result<Vec<Verdict>, Unanswered> {
        self.reads.forget();
        let context = &mut Context { pending, wait };
        match self.ask(inputs, context)? {
            Some(outcomes) => self.settle(inputs, outcomes, context),
            None => inputs.iter().map(|input| self.call_again(input, context)).collect(),
        }
    }

    /// Asks about one input of a batch that trapped.
    fn call_again(&mut self, input: &Input, context: &mut Context<'_>) -> Result<Verdict, Unanswered> {
        let inputs = std::slice::from_ref(input);
        match self.ask(inputs, context)? {
            Some(outcomes) => Ok(self.settle(inputs, outcomes, context)?.pop().unwrap_or_else(no_outcome)),
            None => Ok(Verdict::Dead(Reason::new("trap", self.health.last_trap()))),
        }
    }

    /// Makes one call; none means that it trapped. A call whose reads the store did not answer counts for nothing: it is
    /// made again, for as long as it takes, because the message is not to blame.
    fn ask(&mut self, inputs: &[Input], context: &mut Context<'_>) -> Result<Option<Vec<Outcome>>, Unanswered> {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let (answer, failed) = self.route(inputs, context);
            let Some(error) = failed else {
                if pause > FIRST_PAUSE {
                    self.binding.set_stuck(self.partition, None);
                }
                return self.judge(inputs.len(), started, answer);
            };
            if pause == FIRST_PAUSE {
                tracing::error!(binding = self.binding.config.name, %error, "the store does not answer a plugin; it is asked again");
                self.binding.set_stuck(self.partition, Some(error.to_string()));
            }
            if !(context.wait)(pause) {
                return Err(Unanswered::Stopped);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn route(&mut self, inputs: &[Input], context: &mut Context<'_>) -> (Answer, Option<rusqlite::Error>) {
        let Some(Guest::Telemetry(guest)) = &mut self.guest else { return (Err(GuestError::parked()), None) };
        let topics = &self.binding.topics;
        let asked = inputs.iter().map(|Input { message, key, .. }| {
            let variables = topics.variables(&message.topic);
            Asked { message, variables, key }
        });
        let asked: Vec<_> = asked.collect();
        self.reads.begin(inputs, std::mem::take(context.pending));
        let answer = guest.route(&asked, &self.world);
        let outcomes = answer.as_ref().map_or(&[][..], Vec::as_slice);
        let (pending, failed) = self.reads.end(inputs, outcomes);
        *context.pending = pending;
        (answer, failed)
    }

    /// Counts a call about so many inputs; none means that it trapped.
    pub(super) fn judge<T>(
        &mut self,
        inputs: usize,
        started: Instant,
        answer: Result<T, GuestError>,
    ) -> Result<Option<T>, Unanswered> {
        self.binding.metrics.call_seconds.observe(started.elapsed().as_secs_f64());
        Counts::add(&self.binding.counts.calls, 1);
        match answer {
            Ok(answer) => {
                self.health.answered(started, inputs);
                Ok(Some(answer))
            }
            Err(GuestError::Trap(trap)) => {
                let (binding, reason) = (&self.binding.config.name, &trap.reason);
                tracing::warn!(
                    binding,
                    limit = trap.limit.as_str(),
                    reason,
                    messages = inputs,
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

    fn settle(
        &mut self,
        inputs: &[Input],
        outcomes: Vec<Outcome>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Verdict>, Unanswered> {
        inputs.iter().zip(outcomes).map(|(input, outcome)| self.verdict(input, outcome, context)).collect()
    }

    fn verdict(&mut self, input: &Input, outcome: Outcome, context: &mut Context<'_>) -> Result<Verdict, Unanswered> {
        Ok(match outcome {
            Ok(effects) => Verdict::Effects(effects),
            Err(failure @ Failure::Unavailable(_)) => return self.wait_for(input, failure, context),
            Err(failure) => Verdict::Dead(Reason::of(&failure)),
        })
    }

    /// Asks again about an input that is not available yet. Its partition waits meanwhile, which keeps the order.
    fn wait_for(
        &mut self,
        input: &Input,
        mut failure: Failure,
        context: &mut Context<'_>,
    ) -> Result<Verdict, Unanswered> {
        for retry in 0..self.binding.config.retries {
            if !(context.wait)(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(retry)).min(LONGEST_PAUSE)) {
                return Err(Unanswered::Stopped);
            }
            let Some(outcomes) = self.ask(std::slice::from_ref(input), context)? else {
                return Ok(Verdict::Dead(Reason::new("trap", self.health.last_trap())));
            };
            failure = match outcomes.into_iter().next() {
                Some(Err(failure @ Failure::Unavailable(_))) => failure,
                Some(outcome) => return self.verdict(input, outcome, context),
                None => return Ok(no_outcome()),
            };
        }
        Ok(Verdict::Dead(Reason::of(&failure)))
    }
}

/// The host has checked that there is an outcome for each input.
fn no_outcome() -> Verdict {
    Verdict::Dead(Reason::new("trap", "no outcome"))
}
