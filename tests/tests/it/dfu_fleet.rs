//! What the gateway knows of its devices' updates: attempts that survive the process, failures that end in quarantine,
//! silence, history and progress. The devices speak the JSON of the op-tagged document on real sockets.

use crate::setup;
use causeway_tests::{Device, Gateway, Publish, Setup, artifact, wait};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const IMAGE: &[u8] = b"0123456789abcdefghij";

/// A gateway that updates all devices from 1 to 2.
fn updating(dfu: Value) -> Setup {
    let setup = setup().set("bindings", json!([{ "name": "dfu", "kind": "dfu", "plugin": "builtin:dfu" }]));
    fs::write(setup.path("app.bin"), IMAGE).unwrap();
    let checksum = artifact::digest(IMAGE).trim_start_matches("sha256:").to_owned();
    let said = json!({ "version": "2", "size": IMAGE.len(), "checksum": checksum });
    fs::write(setup.path("app.json"), said.to_string()).unwrap();
    let release = format!("file://{}", setup.path("app.bin").display());
    setup.set("assignments", json!([{ "name": "all", "devices": "id=d*", "release": release }])).set("dfu", dfu)
}

async fn device(gateway: &Gateway, name: &str) -> Device {
    let mut device = gateway.v5(name).await;
    assert!(device.subscribe(&format!("dfu/{name}/command"), 1).await < 0x80);
    device
}

/// A status: what the device runs and, if it has begun, how much of version 2 it has.
fn status(version: &str, offset: Option<usize>) -> String {
    let progress = offset.map(|offset| json!({ "version": "2", "offset": offset }));
    json!({ "version": version, "mtu": 4, "status": progress }).to_string()
}

/// Sends a status and returns the command.
async fn say(device: &mut Device, name: &str, status: &str) -> Value {
    assert!(device.publish(Publish::new(&format!("dfu/{name}/status"), status, 1)).await < 0x80);
    serde_json::from_slice(&device.message().await.payload).unwrap()
}

/// Sends a status until the answer is this one.
async fn say_until(device: &mut Device, name: &str, status: &str, op: &str) -> Value {
    for _ in 0..1_000 {
        let command = say(device, name, status).await;
        if command["op"] == op {
            return command;
        }
        assert_eq!(command["op"], "WAIT", "{command}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is told to wait for ever");
}

/// Gets all of version 2, from the beginning.
async fn transfer(device: &mut Device, name: &str) {
    let mut command = say_until(device, name, &status("1", None), "WRITE").await;
    for offset in (0..IMAGE.len()).step_by(4) {
        assert_eq!((&command["op"], &command["offset"]), (&json!("WRITE"), &json!(offset)), "{command}");
        if offset + 4 < IMAGE.len() {
            command = say(device, name, &status("1", Some(offset + 4))).await;
        }
    }
}

fn everything() -> String {
    status("1", Some(IMAGE.len()))
}

fn shown(gateway: &Gateway, name: &str) -> Value {
    gateway.query(&["dfu", "show", name])
}

/// So many attempts that are over, the latest first; they are written soon after the device has heard.
async fn history(gateway: &Gateway, attempts: usize) -> Vec<(String, u64)> {
    wait::until("the history", async || {
        let history = shown(gateway, "d1")["history"].as_array().unwrap().clone();
        let line = |ended: &Value| (ended["outcome"].as_str().unwrap().to_owned(), ended["attempt"].as_u64().unwrap());
        (history.len() >= attempts).then(|| history.iter().map(line).collect())
    })
    .await
}

/// How often the gateway believes, on the disk, to have told the device to start version 2.
fn attempts(gateway: &Gateway) -> u32 {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    let made = "select coalesce(max(made), 0) from dfu_attempts where device = 'd1' and version = '2'";
    store.query_row(made, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_device_that_keeps_failing_is_quarantined_until_it_is_forgiven() {
    let mut gateway = updating(json!({ "attempts": 2, "back_off": "50ms" })).start().await;
    let mut one = device(&gateway, "d1").await;
    for attempt in 1..=2 {
        transfer(&mut one, "d1").await;
        assert_eq!(say(&mut one, "d1", &everything()).await["op"], "SWAP");
        assert_eq!(attempts(&gateway), attempt, "the attempt is on the disk before the device hears of it");
        let answer = say(&mut one, "d1", &status("1", None)).await;
        assert_eq!(answer["op"], if attempt == 1 { "WAIT" } else { "SYNC" }, "{answer}");
    }
    gateway.kill();
    gateway.launch().await;
    let mut one = device(&gateway, "d1").await;
    // It keeps what it runs, as soon as the release is found again.
    say_until(&mut one, "d1", &status("1", None), "SYNC").await;
    let device = shown(&gateway, "d1");
    assert_eq!(device["state"], "quarantined", "{device}");
    assert_eq!(device["why"], "quarantined for 2 after 2 failed attempts");
    assert_eq!(history(&gateway, 2).await, [("failed".to_owned(), 2), ("failed".to_owned(), 1)]);

    assert!(gateway.operator(&["dfu", "forgive", "d1"]).status.success());
    let write = say_until(&mut one, "d1", &everything(), "WRITE").await;
    assert_eq!(write["offset"], 0, "what it has stored has failed");
    gateway.assert_well().await;
}

/// The process dies on the way of the order to start the release; how many attempts are on the disk then.
async fn dies_at(point: &str, on_the_disk: u32) -> (Gateway, Device) {
    let mut gateway = updating(json!({ "back_off": "50ms" })).environment("CAUSEWAY_CRASH_AT", point).start().await;
    let mut one = device(&gateway, "d1").await;
    transfer(&mut one, "d1").await;
    // The gateway dies of this status, and may not even acknowledge it.
    let _ = one.start(Publish::new("dfu/d1/status", everything(), 1)).await;
    wait::until(point, async || (!gateway.is_alive()).then_some(())).await;
    assert_eq!(attempts(&gateway), on_the_disk, "{point}");
    gateway.setup_mut().forget_environment("CAUSEWAY_CRASH_AT");
    gateway.launch().await;
    let one = device(&gateway, "d1").await;
    (gateway, one)
}

#[tokio::test]
async fn an_attempt_that_was_not_written_has_not_been_made() {
    let (gateway, mut one) = dies_at("swap-unwritten", 0).await;
    say_until(&mut one, "d1", &everything(), "SWAP").await;
    assert_eq!(attempts(&gateway), 1);
}

#[tokio::test]
async fn an_attempt_that_was_written_and_not_sent_is_sent_as_the_same_attempt() {
    let (gateway, mut one) = dies_at("swap-written", 1).await;
    say_until(&mut one, "d1", &everything(), "SWAP").await;
    assert_eq!(attempts(&gateway), 1);
    say(&mut one, "d1", &status("2", None)).await;
    assert_eq!(history(&gateway, 1).await, [("confirmed".to_owned(), 1)]);
}

#[tokio::test]
async fn an_attempt_that_was_sent_before_the_process_died_has_failed_when_the_old_version_comes_back() {
    let (gateway, mut one) = dies_at("swap-sent", 1).await;
    assert_eq!(say(&mut one, "d1", &status("1", None)).await["op"], "WAIT");
    let device = shown(&gateway, "d1");
    assert_eq!(
        (&device["state"], &device["reason"]),
        (&json!("failed"), &json!("it runs 1 after it was told to start 2"))
    );
    transfer(&mut one, "d1").await;
    assert_eq!(say(&mut one, "d1", &everything()).await["op"], "SWAP");
    assert_eq!(attempts(&gateway), 2);
}

/// What is counted is written now and then; the end of the process is such a time.
#[tokio::test]
async fn what_was_counted_is_written_when_the_gateway_is_stopped() {
    let mut gateway = updating(json!({ "flush": "1h" })).start().await;
    let mut one = device(&gateway, "d1").await;
    say_until(&mut one, "d1", &status("1", None), "WRITE").await;
    say(&mut one, "d1", &status("1", Some(4))).await;
    gateway.stop().await;
    gateway.launch().await;
    let target = shown(&gateway, "d1")["target"].clone();
    assert_eq!((&target["offset"], &target["blocks"], &target["bytes"]), (&json!(4), &json!(2), &json!(8)), "{target}");
}

#[tokio::test]
async fn a_device_that_is_silent_in_the_middle_is_shown_as_stalled() {
    let gateway = updating(json!({ "stalled": "1s", "flush": "100ms" })).start().await;
    let (mut one, mut other) = (device(&gateway, "d1").await, device(&gateway, "x1").await);
    say_until(&mut one, "d1", &status("1", None), "WRITE").await;
    assert_eq!(say(&mut other, "x1", &status("1", None)).await["op"], "SYNC");
    wait::until("the stalled device", async || {
        let stalled = gateway.query(&["dfu", "status", "--stalled"]);
        (stalled[0]["device"] == "d1" && stalled[1].is_null()).then_some(())
    })
    .await;
    wait::until("the metric", async || (gateway.metric("causeway_dfu_stalled").await == 1).then_some(())).await;
    say(&mut one, "d1", &status("1", Some(4))).await;
    assert_eq!(gateway.query(&["dfu", "status", "--stalled"]), json!([]));
}

#[tokio::test]
async fn progress_is_published_and_an_update_that_is_done_is_in_the_history() {
    let gateway = updating(json!({ "progress": 20, "progress_interval": "0s" })).start().await;
    let mut watcher = gateway.v5("watcher").await;
    assert!(watcher.subscribe("dfu/+/progress", 1).await < 0x80);
    let mut one = device(&gateway, "d1").await;
    transfer(&mut one, "d1").await;
    say(&mut one, "d1", &everything()).await;
    assert_eq!(say(&mut one, "d1", &status("2", None)).await["op"], "SYNC");
    let mut seen = Vec::new();
    while seen.last() != Some(&("confirmed".to_owned(), 100)) {
        let progress: Value = serde_json::from_slice(&watcher.message().await.payload).unwrap();
        assert_eq!((&progress["device"], &progress["target"]), (&json!("d1"), &json!("2")), "{progress}");
        seen.push((progress["state"].as_str().unwrap().to_owned(), progress["percent"].as_u64().unwrap()));
    }
    for step in [("transferring", 20), ("transferring", 40), ("transferring", 60), ("swapping", 100)] {
        assert!(seen.contains(&(step.0.to_owned(), step.1)), "{step:?} in {seen:?}");
    }
    let history = gateway.query(&["dfu", "history", "--device", "d1"]);
    let ended = &history[0];
    assert_eq!((&ended["from"], &ended["version"], &ended["outcome"]), (&json!("1"), &json!("2"), &json!("confirmed")));
    assert_eq!((&ended["blocks"], &ended["bytes"], &ended["attempt"]), (&json!(5), &json!(20), &json!(1)), "{ended}");
    assert_eq!(gateway.metric("causeway_dfu_blocks_total").await, 5);
    let text = String::from_utf8(gateway.operator(&["dfu", "status"]).stdout).unwrap();
    assert!(text.contains("confirmed") && text.contains("100%"), "{text}");
}

#[tokio::test]
async fn a_device_beyond_the_bound_is_told_to_wait() {
    let gateway = updating(json!({ "max_devices": 1 })).start().await;
    let (mut one, mut two) = (device(&gateway, "d1").await, device(&gateway, "d2").await);
    say_until(&mut one, "d1", &status("1", None), "WRITE").await;
    assert_eq!(say(&mut two, "d2", &status("1", None)).await["op"], "WAIT");
    assert!(gateway.metric("causeway_dfu_full_total").await >= 1);
    assert!(gateway.operator(&["device", "remove", "d1"]).status.success());
    say_until(&mut two, "d2", &status("1", None), "WRITE").await;
}
