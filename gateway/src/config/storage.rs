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
        /// How what `journal.max_bytes` leaves of the budget is shared out.
        shares: SharesConfig = SharesConfig::default() => restart;
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
        /// Longest time that housekeeping keeps writes waiting at once, before the commit.
        max_hold: Duration = Duration::from_millis(5) => restart, in Duration::from_millis(1)..=Duration::from_secs(1), hit "causeway_store_housekeeping_seconds";
        /// Time for a check of the store at a start after a crash; `0s` checks nothing.
        start_check: Duration = Duration::from_secs(2) => restart, in Duration::ZERO..=Duration::from_secs(3600);
        /// How long rows of a collection are kept when the plugin does not say.
        retention: Duration = Duration::from_secs(30 * 86_400) => restart, in Duration::from_secs(1)..=Duration::from_secs(36_500 * 86_400), hit "causeway_store_rows_deleted_total";
    }
}

section! {
    /// How what `journal.max_bytes` leaves of `storage.budget` is shared out, in percent. Collections have the rest; see `collections[].share`.
    SharesConfig {
        /// Dead letters; the oldest beyond it are deleted.
        dead_letters: u16 = 10 => restart, in 1..=50, hit "causeway_store_dead_letters_deleted_total";
        /// What plugins remember by `set-state`; beyond it a change that needs more room is refused.
        state: u16 = 10 => restart, in 1..=50, hit "causeway_dispatch_dead_letters_total";
        /// Compiled plugins and other files that can be made again.
        caches: u16 = 10 => restart, in 1..=50, hit "causeway_storage_cache_files_deleted_total";
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
