//! `retained:` the bounds of the retained messages.

use super::section::section;
use super::units::Size;

section! {
    /// Retained messages are kept on disk and in memory.
    RetainedConfig {
        /// Topics with a retained message; a further one is refused with "quota exceeded".
        max_messages: usize = 100_000 => restart, in 0..=10_000_000, hit "causeway_retained_refused_total";
        /// Bytes of all of them.
        max_bytes: Size = Size::mib(64) => restart, in Size::kib(1)..=Size::gib(16), hit "causeway_retained_refused_total";
    }
}
