//! Who gets a slot: caps on all connections, per address, per identity, and on those not yet established.
//!
//! A slot is held by a guard and comes back when the guard is dropped, however the connection ends.

mod half_open;
mod share;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytestring::ByteString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::half_open::{HalfOpen, HalfOpenSlot};
use self::share::{Share, Shares};
use super::metrics::{ConnectionRefusal, ListenerMetrics};
use super::probes::Probes;
use crate::config::MqttConfig;
use crate::log::PeerWarnings;

/// The caps of the front door, shared by all its listeners.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    connections: Arc<Semaphore>,
    addresses: Shares<IpAddr>,
    identities: Shares<ByteString>,
    half_open: Arc<HalfOpen>,
    metrics: ListenerMetrics,
    warnings: PeerWarnings,
    probes: Probes,
}

impl Admission {
    /// Caps as configured; `warnings` bounds what one address can write into the log.
    pub fn new(config: &MqttConfig, metrics: ListenerMetrics, warnings: PeerWarnings) -> Self {
        Self(Arc::new(Inner {
            connections: Arc::new(Semaphore::new(config.max_connections)),
            addresses: Shares::new(config.max_connections_per_address),
            identities: Shares::new(config.max_connections_per_identity),
            half_open: Arc::new(HalfOpen::new(config.max_half_open, metrics.clone())),
            metrics,
            warnings,
            probes: Probes::default(),
        }))
    }

    /// The metrics of the front door's connections.
    pub fn metrics(&self) -> &ListenerMetrics {
        &self.0.metrics
    }

    pub(super) fn warnings(&self) -> &PeerWarnings {
        &self.0.warnings
    }

    /// A slot for a connection that was just accepted. Waits for a second at most when too many are half-open;
    /// the kernel's queue holds those who come meanwhile.
    pub(super) async fn admit(&self, address: IpAddr) -> Result<Permit, ConnectionRefusal> {
        let inner = &self.0;
        let connection =
            Arc::clone(&inner.connections).try_acquire_owned().map_err(|_| ConnectionRefusal::Connections)?;
        let address = inner.addresses.take(network(address)).ok_or(ConnectionRefusal::Address)?;
        let half_open = HalfOpen::enter(&inner.half_open).await;
        inner.metrics.connections.inc();
        Ok(Permit {
            half_open: Some(half_open),
            identity: None,
            admission: self.clone(),
            limited: Some((address, connection)),
        })
    }

    /// What a connection of the gateway to itself holds: nothing.
    pub(super) fn exempt(&self) -> Permit {
        Permit { half_open: None, identity: None, admission: self.clone(), limited: None }
    }

    /// The gateway's connections to itself.
    pub(super) fn probes(&self) -> &Probes {
        &self.0.probes
    }
}

/// The slots of one connection, for its whole life.
pub struct Permit {
    half_open: Option<HalfOpenSlot>,
    identity: Option<Share<ByteString>>,
    admission: Admission,
    /// The slots of all connections and of the address; a probe has none.
    limited: Option<(Share<IpAddr>, OwnedSemaphorePermit)>,
}

impl Permit {
    /// Takes one of the identity's slots; `false` when it has as many as it may.
    ///
    /// Called after CONNECT, when a takeover has already given its slot back and the refusal can be told.
    #[must_use]
    pub fn claim(&mut self, identity: &ByteString) -> bool {
        if self.identity.is_none() {
            self.identity = self.admission.0.identities.take(identity.clone());
        }
        let claimed = self.identity.is_some();
        if !claimed {
            self.admission.0.metrics.connection_refused(ConnectionRefusal::Identity);
        }
        claimed
    }

    /// Gives the half-open slot back: the client has sent a good CONNECT.
    pub fn established(&mut self) {
        self.half_open = None;
    }

    /// Whether this is a connection of the gateway to itself.
    pub(super) fn is_exempt(&self) -> bool {
        self.limited.is_none()
    }

    /// Completes when this half-open connection has to make room; never once it is established.
    pub async fn evicted(&self) {
        match &self.half_open {
            Some(slot) => slot.evicted().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.limited.is_some() {
            self.admission.0.metrics.connections.dec();
        }
    }
}

/// What counts as one address: a whole /64 in IPv6, because that is what one host is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
