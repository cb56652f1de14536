//! Where packets begin and end, how large they may be, and what the gateway says of those that break a rule.

use super::VERSIONS;
use crate::{gateway, setup};
use causeway_tests::packet::{self, Connect, Packet, Publish, Value, Will, frame, number, property, text};
use causeway_tests::wire::Wire;
use causeway_tests::{Gateway, Version};

/// Sends `bytes` as a connected MQTT 5 device and returns the reason of the DISCONNECT and its words.
async fn refusal(gateway: &Gateway, bytes: &[u8]) -> (u8, String) {
    let mut device = gateway.v5("offender").await;
    device.send(bytes).await;
    let packets = device.wire.until_closed().await;
    match packets.last() {
        Some(Packet::Disconnect { reason, properties }) => {
            (*reason, text(properties, property::REASON).unwrap_or_default().to_owned())
        }
        other => panic!("{other:?} in place of a DISCONNECT after {bytes:02x?}"),
    }
}

#[tokio::test]
async fn a_broken_rule_is_named_by_its_reason_code_and_in_words() {
    let gateway = gateway().await;
    let filters = vec![("f", 0); 1_001];
    let long = "x".repeat(513);
    let deep = "/".repeat(32);
    for (bytes, reason, words) in [
        (frame(0xc1, &[]), 0x81, "flags"),
        (frame(0x36, &[0, 1, b't', 0, 1, 0]), 0x81, "QoS"),
        (frame(0x38, &[0, 1, b't', 0]), 0x81, "DUP"),
        (frame(0x40, &[0, 1, 0, 0, 0]), 0x81, "last field"),
        (frame(0xd0, &[]), 0x82, "servers only"),
        (Connect::new(Version::V5, "twice").bytes(), 0x82, "twice"),
        (Publish::new("", "x", 0).bytes(Version::V5), 0x82, "alias"),
        (Publish::new("t", "x", 1).bytes(Version::V5), 0x82, "packet id"),
        (packet::subscribe(Version::V5, 1, &[("a#", 0)], &Vec::new()), 0x8f, "filter"),
        (packet::subscribe(Version::V5, 1, &[("$share//a", 0)], &Vec::new()), 0x8f, "group"),
        (Publish::new("a/+", "x", 0).bytes(Version::V5), 0x90, "wildcard"),
        (Publish::new(&long, "x", 0).bytes(Version::V5), 0x90, "longer"),
        (Publish::new(&deep, "x", 0).bytes(Version::V5), 0x90, "levels"),
        (Publish::new("t", "x", 0).with(property::ALIAS, Value::Two(0)).bytes(Version::V5), 0x94, "alias"),
        (vec![0x30, 0xff, 0xff, 0xff, 0x7f], 0x95, "larger"),
        (packet::subscribe(Version::V5, 1, &filters, &Vec::new()), 0x97, "filters"),
    ] {
        let (said, why) = refusal(&gateway, &bytes).await;
        assert!(said == reason && why.contains(words), "{said:#04x} {why:?} in place of {reason:#04x} {words:?}");
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn packets_that_arrive_byte_by_byte_are_served() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut wire = Wire::plain(gateway.address(1883), version).await.unwrap();
        let train = [
            Connect::new(version, "slow").bytes(),
            packet::subscribe(version, 1, &[("slow/#", 1)], &Vec::new()),
            Publish::new("slow/é", vec![b'x'; 200], 1).id(2).bytes(version),
            frame(0xc0, &[]),
        ];
        for byte in train.concat() {
            wire.send(&[byte]).await.unwrap();
        }
        let (mut delivered, mut acknowledged) = (false, false);
        loop {
            match wire.receive().await {
                Some(Packet::Publish(publish)) => delivered = publish.payload.len() == 200,
                Some(Packet::PubAck { id: 2, .. }) => acknowledged = true,
                Some(_) => {}
                None => panic!("the connection ended"),
            }
            if delivered && acknowledged {
                break;
            }
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn packets_sent_with_the_connect_wait_for_its_answer_and_are_served_then() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("eager"), version).await.unwrap();
        let subscribe = packet::subscribe(version, 1, &[("eager", 0)], &Vec::new());
        let publish = Publish::new("eager", "x", 0).bytes(version);
        wire.send(&[Connect::new(version, "eager").bytes(), subscribe, publish].concat()).await.unwrap();
        assert!(matches!(wire.receive().await, Some(Packet::ConnAck { code: 0, .. })));
        assert!(matches!(wire.receive().await, Some(Packet::SubAck { id: 1, .. })));
        assert!(matches!(wire.receive().await, Some(Packet::Publish(publish)) if publish.topic == "eager"));
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn nothing_after_a_disconnect_is_acted_upon() {
    let gateway = gateway().await;
    let mut witness = gateway.v5("witness").await;
    witness.subscribe("late/#", 0).await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "leaver")).await;
        let before = Publish::new("late/before", "x", 0).bytes(version);
        let after = Publish::new("late/after", "x", 0).bytes(version);
        device.send(&[before, packet::disconnect(version, 0, &Vec::new()), after].concat()).await;
        device.closed().await;
        assert_eq!(witness.message().await.topic, "late/before");
    }
    let mut marker = gateway.v5("marker").await;
    marker.publish(Publish::new("late/marker", "x", 1)).await;
    assert_eq!(witness.message().await.topic, "late/marker");
    gateway.assert_well().await;
}

#[tokio::test]
async fn the_largest_packet_passes_and_one_byte_more_does_not() {
    let gateway = setup().set("mqtt.max_packet_bytes", "4KiB".into()).start().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "large")).await;
        let head = Publish::new("size", vec![b'x'; 2_000], 1).id(1).bytes(version).len() - 2_000;
        assert!(device.publish(Publish::new("size", vec![b'x'; 4_096 - head], 1)).await < 0x80);
        device.start(Publish::new("size", vec![b'x'; 4_097 - head], 1)).await;
        let reason = device.closed().await;
        assert_eq!(reason, (version == Version::V5).then_some(0x95));
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_stranger_may_say_little_before_it_is_known() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "loud").will(Will::new("w", &"x".repeat(9_000), 0));
        let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("loud"), version).await.unwrap();
        wire.send(&connect.bytes()).await.unwrap();
        let packets = wire.until_closed().await;
        assert!(!matches!(packets.first(), Some(Packet::ConnAck { code: 0, .. })), "{packets:?}");
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_padded_length_is_taken_from_3_1_1_and_refused_in_5() {
    let gateway = gateway().await;
    let mut device = gateway.v311("padded").await;
    device.send(&[0xc0, 0x80, 0x80, 0x00]).await;
    device.ping().await;
    let (reason, _) = refusal(&gateway, &[0xc0, 0x80, 0x00]).await;
    assert_eq!(reason, 0x81);
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_payload_that_is_not_the_text_it_claims_costs_the_message_and_not_the_connection() {
    let gateway = gateway().await;
    let mut device = gateway.v5("liar").await;
    device.subscribe("text", 0).await;
    for qos in [1, 2] {
        let lie = Publish::new("text", [0xff, 0xfe], qos).with(property::PAYLOAD_FORMAT, Value::Byte(1));
        assert_eq!(device.publish(lie).await, 0x99);
    }
    let truth = Publish::new("text", "é", 1).with(property::PAYLOAD_FORMAT, Value::Byte(1));
    assert!(device.publish(truth).await < 0x80);
    assert_eq!(device.message().await.text(), "é");
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_message_that_expires_at_once_reaches_those_who_wait_for_it() {
    let gateway = gateway().await;
    let mut present = gateway.v5("present").await;
    present.subscribe("brief/#", 1).await;

    let mut will = Will::new("brief/will", "x", 1);
    will.properties.push((property::MESSAGE_EXPIRY, Value::Four(0)));
    let mut device = gateway.device(Connect::new(Version::V5, "brief").will(will)).await;
    let brief = Publish::new("brief/t", "x", 1).with(property::MESSAGE_EXPIRY, Value::Four(0));
    assert!(device.publish(brief).await < 0x80);
    let message = present.message().await;
    assert_eq!((message.topic.as_str(), number(&message.properties, property::MESSAGE_EXPIRY)), ("brief/t", Some(0)));
    drop(device);
    assert_eq!(present.message().await.topic, "brief/will");
    gateway.assert_well().await;
}
