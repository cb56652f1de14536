//! What the journal counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Why an append was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Refusal {
    Budget,
    Disk,
    Failed,
    Pending,
    TooLarge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) reason: Refusal,
}

/// The journal's metrics; clones count into the same place.
#[derive(Debug, Clone)]
pub struct JournalMetrics {
    pub(super) records: Counter,
    pub(super) bytes: Counter,
    pub(super) refused: Family<RefusalLabels, Counter>,
    pub(super) sync_seconds: Histogram,
    pub(super) wake_seconds: Histogram,
    pub(super) batch_records: Histogram,
    pub(super) failures: Counter,
    pub(super) damaged: Counter,
    pub(super) torn: Counter,
    pub(super) vanished: Counter,
    pub(super) dropped: Counter,
    pub(super) compacted: Counter,
    pub(super) used: Gauge,
    pub(super) segments: Gauge,
}

impl Default for JournalMetrics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            bytes: Counter::default(),
            refused: Family::default(),
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            wake_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 14)),
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            failures: Counter::default(),
            damaged: Counter::default(),
            torn: Counter::default(),
            vanished: Counter::default(),
            dropped: Counter::default(),
            compacted: Counter::default(),
            used: Gauge::default(),
            segments: Gauge::default(),
        }
    }
}

impl JournalMetrics {
    /// Creates the metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register("causeway_journal_records", "Records written and synced", m.records);
        registry.register_with_unit("causeway_journal_written", "Bytes written and synced", Unit::Bytes, m.bytes);
        registry.register("causeway_journal_refused", "Records that were not taken, by reason", m.refused);
        let help = "Time to write and sync one batch";
        registry.register_with_unit("causeway_journal_sync", help, Unit::Seconds, m.sync_seconds);
        let help =
            "Time from the first waiting record to the writer's turn; long with a quick sync means a busy processor";
        registry.register_with_unit("causeway_journal_wake", help, Unit::Seconds, m.wake_seconds);
        registry.register("causeway_journal_batch_records", "Records synced together", m.batch_records);
        registry.register(
            "causeway_journal_failures",
            "Writes and syncs that the disk answered with an error",
            m.failures,
        );
        registry.register(
            "causeway_journal_damaged_records",
            "Records that were on disk and are unreadable",
            m.damaged,
        );
        let help = "Records of an interrupted batch that were passed over when the journal was opened";
        registry.register("causeway_journal_torn_records", help, m.torn);
        let help = "Positions that a consumer had seen and the journal no longer had when it was opened";
        registry.register("causeway_journal_vanished_records", help, m.vanished);
        registry.register(
            "causeway_journal_dropped_records",
            "Positions given up for cursors over their budget",
            m.dropped,
        );
        registry.register(
            "causeway_journal_compacted_records",
            "Records removed because no cursor wanted them",
            m.compacted,
        );
        registry.register_with_unit(
            "causeway_journal_used",
            "Bytes that the records take on disk",
            Unit::Bytes,
            m.used,
        );
        registry.register("causeway_journal_segments", "Files that hold records", m.segments);
        metrics
    }

    pub(super) fn refuse(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }
}
