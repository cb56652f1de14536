//! Wills: when they are published, when not, and how long they wait.

use crate::gateway;
use causeway_tests::packet::{self, Value, property};
use causeway_tests::{Connect, Device, Gateway, Publish, Version, Will};

async fn witness(gateway: &Gateway) -> Device {
    let mut witness = gateway.v5("witness").await;
    assert_eq!(witness.subscribe("will/#", 1).await, 1);
    witness
}

/// A message of our own shows that nothing came before it.
async fn nothing_came(witness: &mut Device) {
    witness.publish(Publish::new("will/end", "", 0)).await;
    assert_eq!(witness.message().await.topic, "will/end");
}

#[tokio::test]
async fn a_lost_connection_publishes_the_will_and_a_disconnect_does_not() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    for version in [Version::V311, Version::V5] {
        let connect = Connect::new(version, "mortal").will(Will::new("will/mortal", "lost", 1));
        gateway.device(connect.clone()).await.disconnect().await;
        nothing_came(&mut witness).await;
        drop(gateway.device(connect).await);
        let will = witness.message().await;
        assert_eq!((will.topic, will.payload, will.qos), ("will/mortal".into(), b"lost".to_vec(), 1));
    }
}

#[tokio::test]
async fn a_disconnect_with_will_publishes_it() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    let will = Will::new("will/wished", "bye", 1);
    let mut device = gateway.device(Connect::new(Version::V5, "wisher").will(will)).await;
    device.send(&packet::disconnect(Version::V5, 0x04, &Vec::new())).await;
    assert_eq!(witness.message().await.topic, "will/wished");
}

#[tokio::test]
async fn a_protocol_error_publishes_the_will() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    for version in [Version::V311, Version::V5] {
        let will = Will::new("will/rude", "", 0);
        let mut device = gateway.device(Connect::new(version, "rude").will(will)).await;
        device.send(&[0x20, 0x02, 0x00, 0x00]).await;
        device.closed().await;
        assert_eq!(witness.message().await.topic, "will/rude");
    }
}

#[tokio::test]
async fn a_resumed_session_cancels_the_delayed_will() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    let will = |text: &str| Will::new("will/delayed", text, 1).delay(2);
    let connect = |text| Connect::new(Version::V5, "delayed").persistent(60).will(will(text));
    drop(gateway.device(connect("first")).await);
    drop(gateway.device(connect("second")).await);
    assert_eq!(witness.message().await.text(), "second");
}

#[tokio::test]
async fn a_delayed_will_does_not_wait_beyond_the_end_of_its_session() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    let will = Will::new("will/clean", "", 1).delay(3600);
    drop(gateway.device(Connect::new(Version::V5, "clean").will(will.clone())).await);
    assert_eq!(witness.message().await.topic, "will/clean");
    drop(gateway.device(Connect::new(Version::V5, "brief").persistent(1).will(will.clone())).await);
    assert_eq!(witness.message().await.topic, "will/clean");
    drop(gateway.device(Connect::new(Version::V5, "restarted").persistent(60).will(will)).await);
    gateway.device(Connect::new(Version::V5, "restarted")).await.disconnect().await;
    assert_eq!(witness.message().await.topic, "will/clean");
}

#[tokio::test]
async fn a_takeover_publishes_the_will_without_delay() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    let connect = Connect::new(Version::V5, "twin").will(Will::new("will/twin", "", 1));
    let _first = gateway.device(connect.clone()).await;
    let second = gateway.device(connect).await;
    assert_eq!(witness.message().await.topic, "will/twin");
    second.disconnect().await;
    nothing_came(&mut witness).await;
}

#[tokio::test]
async fn a_retained_will_is_retained_and_keeps_its_properties() {
    let gateway = gateway().await;
    let mut witness = witness(&gateway).await;
    let user = (property::USER, Value::Pair("why".into(), "power".into()));
    let mut will = Will::new("will/kept", "down", 1);
    will.retain = true;
    will.properties.push(user.clone());
    drop(gateway.device(Connect::new(Version::V5, "kept").will(will)).await);
    assert!(!witness.message().await.retain);
    let mut late = gateway.v5("late").await;
    late.subscribe("will/kept", 1).await;
    let message = late.message().await;
    assert_eq!((message.retain, message.properties), (true, vec![user]));
}
