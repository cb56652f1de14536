//! Gateways whose plugin is not what it should be: they start, run everything else, say why that one does not, and never
//! run it.

use super::scene::{Scene, said};
use crate::{guest, setup};
use causeway_tests::artifact::{Artifact, Key, Signature};
use causeway_tests::mutating::{Answer, Role};
use causeway_tests::{Gateway, Publish, Setup, wait};
use serde_json::{Value, json};
use std::fs;

/// Publishes `hi` to `out/x` for each message, so that whoever runs it is found out.
fn talking() -> Vec<u8> {
    guest::component(guest::PUBLISHES)
}

/// A scene whose plugin talks.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.publish(Artifact::component(&talking(), "1.0.0"));
    scene
}

/// A gateway with the plugin of a scene in one binding, and the built-in one in another.
fn with(scene: &Scene) -> Setup {
    let setup = setup();
    fs::copy(scene.path("key.pub"), setup.path("key.pub")).unwrap();
    let mut artifacts = scene.config["artifacts"].clone();
    artifacts["retry"] = "1s".into();
    let bindings = json!([
        { "name": "telemetry", "plugin": "builtin:telemetry", "filters": ["dt/cvra/+/cardata"] },
        { "name": "doors", "plugin": scene.reference, "filters": ["devices/+/door"] },
    ]);
    setup
        .set("artifacts", artifacts)
        .set("registries", scene.config["registries"].clone())
        .set("trust", scene.config["trust"].clone())
        .set("bindings", bindings)
}

fn binding(gateway: &Gateway, name: &str) -> Value {
    let bindings = gateway.query(&["binding", "list"]);
    bindings.as_array().unwrap().iter().find(|binding| binding["name"] == name).unwrap().clone()
}

fn state(gateway: &Gateway) -> String {
    let binding = binding(gateway, "doors");
    let [state, problem] = ["state", "problem"].map(|key| binding[key].as_str().unwrap_or_default().to_owned());
    format!("{state} {problem}").trim_end().to_owned()
}

/// A message for the plugin is accepted, and the plugin does not say anything.
async fn assert_not_run(gateway: &Gateway, name: &str) {
    let mut listener = gateway.v5("listener").await;
    listener.subscribe("out/#", 1).await;
    let mut device = gateway.v5("device").await;
    assert!(device.publish(Publish::new("devices/d1/door", "open", 1)).await < 0x80, "{name}");
    listener.ping().await;
    assert!(listener.pending().is_empty(), "{name}: the plugin ran");
    assert_eq!(binding(gateway, "doors")["handled"], 0, "{name}");
    assert_eq!(binding(gateway, "telemetry")["state"], "running", "{name}");
}

/// The binding says all of these.
async fn says(gateway: &Gateway, name: &str, words: &[&str]) {
    let what = format!("{name}: a state with {words:?}");
    wait::until(&what, async || {
        let state = state(gateway);
        words.iter().all(|word| state.contains(word)).then_some(())
    })
    .await;
    assert!(!state(gateway).contains('\n'), "{name}: {}", state(gateway));
}

/// What is wrong in a case.
type Change = fn(&mut Scene);

#[tokio::test]
async fn a_gateway_starts_without_a_plugin_that_it_refuses_and_says_why() {
    let cases: [(&str, Change, &[&str]); 5] = [
        ("unsigned", |scene| scene.registry.shelf().unsign(), &["sign"]),
        (
            "signed by another key",
            |scene| scene.sign(&Signature::of(&scene.artifact.digest(), &scene.repository(), &Key::p256())),
            &["key"],
        ),
        (
            "a layer with a flipped bit",
            |scene| {
                scene.registry.mutate(|request, answer| {
                    if request.role == Role::Layer {
                        answer.body[99] ^= 1;
                    }
                });
            },
            &["sha256:"],
        ),
        ("revoked", |scene| scene.config["trust"]["revoked"] = json!([scene.artifact.layer_digest()]), &["revoked"]),
        (
            "a registry that is away",
            |scene| scene.registry.mutate(|_, answer| *answer = Answer::new(503, "")),
            &["503"],
        ),
    ];
    for (name, change, words) in cases {
        let mut scene = scene();
        change(&mut scene);
        let mut gateway = with(&scene).start().await;
        says(&gateway, name, words).await;
        assert_not_run(&gateway, name).await;
        gateway.assert_well().await;
        assert!(gateway.stop().await.success(), "{name}");
    }
}

#[tokio::test]
async fn a_binding_that_waits_for_its_plugin_runs_it_as_soon_as_it_may() {
    let scene = scene();
    scene.registry.shelf().unsign();
    let gateway = with(&scene).start().await;
    says(&gateway, "unsigned", &["sign"]).await;
    assert_not_run(&gateway, "unsigned").await;
    scene.sign(&Signature::of(&scene.artifact.digest(), &scene.repository(), &scene.key));
    says(&gateway, "signed", &["running"]).await;
    wait::until("the message that waited", async || (binding(&gateway, "doors")["handled"] == 1).then_some(())).await;
}

#[tokio::test]
async fn a_canary_whose_registry_was_away_is_asked_for_again() {
    let scene = scene();
    scene.registry.mutate(|_, answer| *answer = Answer::new(503, "away"));
    let gateway = with(&scene).set(
        "bindings",
        json!([{
            "name": "telemetry", "plugin": "builtin:telemetry", "filters": ["dt/cvra/+/cardata"],
            "canary": { "plugin": scene.reference },
        }]),
    );
    let gateway = gateway.start().await;
    let canary = || binding(&gateway, "telemetry")["canary"].clone();
    wait::until("refused", async || (canary()["state"] == "refused").then_some(())).await;
    scene.registry.mutate(|_, _| {});
    wait::until("running", async || (canary()["state"] == "running").then_some(())).await;
}

#[tokio::test]
async fn a_tag_that_was_swapped_after_its_approval_changes_nothing() {
    let mut scene = scene();
    let mut gateway = with(&scene).start().await;
    says(&gateway, "approved", &["running"]).await;
    let approved = scene.artifact.digest();
    gateway.stop().await;
    // Somebody with the key moves the tag: signed, and not what was approved here.
    scene.publish(Artifact::component(&guest::component("(unreachable)"), "1.0.0"));
    gateway.launch().await;
    says(&gateway, "the tag has moved", &["running"]).await;
    let mut listener = gateway.v5("listener").await;
    listener.subscribe("out/#", 1).await;
    assert!(gateway.v5("device").await.publish(Publish::new("devices/d1/door", "open", 1)).await < 0x80);
    assert_eq!(listener.message().await.text(), "hi");
    let locked = fs::read_to_string(gateway.setup().path("data/plugins.lock")).unwrap();
    assert!(locked.contains(&approved) && !locked.contains(&scene.artifact.digest()), "{locked}");
}

#[tokio::test]
async fn an_older_version_is_refused_unless_it_is_asked_for() {
    let mut scene = scene();
    scene.publish(Artifact::component(&talking(), "1.1.0"));
    let newer = format!("oci://{}@{}", scene.repository(), scene.artifact.digest());
    // Of other bytes: what is the same to the byte is no older.
    scene.publish(Artifact::component(&[talking(), vec![0, 2, 1, b'x']].concat(), "1.0.9"));
    let older = format!("oci://{}@{}", scene.repository(), scene.artifact.digest());
    scene.reference = newer;
    let mut gateway = with(&scene).start().await;
    says(&gateway, "newer", &["running"]).await;
    let refused = gateway.operator(&["plugin", "set", "doors", &older]);
    let line = said(&refused);
    assert!(!refused.status.success(), "{line}");
    assert!(line.lines().count() == 1 && line.contains("1.0.9") && line.contains("1.1.0"), "{line}");
    assert!(line.contains("allow-downgrade") || line.contains("allow_downgrade"), "{line}");
    says(&gateway, "still the newer", &["running"]).await;
    // The configuration is no way around it, and neither is a restart.
    gateway.stop().await;
    let setup = gateway.setup_mut();
    let changed = setup.write_config();
    let text = fs::read_to_string(&changed).unwrap();
    assert!(text.contains(&scene.reference));
    gateway.launch().await;
    let allowed = gateway.operator(&["plugin", "set", "doors", &older, "--allow-downgrade"]);
    assert!(allowed.status.success(), "{}", said(&allowed));
    says(&gateway, "older", &["running"]).await;
}

/// Says in the configuration of a running gateway that this digest is revoked, and has it read again.
fn revoke(gateway: &mut Gateway, digest: &str) {
    gateway.setup_mut().change("trust.revoked", json!([digest]));
    let _ = gateway.setup().write_config();
    let _ = gateway.operator(&["reload"]);
}

#[tokio::test]
async fn a_plugin_that_is_revoked_while_it_runs_is_parked_with_the_reason() {
    let scene = scene();
    let mut gateway = with(&scene).start().await;
    says(&gateway, "trusted", &["running"]).await;
    revoke(&mut gateway, &scene.artifact.layer_digest());
    says(&gateway, "revoked", &["parked", &scene.artifact.layer_digest(), "revoked"]).await;
    assert_not_run(&gateway, "revoked").await;
    gateway.stop().await;
    gateway.launch().await;
    says(&gateway, "after a restart", &["parked", "revoked"]).await;
}

#[tokio::test]
async fn a_binding_whose_newer_plugin_is_revoked_goes_back_to_the_one_before() {
    let mut scene = scene();
    let older = scene.artifact.layer_digest();
    let mut gateway = with(&scene).start().await;
    says(&gateway, "older", &["running"]).await;
    scene.publish(Artifact::component(&guest::component("(nop) (call $ok (local.get 3))"), "1.1.0"));
    let newer = format!("oci://{}@{}", scene.repository(), scene.artifact.digest());
    let swapped = gateway.operator(&["plugin", "set", "doors", &newer]);
    assert!(swapped.status.success(), "{}", said(&swapped));
    revoke(&mut gateway, &scene.artifact.digest());
    says(&gateway, "revoked", &["rolled back", &scene.artifact.digest(), "revoked"]).await;
    assert!(binding(&gateway, "doors")["plugin"].as_str().unwrap().contains(&older));
    let mut listener = gateway.v5("listener").await;
    listener.subscribe("out/#", 1).await;
    assert!(gateway.v5("device").await.publish(Publish::new("devices/d1/door", "open", 1)).await < 0x80);
    assert_eq!(listener.message().await.text(), "hi");
}

#[tokio::test]
async fn a_component_that_was_damaged_in_the_cache_is_not_run_and_is_fetched_again() {
    let scene = scene();
    let mut gateway = with(&scene).start().await;
    says(&gateway, "whole", &["running"]).await;
    gateway.stop().await;
    scene.registry.mutate(|_, answer| *answer = Answer::new(503, "away"));
    gateway.launch().await;
    says(&gateway, "without its registry", &["running"]).await;
    gateway.stop().await;
    let name = scene.artifact.layer_digest().replace("sha256:", "");
    let file = gateway.setup().path("data/artifacts/blobs/sha256").join(name);
    let mut bytes = fs::read(&file).unwrap();
    bytes[99] ^= 1;
    fs::write(&file, bytes).unwrap();
    gateway.launch().await;
    wait::until("not running", async || (state(&gateway) != "running").then_some(())).await;
    assert_not_run(&gateway, "damaged").await;
    scene.registry.mutate(|_, _| {});
    says(&gateway, "fetched again", &["running"]).await;
}

#[tokio::test]
async fn a_second_gateway_on_the_same_cache_is_refused_in_one_line() {
    let scene = scene();
    let first = with(&scene).start().await;
    let dir = first.setup().path("data/artifacts");
    let second = with(&scene).set("artifacts.dir", dir.to_str().unwrap().into());
    let config = second.write_config();
    let output = second.command(&["run", "--config", config.to_str().unwrap()]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("artifacts")).collect();
    assert!(lines.len() == 1 && lines[0].contains("in use"), "{said}");
    first.assert_well().await;
}
