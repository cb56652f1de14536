//! What was fetched and refused, and what is kept.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::FetchError;

/// Counts of fetches; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ArtifactsMetrics {
    fetches: Family<Outcome, Counter>,
    deleted: Counter,
    bytes: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

impl ArtifactsMetrics {
    /// Registers the counts.
    pub fn new(registry: &mut Registry) -> Self {
        let new = Self::default();
        let help = "Artifacts that were asked for, by where they came from or why they did not";
        registry.register("causeway_artifacts_fetches", help, new.fetches.clone());
        let help = "Files of the cache of artifacts that were deleted because nobody used them or they were damaged";
        registry.register("causeway_artifacts_deleted", help, new.deleted.clone());
        let help = "Size of the cache of artifacts";
        registry.register_with_unit("causeway_artifacts_cache", help, Unit::Bytes, new.bytes.clone());
        new
    }

    /// An artifact came from the network, a layout or a file.
    pub fn fetched(&self) {
        self.count("fetched");
    }

    /// An artifact was in the cache.
    pub fn cached(&self) {
        self.count("cached");
    }

    /// An artifact did not come.
    pub fn failed(&self, error: &FetchError) {
        self.count(match error {
            FetchError::Unreachable { .. } => "unreachable",
            FetchError::Refused { because, .. } => because.as_str(),
            FetchError::NotFound { .. } => "not-found",
            FetchError::Lockfile(_) => "lockfile",
            FetchError::Disk { .. } => "disk",
        });
    }

    /// Files were deleted from the cache.
    pub fn deleted(&self, files: u64) {
        self.deleted.inc_by(files);
    }

    /// The cache has this size now.
    pub fn size(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn count(&self, outcome: &'static str) {
        self.fetches.get_or_create(&Outcome { outcome }).inc();
    }
}
