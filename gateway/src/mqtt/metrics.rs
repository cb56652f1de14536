//! What the front door counts. Label values are closed sets: never a device, a topic or a client id.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a CONNECT was refused.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Refusal {
    reason: &'static str,
}

macro_rules! metrics {
    ($($field:ident: $kind:ty = $name:literal, $help:literal;)*) => {
        /// The front door's counters and gauges.
        #[derive(Clone, Debug, Default)]
        pub struct MqttMetrics {
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl MqttMetrics {
            /// Registers them all.
            pub fn new(registry: &mut Registry) -> Self {
                let metrics = Self::default();
                $(registry.register($name, $help, metrics.$field.clone());)*
                metrics
            }
        }
    };
}

metrics! {
    connections: Gauge = "causeway_mqtt_clients", "Clients whose CONNECT was accepted and that are connected";
    connected: Counter = "causeway_mqtt_connects", "CONNECTs accepted";
    connects_refused: Family<Refusal, Counter> = "causeway_mqtt_connects_refused", "CONNECTs refused, by reason";
    received: Counter = "causeway_mqtt_received_messages", "PUBLISH packets received";
    sent: Counter = "causeway_mqtt_sent_messages", "PUBLISH packets sent";
    offered: Counter = "causeway_mqtt_matched_messages", "Messages that a subscription matched";
    dropped_queue_full: Counter = "causeway_mqtt_queue_dropped", "Messages dropped because a session's queue was full";
    queue_bytes: Gauge = "causeway_mqtt_queue_bytes", "Bytes of the messages that sessions hold in memory, each message once";
    queues_squeezed: Counter = "causeway_mqtt_queues_squeezed", "Messages left on disk or dropped because all queues together were full";
    windows_full: Counter = "causeway_mqtt_windows_full", "Times that a client had as many unacknowledged messages as it may";
    keep_alives_cut: Counter = "causeway_mqtt_keep_alives_cut", "Clients that were told a shorter keep-alive than they asked for";
    will_delays_cut: Counter = "causeway_mqtt_will_delays_cut", "Wills with a longer delay than they may have";
    expired: Counter = "causeway_mqtt_expired_messages", "Messages that expired before they were sent";
    too_large_for_client: Counter = "causeway_mqtt_too_large_messages", "Packets not sent because they exceed the client's maximum packet size";
    refused_no_room: Counter = "causeway_mqtt_no_room", "Publishes refused because a durable consumer is over its budget";
    denied_publish: Counter = "causeway_mqtt_denied_publishes", "Publishes that policies denied";
    subscriptions_refused: Counter = "causeway_mqtt_subscriptions_refused", "Filters beyond the subscriptions that a session may have";
    denied_subscribe: Counter = "causeway_mqtt_denied_subscriptions", "Filters that policies denied";
    denied_receive: Counter = "causeway_mqtt_denied_deliveries", "Deliveries that policies denied";
    revoked_subscriptions: Counter = "causeway_mqtt_revoked_subscriptions", "Live subscriptions removed after a change of policies or attributes";
    unknown_packet_id: Counter = "causeway_mqtt_unknown_packet_ids", "Acknowledgements of packet ids that await none";
    malformed: Counter = "causeway_mqtt_malformed_packets", "Connections closed because of a malformed packet";
    pauses: Counter = "causeway_mqtt_publisher_pauses", "Short pauses of publishers whose receivers could not keep up";
    packet_timeouts: Counter = "causeway_mqtt_packet_timeouts", "Connections closed because a packet did not arrive whole in time";
    write_timeouts: Counter = "causeway_mqtt_write_timeouts", "Connections closed because the client did not read";
    wills: Counter = "causeway_mqtt_wills", "Wills that fired";
    sessions_expired: Counter = "causeway_mqtt_sessions_expired", "Sessions that ended by their expiry";
}

impl MqttMetrics {
    /// Counts a refused CONNECT.
    pub fn connect_refused(&self, reason: &'static str) {
        self.connects_refused.get_or_create(&Refusal { reason }).inc();
    }
}
