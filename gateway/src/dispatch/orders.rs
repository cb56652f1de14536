//! What a running binding is told: which version of its plugin to run, and that letters wait. Each of its partitions hears
//! of it and acts on its own thread, between two batches.

use std::sync::Arc;

use tokio::sync::watch;

use super::versions::Assigned;

/// What a partition is to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// How often letters were to be handled again.
    pub(super) replays: u64,
    /// The version to run.
    pub(super) assigned: Arc<Assigned>,
}

/// The orders of one binding.
#[derive(Debug, Default)]
pub(super) struct Desk(watch::Sender<Orders>);

impl Desk {
    /// Tells every partition that letters wait for the binding.
    pub(super) fn replay(&self) {
        self.0.send_modify(|orders| orders.replays += 1);
    }

    /// Tells every partition which version to run.
    pub(super) fn assign(&self, assigned: Arc<Assigned>) {
        self.0.send_modify(|orders| orders.assigned = assigned);
    }

    /// The version that every partition is to run.
    pub(super) fn assigned(&self) -> Arc<Assigned> {
        Arc::clone(&self.0.borrow().assigned)
    }

    /// What a partition listens to.
    pub(super) fn listen(&self) -> watch::Receiver<Orders> {
        self.0.subscribe()
    }
}
