//! The thread of one canary: takes what its binding was asked and answered, asks its own version the same, and has both
//! compared. What its version returns has no effect.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use causeway_host::StartError;
use thiserror::Error;

use super::Stage;
use super::metrics::ShadowMetrics;
use super::state::{Full, OwnState};
use crate::clock::Clock;
use crate::config::{BindingConfig, CanaryConfig};
use crate::dispatch::health::Health;
use crate::recording::{Feeding, Input, Outcome, Rehearsal, Waited};

/// Why a canary is of no more use.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// It traps more often than its binding's plugin may.
    #[error("it traps too often, last: {0}")]
    Traps(String),
    /// It remembers too much.
    #[error(transparent)]
    State(#[from] Full),
    /// No instance of it comes to be any more.
    #[error("it does not start any more: {0}")]
    Start(#[from] StartError),
}

/// A canary's version with what it sees and remembers.
pub(super) struct Shadow {
    rehearsal: Rehearsal,
    feeding: Feeding,
    own: OwnState,
    health: Health,
    stage: Arc<Stage>,
    metrics: ShadowMetrics,
    clock: Clock,
    /// Dropped inputs that were counted.
    dropped: u64,
}

impl Shadow {
    pub(super) fn new(
        binding: &BindingConfig,
        config: &CanaryConfig,
        rehearsal: Rehearsal,
        feeding: Feeding,
        stage: Arc<Stage>,
        metrics: ShadowMetrics,
        clock: Clock,
    ) -> Self {
        let own = OwnState::new(config.max_state.in_memory());
        let health = Health::new(binding.traps.clone(), Instant::now());
        Self { rehearsal, feeding, own, health, stage, metrics, clock, dropped: 0 }
    }

    /// Sees what the binding sees until it is stopped.
    pub(super) fn run(mut self) -> Result<(), Ended> {
        let mut next = None;
        let ended = loop {
            let Some(first) = next.take().or_else(|| self.feeding.next()) else { break Ok(()) };
            if self.stage.stopping() {
                break Ok(());
            }
            let (call, held) = self.one_call(first);
            next = held;
            if let Err(ended) = self.see(&call) {
                break Err(ended);
            }
        };
        self.count_dropped();
        self.metrics.state_bytes(0);
        ended
    }

    /// What there is for one call, and the input behind it.
    fn one_call(&self, first: Waited) -> (Vec<Waited>, Option<Waited>) {
        let mut edge = self.rehearsal.edge();
        let mut call = Vec::new();
        let mut next = Some(first);
        while let Some(waited) = next.take() {
            if !edge.admits(&waited.fed().input) {
                return (call, Some(waited));
            }
            call.push(waited);
            next = self.feeding.try_next();
        }
        (call, None)
    }

    fn see(&mut self, call: &[Waited]) -> Result<(), Ended> {
        self.count_dropped();
        let now_ms = self.clock.now_ms();
        let inputs: Vec<&Input> = {
            let tally = &mut self.stage.picture().tally;
            call.iter()
                .map(Waited::fed)
                .filter(|fed| tally.concerns(&fed.version, now_ms))
                .map(|fed| &fed.input)
                .collect()
        };
        if inputs.is_empty() {
            return Ok(());
        }
        let answers: Vec<_> = inputs.iter().map(|input| self.own.answers(input)).collect();
        let Self { rehearsal, own, health, stage, metrics, .. } = self;
        let (reads, mut ended) = (rehearsal.reads(), None);
        rehearsal.ask(&inputs, &answers, |input, played| {
            let judged = judge(health, &played.outcome);
            let kept = if reads { own.absorb(input, &played.outcome).map_err(Ended::from) } else { Ok(()) };
            let mut picture = stage.picture();
            metrics.came(picture.tally.count(input, &played));
            metrics.state_bytes(own.bytes());
            picture.state_bytes = own.bytes();
            ended = judged.and(kept).err();
            if ended.is_some() || stage.stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        ended.map_or(Ok(()), Err)
    }

    fn count_dropped(&mut self) {
        let dropped = self.feeding.handle().dropped();
        self.metrics.dropped(dropped - self.dropped);
        self.dropped = dropped;
    }
}

fn judge(health: &mut Health, outcome: &Outcome) -> Result<(), Ended> {
    let now = Instant::now();
    let Outcome::Trap { limit, reason } = outcome else {
        health.answered(now, 1);
        return Ok(());
    };
    match health.trapped(now, &format_args!("{limit}: {reason}")) {
        true => Ok(()),
        false => Err(Ended::Traps(health.last_trap())),
    }
}
