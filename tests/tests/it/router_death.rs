//! The router's thread dies again and again under load: nobody is disconnected and nothing acknowledged is lost.
//!
//! Each death is the panic that rumqttd really has, in the real program: its debug build takes the number of messages
//! that each router lives from the environment.

use crate::setup;
use causeway_tests::{Connect, Device, Publish, Version, packet};
use std::collections::BTreeMap;

/// A prime, so that the deaths move through what the publishers and the links are doing.
const LIFE: &str = "31";
/// Publishers wait for room on the live path after so many messages, so that they meet many routers.
const WINDOW: u32 = 32;
/// Messages of each publisher, and how many of them it sends before it waits for an acknowledgement.
const MESSAGES: usize = 400;
const TRAIN: usize = 20;

/// The publishers: their versions and guarantees.
const PUBLISHERS: [(Version, u8); 4] = [(Version::V5, 1), (Version::V5, 2), (Version::V311, 1), (Version::V311, 2)];

/// Publishes numbers in trains and sees every exchange through; a connection that ends fails the test.
async fn publish(mut device: Device, topic: String, qos: u8) -> Device {
    for first in (0..MESSAGES).step_by(TRAIN) {
        let mut ids = Vec::with_capacity(TRAIN);
        for n in first..first + TRAIN {
            ids.push(device.start(Publish::new(&topic, n.to_string(), qos)).await);
        }
        for id in ids {
            if qos == 1 {
                assert!(device.puback(id).await < 0x80);
                continue;
            }
            assert!(device.pubrec(id).await < 0x80);
            device.send(&packet::ack(0x62, id)).await;
            assert_eq!(device.pubcomp(id).await, 0);
        }
    }
    device
}

/// Reads until every message of every publisher has come, each once and in its publisher's order.
async fn receive(mut device: Device, who: String) -> Device {
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..MESSAGES * PUBLISHERS.len() {
        let message = device.message().await;
        let next = next.entry(message.topic.clone()).or_default();
        assert_eq!(message.text(), next.to_string(), "{} at {who}", message.topic);
        *next += 1;
    }
    device.ping().await;
    assert_eq!(device.pending(), [], "{who} got more than was published");
    device
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_again_and_again_disconnects_nobody_and_loses_nothing_acknowledged() {
    let setup = setup().set("router.links", 2.into()).set("router.window_messages", WINDOW.into());
    let setup = setup.environment("CAUSEWAY_ROUTER_LIVES", LIFE);
    let mut gateway = setup.allow_panics().start().await;
    // Two sessions that are away: one comes back behind the deaths of routers, the other behind that of the process.
    let away = ["away-a", "away-b"].map(|name| Connect::new(Version::V5, name).persistent(600));
    for connect in &away {
        let mut device = gateway.device(connect.clone()).await;
        assert_eq!(device.subscribe("death/+", 2).await, 2);
        device.disconnect().await;
    }
    let mut subscribers = Vec::new();
    for (version, persistent, qos) in
        [(Version::V5, true, 2), (Version::V311, false, 2), (Version::V311, true, 1), (Version::V5, false, 1)]
    {
        let name = format!("subscriber-{version:?}-{qos}");
        let connect = Connect::new(version, &name);
        let connect = if persistent { connect.persistent(600) } else { connect };
        let mut device = gateway.device(connect).await;
        assert_eq!(device.subscribe("death/+", qos).await, qos);
        subscribers.push(tokio::spawn(receive(device, name)));
    }
    let mut publishers = Vec::new();
    for (version, qos) in PUBLISHERS {
        let name = format!("publisher-{version:?}-{qos}");
        let device = gateway.device(Connect::new(version, &name)).await;
        publishers.push(tokio::spawn(publish(device, format!("death/{name}"), qos)));
    }
    for device in publishers.into_iter().chain(subscribers) {
        device.await.unwrap().ping().await;
    }
    let deaths = gateway.metric("causeway_router_restarts_total").await;
    println!("{deaths} deaths of the router for {} messages", MESSAGES * PUBLISHERS.len());
    assert!(deaths >= 10, "only {deaths} deaths");
    assert_eq!(gateway.metric("causeway_router_lost_messages_total").await, 0);
    assert!(gateway.log().contains("panicked at"), "the router's thread did not really die");

    let [first, second] = away;
    let device = gateway.device(first).await;
    assert!(device.session_present);
    receive(device, "away-a".into()).await.disconnect().await;
    gateway.kill();
    gateway.launch().await;
    let device = gateway.device(second).await;
    assert!(device.session_present);
    receive(device, "away-b".into()).await;
}
