//! What operators order from a running binding; each of its partitions hears of it and acts on its own thread.

use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

/// How often each order was given.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Orders {
    /// Look for letters that are to be handled again.
    pub(super) replays: u64,
    /// Choose the version of the plugin anew, and call it again.
    pub(super) resumes: u64,
}

/// The orders of one binding.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// How often a partition has obeyed an order to resume.
    pub(super) obeyed: AtomicU64,
    orders: watch::Sender<Orders>,
}

impl Desk {
    /// Tells every partition that letters wait for the binding.
    pub(super) fn replay(&self) {
        self.orders.send_modify(|orders| orders.replays += 1);
    }

    /// Tells every partition to choose the version of the plugin anew and to call it.
    pub(super) fn resume(&self) {
        self.orders.send_modify(|orders| orders.resumes += 1);
    }

    /// What a partition listens to.
    pub(super) fn listen(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }
}
