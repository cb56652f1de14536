//! Delivery guarantees in both directions: who acknowledges what, and what a lost acknowledgement leads to.

use crate::gateway;
use causeway_tests::packet::{self, Value, property};
use causeway_tests::{Connect, Publish, Version};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[tokio::test]
async fn a_message_is_delivered_with_the_lesser_guarantee() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "lesser")).await;
        for subscribed in 0..3 {
            assert_eq!(device.subscribe("q", subscribed).await, subscribed);
            for published in 0..3 {
                assert!(device.publish(Publish::new("q", "x", published)).await < 0x80);
                assert_eq!(device.message().await.qos, published.min(subscribed), "{published} to {subscribed}");
            }
        }
    }
}

#[tokio::test]
async fn messages_of_one_publisher_arrive_in_order() {
    let gateway = gateway().await;
    let mut subscriber = gateway.v5("subscriber").await;
    subscriber.subscribe("order/+", 2).await;
    let mut publisher = gateway.v311("publisher").await;
    for qos in 0..3 {
        for n in 0..300 {
            if qos == 0 {
                publisher.start(Publish::new("order/a", format!("{n}"), qos)).await;
            } else {
                publisher.publish(Publish::new("order/a", format!("{n}"), qos)).await;
            }
        }
        for n in 0..300 {
            assert_eq!(subscriber.message().await.text(), n.to_string(), "QoS {qos}");
        }
    }
}

#[tokio::test]
async fn many_publishes_in_flight_are_all_acknowledged() {
    let gateway = gateway().await;
    let mut device = gateway.v311("burst").await;
    let mut train = Vec::new();
    for id in 1..=1000 {
        train.extend(Publish::new("burst", "x", 1).id(id).bytes(Version::V311));
    }
    device.send(&train).await;
    for id in 1..=1000 {
        assert!(device.puback(id).await < 0x80);
    }
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_delivered_once() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "twice")).await;
        device.subscribe("once", 2).await;
        let publish = Publish::new("once", "x", 2).id(7);
        device.start(publish.clone()).await;
        assert!(device.pubrec(7).await < 0x80);
        device.start(publish.dup()).await;
        assert!(device.pubrec(7).await < 0x80);
        device.send(&packet::ack(0x62, 7)).await;
        assert_eq!(device.pubcomp(7).await, 0);
        assert_eq!(device.message().await.text(), "x");
        device.ping().await;
        assert_eq!(device.pending(), []);
    }
}

#[tokio::test]
async fn a_release_of_an_unknown_id_is_answered() {
    let gateway = gateway().await;
    let mut device = gateway.v5("unknown").await;
    device.send(&packet::ack(0x62, 99)).await;
    assert_eq!(device.pubcomp(99).await, 0x92);
    let mut device = gateway.v311("unknown-old").await;
    device.send(&packet::ack(0x62, 99)).await;
    assert_eq!(device.pubcomp(99).await, 0);
}

#[tokio::test]
async fn a_qos_2_exchange_goes_on_after_the_connection_and_after_the_process() {
    let mut gateway = gateway().await;
    let mut subscriber = gateway.device(Connect::new(Version::V5, "subscriber").persistent(600)).await;
    subscriber.subscribe("exact", 2).await;
    for (version, id) in [(Version::V311, 11), (Version::V5, 12)] {
        let connect = Connect::new(version, "exact").persistent(600);
        for restart in [false, true] {
            let payload = format!("{version:?} {restart}");
            let publish = Publish::new("exact", payload.clone(), 2).id(id);
            let mut device = gateway.device(connect.clone()).await;
            device.start(publish.clone()).await;
            assert!(device.pubrec(id).await < 0x80);
            if restart {
                gateway.kill();
                gateway.launch().await;
                subscriber = gateway.device(Connect::new(Version::V5, "subscriber").persistent(600)).await;
            }
            let mut device = gateway.device(connect.clone()).await;
            assert!(device.session_present, "{payload}");
            device.start(publish.dup()).await;
            assert!(device.pubrec(id).await < 0x80);
            device.send(&packet::ack(0x62, id)).await;
            assert_eq!(device.pubcomp(id).await, 0);
            assert_eq!(subscriber.message().await.text(), payload);
            subscriber.ping().await;
            assert_eq!(subscriber.pending(), [], "{payload}");
        }
    }
}

#[tokio::test]
async fn an_unacknowledged_delivery_is_repeated_with_its_id_after_a_reconnect() {
    let gateway = gateway().await;
    for version in VERSIONS {
        for qos in [1, 2] {
            let connect = Connect::new(version, "repeat").persistent(600);
            let mut device = gateway.device(connect.clone()).await;
            device.subscribe("r", qos).await;
            device.publish(Publish::new("r", "x", qos)).await;
            let first = device.delivery().await;
            assert!(!first.dup);
            let mut device = gateway.device(connect).await;
            let second = device.message().await;
            assert_eq!((second.id, second.dup, second.qos), (first.id, true, qos));
            device.disconnect().await;
            gateway.device(Connect::new(version, "repeat")).await.disconnect().await;
        }
    }
}

#[tokio::test]
async fn after_pubrec_only_the_release_is_repeated() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let connect = Connect::new(version, "released").persistent(600);
        let mut device = gateway.device(connect.clone()).await;
        device.subscribe("r", 2).await;
        device.publish(Publish::new("r", "x", 2)).await;
        let first = device.delivery().await;
        device.send(&packet::ack(0x50, first.id)).await;
        device.pubrel(first.id).await;
        let mut device = gateway.device(connect).await;
        device.pubrel(first.id).await;
        device.send(&packet::ack(0x70, first.id)).await;
        device.ping().await;
        assert_eq!(device.pending(), []);
        device.disconnect().await;
        gateway.device(Connect::new(version, "released")).await.disconnect().await;
    }
}

#[tokio::test]
async fn acknowledgements_in_any_order_and_of_unknown_ids_are_taken() {
    let gateway = gateway().await;
    let mut device = gateway.v5("shuffled").await;
    device.subscribe("s", 1).await;
    for round in 0..2 {
        let mut deliveries = Vec::new();
        for n in 0..5 {
            device.publish(Publish::new("s", format!("{round} {n}"), 1)).await;
            deliveries.push(device.delivery().await);
        }
        device.send(&packet::ack(0x40, 60_000)).await;
        for delivery in deliveries.iter().rev() {
            device.acknowledge(delivery).await;
        }
        device.ping().await;
    }
}

#[tokio::test]
async fn no_more_than_the_receive_maximum_is_in_flight_to_a_client() {
    let gateway = gateway().await;
    let connect = Connect::new(Version::V5, "narrow").with(property::RECEIVE_MAXIMUM, Value::Two(2));
    let mut device = gateway.device(connect).await;
    device.subscribe("n", 1).await;
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..6 {
        publisher.publish(Publish::new("n", format!("{n}"), 1)).await;
    }
    for n in (0..6).step_by(2) {
        let one = device.delivery().await;
        let two = device.delivery().await;
        assert_eq!([one.text(), two.text()], [n.to_string(), (n + 1).to_string()]);
        device.ping().await;
        assert_eq!(device.pending(), []);
        device.acknowledge(&two).await;
        device.acknowledge(&one).await;
    }
}

#[tokio::test]
async fn a_publisher_beyond_the_receive_maximum_of_the_gateway_is_cut() {
    let gateway = crate::setup().set("mqtt.receive_maximum", 10.into()).start().await;
    let mut device = gateway.v5("greedy").await;
    assert_eq!(packet::number(&device.properties, property::RECEIVE_MAXIMUM), Some(10));
    // PUBREC does not give room back, PUBCOMP does (MQTT5 4.9).
    for id in 1..=11 {
        device.start(Publish::new("g", "x", 2).id(id)).await;
    }
    assert_eq!(device.closed().await, Some(0x93));
}

#[tokio::test]
async fn a_message_without_a_subscriber_is_acknowledged_too() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "lonely")).await;
        for qos in [1, 2] {
            assert!(device.publish(Publish::new("nobody/listens", "x", qos)).await < 0x80);
        }
    }
}

#[tokio::test]
async fn packet_id_zero_is_malformed() {
    let gateway = gateway().await;
    for version in VERSIONS {
        let mut device = gateway.device(Connect::new(version, "zero")).await;
        device.send(&Publish::new("z", "x", 1).bytes(version)).await;
        device.closed().await;
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_at_least_the_highest_guarantee() {
    let gateway = gateway().await;
    let mut device = gateway.v5("overlap").await;
    let codes = device.subscribe_all(&[("o/#", 0), ("o/+", 2), ("o/x", 1)], &Vec::new()).await;
    assert_eq!(codes, [0, 2, 1]);
    device.publish(Publish::new("o/x", "x", 2)).await;
    let mut best = device.message().await.qos;
    device.ping().await;
    best = device.pending().iter().map(|message| message.qos).max().unwrap_or(0).max(best);
    assert_eq!(best, 2);
}

#[tokio::test]
async fn a_ping_is_answered_at_once_while_deliveries_wait_for_acknowledgements() {
    let gateway = gateway().await;
    let mut device = gateway.v311("stuck").await;
    device.subscribe("stuck", 1).await;
    let mut publisher = gateway.v5("publisher").await;
    for _ in 0..200 {
        assert!(publisher.publish(Publish::new("stuck", "x", 1)).await < 0x80);
    }
    device.ping().await;
    assert!(device.publish(Publish::new("elsewhere", "x", 1)).await < 0x80);
}
