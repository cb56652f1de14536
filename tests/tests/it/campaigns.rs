//! Campaigns and rules through the real program: devices in waves, what stops them, and what a kill leaves.

use crate::setup;
use causeway_tests::{Device, Gateway, Publish, Setup, artifact, wait};
use serde_json::{Value, json};
use std::fs;

/// A gateway with a release `0.1.1` of five bytes and the devices `d1` to `d3`, in which one failed attempt is the last.
async fn gateway() -> Gateway {
    let gateway = release(setup())
        .set("bindings", json!([{ "name": "dfu", "kind": "dfu", "plugin": "builtin:dfu" }]))
        .set("dfu", json!({ "attempts": 1, "swaps": 1, "back_off": "0s" }))
        .start()
        .await;
    for device in ["d1", "d2", "d3"] {
        operator(&gateway, &["device", "add", device, "type=sensor"]);
    }
    gateway
}

/// A bare image with its description beside it.
fn release(setup: Setup) -> Setup {
    let image = b"hello";
    let checksum = artifact::digest(image).trim_start_matches("sha256:").to_owned();
    fs::write(setup.path("app.bin"), image).unwrap();
    let said = json!({ "version": "0.1.1", "size": image.len(), "checksum": checksum });
    fs::write(setup.path("app.json"), said.to_string()).unwrap();
    setup
}

fn reference(gateway: &Gateway) -> String {
    format!("file://{}", gateway.setup().path("app.bin").display())
}

fn operator(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.operator(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn create(gateway: &Gateway, further: &[&str]) -> String {
    let release = reference(gateway);
    let all = ["campaign", "create", "one", "--release", &release, "--devices", "type=sensor", "--waves", "1"];
    operator(gateway, &[&all, further].concat())
}

fn shown(gateway: &Gateway) -> Value {
    gateway.query(&["campaign", "show", "one"])
}

async fn until_state(gateway: &Gateway, state: &str, wave: u64) -> Value {
    wait::until("the campaign goes on", async || {
        let campaign = shown(gateway);
        (campaign["state"] == state && campaign["wave"] == wave).then_some(campaign)
    })
    .await
}

async fn device(gateway: &Gateway, name: &str) -> Device {
    let mut device = gateway.v5(name).await;
    assert!(device.subscribe(&format!("dfu/{name}/command"), 1).await < 0x80);
    device
}

/// Says what it runs, and how much of 0.1.1 it has; returns the operation that it is told.
async fn say(device: &mut Device, name: &str, version: &str, offset: Option<u64>) -> String {
    let mut status = json!({ "version": version, "mtu": 512 });
    if let Some(offset) = offset {
        status["status"] = json!({ "version": "0.1.1", "offset": offset });
    }
    assert!(device.publish(Publish::new(&format!("dfu/{name}/status"), status.to_string(), 1)).await < 0x80);
    let command: Value = serde_json::from_slice(&device.message().await.payload).unwrap();
    command["op"].as_str().unwrap().to_owned()
}

/// Asks until it is told something.
async fn asks(device: &mut Device, name: &str, version: &str, offset: Option<u64>, expected: &str) {
    for _ in 0..1_000 {
        if say(device, name, version, offset).await == expected {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{name} is never told {expected}");
}

/// Goes from 0.1.0 to the order to start 0.1.1.
async fn receive(device: &mut Device, name: &str) {
    asks(device, name, "0.1.0", None, "WRITE").await;
    asks(device, name, "0.1.0", Some(5), "SWAP").await;
}

#[tokio::test]
async fn a_campaign_goes_wave_by_wave_stops_at_failures_and_is_the_same_after_a_kill() {
    let mut gateway = gateway().await;
    let preview = create(&gateway, &["--dry-run"]);
    assert!(preview.contains("3 devices in 2 waves"), "{preview}");
    assert_eq!(create(&gateway, &[]), "one: draft\n");
    assert_eq!(operator(&gateway, &["campaign", "start", "one"]), "one: running\n");
    let (mut d1, mut d2) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    assert_eq!(say(&mut d2, "d2", "0.1.0", None).await, "SYNC", "its wave is not open");
    receive(&mut d1, "d1").await;
    gateway.kill();
    gateway.launch().await;
    let campaign = shown(&gateway);
    assert_eq!((&campaign["wave"], &campaign["targets"][0]["state"]), (&json!(1), &json!("in-progress")));
    let mut d1 = device(&gateway, "d1").await;
    assert_eq!(say(&mut d1, "d1", "0.1.1", None).await, "SYNC");
    let before = until_state(&gateway, "running", 2).await;
    assert_eq!(before["counts"]["succeeded"], 1, "{before}");
    gateway.kill();
    gateway.launch().await;
    assert_eq!(shown(&gateway), before);
    // The second device starts what it got and comes back with what it ran.
    let (mut d2, mut d3) = (device(&gateway, "d2").await, device(&gateway, "d3").await);
    receive(&mut d2, "d2").await;
    say(&mut d2, "d2", "0.1.0", None).await;
    let paused = until_state(&gateway, "paused", 2).await;
    assert_eq!(paused["why"], "1 of 2 devices of wave 2 failed", "{paused}");
    asks(&mut d3, "d3", "0.1.0", None, "WAIT").await;
    operator(&gateway, &["campaign", "resume", "one"]);
    receive(&mut d3, "d3").await;
    assert_eq!(say(&mut d3, "d3", "0.1.1", None).await, "SYNC");
    let over = until_state(&gateway, "finished", 2).await;
    assert_eq!((&over["counts"]["succeeded"], &over["counts"]["quarantined"]), (&json!(2), &json!(1)), "{over}");
    let watched = operator(&gateway, &["campaign", "watch", "one"]);
    let expected = "one: finished, wave 2 of 2, 100 % done: 2 succeeded, 1 quarantined\n";
    assert_eq!(watched, expected);
    gateway.assert_well().await;
}

#[tokio::test]
async fn an_aborted_campaign_gives_nobody_anything_any_more() {
    let gateway = gateway().await;
    create(&gateway, &["--start", "now"]);
    let mut d1 = device(&gateway, "d1").await;
    asks(&mut d1, "d1", "0.1.0", None, "WRITE").await;
    assert_eq!(operator(&gateway, &["campaign", "abort", "one"]), "one: aborted\n");
    assert_eq!(say(&mut d1, "d1", "0.1.0", Some(5)).await, "SYNC");
    let targets = shown(&gateway)["targets"].clone();
    assert!(targets.as_array().unwrap().iter().all(|target| target["state"] == "cancelled"), "{targets}");
    operator(&gateway, &["campaign", "delete", "one"]);
    assert_eq!(gateway.query(&["campaign", "list"]), json!([]));
}

#[tokio::test]
async fn a_rule_that_a_reload_brings_is_followed_at_once() {
    let mut gateway = gateway().await;
    let mut d1 = device(&gateway, "d1").await;
    assert_eq!(say(&mut d1, "d1", "0.1.0", None).await, "SYNC");
    let rule = json!([{ "name": "sensors", "devices": "type=sensor", "release": reference(&gateway) }]);
    gateway.setup_mut().change("assignments", rule);
    let _ = gateway.setup().write_config();
    let told = operator(&gateway, &["reload"]);
    assert!(!told.contains("restart"), "{told}");
    receive(&mut d1, "d1").await;
    assert_eq!(say(&mut d1, "d1", "0.1.1", None).await, "SYNC");
}
