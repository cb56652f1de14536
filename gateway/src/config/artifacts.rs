//! `artifacts:` how artifacts are fetched and where they are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::section::section;
use super::units::Size;

section! {
    /// How artifacts are fetched, and where they are kept for life without a registry.
    ArtifactsConfig {
        /// The folder of what was fetched, an OCI image layout; without it `<data_dir>/artifacts`. It is this gateway's alone.
        dir: PathBuf = PathBuf::new() => restart;
        /// The file that says which digest a tag stands for here; without it `<data_dir>/plugins.lock`.
        lockfile: PathBuf = PathBuf::new() => restart;
        /// Bytes of what is kept. What no binding uses goes first, the oldest before; what is in use stays, and what has no room beside it is refused.
        max_bytes: Size = Size::mib(512) => restart, in Size::mib(1)..=Size::gib(1 << 14), hit "causeway_artifacts_deleted_total";
        /// Largest manifest, of an artifact or of its signatures.
        max_manifest: Size = Size::mib(1) => restart, in Size::kib(4)..=Size::mib(16), hit "causeway_artifacts_fetches_total";
        /// Time for a connection to a registry.
        connect_timeout: Duration = Duration::from_secs(5) => restart, in Duration::from_millis(100)..=Duration::from_secs(300), hit "causeway_artifacts_fetches_total";
        /// Time for which a registry may send nothing.
        idle_timeout: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_artifacts_fetches_total";
        /// Time for one manifest or one blob, retries included.
        timeout: Duration = Duration::from_secs(300) => restart, in Duration::from_secs(1)..=Duration::from_secs(86_400), hit "causeway_artifacts_fetches_total";
        /// How often a request that a registry did not answer is sent again; the pauses double and are jittered.
        retries: u32 = 3 => restart, in 0..=20;
        /// How often a binding that waits for its plugin asks again.
        retry: Duration = Duration::from_secs(60) => restart, in Duration::from_secs(1)..=Duration::from_secs(86_400);
    }
}
