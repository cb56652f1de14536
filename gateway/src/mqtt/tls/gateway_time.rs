//! The time that certificates are judged by.

use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::clock::Clock;

/// The gateway's clock, in the shape rustls asks for.
///
/// A board without a battery starts in the past, where every certificate is "not yet valid". As long as the system's
/// clock cannot be right, the files themselves say what is past: nobody makes a certificate before its first day.
#[derive(Debug, Clone)]
pub(super) struct GatewayTime {
    clock: Clock,
    known_ms: u64,
}

impl GatewayTime {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, known_ms: 0 }
    }

    /// The same clock, knowing that these Unix seconds are past.
    pub(super) fn knowing(&self, past: impl IntoIterator<Item = i64>) -> Self {
        let latest = past.into_iter().filter_map(|seconds| u64::try_from(seconds).ok()).max().unwrap_or(0);
        Self { clock: self.clock.clone(), known_ms: latest.saturating_mul(1_000) }
    }

    pub(super) fn now_ms(&self) -> u64 {
        let now = self.clock.now_ms();
        if self.clock.confirmed() { now } else { now.max(self.known_ms) }
    }

    pub(super) fn now_seconds(&self) -> i64 {
        i64::try_from(self.now_ms() / 1_000).unwrap_or(i64::MAX)
    }

    pub(super) fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_millis(self.now_ms()))
    }
}

impl TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}
