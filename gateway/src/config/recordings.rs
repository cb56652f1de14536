//! `recordings:` what `causeway record` may take, and how new versions are tried on it.

use std::time::Duration;

use super::section::section;
use super::units::Size;

section! {
    /// Recordings of what plugins are asked and answer, in `<data_dir>/recordings/`. They hold payloads.
    RecordingsConfig {
        /// Inputs of one recording.
        max_messages: u64 = 100_000 => restart, in 1..=100_000_000, hit "causeway_recordings_ended_total";
        /// Bytes of one recording.
        max_bytes: Size = Size::mib(64) => restart, in Size::kib(64)..=Size::gib(64), hit "causeway_recordings_ended_total";
        /// Bytes that wait in memory for a slow disk; a recording that has more ends there, its binding goes on.
        queue_bytes: Size = Size::mib(8) => restart, in Size::kib(64)..=Size::gib(1), hit "causeway_recordings_ended_total";
        /// Recordings that are kept; another one begins only when one is removed.
        keep: usize = 16 => restart, in 1..=1_000, hit "causeway_recordings_refused_total";
        /// How long a new version of a plugin is tried on the newest recording of its binding before it runs.
        trial_time: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_recordings_trials_total";
        /// Inputs of that recording that it is asked about.
        trial_inputs: usize = 10_000 => restart, in 1..=10_000_000, hit "causeway_recordings_trials_total";
    }
}
