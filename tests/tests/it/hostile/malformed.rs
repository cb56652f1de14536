//! Packets that break one rule each; the gateway cuts the connection and keeps its health.

use super::{VERSIONS, check_is_cut};
use crate::gateway;
use causeway_tests::packet::{self, Connect, Packet, Publish, Value, frame, property, put_text};
use causeway_tests::wire::Wire;
use causeway_tests::{Gateway, Version};

fn publish_body(topic: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(topic);
    body.extend_from_slice(rest);
    body
}

#[tokio::test]
async fn malformed_packets_of_both_versions_end_their_connection() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let none: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let filter = |text: &str, options: u8| packet::subscribe(version, 1, &[(text, options)], &Vec::new());
        let mut no_filter = vec![0, 1];
        no_filter.extend_from_slice(none);
        for (what, bytes) in [
            ("PUBLISH with QoS 3", frame(0x36, &publish_body(b"t", &[0, 1, 0]))),
            ("PUBLISH to a wildcard", Publish::new("a/+", "x", 0).bytes(version)),
            ("PUBLISH to a multi-level wildcard", Publish::new("a/#", "x", 0).bytes(version)),
            ("PUBLISH to an empty topic", Publish::new("", "x", 0).bytes(version)),
            ("PUBLISH to a topic with NUL", Publish::new("a\0b", "x", 0).bytes(version)),
            ("PUBLISH to a topic that is not UTF-8", frame(0x30, &publish_body(&[0xc3, 0x28], none))),
            ("PUBLISH to a topic with a surrogate", frame(0x30, &publish_body(&[0xed, 0xa0, 0x80], none))),
            ("PUBLISH shorter than its topic", frame(0x30, &[0, 9, b'x'])),
            ("PUBLISH without a packet id", frame(0x32, &publish_body(b"t", &[]))),
            ("PUBLISH of nothing", frame(0x30, &[])),
            ("SUBSCRIBE with wrong flags", frame(0x80, &filter("a", 0)[2..])),
            ("SUBSCRIBE with packet id 0", packet::subscribe(version, 0, &[("a", 0)], &Vec::new())),
            ("SUBSCRIBE without a filter", frame(0x82, &no_filter)),
            ("SUBSCRIBE with QoS 3", filter("a", 3)),
            ("SUBSCRIBE with reserved bits", filter("a", 0xc0)),
            ("SUBSCRIBE to an empty filter", filter("", 0)),
            ("SUBSCRIBE to a filter with NUL", filter("a\0", 0)),
            ("SUBSCRIBE to a broken wildcard", filter("a/#/b", 0)),
            ("SUBSCRIBE to a glued wildcard", filter("a+", 0)),
            ("UNSUBSCRIBE with wrong flags", frame(0xa0, &packet::unsubscribe(version, 1, &["a"])[2..])),
            ("UNSUBSCRIBE without a filter", frame(0xa2, &no_filter)),
            ("PUBREL with wrong flags", frame(0x60, &[0, 1])),
            ("PUBACK with flags", frame(0x41, &[0, 1])),
            ("PUBACK of one byte", frame(0x40, &[1])),
            ("PINGREQ with flags", frame(0xc1, &[])),
            ("PINGREQ with a body", frame(0xc0, &[0])),
            ("DISCONNECT with flags", frame(0xe1, &[])),
        ] {
            check_is_cut(&gateway, version, &bytes, what).await;
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn malformed_properties_end_their_connection() {
    let gateway = gateway().await;
    let publish = |properties: &[(u8, Value)]| {
        let mut publish = Publish::new("t", "x", 0);
        publish.properties = properties.to_vec();
        publish.bytes(Version::V5)
    };
    let text = |text: &str| Value::Text(text.into());
    for (what, bytes) in [
        ("an unknown property", frame(0x30, &publish_body(b"t", &[2, 0x7f, 0]))),
        ("a property of another packet", publish(&[(property::SESSION_EXPIRY, Value::Four(1))])),
        ("a property twice", publish(&[(property::CONTENT_TYPE, text("a")), (property::CONTENT_TYPE, text("b"))])),
        ("a payload format of 2", publish(&[(property::PAYLOAD_FORMAT, Value::Byte(2))])),
        ("a response topic with a wildcard", publish(&[(property::RESPONSE_TOPIC, text("a/#"))])),
        ("a subscription id from a client", publish(&[(property::SUBSCRIPTION_ID, Value::Variable(1))])),
        ("a property that runs over the end", frame(0x30, &publish_body(b"t", &[9, 0x26, 0, 1, b'a']))),
        ("properties longer than the packet", frame(0x30, &publish_body(b"t", &[0xff, 0x7f]))),
        (
            "subscription id 0",
            packet::subscribe(Version::V5, 1, &[("a", 0)], &vec![(property::SUBSCRIPTION_ID, Value::Variable(0))]),
        ),
        ("retain handling 3", packet::subscribe(Version::V5, 1, &[("a", 0x30)], &Vec::new())),
        ("a DISCONNECT with an unknown reason", packet::disconnect(Version::V5, 0x7b, &Vec::new())),
    ] {
        check_is_cut(&gateway, Version::V5, &bytes, what).await;
    }
    gateway.assert_well().await;
}

/// Sends a CONNECT and expects the connection to end without a session.
async fn check_connect_is_refused(gateway: &Gateway, version: Version, bytes: &[u8], what: &str) {
    let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("broken"), version).await.unwrap();
    wire.send(bytes).await.unwrap();
    let packets = wire.until_closed().await;
    assert!(!matches!(packets.first(), Some(Packet::ConnAck { code: 0, .. })), "{what}: {packets:?}");
}

#[tokio::test]
async fn malformed_connects_get_no_session() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let good = Connect::new(version, "broken").bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let mut name = Vec::new();
        put_text(&mut name, "MQIsdp");
        name.extend([3, 2, 0, 60, 0, 0]);
        for (what, bytes) in [
            ("flags of the fixed header", with(0, 0x11)),
            ("another protocol name", frame(0x10, &name)),
            ("a protocol name in lower case", with(4, b'm')),
            ("the reserved flag", with(9, 3)),
            ("a will of QoS 3", with(9, 0x1e)),
            ("will QoS without a will", with(9, 0x0a)),
            ("will retain without a will", with(9, 0x22)),
            ("a will that is not there", with(9, 0x06)),
            ("a user name that is not there", with(9, 0x82)),
            ("a client id beyond the end", with(good.len() - 7, 0xff)),
            ("bytes behind the end", frame(0x10, &[&good[2..], &[0, 0]].concat())),
            ("nothing but a header", frame(0x10, &[])),
        ] {
            check_connect_is_refused(&gateway, version, &bytes, what).await;
        }
    }
    let zero = Connect::new(Version::V5, "broken").with(property::RECEIVE_MAXIMUM, Value::Two(0));
    check_connect_is_refused(&gateway, Version::V5, &zero.bytes(), "receive maximum 0").await;
    let zero = Connect::new(Version::V5, "broken").with(property::MAXIMUM_PACKET_SIZE, Value::Four(0));
    check_connect_is_refused(&gateway, Version::V5, &zero.bytes(), "maximum packet size 0").await;
    gateway.assert_well().await;
}
