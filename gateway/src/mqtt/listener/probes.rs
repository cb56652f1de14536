//! Connections that the gateway makes to itself, for `/healthz`.
//!
//! They go the way of any client's but take no slot and count as nobody's: a gateway that is full is not ill, and a
//! probe is no refused peer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The addresses from which probes come now. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Probes(Arc<Mutex<HashSet<SocketAddr>>>);

/// One probe; forgotten when dropped.
#[derive(Debug)]
pub struct Announced {
    from: SocketAddr,
    probes: Probes,
}

impl Probes {
    /// Says that a connection from this address, which is bound already, is a probe.
    #[must_use]
    pub fn announce(&self, from: SocketAddr) -> Announced {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(from);
        Announced { from, probes: self.clone() }
    }

    pub(super) fn expects(&self, from: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&from)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.probes.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.from);
    }
}
