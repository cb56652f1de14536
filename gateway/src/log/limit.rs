//! Bounds how many warnings one peer can cause.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are told apart; all further ones share one allowance until old ones have been quiet for a while.
const MAX_PEERS: usize = 4_096;

/// Admits so many warnings for each peer in a minute. Clones share their counts.
#[derive(Debug, Clone)]
pub struct PeerWarnings {
    per_minute: u32,
    suppressed: Counter,
    hasher: RandomState,
    windows: Arc<Mutex<HashMap<u64, Window>>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    admitted: u32,
    suppressed: u64,
}

impl PeerWarnings {
    /// Registers the counter of what was not written.
    pub fn new(per_minute: u32, registry: &mut Registry) -> Self {
        let suppressed = Counter::default();
        registry.register(
            "causeway_log_suppressed",
            "Warnings that were not written because one peer caused too many",
            suppressed.clone(),
        );
        Self { per_minute, suppressed, hasher: RandomState::new(), windows: Arc::default() }
    }

    /// Says whether a warning about this peer is to be written now, and if so how many were not since the last.
    pub fn admit(&self, peer: impl Hash, now: Instant) -> Option<u64> {
        let mut key = self.hasher.hash_one(peer);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_PEERS && !windows.contains_key(&key) {
            windows.retain(|_, window| now.duration_since(window.start) < WINDOW);
            if windows.len() >= MAX_PEERS {
                key = 0;
            }
        }
        let window = windows.entry(key).or_insert(Window { start: now, admitted: 0, suppressed: 0 });
        if now.duration_since(window.start) >= WINDOW {
            *window = Window { start: now, admitted: 0, ..*window };
        }
        if window.admitted >= self.per_minute {
            window.suppressed += 1;
            self.suppressed.inc();
            return None;
        }
        window.admitted += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_allowance_and_gets_it_again_after_a_minute() {
        let warnings = PeerWarnings::new(2, &mut Registry::default());
        let start = Instant::now();
        assert_eq!(warnings.admit("a", start), Some(0));
        assert_eq!(warnings.admit("a", start), Some(0));
        assert_eq!(warnings.admit("a", start), None);
        assert_eq!(warnings.admit("a", start), None);
        assert_eq!(warnings.admit("b", start), Some(0));
        assert_eq!(warnings.admit("a", start + WINDOW), Some(2));
        assert_eq!(warnings.suppressed.get(), 2);
    }

    #[test]
    fn ever_new_peers_need_no_more_memory() {
        let warnings = PeerWarnings::new(1, &mut Registry::default());
        let start = Instant::now();
        let admitted = (0..3 * MAX_PEERS).filter(|peer| warnings.admit(peer, start).is_some()).count();
        assert!(admitted <= MAX_PEERS + 1, "{admitted}");
        assert!(warnings.windows.lock().unwrap().len() <= MAX_PEERS + 1);
        assert!(warnings.admit("later", start + WINDOW).is_some());
    }
}
