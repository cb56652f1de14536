//! Logs refused peers without letting them flood the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One line for one address and reason in this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Most (address, reason) pairs that are remembered. Beyond it nothing is logged until some are forgotten;
/// the metrics still count.
const MAX_PAIRS: usize = 1_024;

/// The refusals that were logged lately.
#[derive(Default)]
pub(super) struct RefusalLog(Mutex<HashMap<(IpAddr, &'static str), Entry>>);

struct Entry {
    since: Instant,
    suppressed: u64,
}

impl RefusalLog {
    /// Logs that a peer was refused, and how many lines of the same kind were left out before.
    pub(super) fn log(&self, listener: &str, peer: SocketAddr, reason: &'static str, detail: &str) {
        if let Some(suppressed) = self.pass(peer.ip(), reason) {
            tracing::warn!(listener, %peer, reason, detail, suppressed, "connection refused");
        }
    }

    /// Whether to log now: `Some` of the number left out since the last line.
    fn pass(&self, address: IpAddr, reason: &'static str) -> Option<u64> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_PAIRS {
            entries.retain(|_, entry| entry.since.elapsed() < WINDOW);
        }
        let full = entries.len() >= MAX_PAIRS;
        match entries.get_mut(&(address, reason)) {
            Some(entry) if entry.since.elapsed() < WINDOW => {
                entry.suppressed = entry.suppressed.saturating_add(1);
                None
            }
            Some(entry) => {
                let suppressed = std::mem::take(&mut entry.suppressed);
                entry.since = Instant::now();
                Some(suppressed)
            }
            None if full => None,
            None => {
                entries.insert((address, reason), Entry { since: Instant::now(), suppressed: 0 });
                Some(0)
            }
        }
    }
}
