//! Counts per key, none above the cap.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

type Taken<K> = Arc<Mutex<HashMap<K, usize>>>;

/// How many units each key has taken. Keys without any are forgotten.
pub(super) struct Shares<K> {
    cap: usize,
    taken: Taken<K>,
}

/// One unit of a key's share.
pub(super) struct Share<K: Hash + Eq> {
    key: K,
    taken: Taken<K>,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, taken: Arc::default() }
    }

    /// One more unit for `key`, if it has less than the cap.
    pub(super) fn take(&self, key: K) -> Option<Share<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&key).copied().unwrap_or(0);
        if count >= self.cap {
            return None;
        }
        taken.insert(key.clone(), count.saturating_add(1));
        drop(taken);
        Some(Share { key, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}
