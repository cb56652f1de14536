//! `dfu:` how devices are led through their updates.

use std::time::Duration;

use super::section::section;

section! {
    /// How devices are led through their updates.
    DfuConfig {
        /// How long a device that has nothing to do is told to wait before it asks again.
        poll: Duration = Duration::from_secs(300) => restart, in Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
        /// By how many percent that time is made shorter or longer at random, so that devices do not ask all at once.
        jitter: u32 = 10 => restart, in 0..=100;
        /// How long a command waits for a device that is away. A device asks again, and an answer to what it asked before must not meet it then: most devices believe whatever comes.
        command_expiry: Duration = Duration::from_secs(15) => restart, in Duration::from_secs(1)..=Duration::from_secs(30 * 86_400), hit "causeway_mqtt_expired_messages_total";
        /// How often a device may try a release: an attempt is over when it was told to start the release and does not run it, or when the transfer fails. When the last attempt has failed too, it is quarantined for that version until `causeway dfu forgive`.
        attempts: u32 = 3 => restart, in 1..=1_000, hit "causeway_dfu_turns_total";
        /// Time between a failed attempt and the next; it doubles with each.
        back_off: Duration = Duration::from_secs(600) => restart, in Duration::ZERO..=Duration::from_secs(30 * 86_400);
        /// That time at most.
        max_back_off: Duration = Duration::from_secs(86_400) => restart, in Duration::ZERO..=Duration::from_secs(365 * 86_400);
        /// How often, in one attempt, a device that runs what it ran and still has all of the release is told to start it: it may not have heard. Then the attempt has failed.
        swaps: u32 = 3 => restart, in 1..=100, hit "causeway_dfu_turns_total";
        /// How often, in one attempt, a device may begin anew with the first block; once more and the attempt has failed, as if it had been told to start the release. A device that keeps nothing without power begins anew whenever that goes, so there is room for many.
        restarts: u32 = 100 => restart, in 1..=1_000_000, hit "causeway_dfu_turns_total";
        /// A device that says nothing for so long in the middle of an attempt is shown as stalled.
        stalled: Duration = Duration::from_secs(600) => restart, in Duration::from_secs(1)..=Duration::from_secs(30 * 86_400), hit "causeway_dfu_stalled";
        /// Time between two writes of what is counted of blocks; turning points are written at once.
        flush: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(3_600);
        /// Attempts that are kept of each device.
        history: usize = 50 => restart, in 1..=10_000;
        /// Devices that are watched over; others are told to wait, unless they run what they are to run.
        max_devices: usize = 100_000 => restart, in 1..=10_000_000, hit "causeway_dfu_full_total";
        /// Commands that may wait for their turning points to be on the disk; of one that finds no room nothing is sent, and its device asks again.
        max_waiting: usize = 10_000 => restart, in 1..=1_000_000, hit "causeway_dfu_unsent_total";
        /// A device's progress is published whenever it is so many percent further.
        progress: u32 = 5 => restart, in 1..=100;
        /// Time between two such publications of a device.
        progress_interval: Duration = Duration::from_secs(1) => restart, in Duration::ZERO..=Duration::from_secs(3_600);
    }
}
