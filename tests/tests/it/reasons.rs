//! Reason strings: what an MQTT 5 client is told beside a code, and what is told to the operator alone.

use crate::setup;
use causeway_tests::packet::{self, Connect, Packet, Properties, Value, property, text};
use causeway_tests::wire::Wire;
use causeway_tests::{Device, Gateway, Publish, Version, Will};

const NONE: &Properties = &Properties::new();

/// Checks that a reason string says what is expected and nothing that only the operator may know.
fn check(properties: &Properties, expected: &str) {
    let said = text(properties, property::REASON);
    assert!(said.is_some_and(|said| said.contains(expected)), "{said:?} in place of {expected:?}");
    let secret = ["cedar", "device-publishes", ".rs", "/work", "/tmp"];
    assert!(said.is_none_or(|said| !secret.iter().any(|secret| said.contains(secret))), "{said:?} says too much");
}

/// What the gateway answers to one packet.
async fn answer(device: &mut Device, bytes: &[u8]) -> (Vec<u8>, Properties) {
    device.send(bytes).await;
    device
        .expect("an acknowledgement", |packet| match packet {
            Packet::PubAck { reason, properties, .. } | Packet::PubRec { reason, properties, .. } => {
                Some((vec![*reason], properties.clone()))
            }
            Packet::SubAck { codes, properties, .. } | Packet::UnsubAck { codes, properties, .. } => {
                Some((codes.clone(), properties.clone()))
            }
            _ => None,
        })
        .await
}

/// Packets that are refused: the packet, the codes and the words of the answer.
fn refused(version: Version) -> Vec<(Vec<u8>, Vec<u8>, &'static str)> {
    let publish = |qos| Publish::new("devices/d2/x", "x", qos).id(7).bytes(version);
    let filters = [("devices/d1/x", 1), ("devices/d2/x", 1)];
    vec![
        (publish(1), vec![0x87], "policy does not permit `publish`"),
        (publish(2), vec![0x87], "policy does not permit `publish`"),
        (
            packet::subscribe(version, 8, &filters, NONE),
            vec![1, 0x87],
            "devices/d2/x: policy does not permit `subscribe`",
        ),
        (packet::subscribe(version, 9, &[("$share/g/t", 1)], NONE), vec![0x9e], "shared subscriptions"),
        (packet::unsubscribe(version, 10, &["devices/d1/never"]), vec![0x11], "devices/d1/never"),
    ]
}

#[tokio::test]
async fn a_refusal_says_why_and_leaves_policies_and_files_to_the_operator() {
    let gateway = setup().shipped_policies().start().await;
    let mut device = gateway.v5("d1").await;
    for (packet, codes, words) in refused(Version::V5) {
        let (said, properties) = answer(&mut device, &packet).await;
        assert_eq!(said, codes, "{words}");
        check(&properties, words);
    }
    let shown = gateway.query(&["device", "show", "d1"])["refusals"].to_string();
    assert!(shown.contains("devices/d2/x"), "{shown}");
}

#[tokio::test]
async fn a_client_that_wants_no_reason_strings_or_has_no_room_for_them_gets_the_code_alone() {
    let gateway = setup().shipped_policies().start().await;
    for (id, value) in [(property::REQUEST_PROBLEM, Value::Byte(0)), (property::MAXIMUM_PACKET_SIZE, Value::Four(20))] {
        let mut device = gateway.device(Connect::new(Version::V5, "d1").with(id, value)).await;
        for (packet, codes, words) in refused(Version::V5) {
            assert_eq!(answer(&mut device, &packet).await, (codes, Properties::new()), "{words}");
        }
    }
    // The parser of the harness takes no property from a 3.1.1 packet.
    let mut device = gateway.v311("d1").await;
    for (packet, _, words) in refused(Version::V311) {
        assert_eq!(answer(&mut device, &packet).await.1, Properties::new(), "{words}");
    }
}

/// The properties of the DISCONNECT at the end of a connection.
async fn goodbye(device: &mut Device) -> Properties {
    device
        .expect("a DISCONNECT", |packet| match packet {
            Packet::Disconnect { properties, .. } => Some(properties.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_disconnect_says_why() {
    let mut gateway = setup().start().await;
    let mut first = gateway.v5("d1").await;
    let mut second = gateway.v5("d1").await;
    check(&goodbye(&mut first).await, "another connection");
    second.send(&Connect::new(Version::V5, "d1").bytes()).await;
    check(&goodbye(&mut second).await, "sent twice");
    let mut silent = gateway.device(Connect::new(Version::V5, "d2").keep_alive(1)).await;
    check(&goodbye(&mut silent).await, "keep-alive");
    let mut disabled = gateway.v5("d3").await;
    assert!(gateway.operator(&["device", "disable", "d3"]).status.success());
    check(&goodbye(&mut disabled).await, "disabled");
    let mut last = gateway.v5("d4").await;
    let (end, properties) = tokio::join!(gateway.stop(), goodbye(&mut last));
    assert!(end.success());
    check(&properties, "shuts down");
}

async fn refusal(gateway: &Gateway, connect: &Connect, code: u8) -> Properties {
    let device = Device::connect(gateway.address(8883), &gateway.identity("d1"), connect).await;
    assert_eq!(device.code, code);
    device.properties
}

#[tokio::test]
async fn a_refused_connect_says_why_and_is_among_the_refusals_of_the_device() {
    let closed = "@id(\"closed\")\nforbid (principal, action == Action::\"connect\", resource);";
    let gateway = setup().start().await;
    let connect = Connect::new(Version::V5, "d1");
    gateway.v5("d1").await.disconnect().await;
    let refusals = || gateway.query(&["device", "show", "d1"])["refusals"].clone();
    assert_eq!(refusals().as_array().map(Vec::len), Some(0));

    assert!(gateway.operator(&["device", "disable", "d1"]).status.success());
    check(&refusal(&gateway, &connect, 0x8a).await, "disabled");
    let last = |refusals: &serde_json::Value| refusals[0].clone();
    assert_eq!(last(&refusals())["action"], "connect");
    assert!(last(&refusals())["reason"].to_string().contains("disabled"));

    assert!(gateway.operator(&["device", "enable", "d1"]).status.success());
    std::fs::write(gateway.setup().path("policies/closed.cedar"), closed).unwrap();
    assert!(gateway.operator(&["reload"]).status.success());
    check(&refusal(&gateway, &connect, 0x87).await, "policy does not permit `connect`");
    let reason = last(&refusals())["reason"].to_string();
    assert!(reason.contains("closed.cedar:1"), "the operator sees the policy and its line: {reason}");

    let no_wills = "@id(\"closed\")\nforbid (principal, action == Action::\"publish\", resource);";
    std::fs::write(gateway.setup().path("policies/closed.cedar"), no_wills).unwrap();
    assert!(gateway.operator(&["reload"]).status.success());
    let with_will = connect.clone().will(Will::new("devices/d1/last", "x", 1));
    check(&refusal(&gateway, &with_will, 0x87).await, "will's topic");
    let refused = last(&refusals());
    assert_eq!((&refused["action"], &refused["topic"]), (&"will".into(), &"devices/d1/last".into()));
}

#[tokio::test]
async fn a_refused_client_that_has_sent_more_already_still_reads_why() {
    let gateway = setup().start().await;
    gateway.v5("d1").await.disconnect().await;
    assert!(gateway.operator(&["device", "disable", "d1"]).status.success());
    let mut train = Connect::new(Version::V5, "d1").bytes();
    for _ in 0..8 {
        train.extend(Publish::new("t", vec![b'x'; 8000], 0).bytes(Version::V5));
    }
    for round in 0..20 {
        let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("d1"), Version::V5).await.unwrap();
        wire.send(&train).await.unwrap();
        match wire.until_closed().await.first() {
            Some(Packet::ConnAck { code: 0x8a, properties, .. }) => check(properties, "disabled"),
            other => panic!("{other:?} in round {round}"),
        }
    }
    gateway.assert_no_panic();
}
