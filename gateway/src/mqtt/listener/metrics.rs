//! What the front door counts before a session exists. Label values are closed sets.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::mqtt::tls::{RefusalReason, Tls};

/// The metrics of all listeners together. Clones share the counts.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections without a finished handshake and CONNECT.
    pub half_open: Gauge,
    /// Connections taken from the kernel.
    pub accepted: Counter,
    /// `accept` calls that failed, for example for want of file descriptors.
    pub accept_errors: Counter,
    /// Time of good handshakes.
    pub handshake_seconds: Histogram,
    server_not_after: Family<OfListener, Gauge>,
    crl_next_update: Family<OfListener, Gauge>,
    connections_refused: Family<ConnectionRefused, Counter>,
    handshakes_refused: Family<HandshakeRefused, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionRefused {
    reason: ConnectionRefusal,
}

/// Names of listeners are a closed set: the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfListener {
    listener: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeRefused {
    reason: RefusalReason,
}

/// Which cap refused a connection; named after its configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionRefusal {
    /// `mqtt.max_connections`.
    Connections,
    /// `mqtt.max_connections_per_address`.
    Address,
    /// `mqtt.max_connections_per_identity`.
    Identity,
    /// `mqtt.max_half_open`.
    HalfOpen,
    /// `mqtt.handshake_timeout`.
    HandshakeTimeout,
}

impl ConnectionRefusal {
    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Address => "max_connections_per_address",
            Self::Identity => "max_connections_per_identity",
            Self::HalfOpen => "max_half_open",
            Self::HandshakeTimeout => "handshake_timeout",
        }
    }
}

impl EncodeLabelValue for ConnectionRefusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl ListenerMetrics {
    /// Makes and registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            half_open: Gauge::default(),
            accepted: Counter::default(),
            accept_errors: Counter::default(),
            handshake_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 15)),
            server_not_after: Family::default(),
            crl_next_update: Family::default(),
            connections_refused: Family::default(),
            handshakes_refused: Family::default(),
        };
        let (connections, half_open) = (metrics.connections.clone(), metrics.half_open.clone());
        registry.register("causeway_mqtt_connections", "Open connections", connections);
        registry.register("causeway_mqtt_half_open", "Connections without a finished CONNECT", half_open);
        registry.register("causeway_mqtt_accepted", "Connections accepted", metrics.accepted.clone());
        registry.register("causeway_mqtt_accept_errors", "Failed accept calls", metrics.accept_errors.clone());
        let help = "Time of good TLS handshakes";
        registry.register("causeway_tls_handshake_seconds", help, metrics.handshake_seconds.clone());
        let help = "End of the server certificate, in Unix seconds";
        registry.register("causeway_tls_server_not_after_seconds", help, metrics.server_not_after.clone());
        let help = "When the next revocation list is due, in Unix seconds";
        registry.register("causeway_tls_crl_next_update_seconds", help, metrics.crl_next_update.clone());
        let help = "Connections closed because of a cap or the handshake's deadline";
        registry.register("causeway_mqtt_connections_refused", help, metrics.connections_refused.clone());
        let help = "TLS handshakes refused";
        registry.register("causeway_tls_handshakes_refused", help, metrics.handshakes_refused.clone());
        metrics
    }

    /// Shows how long a listener's certificate and its revocation lists are good.
    pub(super) fn tls_ends(&self, listener: &str, tls: &Tls) {
        let seconds = |ms: u64| i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
        let label = OfListener { listener: listener.to_owned() };
        self.server_not_after.get_or_create(&label).set(seconds(tls.not_after_ms()));
        if let Some(next_update) = tls.next_update_ms() {
            self.crl_next_update.get_or_create(&label).set(seconds(next_update));
        }
    }

    /// Counts a connection that met a cap.
    pub(super) fn connection_refused(&self, reason: ConnectionRefusal) {
        self.connections_refused.get_or_create(&ConnectionRefused { reason }).inc();
    }

    /// Counts a refused handshake.
    pub(super) fn handshake_refused(&self, reason: RefusalReason) {
        self.handshakes_refused.get_or_create(&HandshakeRefused { reason }).inc();
    }

    /// How many connections met a cap.
    pub fn connections_refused(&self, reason: ConnectionRefusal) -> u64 {
        self.connections_refused.get_or_create(&ConnectionRefused { reason }).get()
    }

    /// How many handshakes were refused for a reason.
    pub fn handshakes_refused(&self, reason: RefusalReason) -> u64 {
        self.handshakes_refused.get_or_create(&HandshakeRefused { reason }).get()
    }
}
