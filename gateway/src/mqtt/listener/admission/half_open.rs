//! Connections that have not finished handshake and CONNECT, oldest first.
//!
//! When all slots are taken, newcomers wait in the kernel's queue until somebody finishes, or until the oldest
//! has been silent for a second: then it makes room. So a storm of good clients is served at the speed of the
//! machine, and silent sockets cannot keep anybody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::mqtt::listener::metrics::{ConnectionRefusal, ListenerMetrics};

/// How long a half-open connection is left alone even when all slots are taken. A good client's handshake
/// takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct HalfOpen {
    cap: usize,
    waiting: Mutex<Waiting>,
    freed: Notify,
    metrics: ListenerMetrics,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    slots: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// One slot, given back when dropped.
pub(super) struct HalfOpenSlot {
    id: u64,
    evicted: CancellationToken,
    table: Arc<HalfOpen>,
}

impl HalfOpen {
    pub(super) fn new(cap: usize, metrics: ListenerMetrics) -> Self {
        Self { cap: cap.max(1), waiting: Mutex::default(), freed: Notify::new(), metrics }
    }

    /// A slot, at the latest after [`PATIENCE`] for each one that waits before.
    pub(super) async fn enter(table: &Arc<Self>) -> HalfOpenSlot {
        loop {
            let freed = table.freed.notified();
            match table.try_enter() {
                Ok((id, evicted)) => return HalfOpenSlot { id, evicted, table: Arc::clone(table) },
                // Woken or not, the table is looked at again.
                Err(wait) => drop(timeout(wait, freed).await),
            }
        }
    }

    /// A new slot, or how long to wait until the oldest may be turned out.
    fn try_enter(&self) -> Result<(u64, CancellationToken), Duration> {
        let mut waiting = self.lock();
        if waiting.slots.len() >= self.cap {
            let oldest = waiting.slots.first_key_value().map(|(_, (since, _))| since.elapsed()).unwrap_or_default();
            if oldest < PATIENCE {
                return Err(PATIENCE.saturating_sub(oldest));
            }
            if let Some((_, (_, evicted))) = waiting.slots.pop_first() {
                evicted.cancel();
                self.metrics.connection_refused(ConnectionRefusal::HalfOpen);
            }
        }
        let id = waiting.next;
        waiting.next = waiting.next.wrapping_add(1);
        let evicted = CancellationToken::new();
        waiting.slots.insert(id, (Instant::now(), evicted.clone()));
        self.show(&waiting);
        Ok((id, evicted))
    }

    fn show(&self, waiting: &Waiting) {
        self.metrics.half_open.set(i64::try_from(waiting.slots.len()).unwrap_or(i64::MAX));
    }

    /// The table is consistent between statements, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HalfOpenSlot {
    /// Completes when the slot was given to somebody else.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for HalfOpenSlot {
    fn drop(&mut self) {
        let mut waiting = self.table.lock();
        waiting.slots.remove(&self.id);
        self.table.show(&waiting);
        drop(waiting);
        self.table.freed.notify_one();
    }
}
