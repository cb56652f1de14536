//! The bounds of sessions: what happens at each, who is not hurt by it, and which metric tells of it.

use crate::setup;
use causeway_tests::packet::{Value, number, property};
use causeway_tests::{Connect, Publish, Version, Will};

/// A client that takes one message and never acknowledges it.
fn mute(name: &str) -> Connect {
    Connect::new(Version::V5, name).with(property::RECEIVE_MAXIMUM, Value::Two(1))
}

#[tokio::test]
async fn all_queues_together_are_bounded_and_who_reads_is_served_on() {
    const TOTAL: u64 = 256 * 1024;
    let gateway = setup().set("mqtt.max_queue_bytes_total", "256KiB".into()).start().await;
    let mut kept = gateway.device(mute("kept").persistent(600)).await;
    let mut mutes = Vec::new();
    for n in 0..4 {
        mutes.push(gateway.device(mute(&format!("mute-{n}"))).await);
    }
    let mut good = gateway.v5("good").await;
    for device in mutes.iter_mut().chain([&mut kept, &mut good]) {
        assert_eq!(device.subscribe("full", 1).await, 1);
    }
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..400 {
        let payload = format!("{n} {}", "x".repeat(2000));
        assert!(publisher.publish(Publish::new("full", payload.clone(), 1)).await < 0x80);
        assert_eq!(good.message().await.text(), payload);
    }
    assert!(gateway.metric("causeway_mqtt_queues_squeezed_total").await > 0);
    assert!(gateway.metric("causeway_mqtt_queue_dropped_total").await > 0);
    let held = gateway.metric("causeway_mqtt_queue_bytes").await;
    assert!(held <= TOTAL + 6 * 16 * 1024, "{held} bytes are held");
    // What was left on the disk is not lost.
    for n in 0..400 {
        let text = kept.message().await.text();
        assert_eq!(text.split(' ').next(), Some(n.to_string().as_str()));
    }
    drop(mutes);
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_client_that_never_acknowledges_holds_no_more_than_its_bytes() {
    let gateway = setup().set("mqtt.max_queue_bytes", "64KiB".into()).start().await;
    let mut device = gateway.device(Connect::new(Version::V5, "greedy").persistent(600)).await;
    device.subscribe("heavy", 1).await;
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..200 {
        assert!(publisher.publish(Publish::new("heavy", format!("{n} {}", "x".repeat(2000)), 1)).await < 0x80);
    }
    device.ping().await;
    let sent = device.pending();
    assert!(sent.len() <= 33, "{} messages are in flight", sent.len());
    for message in &sent {
        device.acknowledge(message).await;
    }
    for n in sent.len()..200 {
        let text = device.message().await.text();
        assert_eq!(text.split(' ').next(), Some(n.to_string().as_str()));
    }
}

#[tokio::test]
async fn a_bound_that_was_hit_shows_in_its_metric() {
    let gateway = setup()
        .set("mqtt.max_inflight", 2.into())
        .set("mqtt.server_keep_alive_max", "30s".into())
        .set("mqtt.max_will_delay", "1s".into())
        .start()
        .await;
    let metrics =
        ["windows_full", "keep_alives_cut", "will_delays_cut"].map(|name| format!("causeway_mqtt_{name}_total"));
    let hits = async || {
        let mut hits = Vec::new();
        for metric in &metrics {
            hits.push(gateway.metric(metric).await);
        }
        hits
    };
    let within = Connect::new(Version::V5, "within").keep_alive(30).will(Will::new("w", "x", 0).delay(1));
    gateway.device(within).await.disconnect().await;
    assert_eq!(hits().await, [0, 0, 0]);
    let beyond = Connect::new(Version::V5, "beyond").keep_alive(31).will(Will::new("w", "x", 0).delay(2));
    let mut device = gateway.device(beyond).await;
    assert_eq!(number(&device.properties, property::SERVER_KEEP_ALIVE), Some(30));
    device.subscribe("f", 1).await;
    for _ in 0..3 {
        device.publish(Publish::new("f", "x", 1)).await;
    }
    device.ping().await;
    assert_eq!(device.pending().len(), 2);
    assert_eq!(hits().await, [1, 1, 1]);
}
