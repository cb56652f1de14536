//! `storage:` the embedded store and the disk as a whole.

use std::time::Duration;

use super::section::section;
use super::setting::choice;
use super::units::Size;

section! {
    /// The embedded store, `<data_dir>/store.sqlite`, and the disk as a whole.
    StorageConfig {
        /// Bytes for journal, collections, dead letters and caches together.
        budget: Size = Size::gib(4) => restart, in Size::mib(16)..=Size::gib(1 << 14), hit "causeway_store_bytes";
        /// `full` syncs each transaction; `normal` syncs at checkpoints only and trims the journal later, for slow flash.
        synchronous: Synchronous = Synchronous::Full => restart;
        /// Connections that read; queries beyond them wait.
        readers: usize = 2 => restart, in 1..=16;
        /// Writes that wait for the writer; further ones wait for room.
        max_pending_writes: usize = 256 => restart, in 1..=65_536;
        /// Time a query may take before it is stopped.
        query_timeout: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600);
        /// Dead letters that are kept; the oldest beyond it are deleted.
        max_dead_letters: u64 = 100_000 => restart, in 1..=100_000_000, hit "causeway_store_dead_letters_deleted_total";
        /// Audit entries that are kept; the oldest beyond it are deleted.
        max_audit_entries: u64 = 100_000 => restart, in 100..=100_000_000;
        /// How long rows of a collection are kept when the plugin does not say.
        retention: Duration = Duration::from_secs(30 * 86_400) => restart, in Duration::from_secs(1)..=Duration::from_secs(36_500 * 86_400), hit "causeway_store_rows_deleted_total";
    }
}

choice! {
    /// When a transaction is synced to the disk.
    Synchronous {
        /// Before it is reported as done.
        Full = "full",
        /// At the next checkpoint.
        Normal = "normal",
    }
}
