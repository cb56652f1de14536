//! Policies at work: a device has its own topics and nothing else, and a change reaches sessions that are connected.

use crate::setup;
use causeway_tests::{Connect, Device, Publish, Version, Will, vehicle, wait};
use rustix::process::Signal;
use serde_json::json;

const DENIED: u8 = 0x87;

#[tokio::test]
async fn a_device_has_its_own_topics_and_nothing_else() {
    let gateway = setup().shipped_policies().start().await;
    let mut device = gateway.v5("d1").await;
    for kind in ["cardata", "dtc", "trip", "event"] {
        assert!(device.publish(Publish::new(&vehicle::topic("d1", kind), "x", 1)).await < 0x80, "{kind}");
        assert_eq!(device.publish(Publish::new(&vehicle::topic("d2", kind), "x", 1)).await, DENIED, "{kind}");
    }
    assert!(device.publish(Publish::new("devices/d1/any/thing", "x", 2)).await < 0x80);
    for topic in ["devices/d2/x", "devices/d1", "other", "$SYS/x", "dfu/d1/command", "dt/cvra/d1/unknown"] {
        for qos in [1, 2] {
            assert_eq!(device.publish(Publish::new(topic, "x", qos)).await, DENIED, "{topic}");
        }
    }
    for (filter, expected) in [
        ("devices/d1/#", 1),
        ("devices/d1/+/x", 1),
        ("dfu/d1/command", 1),
        ("devices/d2/#", DENIED),
        ("devices/+/x", DENIED),
        ("dfu/+/command", DENIED),
        ("dt/cvra/d1/cardata", DENIED),
        ("#", DENIED),
        ("+/+/+/+", DENIED),
        ("$SYS/#", DENIED),
    ] {
        assert_eq!(device.subscribe(filter, 1).await, expected, "{filter}");
    }
    device.publish(Publish::new("devices/d1/x", "own", 1)).await;
    assert_eq!(device.message().await.text(), "own");
}

#[tokio::test]
async fn a_denied_publish_of_3_1_1_is_acknowledged_and_dropped_or_closes_the_connection() {
    let listener = "listeners.0.on_denied";
    for (on_denied, closes) in [("ack", false), ("close", true)] {
        let gateway = setup().shipped_policies().set(listener, json!(on_denied)).start().await;
        let mut other = gateway.v5("d2").await;
        other.subscribe("devices/d2/#", 1).await;
        let mut device = gateway.v311("d1").await;
        device.start(Publish::new("devices/d2/x", "forged", 1).id(1)).await;
        if closes {
            device.closed().await;
        } else {
            assert_eq!(device.puback(1).await, 0);
            assert_eq!(device.subscribe("devices/d2/#", 1).await, 0x80);
        }
        other.publish(Publish::new("devices/d2/x", "own", 1)).await;
        assert_eq!(other.message().await.text(), "own");
    }
}

#[tokio::test]
async fn a_will_to_a_topic_of_another_device_refuses_the_connection() {
    let gateway = setup().shipped_policies().start().await;
    for (version, code) in [(Version::V311, 5), (Version::V5, DENIED)] {
        for (topic, expected) in [("devices/d1/last", 0), ("devices/d2/last", code)] {
            let connect = Connect::new(version, "d1").will(Will::new(topic, "x", 1));
            let device = Device::connect(gateway.address(8883), &gateway.identity("d1"), &connect).await;
            assert_eq!(device.code, expected, "{topic}");
        }
    }
}

#[tokio::test]
async fn a_plain_listener_lets_nobody_in_until_a_policy_does() {
    let gateway = setup().shipped_policies().start().await;
    for (version, code) in [(Version::V311, 5), (Version::V5, DENIED)] {
        let connect = Connect::new(version, "legacy");
        assert_eq!(Device::connect_plain(gateway.address(1883), &connect).await.code, code);
    }
    drop(gateway);
    let gateway = setup().start().await;
    let device = Device::connect_plain(gateway.address(1883), &Connect::new(Version::V5, "legacy")).await;
    assert_eq!(device.code, 0);
}

#[tokio::test]
async fn a_client_of_a_plain_listener_shares_no_session_with_the_device_it_is_named_after() {
    let gateway = setup().set("listeners.1.plain.identity", json!({ "fixed": "d1" })).start().await;
    let mut device = gateway.v5("d1").await;
    let mut other = Device::connect_plain(gateway.address(1883), &Connect::new(Version::V5, "d1")).await;
    assert_eq!(other.code, 0);
    // Had it taken the session over, the device's connection would be closed.
    device.ping().await;
    other.ping().await;
}

const WIDE: &str = "permit (principal, action, resource);";
const NARROW: &str = "@id(\"narrow\")\npermit (principal, action == Action::\"connect\", resource);";

#[tokio::test]
async fn a_changed_policy_reaches_live_sessions_and_a_broken_one_changes_nothing() {
    let gateway = setup().policy("open.cedar", WIDE).start().await;
    let mut device = gateway.v5("d1").await;
    device.subscribe("devices/d1/#", 1).await;
    let publish = || Publish::new("devices/d1/x", "x", 1);
    assert!(device.publish(publish()).await < 0x80);
    device.message().await;

    let file = gateway.setup().path("policies/open.cedar");
    std::fs::write(&file, "permit (principal, action resource);").unwrap();
    gateway.signal(Signal::HUP);
    wait::until("the log says that the policies are broken", async || {
        gateway.log().contains("open.cedar").then_some(())
    })
    .await;
    assert!(device.publish(publish()).await < 0x80);
    device.message().await;

    std::fs::write(&file, NARROW).unwrap();
    gateway.signal(Signal::HUP);
    wait::until("a publish is denied", async || (device.publish(publish()).await == DENIED).then_some(())).await;
    device.ping().await;
    device.pending();

    // The subscription fell with the permission: granting the publish again brings no message back by itself.
    let publish_only = format!("{NARROW}\npermit (principal, action == Action::\"publish\", resource);");
    std::fs::write(&file, publish_only).unwrap();
    gateway.signal(Signal::HUP);
    wait::until("a publish is permitted", async || (device.publish(publish()).await < 0x80).then_some(())).await;
    device.ping().await;
    assert_eq!(device.pending(), []);
}

#[tokio::test]
async fn a_changed_policy_file_is_noticed_without_a_signal() {
    let gateway = setup().policy("open.cedar", WIDE).start().await;
    let mut device = gateway.v5("d1").await;
    std::fs::write(gateway.setup().path("policies/open.cedar"), NARROW).unwrap();
    let denied = async || {
        let reason = device.publish(Publish::new("devices/d1/x", "x", 1)).await;
        (reason == DENIED).then_some(())
    };
    wait::until("a publish is denied", denied).await;
}

#[tokio::test]
async fn the_last_refusals_of_a_device_name_the_topic() {
    let gateway = setup().shipped_policies().start().await;
    let mut device = gateway.v5("d1").await;
    device.publish(Publish::new("devices/d2/secret", "x", 1)).await;
    let shown = gateway.query(&["device", "show", "d1"]);
    assert!(shown["refusals"].to_string().contains("devices/d2/secret"), "{shown}");
}

#[tokio::test]
async fn explain_names_the_policy_and_its_file_or_says_that_none_permits() {
    let setup = setup().shipped_policies();
    let config = setup.write_config();
    let config = config.to_str().unwrap();
    for (topic, allowed, said) in
        [("dt/cvra/d1/cardata", true, "device-publishes-as-itself"), ("dt/cvra/d2/cardata", false, "no policy permits")]
    {
        let output = setup.command(&["policy", "explain", "--config", config, "--device", "d1", "--publish", topic]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(said), "{topic}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), allowed, "{topic}: {text}");
    }
}
