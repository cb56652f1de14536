//! `shutdown:` how the gateway ends.

use std::time::Duration;

use super::section::section;

section! {
    /// How the gateway ends after SIGTERM or Ctrl-C.
    ShutdownConfig {
        /// Time for sessions to end, plugins to finish their batch and the outbox to be sent; then the rest is left for the next start.
        grace: Duration = Duration::from_secs(10) => restart, in Duration::ZERO..=Duration::from_secs(600);
    }
}
