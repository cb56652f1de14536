//! Retained messages: kept, counted out to new subscriptions in full, and still there after the process died.

use crate::gateway;
use causeway_tests::packet::{Value, number, property};
use causeway_tests::{Connect, Publish, Version};

#[tokio::test]
async fn a_new_subscription_gets_the_retained_message_and_a_live_one_no_flag() {
    let gateway = gateway().await;
    for version in [Version::V311, Version::V5] {
        let mut device = gateway.device(Connect::new(version, "keeper")).await;
        let topic = format!("{version:?}/r");
        device.subscribe(&topic, 1).await;
        assert!(device.publish(Publish::new(&topic, "old", 1).retain()).await < 0x80);
        assert!(!device.message().await.retain, "a live copy");
        device.subscribe(&format!("{version:?}/#"), 1).await;
        let message = device.message().await;
        assert_eq!((message.text(), message.retain), ("old".into(), true));
    }
}

#[tokio::test]
async fn an_empty_retained_publish_clears_and_an_empty_plain_one_does_not() {
    let gateway = gateway().await;
    let mut device = gateway.v5("cleaner").await;
    device.publish(Publish::new("c", "kept", 1).retain()).await;
    device.publish(Publish::new("c", "", 1)).await;
    device.subscribe("c", 0).await;
    assert_eq!(device.message().await.text(), "kept");
    device.unsubscribe(&["c"]).await;
    device.publish(Publish::new("c", "", 1).retain()).await;
    device.subscribe("c", 0).await;
    device.ping().await;
    assert_eq!(device.pending(), []);
}

#[tokio::test]
async fn five_hundred_retained_messages_are_all_delivered() {
    let gateway = gateway().await;
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..500_u32 {
        assert!(
            publisher.publish(Publish::new(&format!("many/{n}"), format!("{n}"), (n % 3) as u8).retain()).await < 0x80
        );
    }
    publisher.publish(Publish::new("flush", "", 1)).await;
    for (version, qos) in [(Version::V311, 0), (Version::V311, 1), (Version::V5, 2)] {
        let mut subscriber = gateway.device(Connect::new(version, "subscriber")).await;
        subscriber.subscribe("many/#", qos).await;
        let mut topics = std::collections::BTreeSet::new();
        while topics.len() < 500 {
            let message = subscriber.message().await;
            assert!(message.retain);
            assert_eq!(message.topic, format!("many/{}", message.text()));
            topics.insert(message.topic);
        }
        subscriber.disconnect().await;
    }
}

#[tokio::test]
async fn retained_messages_survive_the_death_of_the_process() {
    let mut gateway = gateway().await;
    let mut device = gateway.v5("publisher").await;
    for n in 0..50 {
        let message = Publish::new(&format!("kept/{n}"), format!("{n}"), 1).retain();
        let message = message.with(property::USER, Value::Pair("n".into(), n.to_string()));
        assert!(device.publish(message).await < 0x80);
    }
    assert!(device.publish(Publish::new("kept/0", "", 1).retain()).await < 0x80);
    gateway.kill();
    gateway.launch().await;
    let mut device = gateway.v5("subscriber").await;
    device.subscribe("kept/+", 1).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 49 {
        let message = device.message().await;
        assert_eq!(message.properties, [(property::USER, Value::Pair("n".into(), message.text()))]);
        seen.insert(message.text());
    }
    device.ping().await;
    assert_eq!(device.pending(), []);
    assert!(!seen.contains("0"));
}

#[tokio::test]
async fn retain_handling_decides_whether_retained_messages_are_sent() {
    let gateway = gateway().await;
    let mut device = gateway.v5("handler").await;
    device.publish(Publish::new("h", "x", 1).retain()).await;
    for (options, new, again) in [(0x00, 1, 1), (0x10, 1, 0), (0x20, 0, 0)] {
        for expected in [new, again] {
            device.subscribe("h", options).await;
            device.ping().await;
            assert_eq!(device.pending().len(), expected, "options {options:#04x}");
        }
        device.unsubscribe(&["h"]).await;
    }
}

#[tokio::test]
async fn retain_as_published_keeps_the_flag_of_live_messages() {
    let gateway = gateway().await;
    let mut device = gateway.v5("as-published").await;
    device.subscribe("p", 0x08).await;
    device.publish(Publish::new("p", "x", 0).retain()).await;
    assert!(device.message().await.retain);
    device.publish(Publish::new("p", "x", 0)).await;
    assert!(!device.message().await.retain);
}

#[tokio::test]
async fn a_retained_message_says_how_long_it_is_still_valid_and_goes_when_it_is_not() {
    let gateway = gateway().await;
    let mut device = gateway.v5("expiring").await;
    let expiry = |seconds| (property::MESSAGE_EXPIRY, Value::Four(seconds));
    let (id, value) = expiry(1000);
    device.publish(Publish::new("e/long", "x", 1).retain().with(id, value)).await;
    device.subscribe("e/long", 0).await;
    let left = number(&device.message().await.properties, property::MESSAGE_EXPIRY).expect("an expiry");
    assert!((900..=1000).contains(&left), "{left}");
    let (id, value) = expiry(1);
    device.publish(Publish::new("e/short", "x", 1).retain().with(id, value)).await;
    causeway_tests::wait::until("the message expires", async || {
        device.unsubscribe(&["e/short"]).await;
        device.subscribe("e/short", 0).await;
        device.ping().await;
        device.pending().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn wildcards_at_the_front_do_not_match_dollar_topics() {
    let gateway = gateway().await;
    let mut device = gateway.v5("dollar").await;
    device.subscribe("#", 0).await;
    device.subscribe("+/x", 0).await;
    device.publish(Publish::new("$own/x", "hidden", 1)).await;
    // Messages of one publisher keep their order: when the second is here, the first has gone by.
    device.publish(Publish::new("seen/x", "marker", 1)).await;
    assert_eq!(device.message().await.text(), "marker");
    device.ping().await;
    assert_eq!(device.pending(), []);
    device.subscribe("$own/#", 0).await;
    device.publish(Publish::new("$own/x", "seen", 1)).await;
    assert_eq!(device.message().await.text(), "seen");
}
