//! Which version of the plugin a partition calls: another when it traps too often, or when an operator says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::batch::Bounds;
use super::super::binding::State;
use super::super::health::Health;
use super::super::versions::Chosen;
use super::Running;

impl Running {
    /// Chooses the version anew if an operator has ordered it since the last time.
    pub(super) fn obey(&mut self) {
        let ordered = self.orders.borrow().resumes;
        if ordered == self.resumes {
            return;
        }
        self.resumes = ordered;
        let binding = self.worker.binding.config.name.clone();
        match self.worker.versions.choose() {
            Ok(chosen) => {
                tracing::info!(binding, digest = %chosen.guest.digest(), "a binding is resumed");
                self.run_version(chosen);
            }
            Err(problem) => {
                tracing::error!(binding, %problem, "a binding is not resumed");
                if self.parked {
                    self.stand(State::Parked(problem.to_string()));
                }
            }
        }
        self.worker.binding.desk.obeyed.fetch_add(1, Ordering::Release);
    }

    /// Puts the last good version in place of one that trapped too often; `false` if there is none.
    pub(super) fn roll_back(&mut self, reason: &str) -> bool {
        let digest = self.worker.owner.digest.clone();
        let Some(chosen) = self.worker.versions.replace(&digest, reason) else { return false };
        self.run_version(chosen);
        true
    }

    /// Notes that the version ran well, once it has.
    pub(super) fn prove(&mut self) {
        if !self.proven && self.worker.caller.health.proven() {
            self.proven = true;
            self.worker.versions.ran_well(&self.worker.owner.digest);
        }
    }

    fn run_version(&mut self, Chosen { guest, state }: Chosen) {
        self.commit();
        Arc::make_mut(&mut self.worker.owner).digest = guest.digest().to_string();
        self.worker.bounds = Bounds::new(&self.worker.binding.config.batch, guest.reads());
        self.worker.caller.guest = guest.another(self.worker.caller.reads.answers());
        self.worker.caller.health = Health::new(self.worker.binding.config.traps.clone(), Instant::now());
        self.proven = false;
        self.stand(state);
    }

    /// From now on the partition is like this.
    pub(super) fn stand(&mut self, state: State) {
        let parks = matches!(state, State::Parked(_));
        let parked = &self.worker.binding.metrics.parked;
        match (self.parked, parks) {
            (false, true) => _ = parked.inc(),
            (true, false) => _ = parked.dec(),
            _ => {}
        }
        self.parked = parks;
        self.worker.binding.set_state(self.worker.partition, state, &self.worker.owner.digest);
    }
}
