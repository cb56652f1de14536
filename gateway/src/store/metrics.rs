//! What the store counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The store's metrics; clones count into the same series.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    pub(super) queue_length: Gauge,
    pub(super) writes: Counter,
    pub(super) commits: Counter,
    pub(super) rows_changed: Counter,
    pub(super) commit_seconds: Histogram,
    pub(super) read_seconds: Histogram,
    pub(super) failures: Counter,
    pub(super) bytes: Gauge,
    pub(super) rows_deleted: Counter,
    pub(super) dead_letters_deleted: Counter,
}

impl StoreMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            queue_length: Gauge::default(),
            writes: Counter::default(),
            commits: Counter::default(),
            rows_changed: Counter::default(),
            commit_seconds: Histogram::new(BUCKETS),
            read_seconds: Histogram::new(BUCKETS),
            failures: Counter::default(),
            bytes: Gauge::default(),
            rows_deleted: Counter::default(),
            dead_letters_deleted: Counter::default(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("causeway_store_queue_length", "Writes that wait for the writer", self.queue_length.clone());
        registry.register("causeway_store_writes", "Writes that were committed", self.writes.clone());
        registry.register("causeway_store_commits", "Transactions; waiting writes share one", self.commits.clone());
        registry.register(
            "causeway_store_rows_changed",
            "Rows inserted, updated or deleted",
            self.rows_changed.clone(),
        );
        registry.register(
            "causeway_store_commit_seconds",
            "Time of a commit with its sync",
            self.commit_seconds.clone(),
        );
        registry.register("causeway_store_read_seconds", "Time of a read", self.read_seconds.clone());
        registry.register("causeway_store_failures", "Transactions that failed", self.failures.clone());
        registry.register("causeway_store_bytes", "Size of the store's files", self.bytes.clone());
        registry.register("causeway_store_rows_deleted", "Rows that retention deleted", self.rows_deleted.clone());
        registry.register(
            "causeway_store_dead_letters_deleted",
            "Dead letters beyond max_dead_letters that were deleted",
            self.dead_letters_deleted.clone(),
        );
    }
}

/// From a commit on a fast disk to a checkpoint on a slow one.
const BUCKETS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
