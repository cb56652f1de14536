//! `journal:` the durable log of accepted messages.

use std::time::Duration;

use super::section::section;
use super::units::Size;

section! {
    /// The durable log of accepted messages, in `<data_dir>/journal`.
    JournalConfig {
        /// Size of one file of the log.
        segment_bytes: Size = Size::mib(16) => restart, in Size::kib(64)..=Size::gib(1);
        /// Size of all files; a publish that needs the journal is refused when it is full.
        max_bytes: Size = Size::gib(1) => restart, in Size::mib(1)..=Size::gib(1 << 14), hit "causeway_journal_refused_total";
        /// Largest record; a larger message is refused.
        max_record_bytes: Size = Size::mib(2) => restart, in Size::kib(1)..=Size::mib(512), hit "causeway_journal_refused_total";
        /// Records written with one sync to the disk.
        max_batch_records: usize = 4_096 => restart, in 1..=65_536;
        /// Bytes written with one sync to the disk.
        max_batch_bytes: Size = Size::mib(1) => restart, in Size::kib(4)..=Size::mib(64);
        /// Bytes that wait in memory to be written; a publish beyond it is refused.
        max_pending_bytes: Size = Size::mib(32) => restart, in Size::mib(1)..=Size::gib(4), hit "causeway_journal_refused_total";
        /// How long a sync waits for more messages: fewer writes on flash that wears, later acknowledgements.
        linger: Duration = Duration::ZERO => restart, in Duration::ZERO..=Duration::from_millis(100);
    }
}
