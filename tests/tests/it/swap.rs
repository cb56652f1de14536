//! Versions of a plugin take over from one another in a running gateway: under load, by operators, by the configuration,
//! and because one does not do. Rows say that no message was lost, doubled or handled before another of its device.

use crate::{guest, setup};
use causeway_tests::{Gateway, Publish, Setup, wait};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

/// Remembers how many messages of a device came, and puts each message into `seen` with the count behind 100 in place of
/// its last three digits: `{"n":7,"count":000}` becomes `{"n":7,"count":107}`.
const COUNTS: &str =
    "(local $n i32) (local $count i32) (local $effect i32) (local $value i32) (local $message i32) (local $at i32)
    (i32.store8 (i32.const 60000) (i32.const 110))
    (i32.store (i32.const 60004) (i32.const 0x6e656573))
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get 3))
        (then
          (local.set $message (i32.add (local.get 2) (i32.mul (local.get $n) (i32.const 64))))
          (local.set $value (i32.add (i32.const 61000) (i32.mul (local.get $n) (i32.const 8))))
          (local.set $effect (i32.add (i32.const 62000) (i32.mul (local.get $n) (i32.const 48))))
          (local.set $count (i32.const 101))
          (call $state (local.get $n) (i32.const 60000) (i32.const 1) (i32.const 60016))
          (if (i32.load8_u (i32.const 60016))
            (then (local.set $count (i32.add (i32.const 1) (i32.load (i32.load (i32.const 60020)))))))
          (i32.store (local.get $value) (local.get $count))
          (i32.store8 (local.get $effect) (i32.const 2))
          (i32.store offset=4 (local.get $effect) (i32.const 60000))
          (i32.store offset=8 (local.get $effect) (i32.const 1))
          (i32.store8 offset=12 (local.get $effect) (i32.const 1))
          (i32.store offset=16 (local.get $effect) (local.get $value))
          (i32.store offset=20 (local.get $effect) (i32.const 4))
          (local.set $at (i32.sub
            (i32.add (i32.load offset=20 (local.get $message)) (i32.load offset=24 (local.get $message)))
            (i32.const 4)))
          (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.div_u (local.get $count) (i32.const 100))))
          (i32.store8 offset=1 (local.get $at)
            (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $count) (i32.const 10)) (i32.const 10))))
          (i32.store8 offset=2 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $count) (i32.const 10))))
          (i32.store8 offset=24 (local.get $effect) (i32.const 0))
          (i32.store offset=28 (local.get $effect) (i32.const 60004))
          (i32.store offset=32 (local.get $effect) (i32.const 4))
          (i32.store offset=36 (local.get $effect) (i32.load offset=20 (local.get $message)))
          (i32.store offset=40 (local.get $effect) (i32.load offset=24 (local.get $message)))
          (i32.store offset=65540 (i32.mul (local.get $n) (i32.const 16)) (local.get $effect))
          (i32.store offset=65544 (i32.mul (local.get $n) (i32.const 16)) (i32.const 2))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next))))
    (call $ok (local.get 3))";

/// Says of every message that it is malformed; for calls of one message.
const FAILS: &str = "(call $outcome (i32.const 1) (i32.const 0) (i32.const 0))";

/// A version of the counting plugin that differs in nothing but its digest.
fn counting(version: usize) -> Vec<u8> {
    let begin = "(i32.store8 (i32.const 60000) (i32.const 110))";
    guest::component(&COUNTS.replacen(begin, &format!("{}{begin}", "(nop)".repeat(version)), 1))
}

/// A gateway whose one binding counts, with the plugin that is called so.
fn gateway_with(plugin: &str, binding: &Value) -> Setup {
    let setup = setup();
    let mut config = json!({ "name": "counts", "plugin": plugin, "filters": ["t/#"], "batch": { "messages": 16 } });
    config.as_object_mut().unwrap().extend(binding.as_object().unwrap().clone());
    setup.set("bindings", json!([config])).set("collections", json!([{ "name": "seen", "kind": "append" }]))
}

fn write(setup: &Setup, name: &str, component: &[u8]) -> String {
    fs::write(setup.path(name), component).unwrap();
    setup.path(name).to_str().unwrap().to_owned()
}

/// A device publishes its messages `from..to`, each when the one before it was acknowledged.
async fn drive(gateway: &Gateway, name: &str, numbers: std::ops::Range<usize>) {
    let mut device = gateway.v5(name).await;
    for number in numbers {
        let payload = format!(r#"{{"device":"{name}","n":{number},"count":000}}"#);
        assert!(device.publish(Publish::new(&format!("t/{name}"), payload, 1)).await < 0x80);
    }
}

/// The counts of a device's messages, by their numbers as the journal has them.
fn seen(gateway: &Gateway, device: &str) -> Vec<(u64, u64)> {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    let mut rows = store.prepare("select _document from collection_seen order by _position, _item").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows = rows.map(|row| serde_json::from_str::<Value>(&row.unwrap()).unwrap());
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    rows.filter(|row| row["device"] == device).map(|row| (number(&row, "n"), number(&row, "count"))).collect()
}

/// Writes another configuration beside the running gateway.
fn change(gateway: &mut Gateway, key: &str, value: Value) {
    let setup = gateway.setup_mut();
    setup.change(key, value);
    let _ = setup.write_config();
}

/// Every message of the device had its effect once, and after all messages before it.
async fn assert_exact(gateway: &Gateway, device: &str, messages: u64) {
    wait::until("all messages are rows", async || (seen(gateway, device).len() as u64 >= messages).then_some(())).await;
    let expected: Vec<_> = (0..messages).map(|number| (number, 101 + number)).collect();
    assert_eq!(seen(gateway, device), expected, "{device}");
}

fn binding(gateway: &Gateway) -> Value {
    gateway.query(&["binding", "list"])[0].clone()
}

/// What `/v1/config` shows.
fn in_force(gateway: &Gateway) -> Value {
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.setup().path("admin.sock")).unwrap();
    stream.write_all(b"GET /v1/config HTTP/1.1\r\nHost: causeway\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn plugin(gateway: &Gateway) -> String {
    binding(gateway)["plugin"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_take_over_under_load_and_no_message_is_lost_doubled_or_reordered() {
    const MESSAGES: usize = 250;
    const DEVICES: [&str; 4] = ["d1", "d2", "d3", "d4"];
    let setup = gateway_with("v0.wasm", &json!({ "partitions": 2, "commit": { "linger": "2ms" } }));
    for version in 0..3 {
        write(&setup, &format!("v{version}.wasm"), &counting(version));
    }
    let gateway = Arc::new(setup.start().await);
    let devices: Vec<_> = DEVICES
        .map(|device| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { drive(&gateway, device, 0..MESSAGES).await })
        })
        .into();
    let mut swaps = 0;
    while swaps < 3 || !devices.iter().all(tokio::task::JoinHandle::is_finished) {
        swaps += 1;
        let file = gateway.setup().path(&format!("v{}.wasm", swaps % 3));
        let swapped = gateway.query(&["plugin", "set", "counts", file.to_str().unwrap()]);
        assert_eq!((&swapped["outcome"], &swapped["state"]), (&"runs".into(), &"running".into()), "{swapped}");
    }
    for device in devices {
        device.await.unwrap();
    }
    for device in DEVICES {
        assert_exact(&gateway, device, MESSAGES as u64).await;
    }
    assert_eq!((&binding(&gateway)["dead_letters"], &binding(&gateway)["traps"]), (&0.into(), &0.into()));
    gateway.assert_well().await;
}

/// A version takes over in the middle of the traffic and does not do.
async fn breaks(component: &[u8], reason: &str) {
    let trial =
        json!({ "trial": { "inputs": 20, "failures": 50 }, "batch": { "messages": 1 }, "traps": { "most": 5 } });
    let setup = gateway_with("good.wasm", &trial);
    write(&setup, "good.wasm", &counting(0));
    let bad = write(&setup, "bad.wasm", component);
    let mut gateway = setup.start().await;
    drive(&gateway, "d1", 0..40).await;
    let good = plugin(&gateway);
    assert_ne!(gateway.query(&["plugin", "set", "counts", &bad])["plugin"], good.as_str());
    drive(&gateway, "d1", 40..120).await;
    assert_exact(&gateway, "d1", 120).await;
    let status = binding(&gateway);
    let state = status["state"].as_str().unwrap();
    assert!(state.starts_with("rolled back") && state.contains(reason), "{state}");
    assert_eq!(plugin(&gateway), good);
    assert_eq!(gateway.query(&["deadletters", "list"]), json!([]), "the version before has handled them");
    let refused = gateway.operator(&["plugin", "set", "counts", &bad]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not run again"), "{said}");

    assert_eq!(gateway.stop().await.code(), Some(0));
    gateway.launch().await;
    drive(&gateway, "d1", 120..130).await;
    assert_exact(&gateway, "d1", 130).await;
    assert_eq!(plugin(&gateway), good, "not even a restart runs the bad version again");
}

#[tokio::test]
async fn a_version_that_traps_gives_way_and_its_dead_letters_take_effect_in_order() {
    breaks(&guest::component("(unreachable)"), "traps too often").await;
}

#[tokio::test]
async fn a_version_that_fails_most_messages_gives_way_and_its_dead_letters_take_effect_in_order() {
    breaks(&guest::component(FAILS), "messages failed since it took over").await;
}

#[tokio::test]
async fn the_state_is_put_back_with_the_version_that_left_it() {
    // It makes no rows of messages, remembers nonsense, and says that it reads the state otherwise.
    let nonsense = COUNTS.replace("(i32.const 16)) (i32.const 2))", "(i32.const 16)) (i32.const 1))");
    let wat =
        guest::module(&nonsense.replace("(i32.const 1) (i32.load (i32.load", "(i32.const 7) (i32.load (i32.load"));
    let wat = wat.replace("(i32.const 0) ;; state version", "(i32.const 1)");
    let setup = gateway_with("older.wasm", &json!({}));
    let older = write(&setup, "older.wasm", &counting(0));
    let newer = write(&setup, "newer.wasm", &guest::encode(&wat));
    let gateway = setup.start().await;
    let handled = async |messages: u64| {
        let handled = async || (binding(&gateway)["handled"].as_u64()? >= messages).then_some(());
        wait::until("all are handled", handled).await;
    };
    drive(&gateway, "d1", 0..10).await;
    handled(10).await;
    let _ = gateway.query(&["plugin", "set", "counts", &newer]);
    drive(&gateway, "d1", 10..13).await;
    handled(13).await;
    let _ = gateway.query(&["plugin", "set", "counts", &older]);
    drive(&gateway, "d1", 13..15).await;
    wait::until("all are rows", async || (seen(&gateway, "d1").len() >= 12).then_some(())).await;
    let expected: Vec<_> = (0..10).chain(13..15).zip(101..).collect();
    assert_eq!(seen(&gateway, "d1"), expected, "the count goes on where the version that counts left it");
}

#[tokio::test]
async fn a_reload_takes_over_what_the_configuration_and_its_files_say_and_names_the_rest() {
    let setup = gateway_with("v0.wasm", &json!({}));
    for version in 0..2 {
        write(&setup, &format!("v{version}.wasm"), &counting(version));
    }
    let mut gateway = setup.start().await;
    let first = plugin(&gateway);
    change(&mut gateway, "bindings.0.plugin", "v1.wasm".into());
    let reloaded = gateway.query(&["reload"]);
    assert_eq!((&reloaded["problems"], &reloaded["warnings"]), (&json!([]), &json!([])), "{reloaded}");
    let second = plugin(&gateway);
    assert_ne!(second, first);
    let shown = in_force(&gateway);
    assert!(shown["bindings"][0]["plugin"].as_str().unwrap().ends_with("/v1.wasm"), "{shown}");

    // The same name, other bytes; and what no reload takes over.
    write(gateway.setup(), "v1.wasm", &counting(2));
    change(&mut gateway, "bindings.0.partitions", 2.into());
    gateway.signal(rustix::process::Signal::HUP);
    let reloaded = async || (plugin(&gateway) != second).then_some(());
    wait::until("the changed file runs", reloaded).await;
    let warned = || gateway.log().contains("bindings[counts].partitions was changed: that needs a restart");
    wait::until("what needs a restart is named", async || warned().then_some(())).await;
    assert_eq!(in_force(&gateway)["bindings"][0]["partitions"], 1, "not before a restart");

    // What is wrong changes nothing.
    let before = plugin(&gateway);
    change(&mut gateway, "bindings.0.plugin", "nowhere.wasm".into());
    let refused = gateway.operator(&["reload"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nowhere.wasm"));
    assert_eq!(plugin(&gateway), before);
    drive(&gateway, "d1", 0..5).await;
    assert_exact(&gateway, "d1", 5).await;
}

#[tokio::test]
async fn a_choice_and_a_changed_file_outlive_a_kill() {
    let setup = gateway_with("v0.wasm", &json!({}));
    write(&setup, "v0.wasm", &counting(0));
    let chosen = write(&setup, "v1.wasm", &counting(1));
    let mut gateway = setup.start().await;
    drive(&gateway, "d1", 0..10).await;
    let shown = gateway.query(&["plugin", "set", "counts", &chosen]);
    assert_eq!(shown["chosen"], true);
    gateway.kill();
    write(gateway.setup(), "v1.wasm", &counting(2));
    gateway.launch().await;
    drive(&gateway, "d1", 10..20).await;
    assert_exact(&gateway, "d1", 20).await;
    assert_ne!(plugin(&gateway), shown["plugin"].as_str().unwrap(), "the file of the choice was changed meanwhile");
    assert!(plugin(&gateway).contains(&chosen));
    let audit = gateway.query(&["audit"]).to_string();
    assert!(audit.contains("/v1/bindings/{name}/plugin"), "{audit}");
    assert_eq!(gateway.operator(&["plugin", "set", "nobody", &chosen]).status.code(), Some(1));
}
