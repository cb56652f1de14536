//! TLS of one listener: its files, the configuration made of them, and whether a peer is still welcome.
//!
//! A client certificate is always required. The files can be replaced at any time: the new state is swapped in
//! only when all of it is good, connections live on, and [`Tls::changed`] tells sessions to ask
//! [`Tls::standing`] again. Who listens and accepts is [`super::listener`].

mod gateway_time;
mod load;
#[cfg(test)]
pub(in crate::mqtt) mod pki;
mod refusal;
mod revocation;
mod verifier;
mod watch;
mod welcome;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch as channel;
use tokio_rustls::TlsAcceptor;

pub use self::refusal::RefusalReason;
pub use self::welcome::Welcome;

use self::gateway_time::GatewayTime;
use self::load::{Loaded, load};
use crate::clock::Clock;
use crate::config::{Problem, TlsConfig};
use crate::mqtt::identity::{Certificate, Peer};

/// The TLS side of one listener. Clones share one state.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    config: TlsConfig,
    clock: Clock,
    current: ArcSwap<Loaded>,
    generation: channel::Sender<u64>,
}

/// Whether a connected peer would be let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Good,
    /// Its certificate, or one that issued it, is on a revocation list.
    Revoked,
    /// Its certificate, or one that issued it, has expired.
    Expired,
    /// No authority of the bundle vouches for it any more.
    Untrusted,
}

impl Tls {
    /// Reads the files of one listener. All problems are reported at once.
    pub fn load(config: TlsConfig, clock: Clock) -> Result<Self, Vec<Problem>> {
        let current = ArcSwap::from_pointee(load(&config, &GatewayTime::new(clock.clone()))?);
        let (generation, _) = channel::channel(0);
        Ok(Self(Arc::new(Inner { config, clock, current, generation })))
    }

    /// Reads the files again and takes them over if they are all good; otherwise the old state stays.
    ///
    /// Blocks on the disk. Answers with what the operator should know although it is no obstacle.
    pub fn reload(&self) -> Result<Vec<Problem>, Vec<Problem>> {
        let loaded = load(&self.0.config, &GatewayTime::new(self.0.clock.clone()))?;
        let warnings = loaded.warnings.clone();
        self.0.current.store(Arc::new(loaded));
        self.0.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
        Ok(warnings)
    }

    /// Changes whenever [`Tls::standing`] may answer differently for a connected peer.
    pub fn changed(&self) -> channel::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Asks the handshake's question again for a peer of this listener: costs one or two signature checks.
    pub fn standing(&self, peer: &Peer) -> Standing {
        let Some(certificate) = peer.identity.certificate() else { return Standing::Good };
        let Some((own, intermediates)) = certificate.chain.split_first() else { return Standing::Untrusted };
        let current = self.0.current.load();
        match current.verifier.verify_client_cert(own, intermediates, current.time.now()) {
            Ok(_) => Standing::Good,
            Err(error) => match RefusalReason::of(&std::io::Error::other(error)) {
                RefusalReason::Revoked => Standing::Revoked,
                RefusalReason::Expired => Standing::Expired,
                _ => Standing::Untrusted,
            },
        }
    }

    /// What the operator should know about the current state although it is no obstacle.
    pub fn warnings(&self) -> Vec<Problem> {
        self.0.current.load().warnings.clone()
    }

    /// The common name of the server certificate: the default of `gateway.id`.
    pub fn server_name(&self) -> Option<String> {
        self.0.current.load().server_name.clone()
    }

    /// The end of the server certificate, in Unix milliseconds.
    pub fn not_after_ms(&self) -> u64 {
        self.0.current.load().not_after_ms
    }

    /// The earliest next update among the revocation lists, in Unix milliseconds.
    pub fn next_update_ms(&self) -> Option<u64> {
        self.0.current.load().next_update_ms
    }

    fn now_ms(&self) -> u64 {
        self.0.current.load().time.now_ms()
    }

    /// An acceptor for one handshake, with the state of now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current.load().server))
    }

    /// The identity of a chain that the handshake has verified.
    pub(super) fn certificate(&self, chain: &[CertificateDer<'_>]) -> Result<Certificate, rustls::Error> {
        self.0.current.load().verifier.certificate(chain)
    }
}

#[cfg(test)]
mod tests;
