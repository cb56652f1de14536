//! A second version of a plugin beside the one that a binding runs: what it makes otherwise is shown, and nothing of it
//! takes effect.

use super::state::counted;
use crate::{guest, setup};
use causeway_tests::{Gateway, Publish, Setup, wait};
use serde_json::{Value, json};
use std::fs;

const VEHICLES: [&str; 2] = ["d1", "d2"];

/// Counts the messages of each vehicle in its state; publishes nothing.
fn counts() -> String {
    replaced(guest::COUNTS, "(i32.const 16)) (i32.const 2))", "(i32.const 16)) (i32.const 1))")
}

/// Counts in steps of two, and publishes each count to the topic of its message.
fn doubles() -> String {
    replaced(guest::COUNTS, "(i32.add (i32.const 1) (i32.load8_u", "(i32.add (i32.const 2) (i32.load8_u")
}

fn replaced(body: &str, from: &str, to: &str) -> String {
    let replaced = body.replace(from, to);
    assert_ne!(replaced, body);
    replaced
}

/// A gateway whose binding counts, with a canary of this `route-batch`.
fn shadowed(canary: &str) -> Setup {
    let setup = setup()
        .policy("plugins-publish.cedar", r#"permit (principal is Plugin, action == Action::"publish", resource);"#);
    fs::write(setup.path("counts.wasm"), guest::component(&counts())).unwrap();
    fs::write(setup.path("next.wasm"), guest::component(canary)).unwrap();
    setup.set("bindings", json!([binding("counts.wasm", Some("next.wasm"))]))
}

fn binding(plugin: &str, canary: Option<&str>) -> Value {
    let mut binding = json!({
        "name": "counts", "plugin": plugin, "filters": ["dt/cvra/{vehicle}/cardata"], "key": "vehicle", "partitions": 2,
        "traps": { "most": 5 },
    });
    if let Some(plugin) = canary {
        binding["canary"] = json!({ "plugin": plugin });
    }
    binding
}

async fn drive(gateway: &Gateway, messages: u64) {
    for vehicle in VEHICLES {
        let mut device = gateway.v5(vehicle).await;
        for _ in 0..messages {
            let publish = Publish::new(&format!("dt/cvra/{vehicle}/cardata"), "x", 1);
            assert!(device.publish(publish).await < 0x80);
        }
    }
}

/// What `plugin diff` says, and whether it says that something differs.
fn diff(gateway: &Gateway) -> (Value, Option<i32>) {
    let said = gateway.operator(&["plugin", "diff", "counts", "-o", "json"]);
    let first = serde_json::Deserializer::from_slice(&said.stdout).into_iter().next();
    (first.and_then(Result::ok).unwrap_or_default(), said.status.code())
}

/// Waits until the canary is in a state.
async fn in_state(gateway: &Gateway, state: &str) {
    wait::until(state, async || (diff(gateway).0["state"] == state).then_some(())).await;
}

async fn seen(gateway: &Gateway, inputs: u64) -> (Value, Option<i32>) {
    wait::until("the canary has seen it all", async || Some(diff(gateway)).filter(|said| said.0["inputs"] == inputs))
        .await
}

async fn handled(gateway: &Gateway, messages: u64) {
    let count = || gateway.query(&["status"])["bindings"][0]["handled"].as_u64();
    wait::until("all are handled", async || count().filter(|handled| *handled == messages)).await;
}

#[tokio::test]
async fn a_canary_of_the_same_version_shows_no_difference() {
    let gateway = shadowed(&counts()).start().await;
    in_state(&gateway, "running").await;
    drive(&gateway, 20).await;
    let (canary, code) = seen(&gateway, 40).await;
    assert_eq!((&canary["equal"], &canary["differences"], code), (&40.into(), &json!([]), Some(0)), "{canary}");
    assert_eq!((&canary["state_bytes"], &canary["against"]), (&0.into(), &canary["digest"]), "{canary}");
    let told = gateway.operator(&["binding", "list"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("running, 0 of 40 differ"), "{told}");
}

#[tokio::test]
async fn a_canary_that_differs_is_told_by_message_and_takes_no_effect_until_it_is_promoted() {
    let mut gateway = shadowed(&doubles()).start().await;
    in_state(&gateway, "running").await;
    let mut watcher = gateway.v5("watcher").await;
    assert!(watcher.subscribe("dt/cvra/+/cardata", 1).await < 0x80);
    drive(&gateway, 10).await;
    let (canary, code) = seen(&gateway, 20).await;
    assert_eq!((&canary["different"], &canary["equal"], code), (&20.into(), &0.into(), Some(1)), "{canary}");
    let differences = canary["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 20);
    for vehicle in VEHICLES {
        let of = differences.iter().filter(|difference| difference["key"] == vehicle);
        let what: Vec<_> = of.map(|difference| difference["what"].clone()).collect();
        let publishes = format!("effect 2: publish \"dt/cvra/{vehicle}/cardata\" besides");
        assert_eq!(what[0], json!([publishes]));
        assert!(
            what[1..].iter().all(|what| *what == json!(["effect 1: set-state \"n\": value", publishes])),
            "{what:?}"
        );
    }
    assert!(!canary.to_string().contains("\"binding\""), "what they made is not kept: {canary}");

    let mut delivered = 0;
    while delivered < 20 {
        assert_eq!(watcher.message().await.payload, "x".as_bytes());
        delivered += 1;
    }
    // The canary may be ahead of what the binding has committed.
    handled(&gateway, 20).await;
    assert_eq!(gateway.query(&["deadletters", "list"]), json!([]));
    assert_eq!(VEHICLES.map(|vehicle| counted(&gateway, vehicle)), [10, 10]);

    assert_eq!(gateway.stop().await.code(), Some(0));
    let bindings = json!([binding("next.wasm", None)]);
    let setup = gateway.setup_mut();
    *setup = std::mem::replace(setup, crate::setup()).set("bindings", bindings);
    gateway.launch().await;
    let missing = gateway.operator(&["plugin", "diff", "counts"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("has no canary"), "{missing:?}");
    let mut device = gateway.v5("d1").await;
    assert!(device.publish(Publish::new("dt/cvra/d1/cardata", "x", 1)).await < 0x80);
    wait::until("it counts in steps of two", async || (counted(&gateway, "d1") >= 12).then_some(())).await;
}

#[tokio::test]
async fn a_canary_that_traps_or_is_slow_disturbs_nobody() {
    const SPINS: &str = "(loop $for-ever (br $for-ever)) (unreachable)";
    for (canary, ended) in [("(unreachable)", "trap: "), (SPINS, "deadline: ")] {
        let gateway = shadowed(canary).start().await;
        in_state(&gateway, "running").await;
        drive(&gateway, 20).await;
        handled(&gateway, 40).await;
        in_state(&gateway, "ended").await;
        let (canary, code) = diff(&gateway);
        let reason = canary["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("it traps too often, last: {ended}")), "{canary}");
        assert_eq!((code, &canary["trapped"]), (Some(1), &canary["inputs"]), "{canary}");
        drive(&gateway, 1).await;
        handled(&gateway, 42).await;
        assert_eq!(VEHICLES.map(|vehicle| counted(&gateway, vehicle)), [21, 21]);
        let binding = &gateway.query(&["status"])["bindings"][0];
        assert_eq!((&binding["state"], &binding["traps"]), (&"running".into(), &0.into()));
        assert_eq!(binding["canary"]["state"], "ended");
    }
}

/// What a command that must not fail prints.
fn ordered(gateway: &Gateway, arguments: &[&str]) -> String {
    let said = gateway.operator(arguments);
    assert!(said.status.success(), "{arguments:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// The same binding without a canary of the configuration.
fn without_canary() -> Setup {
    shadowed(&doubles()).set("bindings", json!([binding("counts.wasm", None)]))
}

#[tokio::test]
async fn a_canary_begins_and_ends_by_command_and_over_restarts() {
    let mut gateway = without_canary().start().await;
    let next = gateway.setup().path("next.wasm");
    let next = next.to_str().unwrap();
    let said = ordered(&gateway, &["plugin", "set", "counts", next, "--shadow"]);
    assert!(said.starts_with("counts: canary running, file://"), "{said}");
    drive(&gateway, 5).await;
    let (canary, code) = seen(&gateway, 10).await;
    assert_eq!((&canary["different"], &canary["chosen"], code), (&10.into(), &true.into(), Some(1)), "{canary}");
    let listed = ordered(&gateway, &["binding", "list"]);
    assert!(listed.contains("running, 10 of 10 differ (chosen)"), "{listed}");
    handled(&gateway, 10).await;
    assert_eq!(VEHICLES.map(|vehicle| counted(&gateway, vehicle)), [5, 5]);

    // What is not to be had changes nothing.
    let refused = gateway.operator(&["plugin", "set", "counts", "/nowhere.wasm", "--shadow"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("/nowhere.wasm"), "{said}");
    assert_eq!(diff(&gateway).0["inputs"], 10);

    assert_eq!(gateway.stop().await.code(), Some(0));
    gateway.launch().await;
    in_state(&gateway, "running").await;
    let said = ordered(&gateway, &["plugin", "set", "counts", "--no-shadow"]);
    assert_eq!(said, "counts: no canary\n");
    assert_eq!(gateway.stop().await.code(), Some(0));
    gateway.launch().await;
    let missing = gateway.operator(&["plugin", "diff", "counts"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("has no canary"), "{missing:?}");
}

#[tokio::test]
async fn a_chosen_canary_goes_when_the_configuration_names_another() {
    let gateway = shadowed(&doubles()).start().await;
    in_state(&gateway, "running").await;
    ordered(&gateway, &["plugin", "set", "counts", "--no-shadow"]);
    let (canary, code) = diff(&gateway);
    assert_eq!((&canary["state"], &canary["chosen"], code), (&"ended".into(), &true.into(), Some(1)), "{canary}");
    assert!(canary["reason"].as_str().unwrap().contains("--no-shadow"), "{canary}");
    ordered(&gateway, &["reload"]);
    assert_eq!(diff(&gateway).0["state"], "ended", "the configuration says what it said");

    let mut gateway = gateway;
    gateway.setup_mut().change("bindings", json!([binding("counts.wasm", Some("counts.wasm"))]));
    let _ = gateway.setup().write_config();
    ordered(&gateway, &["reload"]);
    in_state(&gateway, "running").await;
    let (canary, _) = diff(&gateway);
    assert!(canary["plugin"].as_str().unwrap().ends_with("counts.wasm") && canary["chosen"] == false, "{canary}");
}

#[test]
fn the_ways_to_begin_and_end_a_canary_exclude_one_another() {
    for arguments in [
        ["plugin", "set", "counts", "--shadow", "--no-shadow"].as_slice(),
        &["plugin", "set", "counts", "a.wasm", "--no-shadow"],
        &["plugin", "set", "counts", "--shadow"],
        &["plugin", "set", "counts", "a.wasm", "--shadow", "--allow-downgrade"],
    ] {
        assert_eq!(setup().command(arguments).status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn check_warns_of_a_canary_that_would_be_refused() {
    let setup = shadowed(&counts());
    fs::remove_file(setup.path("next.wasm")).unwrap();
    let _ = setup.write_config();
    let said = setup.command(&["check"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("warning: ") && text.contains("next.wasm"), "{said:?}");
}

#[tokio::test]
async fn a_canary_that_is_not_there_is_refused_and_the_gateway_runs() {
    let setup = shadowed(&counts());
    fs::remove_file(setup.path("next.wasm")).unwrap();
    let gateway = setup.start().await;
    in_state(&gateway, "refused").await;
    let (canary, code) = diff(&gateway);
    assert!(canary["reason"].as_str().unwrap().contains("next.wasm") && code == Some(1), "{canary}");
    drive(&gateway, 1).await;
    handled(&gateway, 2).await;
    for (arguments, part) in
        [(["plugin", "diff", "other"].as_slice(), "no binding `other`"), (&["plugin", "diff", "a", "b"], "Usage")]
    {
        let said = gateway.operator(arguments);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(part), "{arguments:?}: {text}");
    }
}
