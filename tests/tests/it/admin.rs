//! What operators see and do: status, devices, checks, the port for machines that watch.

use crate::{gateway, setup};
use causeway_tests::{Connect, Device, Gateway, Publish, Setup, Version, vehicle, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn status_tells_what_runs() {
    let gateway = setup().telemetry().start().await;
    let mut device = gateway.v5("vehicle-1").await;
    let topic = vehicle::topic("vehicle-1", "cardata");
    device.publish(Publish::new(&topic, vehicle::cardata("vehicle-1", 1).to_string(), 1)).await;
    let status = wait::until("the row is counted", async || {
        let status = gateway.query(&["status"]);
        let collections = status["store"]["collections"].as_array()?;
        collections.iter().any(|one| one["name"] == "cardata" && one["rows"] == 1).then_some(status.clone())
    })
    .await;
    assert_eq!(status["gateway"], "gateway-under-test");
    assert_eq!(status["sessions"]["connected"], 1);
    assert_eq!(status["listeners"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["bindings"][0]["name"], "telemetry");
    assert!(status["journal"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert!(status["clock"]["now_ms"].is_u64());
}

#[tokio::test]
async fn a_disabled_device_loses_its_session_and_comes_back_when_enabled() {
    let gateway = gateway().await;
    let mut device = gateway.v5("d1").await;
    let mut other = gateway.v5("d2").await;
    let began = Instant::now();
    assert!(gateway.operator(&["device", "disable", "d1"]).status.success());
    assert!(device.closed().await.is_some_and(|reason| reason >= 0x80));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let connect = Connect::new(Version::V5, "d1");
    assert!(Device::connect(gateway.address(8883), &gateway.identity("d1"), &connect).await.code >= 0x80);
    other.ping().await;
    assert!(gateway.operator(&["device", "enable", "d1"]).status.success());
    gateway.v5("d1").await.ping().await;
}

#[tokio::test]
async fn only_known_devices_connect_when_registration_is_explicit() {
    let gateway = setup().set("devices.registration", json!("explicit")).start().await;
    let connect = Connect::new(Version::V5, "new");
    let refused = Device::connect(gateway.address(8883), &gateway.identity("new"), &connect).await;
    assert!(refused.code >= 0x80);
    assert!(gateway.operator(&["device", "add", "new", "vin=WVW1", "--group", "test"]).status.success());
    let mut device = gateway.v5("new").await;
    let shown = gateway.query(&["device", "show", "new"]);
    assert_eq!((&shown["id"], &shown["attributes"]["vin"]), (&json!("new"), &json!("WVW1")));
    assert!(shown["sessions"].to_string().contains("new"), "{shown}");
    assert!(gateway.operator(&["device", "remove", "new"]).status.success());
    assert!(device.closed().await.is_some());
}

#[tokio::test]
async fn devices_survive_the_death_of_the_process() {
    let mut gateway = gateway().await;
    assert!(gateway.operator(&["device", "add", "kept", "type=truck"]).status.success());
    gateway.kill();
    gateway.launch().await;
    assert_eq!(gateway.query(&["device", "show", "kept"])["attributes"]["type"], "truck");
}

#[tokio::test]
async fn changes_are_in_the_audit_log() {
    let gateway = gateway().await;
    assert!(gateway.operator(&["device", "add", "audited"]).status.success());
    assert!(gateway.query(&["audit"]).to_string().contains("audited"));
}

/// Status code and body of a GET.
async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(gateway.address(9464)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wait::soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_string())
}

#[tokio::test]
async fn machines_that_watch_get_health_readiness_and_metrics() {
    let gateway = setup().telemetry().start().await;
    assert_eq!(get(&gateway, "/healthz").await.0, 200);
    assert_eq!(get(&gateway, "/readyz").await.0, 200);
    gateway.v5("d1").await.publish(Publish::new("x", "x", 1)).await;
    let (code, metrics) = get(&gateway, "/metrics").await;
    assert_eq!(code, 200);
    for name in ["causeway_mqtt_", "causeway_journal_", "causeway_store_", "causeway_router_", "causeway_dispatch_"] {
        assert!(metrics.contains(name), "no {name} in\n{metrics}");
    }
    for secret in ["d1\"", "topic="] {
        assert!(!metrics.contains(secret), "{secret} is a label of\n{metrics}");
    }
}

/// Runs `command` and expects an operator's mistake that names `said`.
fn check_mistake(setup: &Setup, command: &str, said: &[&str]) {
    let config = setup.write_config();
    let output = setup.command(&[command, "--config", config.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{command}: {text}");
    for part in said {
        assert!(text.contains(part), "{command}: no {part:?} in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn mistakes_are_told_with_file_and_remedy_and_exit_code_64() {
    for command in ["check", "run"] {
        check_mistake(&setup().set("mqtt.max_conections", json!(1)), command, &["causeway.yaml", "max_connections"]);
        check_mistake(&setup().set("listeners.0.tls.key", json!("pki/nowhere.pem")), command, &["nowhere.pem"]);
        let broken = setup();
        std::fs::write(broken.path("pki/server-key.pem"), "not a key").unwrap();
        check_mistake(&broken, command, &["server-key.pem"]);
        let foreign = setup();
        std::fs::copy(foreign.path("pki/ca.pem"), foreign.path("pki/server.pem")).unwrap();
        check_mistake(&foreign, command, &["server"]);
        check_mistake(&setup().policy("open.cedar", "permit (principal"), command, &["open.cedar"]);
        let two = setup().set("mqtt.max_inflight", json!("many")).set("log.level", json!("loud"));
        check_mistake(&two, command, &["max_inflight", "level"]);
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let setup = setup();
    let taken = std::net::TcpListener::bind(setup.address(8883)).unwrap();
    check_mistake(&setup, "run", &["8883"]);
    drop(taken);
}

#[tokio::test]
async fn a_data_directory_is_used_by_one_process() {
    let gateway = gateway().await;
    let second = setup().set("data_dir", json!(gateway.setup().path("data")));
    check_mistake(&second, "run", &["data"]);
    gateway.assert_well().await;
}

#[tokio::test]
async fn check_accepts_a_good_configuration_without_starting() {
    let setup = setup().telemetry();
    let config = setup.write_config();
    let output = setup.command(&["check", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!setup.path("data").exists());
}

#[tokio::test]
async fn the_log_is_one_json_object_for_each_event_and_holds_no_payload() {
    let mut gateway = setup().set("log", json!({ "format": "json", "level": "debug" })).start().await;
    let mut device = gateway.device_as("d1", Connect::new(Version::V5, "bell\u{7}")).await;
    device.publish(Publish::new("t", "a-secret-payload", 1)).await;
    gateway.stop().await;
    let log = gateway.log();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(event["level"].is_string(), "{line}");
    }
    assert!(!log.contains("a-secret-payload"));
}
