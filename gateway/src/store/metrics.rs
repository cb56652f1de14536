//! What the store counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
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
    pub(super) documents_refused: Counter,
    pub(super) cache_files_deleted: Counter,
    pub(super) housekeeping_seconds: Histogram,
    pub(super) free_bytes: Gauge,
    part_bytes: Family<Labels, Gauge>,
    part_room: Family<Labels, Gauge>,
    collection_bytes: Family<Labels, Gauge>,
    collection_rows: Family<Labels, Gauge>,
}

/// Names of parts and of declared collections: a closed set.
type Labels = [(&'static str, String); 1];

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
            documents_refused: Counter::default(),
            cache_files_deleted: Counter::default(),
            housekeeping_seconds: Histogram::new(BUCKETS),
            free_bytes: Gauge::default(),
            part_bytes: Family::default(),
            part_room: Family::default(),
            collection_bytes: Family::default(),
            collection_rows: Family::default(),
        };
        metrics.register(registry);
        metrics.register_room(registry);
        metrics
    }

    /// Bytes of a part of the disk.
    pub(super) fn part_bytes(&self, part: &str) -> Gauge {
        self.part_bytes.get_or_create(&[("part", part.to_owned())]).clone()
    }

    /// Bytes that a part may have.
    pub(super) fn part_room(&self, part: &str) -> Gauge {
        self.part_room.get_or_create(&[("part", part.to_owned())]).clone()
    }

    /// Bytes of the documents of a collection.
    pub(super) fn collection_bytes(&self, name: &str) -> Gauge {
        self.collection_bytes.get_or_create(&[("collection", name.to_owned())]).clone()
    }

    /// Rows of a collection.
    pub(super) fn collection_rows(&self, name: &str) -> Gauge {
        self.collection_rows.get_or_create(&[("collection", name.to_owned())]).clone()
    }

    fn register_room(&self, registry: &mut Registry) {
        registry.register(
            "causeway_store_documents_refused",
            "Patches left out because their document would have become too large",
            self.documents_refused.clone(),
        );
        registry.register(
            "causeway_storage_cache_files_deleted",
            "Cached files beyond their share that were deleted",
            self.cache_files_deleted.clone(),
        );
        registry.register(
            "causeway_store_housekeeping_seconds",
            "Time that one step of housekeeping kept other writes waiting, before its commit",
            self.housekeeping_seconds.clone(),
        );
        registry.register(
            "causeway_store_free_bytes",
            "Pages of the store's file that hold nothing",
            self.free_bytes.clone(),
        );
        registry.register("causeway_storage_bytes", "What each part takes", self.part_bytes.clone());
        registry.register("causeway_storage_room_bytes", "What each part may take", self.part_room.clone());
        registry.register(
            "causeway_collection_bytes",
            "Bytes of the documents of each collection",
            self.collection_bytes.clone(),
        );
        registry.register("causeway_collection_rows", "Rows of each collection", self.collection_rows.clone());
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
