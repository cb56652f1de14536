//! `causeway plugin` from a component file to a registry and back: pushed, signed, looked at, verified, locked, carried
//! on a stick; against a real registry, and with signatures of openssl and layouts of skopeo.

use crate::setup;
use causeway_tests::artifact::Key;
use causeway_tests::registry::Artifact;
use causeway_tests::{Publish, Registry, Setup, peers, wait};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// What a command that must not fail prints, read as JSON.
fn json_of(setup: &Setup, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    serde_json::from_str(&setup.done(&arguments)).unwrap()
}

/// A command that has to fail with this exit code, in one line that has all `parts`.
fn refused(setup: &Setup, arguments: &[&str], code: i32, parts: &[&str]) {
    let (ended, out, err) = setup.said(arguments);
    assert_eq!(ended, code, "causeway {arguments:?}: {out}{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    let all = format!("{out}{err}");
    for part in parts {
        assert!(all.contains(part), "causeway {arguments:?}: no {part:?} in {all}");
    }
}

/// A folder with a component, a key pair, and the configuration that trusts it.
fn place(registry: Option<&Registry>) -> Setup {
    let setup = setup();
    fs::write(setup.path("plugin.wasm"), causeway_plugins::builtin("telemetry").unwrap()).unwrap();
    setup.done(&["plugin", "keygen", "--to", "release"]);
    let registries = registry.map(Registry::config).into_iter().collect::<Vec<_>>();
    let setup = setup
        .set("registries", json!(registries))
        .set("trust", json!({ "keys": [{ "id": "release", "file": "release.pub" }] }));
    let _ = setup.write_config();
    setup
}

fn push(setup: &Setup, reference: &str) -> String {
    setup.done(&["plugin", "push", "plugin.wasm", reference, "--sign-with", "release.key"]).trim_end().to_owned()
}

#[tokio::test]
async fn a_plugin_goes_through_a_registry_with_tls_and_passwords_and_comes_out_as_it_was() {
    let Some(registry) = Registry::start().await else { return };
    let setup = place(Some(&registry));
    let tag = registry.reference("acme/telemetry:1.2.0");
    let pinned = push(&setup, &tag);
    assert!(pinned.starts_with(&format!("{tag}@sha256:")), "{pinned}");

    let verified = setup.done(&["plugin", "verify", &pinned]);
    let steps: Vec<_> = verified.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(steps, ["resolved", "signature", "manifest", "component", "plugin"], "{verified}");
    assert!(verified.contains("key `release`"), "{verified}");

    setup.done(&["plugin", "pull", &tag, "--to", "pulled.wasm"]);
    assert_eq!(fs::read(setup.path("pulled.wasm")).unwrap(), fs::read(setup.path("plugin.wasm")).unwrap());
}

#[tokio::test]
async fn inspect_shows_what_a_plugin_would_ask_for_without_running_it() {
    let Some(registry) = Registry::start_plain().await else { return };
    let setup = place(Some(&registry)).shipped_policies();
    let _ = setup.write_config();
    let tag = registry.reference("acme/telemetry:1.2.0");
    push(&setup, &tag);
    let seen = json_of(&setup, &["plugin", "inspect", &tag, "--binding", "vehicles"]);
    assert_eq!((&seen["kind"], &seen["version"]), (&json!("telemetry"), &json!("1.2.0")));
    let bytes = causeway_plugins::builtin("telemetry").unwrap();
    assert_eq!(seen["component"]["bytes"], bytes.len());
    assert_eq!(seen["component"]["digest"], causeway_host::Digest::of(bytes).to_string());
    let imports = seen["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import["import"] == "records" && import["granted"] == true), "{seen}");
    assert_eq!(seen["signatures"][0]["key"], "release");
    assert_eq!(seen["signatures"][0]["trusted"], true);
    assert_eq!(seen["annotations"]["org.opencontainers.image.version"], "1.2.0");

    // What nobody signed can be looked at all the same, and what is no plugin says what it is.
    setup.done(&["plugin", "push", "plugin.wasm", &registry.reference("acme/unsigned:1")]);
    let seen = json_of(&setup, &["plugin", "inspect", &registry.reference("acme/unsigned:1")]);
    assert_eq!(seen["signatures"], json!([]));
    fs::write(setup.path("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    refused(&setup, &["plugin", "push", "module.wasm", &tag], 64, &["core module", "componentize"]);
    refused(&setup, &["plugin", "inspect", "module.wasm"], 1, &["core module"]);
}

#[tokio::test]
async fn what_is_not_trusted_fails_at_its_step_and_leaves_no_file() {
    let Some(registry) = Registry::start_plain().await else { return };
    let setup = place(Some(&registry));
    let unsigned = registry.reference("acme/unsigned:1.0.0");
    setup.done(&["plugin", "push", "plugin.wasm", &unsigned]);
    refused(&setup, &["plugin", "verify", &unsigned], 1, &["resolved", "signature", "failed"]);
    refused(&setup, &["plugin", "pull", &unsigned, "--to", "pulled.wasm"], 1, &["is refused"]);
    assert!(!setup.path("pulled.wasm").exists());

    // Another key than the trusted one, then the trusted one beside it.
    fs::write(setup.path("other.key"), Key::ed25519().private()).unwrap();
    setup.done(&["plugin", "sign", &unsigned, "--key", "other.key"]);
    refused(&setup, &["plugin", "verify", &unsigned], 1, &["signature", "failed"]);
    setup.done(&["plugin", "sign", &unsigned, "--key", "release.key"]);
    assert!(setup.done(&["plugin", "verify", &unsigned]).contains("key `release`"));
    let seen = json_of(&setup, &["plugin", "inspect", &unsigned]);
    assert_eq!(seen["signatures"].as_array().unwrap().len(), 2, "{seen}");

    let absent = registry.reference("acme/unsigned:9");
    refused(&setup, &["plugin", "verify", &absent], 1, &["resolved", "failed"]);
    refused(&setup, &["plugin", "verify", "oci://127.0.0.1:1/acme/alarm:1"], 69, &["127.0.0.1:1"]);
    refused(&setup, &["plugin", "verify", "acme/alarm:1"], 1, &["acme/alarm"]);
}

#[tokio::test]
async fn a_signature_that_openssl_made_counts_for_artifacts_and_for_files() {
    let (Some(registry), Some(openssl)) = (Registry::start_plain().await, peers::require("openssl")) else { return };
    let setup =
        place(Some(&registry)).set("trust", json!({ "unsigned": [], "keys": [{ "id": "hsm", "file": "hsm.pub" }] }));
    let openssl = |arguments: &[&str]| {
        let output = Command::new(&openssl).args(arguments).current_dir(setup.path("")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "hsm.key"]);
    openssl(&["pkey", "-in", "hsm.key", "-pubout", "-out", "hsm.pub"]);
    let _ = setup.write_config();
    let tag = registry.reference("acme/telemetry:1.2.0");
    setup.done(&["plugin", "push", "plugin.wasm", &tag]);

    setup.done(&["plugin", "sign", &tag, "--payload", "payload.json"]);
    openssl(&["dgst", "-sha256", "-sign", "hsm.key", "-out", "payload.der", "payload.json"]);
    openssl(&["base64", "-A", "-in", "payload.der", "-out", "payload.sig"]);
    setup.done(&["plugin", "sign", &tag, "--attach", "payload.sig", "--key", "hsm.pub"]);
    assert!(setup.done(&["plugin", "verify", &tag]).contains("key `hsm`"));
    refused(&setup, &["plugin", "sign", &tag, "--attach", "payload.sig", "--key", "release.pub"], 64, &["payload.sig"]);

    refused(&setup, &["plugin", "verify", "plugin.wasm"], 1, &["signature", "failed"]);
    openssl(&["dgst", "-sha256", "-sign", "hsm.key", "-out", "file.der", "plugin.wasm"]);
    openssl(&["base64", "-A", "-in", "file.der", "-out", "plugin.wasm.sig"]);
    assert!(setup.done(&["plugin", "verify", "plugin.wasm"]).contains("key `hsm`"));
}

#[test]
fn a_file_is_signed_beside_itself_and_works_without_any_configuration() {
    let setup = setup();
    fs::write(setup.path("plugin.wasm"), causeway_plugins::builtin("telemetry").unwrap()).unwrap();
    setup.done(&["plugin", "keygen", "--to", "release", "--ed25519"]);
    setup.done(&["plugin", "sign", "plugin.wasm", "--key", "release.key"]);
    assert!(setup.path("plugin.wasm.sig").exists());
    let verified = setup.done(&["plugin", "verify", "plugin.wasm", "--key", "release.pub"]);
    assert!(verified.contains("key `release`"), "{verified}");
    fs::write(setup.path("plugin.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    refused(&setup, &["plugin", "verify", "plugin.wasm", "--key", "release.pub"], 1, &["signature", "failed"]);
}

#[test]
fn a_new_key_is_for_its_owner_alone_and_never_replaces_another() {
    let setup = setup();
    let printed = setup.done(&["plugin", "keygen", "--to", "release"]);
    for part in ["trust:", "id: release", "release.pub"] {
        assert!(printed.contains(part), "no {part:?} in {printed}");
    }
    let mode = |name: &str| fs::metadata(setup.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("release.key"), 0o600);
    let before = fs::read(setup.path("release.key")).unwrap();
    refused(&setup, &["plugin", "keygen", "--to", "release"], 74, &["release.key"]);
    assert_eq!(fs::read(setup.path("release.key")).unwrap(), before);
    fs::remove_file(setup.path("release.key")).unwrap();
    refused(&setup, &["plugin", "keygen", "--to", "release"], 74, &["release.pub"]);
    assert!(!setup.path("release.key").exists(), "a private key without its public one is of no use");
}

#[tokio::test]
async fn the_lockfile_holds_a_tag_until_it_is_asked_to_move() {
    let Some(registry) = Registry::start_plain().await else { return };
    let tag = registry.reference("acme/telemetry:stable");
    let setup = place(Some(&registry)).set("bindings", json!([{ "name": "vehicles", "plugin": tag }]));
    let _ = setup.write_config();
    let first = push(&setup, &tag);
    let locked = json_of(&setup, &["plugin", "lock"]);
    assert_eq!(locked[0]["binding"], "vehicles");
    assert!(first.ends_with(locked[0]["digest"].as_str().unwrap()), "{locked}");

    let second =
        setup.done(&["plugin", "push", "plugin.wasm", &tag, "--version", "2.0.0", "--sign-with", "release.key"]);
    assert_ne!(first, second.trim_end());
    let again = json_of(&setup, &["plugin", "lock"]);
    assert_eq!((&again[0]["digest"], &again[0]["moved"]), (&locked[0]["digest"], &json!(false)));
    let moved = json_of(&setup, &["plugin", "lock", "--update", "vehicles"]);
    assert!(second.trim_end().ends_with(moved[0]["digest"].as_str().unwrap()), "{moved}");
    assert_eq!((&moved[0]["before"], &moved[0]["moved"]), (&locked[0]["digest"], &json!(true)));

    let listed = json_of(&setup, &["plugin", "list"]);
    assert_eq!(listed["locked"][0]["reference"], tag);
    assert_eq!(listed["locked"][0]["bindings"], json!(["vehicles"]));
    refused(&setup, &["plugin", "lock", "--update", "nobody"], 64, &["nobody", "vehicles"]);
}

#[tokio::test]
async fn a_canary_is_locked_listed_and_carried_as_the_plugins_of_bindings_are() {
    let Some(registry) = Registry::start_plain().await else { return };
    let (stable, next) = (registry.reference("acme/telemetry:stable"), registry.reference("acme/telemetry:next"));
    let bindings = json!([{ "name": "vehicles", "plugin": stable, "canary": { "plugin": next } }]);
    let setup = place(Some(&registry)).set("bindings", bindings);
    let _ = setup.write_config();
    push(&setup, &stable);
    setup.done(&["plugin", "push", "plugin.wasm", &next, "--version", "2.0.0", "--sign-with", "release.key"]);
    let references = |list: &Value| -> Vec<String> {
        let references = list.as_array().unwrap().iter().map(|item| item["reference"].as_str().unwrap().to_owned());
        references.collect()
    };
    assert_eq!(references(&json_of(&setup, &["plugin", "lock"])), [stable.clone(), next.clone()]);
    let stick = registry.path("stick");
    let exported = json_of(&setup, &["plugin", "export", stick.to_str().unwrap()]);
    assert_eq!(references(&exported["plugins"]), [next.clone(), stable]);
    let listed = json_of(&setup, &["plugin", "list"]);
    let tags = listed["locked"].as_array().unwrap();
    let tag = tags.iter().find(|tag| tag["reference"] == next).unwrap();
    assert_eq!(tag["bindings"], json!(["vehicles"]), "{listed}");
}

#[tokio::test]
async fn a_stick_carries_plugins_signatures_and_lockfile_to_a_gateway_without_a_registry() {
    let Some(mut registry) = Registry::start_plain().await else { return };
    let tag = registry.reference("acme/telemetry:stable");
    let bindings = json!([{ "name": "vehicles", "plugin": tag }]);
    let office = place(Some(&registry)).set("bindings", bindings.clone());
    let _ = office.write_config();
    push(&office, &tag);
    let stick = registry.path("stick");
    let stick = stick.to_str().unwrap();
    let exported = json_of(&office, &["plugin", "export", stick]);
    assert_eq!(exported["plugins"][0]["reference"], tag);
    registry.unplug();

    // A stranger's gateway takes nothing of it; the one with the right key runs it.
    let stranger = place(Some(&registry)).set("bindings", bindings.clone());
    let _ = stranger.write_config();
    refused(&stranger, &["plugin", "import", stick], 1, &["is refused"]);
    let hall = place(Some(&registry)).set("bindings", bindings);
    fs::copy(office.path("release.pub"), hall.path("release.pub")).unwrap();
    let _ = hall.write_config();
    hall.done(&["plugin", "import", stick]);
    let listed = json_of(&hall, &["plugin", "list"]);
    assert_eq!(listed["kept"][0]["bindings"], json!(["vehicles"]), "{listed}");

    // Its gateway has never seen the registry.
    let gateway = hall.start().await;
    let binding = &gateway.query(&["binding", "list"])[0];
    assert_eq!((&binding["state"], &binding["signer"]), (&json!("running"), &json!("release")), "{binding}");
    let mut device = gateway.v5("device").await;
    assert!(device.publish(Publish::new("dt/cvra/device/cardata", "{}", 1)).await < 0x80);
    let handled = async || (gateway.query(&["binding", "list"])[0]["handled"] == 1).then_some(());
    wait::until("the message is handled", handled).await;
}

#[tokio::test]
async fn a_lockfile_that_is_none_is_said_in_one_line() {
    let Some(registry) = Registry::start_plain().await else { return };
    let tag = registry.reference("acme/telemetry:stable");
    let setup = place(Some(&registry)).set("bindings", json!([{ "name": "vehicles", "plugin": tag }]));
    let _ = setup.write_config();
    push(&setup, &tag);
    fs::create_dir_all(setup.path("data")).unwrap();
    let stick = setup.path("stick");
    let garbage: [&[u8]; 4] =
        [b"\0\xff garbage", b"- a\n- b\n", b"version: 9\nplugins: {}\n", b"version: 1\nplugins: {nowhere: x}\n"];
    for bytes in garbage {
        fs::write(setup.path("data/plugins.lock"), bytes).unwrap();
        for arguments in [
            ["plugin", "lock"].as_slice(),
            &["plugin", "list"],
            &["plugin", "verify", &tag],
            &["plugin", "pull", &tag],
            &["plugin", "export", stick.to_str().unwrap()],
        ] {
            refused(&setup, arguments, 64, &["plugins.lock is no lockfile", "causeway plugin lock"]);
        }
        assert_eq!(fs::read(setup.path("data/plugins.lock")).unwrap(), bytes);
    }
}

#[test]
fn a_wrong_signature_beside_a_file_is_not_passed_over_where_none_is_needed() {
    let setup = place(None);
    setup.done(&["plugin", "verify", "plugin.wasm"]);
    setup.done(&["plugin", "sign", "plugin.wasm", "--key", "release.key"]);
    setup.done(&["plugin", "verify", "plugin.wasm"]);
    for signature in ["bm90aGluZw==", "no base64", ""] {
        fs::write(setup.path("plugin.wasm.sig"), signature).unwrap();
        refused(&setup, &["plugin", "verify", "plugin.wasm"], 1, &["signature", "failed", "release"]);
    }
    fs::remove_file(setup.path("plugin.wasm.sig")).unwrap();
    setup.done(&["plugin", "verify", "plugin.wasm"]);
}

#[tokio::test]
async fn what_is_too_large_names_the_key_to_raise() {
    let Some(registry) = Registry::start_plain().await else { return };
    let tag = registry.reference("acme/telemetry:1.2.0");
    let setup = place(Some(&registry));
    push(&setup, &tag);
    let setup = setup.set("plugins", json!({ "max_component": "16KiB" }));
    let _ = setup.write_config();
    for verb in ["verify", "pull", "inspect"] {
        refused(&setup, &["plugin", verb, &tag], 1, &["16384 (`plugins.max_component`)"]);
    }
    refused(&setup, &["plugin", "verify", "plugin.wasm"], 1, &["16384 (`plugins.max_component`)"]);
}

#[tokio::test]
async fn a_layout_that_skopeo_copied_keeps_the_signature_of_its_origin() {
    let (Some(registry), Some(_)) = (Registry::start_plain().await, peers::require("skopeo")) else { return };
    let setup = place(Some(&registry));
    let pinned = push(&setup, &registry.reference("acme/telemetry:1.2.0"));
    let layout = setup.path("layout");
    registry.copy_to_layout("acme/telemetry:1.2.0", &layout, "1.2.0");
    let signature = format!("{}.sig", pinned.rsplit_once('@').unwrap().1.replace(':', "-"));
    registry.copy_to_layout(&format!("acme/telemetry:{signature}"), &layout, &signature);

    let repository = format!("{}/acme/telemetry", registry.host());
    let verified = setup.done(&["plugin", "verify", "oci-layout://layout:1.2.0", "--signed-as", &repository]);
    assert!(verified.contains("key `release`"), "{verified}");
    let elsewhere = ["plugin", "verify", "oci-layout://layout:1.2.0", "--signed-as", "other.example/acme/telemetry"];
    refused(&setup, &elsewhere, 1, &["signature", "failed", &repository]);
}

#[tokio::test]
async fn an_artifact_that_oras_pushed_is_signed_and_pulled() {
    let Some(registry) = Registry::start().await else { return };
    let bytes = causeway_plugins::builtin("telemetry").unwrap();
    let artifact = Artifact {
        layer: bytes,
        layer_type: "application/wasm",
        config: br#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#,
        config_type: "application/vnd.wasm.config.v0+json",
        annotations: &[("org.opencontainers.image.version", "1.2.0")],
    };
    let Some(digest) = registry.push_with_oras("acme/telemetry:1.2.0", &artifact) else { return };
    let setup = place(Some(&registry));
    let tag = registry.reference("acme/telemetry:1.2.0");
    setup.done(&["plugin", "sign", &tag, "--key", "release.key"]);
    let again = setup.done(&["plugin", "sign", &tag, "--key", "release.key"]);
    assert!(again.starts_with("signed already"), "{again}");
    let pulled = json_of(&setup, &["plugin", "pull", &tag, "--to", "pulled.wasm"]);
    assert_eq!((&pulled["digest"], &pulled["signed_by"]), (&json!(digest), &json!("release")));
    assert_eq!(fs::read(setup.path("pulled.wasm")).unwrap(), bytes);
}
