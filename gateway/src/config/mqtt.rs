//! `mqtt:` the bounds of the front door.

use std::time::Duration;

use super::section::section;
use super::units::Size;

section! {
    /// The bounds of the front door, over all listeners.
    MqttConfig {
        /// Open connections; further ones are closed at once.
        max_connections: usize = 10_000 => restart, in 1..=1_000_000, hit "causeway_mqtt_connections_refused_total";
        /// Open connections from one IP address.
        max_connections_per_address: usize = 10_000 => restart, in 1..=1_000_000, hit "causeway_mqtt_connections_refused_total";
        /// Sessions with a connection for one identity; a further CONNECT is refused with "quota exceeded".
        max_connections_per_identity: usize = 16 => restart, in 1..=100_000, hit "causeway_mqtt_connections_refused_total";
        /// Connections that have not finished their handshake and CONNECT; when there are more, who has been silent for over a second makes room and the others wait.
        max_half_open: usize = 1_000 => restart, in 1..=100_000, hit "causeway_mqtt_connections_refused_total";
        /// Time for the TLS handshake.
        handshake_timeout: Duration = Duration::from_secs(5) => restart, in Duration::from_millis(100)..=Duration::from_secs(60), hit "causeway_mqtt_connections_refused_total";
        /// Time from the end of the handshake to a whole CONNECT packet.
        connect_timeout: Duration = Duration::from_secs(5) => restart, in Duration::from_millis(100)..=Duration::from_secs(60), hit "causeway_mqtt_connects_refused_total";
        /// Time for the rest of a packet once its first byte has arrived.
        packet_timeout: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_mqtt_packet_timeouts_total";
        /// Time for a peer to take what is written to it; then the connection is closed.
        write_timeout: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_mqtt_write_timeouts_total";
        /// Largest MQTT packet in either direction, its header included.
        max_packet_bytes: Size = Size::mib(1) => restart, in Size::kib(1)..=Size::mib(256), hit "causeway_mqtt_malformed_packets_total";
        /// Largest CONNECT packet: what a peer may send before anybody knows it, its will included.
        max_connect_bytes: Size = Size::kib(8) => restart, in Size::kib(1)..=Size::mib(1), hit "causeway_mqtt_malformed_packets_total";
        /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
        max_packet_filters: usize = 1_000 => restart, in 1..=100_000, hit "causeway_mqtt_malformed_packets_total";
        /// Longest topic or filter in bytes.
        max_topic_bytes: usize = 512 => restart, in 16..=65_535, hit "causeway_mqtt_malformed_packets_total";
        /// Deepest topic or filter in levels.
        max_topic_levels: usize = 32 => restart, in 1..=256, hit "causeway_mqtt_malformed_packets_total";
        /// MQTT 5 user properties of one packet.
        max_user_properties: usize = 32 => restart, in 0..=1_000, hit "causeway_mqtt_malformed_packets_total";
        /// QoS 1 and 2 messages that a client may have sent without our acknowledgement; told to MQTT 5 clients as "receive maximum".
        receive_maximum: u16 = 1_024 => restart, in 1..=65_535, hit "causeway_mqtt_malformed_packets_total";
        /// QoS 1 and 2 messages sent to a client that it has not acknowledged; the rest waits in its queue.
        max_inflight: u16 = 4_096 => restart, in 1..=65_535, hit "causeway_mqtt_windows_full_total";
        /// MQTT 5 topic aliases that a client may use; `0` turns them off.
        topic_alias_maximum: u16 = 16 => restart, in 0..=1_024, hit "causeway_mqtt_malformed_packets_total";
        /// Subscriptions of one session; a further filter is refused with "quota exceeded".
        max_subscriptions: usize = 200 => restart, in 1..=100_000, hit "causeway_mqtt_subscriptions_refused_total";
        /// Messages waiting for one connected client.
        max_queue_messages: usize = 10_000 => restart, in 1..=10_000_000, hit "causeway_mqtt_queue_dropped_total";
        /// Bytes waiting for one connected client; as many again may be sent to it and not acknowledged.
        max_queue_bytes: Size = Size::mib(8) => restart, in Size::kib(16)..=Size::gib(4), hit "causeway_mqtt_queue_dropped_total";
        /// Bytes of the messages that all sessions together hold in memory, waiting or not acknowledged, each message once; beyond it, what is on disk waits there and the rest is dropped, but for 16 KiB or one message of each session.
        max_queue_bytes_total: Size = Size::mib(128) => restart, in Size::kib(64)..=Size::gib(64), hit "causeway_mqtt_queues_squeezed_total";
        /// Sessions that outlive their connection, over all identities.
        max_sessions: usize = 20_000 => restart, in 1..=10_000_000, hit "causeway_mqtt_connects_refused_total";
        /// Sessions that outlive their connection, for one identity.
        max_sessions_per_identity: usize = 64 => restart, in 1..=100_000, hit "causeway_mqtt_connects_refused_total";
        /// Longest time a session outlives its connection; what an MQTT 3.1.1 client without "clean session" gets.
        session_expiry_max: Duration = Duration::from_secs(7 * 86_400) => restart, in Duration::ZERO..=Duration::from_secs(3_650 * 86_400), hit "causeway_mqtt_sessions_expired_total";
        /// QoS 1 and 2 messages that wait on disk for one session; the oldest beyond it are dropped and counted.
        max_session_messages: usize = 100_000 => restart, in 1..=100_000_000, hit "causeway_mqtt_queue_dropped_total";
        /// Longest keep-alive; a client that asks for more, or for none, is told this one; `0s` accepts what it asks for.
        server_keep_alive_max: Duration = Duration::ZERO => restart, in Duration::ZERO..=Duration::from_secs(65_535), hit "causeway_mqtt_keep_alives_cut_total";
        /// Longest delay of a will.
        max_will_delay: Duration = Duration::from_secs(86_400) => restart, in Duration::ZERO..=Duration::from_secs(365 * 86_400), hit "causeway_mqtt_will_delays_cut_total";
        /// How long a publish without room is held back for an MQTT 3.1.1 client before it is disconnected; MQTT 5 clients are told at once.
        ack_timeout: Duration = Duration::from_secs(10) => restart, in Duration::from_millis(100)..=Duration::from_secs(600), hit "causeway_mqtt_no_room_total";
    }
}
