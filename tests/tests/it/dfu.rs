//! Firmware updates through the real program: a status of a device on its socket, a command back, in the device's own
//! language; and what devices, children, operators and plugins do that must not hurt an update.

use crate::{dfu_guest, setup};
use causeway_tests::packet::{Value as Property, number};
use causeway_tests::{Device, Gateway, Publish, Setup, artifact, wait};
use serde_json::{Value, json};
use std::fs;

const DENIED: u8 = 0x87;
const MESSAGE_EXPIRY: u8 = 0x02;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION: u8 = 0x09;

/// A gateway that updates all devices to this version of this image, by a plugin.
fn updating(plugin: &str, version: &str, image: &[u8]) -> Setup {
    let setup = setup().set("bindings", json!([{ "name": "dfu", "kind": "dfu", "plugin": plugin }]));
    release(&setup, version, image);
    let release = format!("file://{}", setup.path("app.bin").display());
    setup.set("assignments", json!([{ "name": "all", "devices": "id=*", "release": release, "downgrade": true }]))
}

/// A bare image with its description beside it.
fn release(setup: &Setup, version: &str, image: &[u8]) {
    fs::write(setup.path("app.bin"), image).unwrap();
    let said = json!({ "version": version, "size": image.len(), "checksum": checksum(image) });
    fs::write(setup.path("app.json"), said.to_string()).unwrap();
}

fn checksum(image: &[u8]) -> String {
    artifact::digest(image).trim_start_matches("sha256:").to_owned()
}

/// A gateway whose plugin speaks in single letters, and gives a release `2` in blocks of four bytes.
fn talking(body: &str, image: &[u8]) -> Setup {
    let setup = updating("talks.wasm", "2", image);
    fs::write(setup.path("talks.wasm"), dfu_guest::component(body)).unwrap();
    setup
}

/// A device that listens for commands.
async fn device(gateway: &Gateway, name: &str) -> Device {
    let mut device = gateway.v5(name).await;
    assert!(device.subscribe(&format!("dfu/{name}/command"), 1).await < 0x80);
    device
}

/// Sends a status and returns the answer.
async fn say(device: &mut Device, topic: &str, status: impl Into<Vec<u8>>) -> Publish {
    let code = device.publish(Publish::new(topic, status, 1)).await;
    assert!(code < 0x80, "{topic}: {code:#04x}");
    device.message().await
}

/// Sends a status until the answer is another than to wait, as it is while the image is being opened.
async fn say_until_ready(device: &mut Device, topic: &str, status: &[u8], wait: &[u8]) -> Publish {
    for _ in 0..500 {
        let answer = say(device, topic, status).await;
        if !answer.payload.starts_with(wait) {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the device is told to wait for ever");
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn operator(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.operator(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Why the gateway does not do what an operator asks for.
fn refused(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.operator(arguments);
    assert!(!output.status.success(), "{arguments:?} was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn binding(gateway: &Gateway) -> Value {
    gateway.query(&["binding", "list"])[0].clone()
}

/// What a device was refused, the newest first: topic and reason.
fn refusals(gateway: &Gateway, device: &str) -> Vec<(String, String)> {
    let shown = gateway.query(&["device", "show", device]);
    let refusals = shown["refusals"].as_array().cloned().unwrap_or_default();
    let text = |refusal: &Value, key: &str| refusal[key].as_str().unwrap_or_default().to_owned();
    refusals.iter().map(|refusal| (text(refusal, "topic"), text(refusal, "reason"))).collect()
}

#[tokio::test]
async fn a_device_of_the_published_crate_is_led_through_an_update_byte_by_byte() {
    let gateway = updating("builtin:dfu", "0.1.1", b"hello").start().await;
    let mut device = device(&gateway, "d1").await;
    let topic = "dfu/d1/status";
    let first = bytes("a40045302e312e300119020002f603f6");
    let write = say_until_ready(&mut device, topic, &first, &[0xa1, 0x00]).await;
    assert_eq!(hex(&write.payload), "a102a40045302e312e3101f602000345".to_owned() + &hex(b"hello"));
    assert_eq!((write.topic.as_str(), write.qos), ("dfu/d1/command", 1));
    let all = bytes("a40045302e312e300119020002f603a20045302e312e310105");
    let swap = say(&mut device, topic, all).await;
    assert_eq!(hex(&swap.payload), format!("a103a30045302e312e3101f6025820{}", checksum(b"hello")));
    let sync = say(&mut device, topic, bytes("a40045302e312e310119020002f603f6")).await;
    assert!(hex(&sync.payload).starts_with("a101a30045302e312e3101f602"), "{}", hex(&sync.payload));
    gateway.assert_well().await;
}

#[tokio::test]
async fn a_device_that_writes_json_is_answered_in_json_beside_one_that_does_not() {
    let gateway = updating("builtin:dfu", "0.1.1", b"hello").start().await;
    let (mut packed, mut json) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    let first = bytes("a40045302e312e300119020002f603f6");
    say_until_ready(&mut packed, "dfu/d1/status", &first, &[0xa1, 0x00]).await;
    let status = json!({ "version": "0.1.0", "mtu": 2, "status": { "version": "0.1.1", "offset": 4 } });
    let write = say(&mut json, "dfu/d2/status", status.to_string()).await;
    let write: Value = serde_json::from_slice(&write.payload).unwrap();
    assert_eq!((&write["op"], &write["offset"], &write["version"]), (&json!("WRITE"), &json!(4), &json!("0.1.1")));
    assert_eq!(write["data"], "bw==");
}

#[tokio::test]
async fn a_status_about_another_device_is_not_answered_and_shown_at_its_sender() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").start().await;
    let (mut stranger, mut other) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    // The policies of this gateway permit everything.
    assert!(stranger.publish(Publish::new("dfu/d2/status", "1-\0", 1)).await < 0x80);
    assert!(stranger.publish(Publish::new("dfu/nobody/status", "1-\0", 1)).await < 0x80);
    assert!(stranger.publish(Publish::new("dfu/d1/d2/status", "1-\0", 1)).await < 0x80);
    say_until_ready(&mut stranger, "dfu/d1/status", b"1-\0", b"w").await;
    let topics: Vec<_> = refusals(&gateway, "d1").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(topics, ["dfu/d1/d2/status", "dfu/nobody/status", "dfu/d2/status"]);
    assert!(other.pending().is_empty(), "what others say about it is not answered");
    assert_eq!(say(&mut other, "dfu/d2/status", *b"1-\0").await.text(), "b0123");
}

#[tokio::test]
async fn by_the_shipped_policies_a_device_speaks_for_itself_and_a_gateway_device_for_its_children() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").shipped_policies().start().await;
    operator(&gateway, &["device", "add", "gw"]);
    operator(&gateway, &["device", "add", "c1", "--parent", "gw"]);
    operator(&gateway, &["device", "add", "c2"]);
    let mut gw = gateway.v5("gw").await;
    assert!(gw.subscribe("dfu/gw/+/command", 1).await < 0x80);
    assert_eq!(gw.subscribe("dfu/other/+/command", 1).await, DENIED);
    assert_eq!(gw.publish(Publish::new("dfu/other/c1/status", "1-\0", 1)).await, DENIED);
    assert_eq!(gw.publish(Publish::new("dfu/c1/status", "1-\0", 1)).await, DENIED);
    let write = say_until_ready(&mut gw, "dfu/gw/c1/status", b"1-\0", b"w").await;
    assert_eq!((write.topic.as_str(), write.text().as_str()), ("dfu/gw/c1/command", "b0123"));
    assert_eq!(say(&mut gw, "dfu/gw/c1/status", *b"12\x08").await.text(), "x");
    // A device that is no child of it: the policies do not know, the registry does.
    assert!(gw.publish(Publish::new("dfu/gw/c2/status", "1-\0", 1)).await < 0x80);
    assert_eq!(say(&mut gw, "dfu/gw/c1/status", *b"2-\0").await.text(), "s");
    let (topic, reason) = refusals(&gateway, "gw").swap_remove(0);
    assert_eq!(topic, "dfu/gw/c2/status");
    assert!(reason.contains("c2") && reason.contains("child"), "{reason}");
}

#[tokio::test]
async fn an_answer_goes_where_the_device_asks_for_it_if_it_may_receive_it_there() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").shipped_policies().start().await;
    let mut device = device(&gateway, "d1").await;
    assert!(device.subscribe("devices/d1/reply", 1).await < 0x80);
    say_until_ready(&mut device, "dfu/d1/status", b"1-\0", b"w").await;
    let asking = |topic: &str| {
        Publish::new("dfu/d1/status", *b"12\x04", 1)
            .with(RESPONSE_TOPIC, Property::Text(topic.to_owned()))
            .with(CORRELATION, Property::Binary(b"c7".to_vec()))
    };
    let correlation = (CORRELATION, Property::Binary(b"c7".to_vec()));
    for (topic, answered) in [("devices/d1/reply", "devices/d1/reply"), ("devices/d2/reply", "dfu/d1/command")] {
        assert!(device.publish(asking(topic)).await < 0x80);
        let answer = device.message().await;
        assert_eq!((answer.topic.as_str(), answer.text().as_str()), (answered, "b4567"));
        assert!(answer.properties.contains(&correlation), "{answer:?}");
        let expires = number(&answer.properties, MESSAGE_EXPIRY);
        assert!(expires.is_some_and(|seconds| (1..=15).contains(&seconds)), "{answer:?}");
    }
    let (topic, _) = refusals(&gateway, "d1").swap_remove(0);
    assert_eq!(topic, "devices/d2/reply");
}

#[tokio::test]
async fn a_trap_in_the_middle_makes_the_device_wait_and_it_resumes_at_its_own_offset() {
    let gateway = talking(dfu_guest::TALKS, b"0123456789").start().await;
    let (mut one, mut other) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    assert_eq!(say_until_ready(&mut one, "dfu/d1/status", b"1-\0", b"w").await.text(), "b0123");
    let waits = say(&mut one, "dfu/d1/status", *b"12\x04!").await;
    assert_eq!(waits.text(), "w");
    let problem = || gateway.query(&["dfu", "show", "d1"])["problem"].clone();
    let stopped = problem();
    assert!(stopped.as_str().is_some_and(|text| text.starts_with("the plugin was stopped: ")), "{stopped}");
    assert_eq!(say(&mut other, "dfu/d2/status", *b"1-\0").await.text(), "b0123");
    assert_eq!(say(&mut one, "dfu/d1/status", *b"12\x04").await.text(), "b4567");
    assert_eq!(say(&mut one, "dfu/d1/status", *b"12\x08").await.text(), "b89");
    assert_eq!(say(&mut one, "dfu/d1/status", *b"12\x0a").await.text(), "x");
    assert_eq!(say(&mut one, "dfu/d1/status", *b"2-\0").await.text(), "s");
    assert_eq!(problem(), Value::Null);
    let shown = binding(&gateway);
    assert_eq!((&shown["state"], &shown["traps"]), (&json!("running"), &json!(1)), "{shown}");
}

#[tokio::test]
async fn a_plugin_that_starts_what_a_device_does_not_have_is_not_obeyed() {
    // It says of every status that there is orders for, that all of it is there.
    let rash = dfu_guest::TALKS.replace("(i32.ge_u (local.get $offset) (local.get $size))", "(i32.const 1)");
    let gateway = talking(&rash, b"0123456789").start().await;
    let mut device = device(&gateway, "d1").await;
    wait::until("the image is open", async || {
        assert_eq!(say(&mut device, "dfu/d1/status", *b"12\x04").await.text(), "w");
        (binding(&gateway)["traps"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_version_of_the_plugin_takes_over_in_the_middle_of_an_update() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").start().await;
    let mut device = device(&gateway, "d1").await;
    assert_eq!(say_until_ready(&mut device, "dfu/d1/status", b"1-\0", b"w").await.text(), "b0123");
    let before = binding(&gateway)["plugin"].clone();
    let newer = gateway.setup().path("newer.wasm");
    fs::write(&newer, dfu_guest::component(&format!("(nop){}", dfu_guest::TALKS))).unwrap();
    operator(&gateway, &["plugin", "set", "dfu", newer.to_str().unwrap()]);
    assert_ne!(binding(&gateway)["plugin"], before);
    assert_eq!(say(&mut device, "dfu/d1/status", *b"12\x04").await.text(), "b4567");
    assert_eq!(say(&mut device, "dfu/d1/status", *b"12\x08").await.text(), "x");
}

#[tokio::test]
async fn a_status_that_is_none_is_answered_with_wait_and_hurts_nobody() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").start().await;
    let (mut one, mut other) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    assert_eq!(say_until_ready(&mut one, "dfu/d1/status", b"1-\0", b"w").await.text(), "b0123");
    assert_eq!(say(&mut one, "dfu/d1/status", "").await.text(), "w");
    assert_eq!(say(&mut other, "dfu/d2/status", *b"1-\0").await.text(), "b0123");
    assert_eq!(say(&mut one, "dfu/d1/status", *b"12\x04").await.text(), "b4567");
    let shown = binding(&gateway);
    assert_eq!((&shown["traps"], &shown["dead_letters"]), (&json!(0), &json!(0)), "{shown}");
}

#[tokio::test]
async fn bytes_that_are_no_status_leave_the_built_in_plugin_and_other_devices_alone() {
    let gateway = updating("builtin:dfu", "0.1.1", b"hello").start().await;
    let (mut hostile, mut other) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    let nested = vec![0x81; 10_000];
    let long = bytes("a1005bffffffffffffffff");
    for payload in [&b""[..], &[0xff], &long, &nested, b"{\"version\":", b"not a status"] {
        assert!(hostile.publish(Publish::new("dfu/d1/status", payload, 1)).await < 0x80);
    }
    let first = bytes("a40045302e312e300119020002f603f6");
    say_until_ready(&mut other, "dfu/d2/status", &first, &[0xa1, 0x00]).await;
    let shown = binding(&gateway);
    assert_eq!((&shown["state"], &shown["traps"]), (&json!("running"), &json!(0)), "{shown}");
    gateway.assert_well().await;
}

#[tokio::test]
async fn what_means_nothing_for_updates_is_refused_in_one_line() {
    let gateway = talking(dfu_guest::TALKS, b"01234567").start().await;
    let recorded = refused(&gateway, &["record", "start", "dfu"]);
    assert!(recorded.contains("only telemetry bindings can be recorded"), "{recorded}");
    let plugin = gateway.setup().path("talks.wasm");
    let watched = refused(&gateway, &["plugin", "set", "dfu", plugin.to_str().unwrap(), "--shadow"]);
    assert!(watched.contains("only telemetry bindings have canaries"), "{watched}");
}
