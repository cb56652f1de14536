//! What MQTT 5 adds, and what a 3.1.1 client sees of it: nothing.

use crate::gateway;
use causeway_tests::packet::{self, Properties, Value, number, property};
use causeway_tests::{Connect, Device, Publish, Version};

#[tokio::test]
async fn properties_pass_to_version_5_and_are_stripped_for_3_1_1() {
    let gateway = gateway().await;
    let properties: Properties = vec![
        (property::PAYLOAD_FORMAT, Value::Byte(1)),
        (property::CONTENT_TYPE, Value::Text("text/plain".into())),
        (property::RESPONSE_TOPIC, Value::Text("p/reply".into())),
        (property::CORRELATION, Value::Binary(vec![0, 1, 255])),
        (property::USER, Value::Pair("a".into(), "1".into())),
        (property::USER, Value::Pair("a".into(), "2".into())),
    ];
    let mut new = gateway.v5("new").await;
    let mut old = gateway.v311("old").await;
    new.subscribe("p", 2).await;
    old.subscribe("p", 2).await;
    for qos in 0..3 {
        let mut publish = Publish::new("p", "x", qos);
        publish.properties.clone_from(&properties);
        assert!(new.publish(publish).await < 0x80);
        let sorted = |mut properties: Properties| {
            properties.sort_by_key(|(id, _)| *id);
            properties
        };
        assert_eq!(sorted(new.message().await.properties), sorted(properties.clone()));
        assert_eq!(old.message().await.text(), "x");
    }
    // The same client id again: the crash that this guards against showed at the reconnect.
    drop(old);
    gateway.v311("old").await.ping().await;
}

#[tokio::test]
async fn a_request_finds_its_way_back() {
    let gateway = gateway().await;
    let mut server = gateway.v5("server").await;
    server.subscribe("request", 1).await;
    let mut client = gateway.v5("client").await;
    client.subscribe("reply/client", 1).await;
    let request = Publish::new("request", "2+2", 1)
        .with(property::RESPONSE_TOPIC, Value::Text("reply/client".into()))
        .with(property::CORRELATION, Value::Binary(vec![42]));
    client.publish(request).await;
    let request = server.message().await;
    let to = packet::text(&request.properties, property::RESPONSE_TOPIC).unwrap();
    server.publish(Publish::new(to, "4", 1).with(property::CORRELATION, Value::Binary(vec![42]))).await;
    let reply = client.message().await;
    assert_eq!((reply.text(), reply.properties), ("4".into(), vec![(property::CORRELATION, Value::Binary(vec![42]))]));
}

#[tokio::test]
async fn each_matching_subscription_identifier_arrives() {
    let gateway = gateway().await;
    let mut device = gateway.v5("numbered").await;
    let id = |n| vec![(property::SUBSCRIPTION_ID, Value::Variable(n))];
    device.subscribe_all(&[("n/#", 1)], &id(1)).await;
    device.subscribe_all(&[("n/+", 1)], &id(200_000_000)).await;
    device.subscribe_all(&[("other", 1)], &id(3)).await;
    device.publish(Publish::new("n/x", "x", 1)).await;
    let mut seen = device.message().await.properties;
    device.ping().await;
    seen.extend(device.pending().into_iter().flat_map(|message| message.properties));
    let mut ids: Vec<_> = seen.iter().filter_map(|one| number(&vec![one.clone()], property::SUBSCRIPTION_ID)).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 200_000_000]);
}

#[tokio::test]
async fn no_local_keeps_a_publishers_own_messages_away() {
    let gateway = gateway().await;
    let mut device = gateway.v5("self").await;
    device.subscribe("l", 0x05).await;
    device.publish(Publish::new("l", "own", 1)).await;
    gateway.v5("other").await.publish(Publish::new("l", "other's", 1)).await;
    assert_eq!(device.message().await.text(), "other's");
}

fn alias(n: u16) -> (u8, Value) {
    (property::ALIAS, Value::Two(n))
}

fn aliased(topic: &str, payload: &str, n: u16) -> Publish {
    let (id, value) = alias(n);
    Publish::new(topic, payload, 1).with(id, value)
}

#[tokio::test]
async fn a_topic_alias_stands_for_its_topic_until_it_is_bound_again() {
    let gateway = gateway().await;
    let mut device = gateway.v5("aliases").await;
    assert!(number(&device.properties, property::ALIAS_MAXIMUM).is_some_and(|maximum| maximum > 0));
    device.subscribe("a/#", 1).await;
    for (topic, payload, expected) in
        [("a/one", "1", "a/one"), ("", "2", "a/one"), ("a/two", "3", "a/two"), ("", "4", "a/two")]
    {
        assert!(device.publish(aliased(topic, payload, 1)).await < 0x80);
        let message = device.message().await;
        assert_eq!((message.topic.as_str(), message.text().as_str()), (expected, payload));
        assert_eq!(message.properties, [], "the alias is the publisher's alone");
    }
}

#[tokio::test]
async fn alias_abuse_ends_the_connection_and_aliases_die_with_it() {
    let gateway = gateway().await;
    let mut device = gateway.v5("abuser").await;
    let maximum = number(&device.properties, property::ALIAS_MAXIMUM).unwrap();
    device.publish(aliased("bound", "x", 1)).await;
    let beyond = u16::try_from(maximum + 1).unwrap();
    for (publish, reasons) in [
        (aliased("t", "zero", 0), [0x94, 0x82]),
        (aliased("t", "beyond", beyond), [0x94, 0x82]),
        (aliased("", "of an earlier connection", 1), [0x94, 0x82]),
        (aliased("", "never bound", 2), [0x94, 0x82]),
    ] {
        let text = publish.text();
        let mut device = gateway.v5("abuser").await;
        device.start(publish).await;
        let reason = device.closed().await.expect("a reason");
        assert!(reasons.contains(&reason), "{text}: {reason:#04x}");
    }
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_expired_message_is_not_delivered_and_a_waiting_one_says_what_is_left() {
    let gateway = gateway().await;
    let connect = Connect::new(Version::V5, "late").persistent(600);
    let mut late = gateway.device(connect.clone()).await;
    late.subscribe("e/#", 1).await;
    late.disconnect().await;
    let mut device = gateway.v5("publisher").await;
    let expiry = |publish: Publish, seconds| publish.with(property::MESSAGE_EXPIRY, Value::Four(seconds));
    // A retained twin of the short message shows when its second is over; before that, none may only mean "not yet".
    device.publish(expiry(Publish::new("e/short", "short", 1).retain(), 1)).await;
    device.publish(expiry(Publish::new("e/long", "long", 1), 1000)).await;
    let published = std::time::Instant::now();
    causeway_tests::wait::until("the message expires", async || {
        device.unsubscribe(&["e/short"]).await;
        device.subscribe("e/short", 0).await;
        device.ping().await;
        (device.pending().is_empty() && published.elapsed() > std::time::Duration::from_secs(1)).then_some(())
    })
    .await;
    let mut late = gateway.device(connect).await;
    let message = late.message().await;
    assert_eq!(message.text(), "long");
    let left = number(&message.properties, property::MESSAGE_EXPIRY).expect("an expiry");
    assert!((900..1000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_message_beyond_the_clients_maximum_packet_size_is_not_sent_to_it() {
    let gateway = gateway().await;
    let connect = Connect::new(Version::V5, "small").with(property::MAXIMUM_PACKET_SIZE, Value::Four(100));
    let mut small = gateway.device(connect).await;
    small.subscribe("size", 1).await;
    let mut publisher = gateway.v5("publisher").await;
    publisher.publish(Publish::new("size", vec![b'x'; 200], 1)).await;
    publisher.publish(Publish::new("size", "fits", 1)).await;
    assert_eq!(small.message().await.text(), "fits");
}

#[tokio::test]
async fn shared_subscriptions_are_said_to_be_unavailable() {
    let gateway = gateway().await;
    let mut device = gateway.v5("sharer").await;
    assert_eq!(number(&device.properties, property::SHARED_AVAILABLE), Some(0));
    assert_eq!(device.subscribe("$share/group/t", 1).await, 0x9e);
    let mut old = gateway.v311("old-sharer").await;
    assert_eq!(old.subscribe("$share/group/t", 1).await, 0x80);
    gateway.assert_well().await;
}

#[tokio::test]
async fn each_filter_of_one_subscribe_has_its_own_answer() {
    let gateway = gateway().await;
    let mut device = gateway.v5("many").await;
    let codes = device.subscribe_all(&[("ok/1", 0), ("$share/g/x", 1), ("ok/2", 2)], &Vec::new()).await;
    assert_eq!(codes, [0, 0x9e, 2]);
    assert_eq!(device.unsubscribe(&["ok/1", "ok/1", "ok/2"]).await, [0, 0x11, 0]);
}

#[tokio::test]
async fn a_client_that_asks_for_enhanced_authentication_is_refused() {
    let gateway = gateway().await;
    let connect = Connect::new(Version::V5, "auth").with(0x15, Value::Text("SCRAM-SHA-1".into()));
    let device = Device::connect(gateway.address(8883), &gateway.identity("auth"), &connect).await;
    assert_eq!(device.code, 0x8c);
}

#[tokio::test]
async fn an_unknown_protocol_level_is_refused_with_the_fitting_code() {
    let gateway = gateway().await;
    for (level, expected) in [(3, 1), (6, 0x84)] {
        let mut bytes = Connect::new(Version::V311, "level").bytes();
        bytes[8] = level;
        let version = if level > 4 { Version::V5 } else { Version::V311 };
        let mut device = gateway.v5("bystander").await;
        let mut wire =
            causeway_tests::wire::Wire::tls(gateway.address(8883), &gateway.identity("level"), version).await.unwrap();
        wire.send(&bytes).await.unwrap();
        match wire.until_closed().await.first() {
            Some(packet::Packet::ConnAck { code, .. }) => assert_eq!(*code, expected, "level {level}"),
            other => assert_eq!(other, None, "level {level}"),
        }
        device.ping().await;
    }
}

#[tokio::test]
async fn the_connack_tells_the_limits_of_the_gateway() {
    let gateway = crate::setup().set("mqtt.max_packet_bytes", "100000B".into()).start().await;
    let mut device = gateway.v5("reader").await;
    assert_eq!(number(&device.properties, property::MAXIMUM_PACKET_SIZE), Some(100_000));
    device.start(Publish::new("big", vec![0; 100_001], 0)).await;
    assert_eq!(device.closed().await, Some(0x95));
}
