//! Recordings of a running gateway: begun and ended by operators, and replayed without a gateway.

use crate::setup;
use causeway_tests::{Gateway, Publish, Setup, vehicle, wait};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

const PLUGIN: &str = "builtin:telemetry";

/// Three vehicles publish; one message in ten is none that the plugin takes.
async fn drive(gateway: &Gateway, messages: u64) {
    for vin in ["vehicle-1", "vehicle-2", "vehicle-3"] {
        let mut device = gateway.v5(vin).await;
        for n in 0..messages {
            let payload = if n % 10 == 9 { "{".to_owned() } else { vehicle::cardata(vin, n).to_string() };
            assert!(device.publish(Publish::new(&vehicle::topic(vin, "cardata"), payload, 1)).await < 0x80);
        }
    }
}

/// Waits until the binding has handled so many messages since the start.
async fn handled(gateway: &Gateway, messages: u64) {
    let all = || gateway.query(&["status"])["bindings"][0]["handled"].as_u64();
    wait::until("all messages are handled", async || all().filter(|handled| *handled >= messages)).await;
}

/// Records the binding while `messages` of each vehicle come; returns the path of the file.
async fn record(gateway: &Gateway, messages: u64) -> String {
    let started = gateway.query(&["record", "start", "telemetry"]);
    assert_eq!(started["state"], "running");
    drive(gateway, messages).await;
    handled(gateway, 3 * messages).await;
    let ended = gateway.query(&["record", "stop", "telemetry"]);
    assert_eq!((&ended["state"], &ended["inputs"]), (&"stopped".into(), &(3 * messages).into()));
    ended["file"].as_str().unwrap().to_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeeds(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(arguments);
    assert!(output.status.success(), "causeway {arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refuses(setup: &Setup, arguments: &[&str], part: &str) {
    let output = setup.command(arguments);
    assert_eq!(output.status.code(), Some(64), "causeway {arguments:?}: {}", said(&output));
    assert!(said(&output).contains(part), "causeway {arguments:?}: {}", said(&output));
}

#[tokio::test]
async fn recorded_traffic_replays_to_the_same_in_every_rhythm_and_without_the_gateway() {
    let mut gateway = setup().telemetry().start().await;
    let file = record(&gateway, 40).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = gateway.query(&["record", "list"]);
    assert_eq!((&kept[0]["inputs"], &kept[0]["state"]), (&120.into(), &"stopped".into()));
    assert!(gateway.query(&["audit"]).to_string().contains("/v1/bindings/{binding}/recording"));
    assert_eq!(gateway.stop().await.code(), Some(0));

    let setup = gateway.setup();
    let checked = succeeds(setup, &["plugin", "replay", &file, PLUGIN, "--check"]);
    assert!(checked.contains("120 inputs") && checked.contains("as recorded: the same"), "{checked}");
    let replayed: Value =
        serde_json::from_str(&succeeds(setup, &["plugin", "replay", &file, PLUGIN, "-o", "json"])).unwrap();
    let replayed = replayed.as_array().unwrap();
    assert!(replayed.iter().all(|input| input["as_recorded"] == true));
    let malformed = replayed.iter().filter(|input| !input["outcome"]["malformed"].is_null()).count();
    assert_eq!((replayed.len(), malformed), (120, 12));
    assert!(succeeds(setup, &["plugin", "diff", &file, PLUGIN, PLUGIN]).contains("0 of 120 inputs differ"));
}

#[tokio::test]
async fn a_recording_that_is_not_whole_is_a_clear_error() {
    let mut gateway = setup().telemetry().start().await;
    let file = record(&gateway, 5).await;
    let started = gateway.query(&["record", "start", "telemetry"]);
    gateway.kill();
    let setup = gateway.setup();
    let torn = started["file"].as_str().unwrap();
    refuses(setup, &["plugin", "replay", torn, PLUGIN], "is torn");

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(setup.path("flipped.cbor"), bytes).unwrap();
    refuses(setup, &["plugin", "replay", "flipped.cbor", PLUGIN], "flipped.cbor: the recording is");
    refuses(setup, &["plugin", "replay", "causeway.yaml", PLUGIN], "not a recording");
    refuses(setup, &["plugin", "diff", &file, PLUGIN, "nothing.wasm"], "nothing.wasm");
}

#[tokio::test]
async fn recordings_are_bounded_refused_and_removed() {
    let gateway = setup().telemetry().set("recordings", serde_json::json!({ "keep": 1 })).start().await;
    let _ = gateway.query(&["record", "start", "telemetry", "--messages", "10"]);
    drive(&gateway, 5).await;
    let ended = async || Some(gateway.query(&["record", "list"])).filter(|list| list[0]["state"] == "messages");
    let list = wait::until("the recording ends by itself", ended).await;
    assert_eq!(list[0]["inputs"], 10);

    let refused = |arguments: &[&str], part: &str| {
        let output = gateway.operator(arguments);
        assert!(!output.status.success() && said(&output).contains(part), "{arguments:?}: {}", said(&output));
    };
    refused(&["record", "start", "telemetry"], "recordings.keep");
    refused(&["record", "start", "other"], "no binding `other`");
    refused(&["record", "stop", "telemetry"], "is not being recorded");
    refused(&["record", "start", "telemetry", "--bytes", "1TiB"], "recordings.max_messages");
    let (name, file) = (list[0]["name"].as_str().unwrap(), list[0]["file"].as_str().unwrap());
    let _ = gateway.query(&["record", "remove", name]);
    assert!(!Path::new(file).exists());
    let _ = gateway.query(&["record", "start", "telemetry", "--bytes", "1MiB"]);
}
