//! Which version of the plugin a partition calls: the one that it was told to run, from between two batches on; and how
//! it says that a version does not do.

use std::sync::Arc;
use std::time::Instant;

use super::super::batch::Bounds;
use super::super::binding::State;
use super::super::health::Health;
use super::super::intake::Input;
use super::super::versions::{Assigned, InUse};
use super::Running;
use crate::store::dead_letters;
use crate::store::snapshots::{self, Move, Moved};

impl Running {
    /// Runs the version that was decided on, if that was after the last time.
    pub(super) fn obey(&mut self) {
        let assigned = Arc::clone(&self.orders.borrow().assigned);
        if assigned.number != self.assigned.number {
            self.run_version(assigned);
        }
    }

    /// Asks for another version in place of the one that does not do; `false` if the binding is parked now, or the gateway
    /// stops. A version that `can_go_on` does so when there is no other.
    pub(super) fn gives_way(&mut self, reason: &str, can_go_on: bool) -> bool {
        let assigned = self.worker.binding.versions.gave_up(self.assigned.number, reason, can_go_on);
        if assigned.number != self.assigned.number {
            self.run_version(assigned);
        }
        !self.parked && !self.signals.stopping.is_cancelled()
    }

    /// Notes that the version ran well, once it has.
    pub(super) fn prove(&mut self) {
        if !self.proven && self.worker.caller.health.proven() {
            self.proven = true;
            self.worker.binding.versions.ran_well(&self.worker.owner.digest);
        }
    }

    /// Counts what became of an input. Letters that are handled again say nothing of a version.
    pub(super) fn try_out(&self, input: &Input, failed: bool) {
        if let Some(trial) = self.assigned.trial.as_ref().filter(|_| input.letter.is_none()) {
            trial.count(failed);
        }
    }

    /// Whether the version goes on; one that does not stand its trial gives way to the one before.
    pub(super) fn stands_trial(&mut self) -> bool {
        let failed = self.assigned.trial.as_ref().and_then(|trial| trial.failed(Instant::now()));
        let Some(reason) = failed else { return true };
        let before = self.assigned.number;
        self.gives_way(&reason, true);
        self.assigned.number == before
    }

    fn run_version(&mut self, assigned: Arc<Assigned>) {
        self.commit();
        Arc::make_mut(&mut self.worker.owner).digest.clone_from(&assigned.digest);
        self.worker.caller.guest = None;
        if let Some(version) = &assigned.version
            && self.take_over(&assigned, version)
        {
            let (binding, caller) = (&self.worker.binding, &mut self.worker.caller);
            let guest = version.guest(|| caller.reads.answers());
            self.worker.bounds = Bounds::new(&binding.config.batch, guest.reads());
            self.worker.gate.take_over(binding, &version.origin);
            caller.reads.take_over(binding, &version.origin);
            caller.health = Health::new(binding.config.traps.clone(), Instant::now());
            caller.guest = Some(guest);
        }
        self.proven = false;
        self.replay.again(assigned.gone.is_some() && assigned.version.is_some());
        self.assigned = Arc::clone(&assigned);
        self.stand(assigned.state.clone());
    }

    /// Leaves the state as the version is to find it, and has the letters of the one before asked about again; `false` if
    /// the gateway stops.
    fn take_over(&self, assigned: &Arc<Assigned>, version: &InUse) -> bool {
        let (binding, partition) = (Arc::clone(&self.worker.binding), self.worker.partition);
        let (assigned, state_version) = (Arc::clone(assigned), version.state_version);
        let at_ms = self.worker.parts.clock.now_ms();
        let name = binding.config.name.clone();
        let moved = self.transact(move |tx| {
            let to = Move {
                binding: &binding.config.name,
                partition,
                partitions: usize::from(binding.config.partitions.max(1)),
                digest: &assigned.digest,
                state_version,
                back: assigned.gone.is_some(),
                at_ms,
            };
            let moved = snapshots::take_over(tx, &to, |key| binding.partition(key) == partition)?;
            let letters = match &assigned.gone {
                Some(gone) => dead_letters::request_of(tx, &binding.config.name, &gone.digest, gone.since_ms)?,
                None => 0,
            };
            Ok((moved, letters))
        });
        let Some((moved, letters)) = moved else { return false };
        match moved {
            Moved::Same => {}
            Moved::Kept { state_version: before } => {
                tracing::info!(binding = name, partition, before, state_version, "what a plugin remembers was kept");
            }
            Moved::Restored => tracing::warn!(binding = name, partition, "what a plugin remembered was put back"),
            Moved::Lost { state_version: before } => {
                tracing::warn!(
                    binding = name,
                    partition,
                    before,
                    state_version,
                    "a plugin finds the state of a newer one"
                );
            }
        }
        if letters > 0 {
            tracing::info!(
                binding = name,
                partition,
                letters,
                "dead letters of a version that is gone are handled again"
            );
        }
        true
    }

    /// From now on the partition is like this.
    fn stand(&mut self, state: State) {
        let parks = matches!(state, State::Parked(_));
        let parked = &self.worker.binding.metrics.parked;
        match (self.parked, parks) {
            (false, true) => _ = parked.inc(),
            (true, false) => _ = parked.dec(),
            _ => {}
        }
        self.parked = parks;
        let Assigned { number, digest, .. } = self.assigned.as_ref();
        self.worker.binding.set_state(self.worker.partition, state, digest, *number);
    }
}
