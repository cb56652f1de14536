//! Peers that break the rules: each costs its own connection and nothing else.
//!
//! Every test ends with the same question: do all protocol versions still get a CONNACK, and has nothing panicked?

use crate::{gateway, setup};
use causeway_tests::packet::{self, Connect, Packet, Value, frame, property};
use causeway_tests::wire::{Wire, secure, tcp};
use causeway_tests::{Gateway, Publish, Version, Will, wait};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

mod framing;
mod malformed;
mod mutation;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// Sends `bytes` as a device that has connected, awaits the end, and connects again with the same client id.
async fn check_is_cut(gateway: &Gateway, version: Version, bytes: &[u8], what: &str) {
    let mut device = gateway.device(Connect::new(version, "offender")).await;
    device.send(bytes).await;
    let reason = device.closed().await;
    if version == Version::V5 {
        assert!(reason.is_some_and(|reason| reason >= 0x80), "{what}: reason {reason:?}");
    }
    gateway.device(Connect::new(version, "offender")).await.ping().await;
}

#[tokio::test]
async fn topics_that_start_with_any_character_are_delivered() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "unicode")).await;
        device.subscribe("#", 1).await;
        for topic in ["é/x", "日本/語", "\u{10348}", " ", "/", "//", "a//b", "\u{1}/x", "ÿ"] {
            let reason = device.publish(Publish::new(topic, "x", 1)).await;
            assert!(reason < 0x80, "{topic:?} {reason:#04x}");
            assert_eq!(device.message().await.topic, topic);
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn client_ids_of_any_characters_are_served_again_and_again() {
    let gateway = gateway().await;
    for version in VERSIONS {
        for id in ["plant/line1", "+", "#", "$share/x", "a b", "é", "../../etc/passwd", "\"';--", &"x".repeat(200)] {
            for _ in 0..3 {
                let mut device = gateway.device_as("odd", Connect::new(version, id).persistent(60)).await;
                device.subscribe("odd", 1).await;
                device.ping().await;
            }
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn packets_that_only_a_server_sends_are_refused() {
    let gateway = gateway().await;
    for version in VERSIONS {
        for bytes in [
            [0x20, 3, 0, 0, 0].as_slice(),
            &[0x20, 2, 0, 0],
            &[0x90, 3, 0, 1, 0],
            &[0x90, 4, 0, 1, 0, 0],
            &[0xb0, 2, 0, 1],
            &[0xb0, 4, 0, 1, 0, 0],
            &[0xd0, 0],
            &[0xf0, 0],
            &[0x00, 0],
        ] {
            // In MQTT 5 type 15 is AUTH: refused too, because no authentication was agreed upon.
            check_is_cut(&gateway, version, bytes, &format!("{bytes:02x?}")).await;
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_shared_subscription_left_with_an_unacknowledged_message_hurts_nobody() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "group").persistent(60)).await;
        device.subscribe("$share/g/t", 1).await;
        device.subscribe("t", 1).await;
        gateway.v5("publisher").await.publish(Publish::new("t", "x", 1)).await;
        drop(device);
        gateway.device(Connect::new(version, "group").persistent(60)).await.disconnect().await;
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_subscriber_that_leaves_or_is_taken_over_behind_a_backlog_hurts_nobody() {
    let gateway = gateway().await;
    let mut publisher = gateway.v5("publisher").await;
    for round in 0..20 {
        let mut slow = gateway.v311("slow").await;
        slow.subscribe("backlog", 0).await;
        for _ in 0..200 {
            publisher.start(Publish::new("backlog", vec![b'x'; 2000], 0)).await;
        }
        if round % 2 == 0 {
            slow.send(&packet::disconnect(Version::V311, 0, &Vec::new())).await;
        } else {
            let next = gateway.v311("slow").await;
            next.disconnect().await;
        }
    }
    publisher.ping().await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_will_to_an_impossible_topic_is_refused() {
    let gateway = gateway().await;
    for version in VERSIONS {
        for topic in ["", "a/#", "a/+", "nul\0"] {
            let connect = Connect::new(version, "poison").will(Will::new(topic, "x", 0));
            let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("poison"), version).await.unwrap();
            wire.send(&connect.bytes()).await.unwrap();
            let packets = wire.until_closed().await;
            assert!(!matches!(packets.first(), Some(Packet::ConnAck { code: 0, .. })), "{topic:?} {packets:?}");
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_giant_packet_is_refused_by_its_header() {
    let gateway = gateway().await;
    for version in VERSIONS {
        check_is_cut(&gateway, version, &[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1], "256 MiB").await;
        check_is_cut(&gateway, version, &[0x30, 0xff, 0xff, 0xff, 0xff, 1], "a length of five bytes").await;
    }
    gateway.assert_well().await;
}

/// Reads until the gateway closes, and says how long after `opened` that was.
async fn cut_after(mut stream: Box<dyn causeway_tests::wire::Stream>, opened: Instant) -> Duration {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    opened.elapsed()
}

/// Every kind of peer that connects and then says too little, 301 of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_half_open_peers_are_cut_within_ten_seconds_and_others_are_served() {
    let gateway = gateway().await;
    let address = gateway.address(8883);
    let connect = Connect::new(Version::V311, "half").bytes();
    let mut open = Vec::new();
    let mut hold =
        |stream: Box<dyn causeway_tests::wire::Stream>| open.push(tokio::spawn(cut_after(stream, Instant::now())));
    for n in 0..240 {
        let mut stream = tcp(address, None).await.unwrap();
        // The first bytes of a ClientHello, or nothing.
        if n % 2 == 0 {
            stream.write_all(&[0x16, 3, 1, 0, 200, 1]).await.unwrap();
        }
        hold(Box::new(stream));
    }
    for part in [&connect[..0], &connect[..1], &connect[..9], &[0x10, 0xff, 0xff, 0xff]] {
        for _ in 0..15 {
            let identity = gateway.identity("half");
            let mut stream = secure(tcp(address, None).await.unwrap(), identity.client).await.unwrap();
            stream.write_all(part).await.unwrap();
            hold(Box::new(stream));
        }
    }
    let mut plain = tcp(gateway.address(1883), None).await.unwrap();
    plain.write_all(&connect[..5]).await.unwrap();
    hold(Box::new(plain));
    assert!(open.len() > 300, "{}", open.len());

    // Good clients come, are served and go, as long as one of the others is there.
    let mut good = gateway.v5("good").await;
    good.subscribe("g", 1).await;
    let (mut served, mut slowest) = (0_u32, Duration::ZERO);
    while served < 3 || open.iter().any(|end| !end.is_finished()) {
        let began = Instant::now();
        let payload = served.to_string();
        let mut other = gateway.v311("other").await;
        assert!(other.publish(Publish::new("g", payload.clone(), 1)).await < 0x80);
        assert_eq!(good.message().await.text(), payload);
        other.disconnect().await;
        (served, slowest) = (served + 1, slowest.max(began.elapsed()));
    }
    println!("{served} clients were served meanwhile, the slowest within {slowest:?}");
    for end in open {
        let after = end.await.unwrap();
        assert!(after <= Duration::from_secs(10), "cut after {after:?}");
    }
    good.ping().await;
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_subscriber_that_never_reads_does_not_hold_up_the_publisher() {
    for qos in 0..3 {
        let gateway = setup().set("mqtt.max_queue_messages", 1000.into()).start().await;
        let mut stuck = gateway.device(Connect::new(Version::V5, "stuck").persistent(600)).await;
        stuck.subscribe("flood", qos).await;
        let mut good = gateway.v5("good").await;
        good.subscribe("flood", 0).await;
        let mut publisher = gateway.v5("publisher").await;
        // More than the socket buffers of both sides hold.
        for n in 0..1500 {
            assert!(publisher.publish(Publish::new("flood", vec![b'x'; 8000], qos)).await < 0x80, "{n}");
            assert_eq!(good.message().await.payload.len(), 8000);
        }
        drop(stuck);
        gateway.assert_well().await;
    }
}

#[tokio::test]
async fn a_subscriber_that_never_acknowledges_keeps_its_window_and_nothing_else() {
    let gateway = setup().set("mqtt.max_queue_messages", 100.into()).start().await;
    let connect = Connect::new(Version::V5, "mute").with(property::RECEIVE_MAXIMUM, Value::Two(5));
    let mut mute = gateway.device(connect).await;
    mute.subscribe("m", 1).await;
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..500 {
        assert!(publisher.publish(Publish::new("m", "x", 1)).await < 0x80, "{n}");
    }
    mute.ping().await;
    assert_eq!(mute.pending().len(), 5);
    gateway.assert_well().await;
}

#[tokio::test]
async fn packet_ids_used_for_two_things_at_once_confuse_nobody() {
    let gateway = gateway().await;
    let mut device = gateway.v5("confused").await;
    device.subscribe("c", 2).await;
    device.start(Publish::new("c", "two", 2).id(5)).await;
    assert!(device.pubrec(5).await < 0x80);
    // An acknowledgement of the wrong kind for an id of the other direction.
    for first in [0x40, 0x50, 0x70] {
        device.send(&packet::ack(first, 77)).await;
    }
    let codes = {
        device.send(&packet::subscribe(Version::V5, 5, &[("d", 1)], &Vec::new())).await;
        device
            .expect("a SUBACK", |packet| match packet {
                Packet::SubAck { id: 5, codes, .. } => Some(codes.clone()),
                _ => None,
            })
            .await
    };
    assert_eq!(codes.len(), 1);
    device.send(&packet::ack(0x62, 5)).await;
    assert_eq!(device.pubcomp(5).await, 0);
    assert_eq!(device.message().await.text(), "two");
    gateway.assert_well().await;
}

#[tokio::test]
async fn other_protocols_on_the_port_are_turned_away() {
    let gateway = gateway().await;
    for bytes in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), &[0; 64], &[0xff; 64], b"SSH-2.0-x\r\n"] {
        for port in [8883, 1883] {
            let mut stream = tcp(gateway.address(port), None).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            let _ = wait::soon("the end", stream.read_to_end(&mut answer)).await;
        }
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_packet_before_connect_is_refused() {
    let gateway = gateway().await;
    for bytes in [Publish::new("t", "x", 0).bytes(Version::V5), frame(0xc0, &[]), frame(0xe0, &[])] {
        let mut wire = Wire::tls(gateway.address(8883), &gateway.identity("early"), Version::V5).await.unwrap();
        wire.send(&bytes).await.unwrap();
        assert_eq!(wire.until_closed().await, []);
    }
    gateway.assert_well().await;
}
