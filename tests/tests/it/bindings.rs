//! A binding whose plugin traps too often: seen by operators and machines, and resumed without a restart.

use crate::{guest, setup};
use causeway_tests::{Gateway, Publish, wait};
use serde_json::json;
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The whole answer to a GET on the port for machines that watch.
async fn get(gateway: &Gateway, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(gateway.address(9464)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wait::soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_parked_binding_is_seen_and_resumed_without_a_restart() {
    let setup = setup();
    fs::write(setup.path("plugin.wasm"), guest::component("(unreachable)")).unwrap();
    let gateway =
        setup.set("bindings", json!([{ "name": "alarm", "plugin": "plugin.wasm", "filters": ["t/+"] }])).start().await;
    let mut device = gateway.v5("d1").await;
    for number in 0..40 {
        assert!(device.publish(Publish::new("t/x", format!("{number}"), 1)).await < 0x80);
    }
    let binding = || gateway.query(&["binding", "list"])[0].clone();
    wait::until("parked", async || binding()["state"].as_str()?.starts_with("parked").then_some(())).await;
    assert_eq!(gateway.query(&["status"])["bindings"][0]["state"], binding()["state"]);
    let ready = get(&gateway, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("binding alarm: parked"), "{ready}");
    let metrics = get(&gateway, "/metrics").await;
    let state = metrics.lines().find(|line| line.starts_with("causeway_dispatch_state") && line.contains("parked"));
    assert!(state.is_some_and(|line| line.ends_with(" 1")), "{state:?}");
    assert!(gateway.log().contains("a binding is parked"));

    fs::write(gateway.setup().path("plugin.wasm"), guest::component("(call $ok (local.get 3))")).unwrap();
    assert_eq!(gateway.query(&["binding", "resume", "alarm"])["state"], "running");
    wait::until("the backlog is handled", async || {
        let binding = binding();
        (binding["lag_bytes"] == 0 && binding["handled"].as_u64()? + 20 >= 40).then_some(())
    })
    .await;
    assert!(!get(&gateway, "/readyz").await.contains("alarm"));
    assert!(gateway.query(&["audit"]).to_string().contains("/resume"));
    assert!(!gateway.operator(&["binding", "resume", "nobody"]).status.success());
}
