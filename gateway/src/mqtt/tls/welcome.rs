//! Tells a live session that its peer would not be let in any more.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::{Standing, Tls};
use crate::mqtt::identity::Peer;

/// Longest sleep towards the end of a certificate, because the wall clock may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(3_600);

/// One connection's subscription to changes of its listener's certificates.
///
/// It is made before the handshake starts, so a revocation that is loaded while the handshake runs is not missed.
pub struct Welcome(Option<(Tls, watch::Receiver<u64>)>);

impl Tls {
    /// Subscribes a connection.
    pub(in crate::mqtt) fn welcome(&self) -> Welcome {
        Welcome(Some((self.clone(), self.changed())))
    }
}

impl Welcome {
    /// For connections without a certificate.
    pub(in crate::mqtt) fn forever() -> Self {
        Self(None)
    }

    /// Completes with the reason when the peer has lost its standing; never for a plain listener's peer.
    ///
    /// Cancel-safe, and cheap to start again: it checks nothing before something has changed.
    pub async fn ends(&mut self, peer: &Peer) -> Standing {
        let (Some((tls, changed)), Some(certificate)) = (&mut self.0, peer.identity.certificate()) else {
            return std::future::pending().await;
        };
        loop {
            let left = certificate.not_after_ms.saturating_sub(tls.now_ms());
            // One more second: certificates count in seconds and are good through the last one.
            let sleep = sleep(Duration::from_millis(left.saturating_add(1_000)).min(MAX_SLEEP));
            tokio::select! {
                // The sender lives in `tls`, so it cannot be gone.
                _ = changed.changed() => {}
                () = sleep => {}
            }
            match tls.standing(peer) {
                Standing::Good => {}
                lost => return lost,
            }
        }
    }
}
