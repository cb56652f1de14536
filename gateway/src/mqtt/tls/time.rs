//! The time that certificates are judged by.

use std::time::{Duration, SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// The gateway's clock, in the shape rustls asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GatewayTime;

impl GatewayTime {
    pub(super) fn now_seconds(self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

impl TimeProvider for GatewayTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now_seconds()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
