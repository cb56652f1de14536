//! Firmware as OCI artifacts: the three layouts that are in use, out of a real registry and pushed there by the tools of
//! others; and artifacts that lie, which a gateway refuses in one line.

use crate::setup;
use causeway::artifacts::Reference;
use causeway::artifacts::registry::Registries;
use causeway::config::{ArtifactsConfig, RegistryConfig};
use causeway_tests::artifact::{descriptor, digest, media};
use causeway_tests::disk::SmallDisk;
use causeway_tests::registry::Artifact;
use causeway_tests::{Gateway, Registry, Setup, peers, wait};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const BLOB: &str = "application/octet-stream";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A command that has to fail with this exit code, in one line that has all `parts`.
fn refused(setup: &Setup, arguments: &[&str], code: i32, parts: &[&str]) {
    let (ended, out, err) = setup.said(arguments);
    assert_eq!(ended, code, "causeway {arguments:?}: {out}{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    let missing: Vec<_> = parts.iter().filter(|part| !err.contains(**part)).collect();
    assert!(missing.is_empty(), "causeway {arguments:?}: no {missing:?} in {err}");
}

/// A folder with a configuration that needs no signatures of this registry and of layouts.
fn place(registry: Option<&Registry>) -> Setup {
    let registries = registry.map(Registry::config).into_iter().collect::<Vec<_>>();
    let mut unsigned = vec!["oci-layout://".to_owned(), "file://".to_owned()];
    unsigned.extend(registry.map(|registry| format!("oci://{}", registry.host())));
    let setup = setup().set("registries", json!(registries)).set("trust", json!({ "unsigned": unsigned }));
    let _ = setup.write_config();
    setup
}

/// An image of so many bytes, in which no two parts are equal.
fn image(bytes: usize) -> Vec<u8> {
    (0..).flat_map(|at: u64| digest(&at.to_le_bytes()).into_bytes()).take(bytes).collect()
}

/// What the bundler of the original writes beside an image.
fn metadata(version: &str, image: &[u8]) -> String {
    json!({ "version": version, "size": image.len(), "checksum": digest(image)[7..] }).to_string()
}

/// Files in a tar archive with gzip, in this order.
fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(folder.path()).args(["-czf", "-"]);
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
        tar.arg(name);
    }
    let output = tar.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Adds an image of these layers to the layout in `folder`, put together by hand.
fn lay_out(folder: &Path, tag: &str, config: &Value, layers: &[(&str, &[u8])], annotations: &Value) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "config": descriptor(media::IMAGE_CONFIG, &config),
        "layers": layers.iter().map(|(media_type, bytes)| descriptor(media_type, bytes)).collect::<Vec<_>>(),
        "annotations": annotations,
    });
    let manifest = manifest.to_string().into_bytes();
    for bytes in layers.iter().map(|(_, bytes)| *bytes).chain([&config[..], &manifest[..]]) {
        fs::write(blobs.join(&digest(bytes)[7..]), bytes).unwrap();
    }
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    let index = folder.join("index.json");
    let mut all: Value = fs::read(&index).map_or_else(
        |_| json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [] }),
        |bytes| serde_json::from_slice(&bytes).unwrap(),
    );
    let mut entry = descriptor(media::MANIFEST, &manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    all["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(&index, all.to_string()).unwrap();
}

/// A container image as of 2022: a label, and the file `firmware`.
fn labelled(folder: &Path, tag: &str, said: &str, layer: &[u8]) {
    let config = json!({ "architecture": "", "os": "", "rootfs": { "type": "layers", "diff_ids": [] },
        "config": { "Labels": { "io.drogue.metadata": said } } });
    lay_out(folder, tag, &config, &[(TAR_GZIP, layer)], &json!({}));
}

fn plain_config() -> Value {
    json!({ "architecture": "", "os": "", "rootfs": { "type": "layers", "diff_ids": [] } })
}

/// Has a gateway asked for a release: what it says, and the exit code.
fn asked(gateway: &Gateway, reference: &str) -> (String, i32) {
    let output = gateway.operator(&["firmware", "ask", reference]);
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

/// Waits until a release is no longer being fetched.
async fn pulled(gateway: &Gateway, reference: &str) -> Value {
    wait::until("the release is settled", async || {
        let listed = gateway.query(&["firmware", "list"]);
        let listed = listed.as_array().unwrap().iter().find(|item| item["reference"] == reference).cloned();
        listed.filter(|item| item["state"] != "fetching")
    })
    .await
}

#[tokio::test]
async fn a_release_that_oras_pushed_is_fetched_verified_and_there_without_its_registry() {
    let Some(mut registry) = Registry::start().await else { return };
    let bytes = image(100_000);
    let artifact = Artifact {
        layer: &bytes,
        layer_type: BLOB,
        config: b"{}",
        config_type: "application/vnd.unknown.config.v1+json",
        annotations: &[],
    };
    let Some(pushed) = registry.push_with_oras("acme/motor:1.2.0", &artifact) else { return };
    let reference = registry.reference("acme/motor:1.2.0");
    let setup = place(Some(&registry));
    setup.done(&["firmware", "pull", &reference, "--to", "pulled.bin"]);
    assert_eq!(fs::read(setup.path("pulled.bin")).unwrap(), bytes);
    let verified = setup.done(&["firmware", "verify", &reference]);
    assert!(verified.contains(&pushed) && verified.contains("motor 1.2.0, blob"), "{verified}");

    let absent = registry.reference("acme/motor:9");
    for verb in ["verify", "pull"] {
        refused(&setup, &["firmware", verb, &absent], 1, &["has no manifest 9"]);
    }

    // The command has fetched it into what the gateway keeps: the registry is not needed any more.
    registry.unplug();
    for verb in ["verify", "pull"] {
        refused(&setup, &["firmware", verb, &absent], 69, &["cannot be reached"]);
    }
    let gateway = setup.start().await;
    let listed = gateway.query(&["firmware", "list"]);
    let release =
        listed.as_array().unwrap().iter().find(|item| item["name"] == "motor").unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((&release["version"], &release["bytes"]), (&json!("1.2.0"), &json!(100_000)));
    assert_eq!((&release["cached"], &release["image"]), (&json!(true), &json!(digest(&bytes))));
    assert_eq!(gateway.metric("causeway_firmware_releases").await, 1);
}

#[tokio::test]
async fn a_container_image_with_a_label_and_one_with_files_in_its_root_are_firmware_too() {
    let Some(registry) = Registry::start_plain().await else { return };
    let Some(_) = peers::require("skopeo") else { return };
    let setup = place(Some(&registry));
    let bytes = image(70_000);
    let stick = setup.path("stick");
    labelled(
        &stick,
        "labelled",
        &metadata("0.1.1", &bytes),
        &packed(&[("firmware", &bytes), ("metadata.json", b"{}")]),
    );
    let root = packed(&[("firmware.bin", &bytes), ("firmware.json", metadata("0.1.2", &bytes).as_bytes())]);
    lay_out(&stick, "root", &plain_config(), &[(TAR_GZIP, &root)], &json!({}));
    for (tag, version, layout) in [("labelled", "0.1.1", "labelled image"), ("root", "0.1.2", "image")] {
        registry.copy_from_layout(&stick, tag, &format!("acme/pump:{tag}"));
        let reference = registry.reference(&format!("acme/pump:{tag}"));
        setup.done(&["firmware", "pull", &reference, "--to", "pulled.bin"]);
        assert_eq!(fs::read(setup.path("pulled.bin")).unwrap(), bytes, "{tag}");
        let verified = setup.done(&["firmware", "verify", &reference]);
        assert!(verified.contains(&format!("pump {version}, {layout}")), "{verified}");
    }
    // What was unpacked and damaged since is unpacked again before a byte of it goes anywhere.
    let unpacked = setup.path("data/artifacts/blobs/sha256").join(&digest(&bytes)[7..]);
    fs::write(&unpacked, vec![0; bytes.len()]).unwrap();
    setup.done(&["firmware", "pull", &registry.reference("acme/pump:root"), "--to", "pulled.bin"]);
    assert_eq!(fs::read(setup.path("pulled.bin")).unwrap(), bytes);
}

#[tokio::test]
async fn an_image_that_docker_pushed_is_firmware_too_and_a_list_of_several_is_not() {
    let Some(registry) = Registry::start_plain().await else { return };
    let Some(_) = peers::require("skopeo") else { return };
    let setup = place(Some(&registry));
    let bytes = image(60_000);
    let stick = setup.path("stick");
    labelled(&stick, "1", &metadata("0.2.0", &bytes), &packed(&[("firmware", &bytes)]));
    registry.copy_from_layout_as_docker(&stick, "1", "acme/pump:1");
    let reference = registry.reference("acme/pump:1");
    let verified = setup.done(&["firmware", "verify", &reference]);
    assert!(verified.contains("pump 0.2.0, labelled image"), "{verified}");
    let digest = verified.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    let kept = setup.path("data/artifacts/blobs/sha256").join(&digest[7..]);
    let manifest = fs::read_to_string(kept).unwrap();
    assert!(manifest.contains(media::DOCKER), "it is as docker writes it");

    // By its digest alone, on a gateway that has nothing of it yet.
    let other = place(Some(&registry));
    let exact = registry.reference(&format!("acme/pump@{digest}"));
    let gateway = other.start().await;
    wait::until("it is there", async || asked(&gateway, &exact).0.contains(": ready").then_some(())).await;
    gateway.setup().done(&["firmware", "pull", &exact, "--to", "pulled.bin"]);
    assert_eq!(fs::read(gateway.setup().path("pulled.bin")).unwrap(), bytes);

    let list = json!({ "schemaVersion": 2, "mediaType": media::DOCKER_LIST, "manifests": [
        { "mediaType": media::DOCKER, "digest": digest, "size": manifest.len(),
          "platform": { "architecture": "arm64", "os": "linux" } }] });
    let several = registry.reference("acme/pump:several");
    let Ok(Reference::Registry(name)) = several.parse() else { panic!("{several}") };
    let plain = RegistryConfig { host: registry.host(), plain_http: true, ..RegistryConfig::default() };
    let registries = Registries::new(&ArtifactsConfig::default(), &[plain]);
    registries.push(&name, &[], list.to_string().into(), media::DOCKER_LIST).await.unwrap();
    refused(&setup, &["firmware", "verify", &several], 1, &[media::DOCKER_LIST, "name one of them by its digest"]);
}

#[tokio::test]
async fn firmware_is_pushed_signed_into_a_registry_and_onto_the_gateway_itself() {
    let Some(registry) = Registry::start_plain().await else { return };
    let setup = place(Some(&registry));
    setup.done(&["plugin", "keygen", "--to", "firmware"]);
    let trust = json!({ "keys": [{ "id": "firmware", "file": "firmware.pub", "kinds": ["firmware"] }] });
    let setup = setup.set("trust", trust.clone());
    let _ = setup.write_config();
    let bytes = image(5_000);
    fs::write(setup.path("motor.bin"), &bytes).unwrap();
    let reference = registry.reference("acme/motor:1.0.0");
    let push = ["firmware", "push", "motor.bin", &reference, "--name", "motor", "--version", "1.0.0"];
    setup.done(&push);
    refused(&setup, &["firmware", "verify", &reference], 1, &["no signature"]);
    setup.done(&[&push[..], &["--from", "0.9.0", "--sign-with", "firmware.key"]].concat());
    let verified = setup.done(&["firmware", "verify", &reference]);
    assert!(verified.contains("key `firmware`") && verified.contains("0.9.0"), "{verified}");
    // What is revoked is used no more, whoever signed it.
    let resolved = verified.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    let mut revoking = trust.clone();
    revoking["revoked"] = json!([resolved]);
    let setup = setup.set("trust", revoking);
    let _ = setup.write_config();
    refused(&setup, &["firmware", "verify", &reference], 1, &["is revoked"]);
    let setup = setup.set("trust", trust);
    let _ = setup.write_config();
    // A key for firmware alone signs no plugin.
    let plugin = registry.reference("acme/plugin:1");
    fs::write(setup.path("plugin.wasm"), causeway_plugins::builtin("telemetry").unwrap()).unwrap();
    setup.done(&["plugin", "push", "plugin.wasm", &plugin, "--sign-with", "firmware.key"]);
    refused(&setup, &["plugin", "verify", &plugin], 1, &["may not sign"]);

    // Without a registry: the operator's own folder needs no signature, as files do not.
    let own = ["firmware", "push", "motor.bin", "--name", "motor", "--version", "1.1.0+rc 1"];
    setup.done(&own);
    let gateway = setup.start().await;
    let listed = gateway.query(&["firmware", "list"]);
    assert!(listed.as_array().unwrap().iter().any(|item| item["version"] == "1.1.0+rc 1"), "{listed}");
}

#[tokio::test]
async fn where_no_signature_is_needed_those_of_strangers_are_passed_over() {
    let setup = place(None);
    setup.done(&["plugin", "keygen", "--to", "stranger"]);
    fs::write(setup.path("motor.bin"), image(100)).unwrap();
    let reference = format!("oci-layout://{}:1", setup.path("stick").display());
    let push = ["firmware", "push", "motor.bin", &reference, "--name", "motor", "--version", "1"];
    setup.done(&[&push[..], &["--sign-with", "stranger.key", "--sign-as", "r.lan/acme/motor"]].concat());
    let verified = setup.done(&["firmware", "verify", &reference]);
    assert!(verified.contains("none is asked for"), "{verified}");
    let setup = setup.set("trust", json!({ "unsigned": [] }));
    let _ = setup.write_config();
    refused(&setup, &["firmware", "verify", &reference], 1, &["none of its 1 signatures"]);
}

#[tokio::test]
async fn a_tag_stands_for_what_it_stood_for_until_an_operator_pins_it_anew() {
    let setup = place(None);
    let (first, second) = (image(3_000), image(4_000));
    let (stick, other) = (setup.path("stick"), setup.path("other"));
    let title = json!({ "org.opencontainers.image.title": "motor", "org.opencontainers.image.version": "1" });
    lay_out(&stick, "stable", &json!({}), &[(BLOB, &first)], &title);
    lay_out(&other, "stable", &json!({}), &[(BLOB, &second)], &title);
    let reference = format!("oci-layout://{}:stable", stick.display());
    setup.done(&["firmware", "pull", &reference]);
    fs::remove_dir_all(&stick).unwrap();
    fs::rename(&other, &stick).unwrap();
    setup.done(&["firmware", "pull", &reference, "--to", "pulled.bin"]);
    assert_eq!(fs::read(setup.path("pulled.bin")).unwrap(), first);

    let gateway = setup.start().await;
    let pinned = gateway.query(&["firmware", "pin", &reference]);
    assert_eq!(pinned["image"], digest(&second));
    let relative = gateway.query(&["firmware", "pin", "oci-layout://stick:stable"]);
    assert_eq!(relative["reference"], reference, "a path begins where the command runs");
    let told = gateway.operator(&["firmware", "pin", &reference, &format!("sha256:{}", "0".repeat(64))]);
    assert!(!told.status.success());
    gateway.setup().done(&["firmware", "pull", &reference, "--to", "pulled.bin"]);
    assert_eq!(fs::read(gateway.setup().path("pulled.bin")).unwrap(), second);
}

#[tokio::test]
async fn artifacts_that_lie_about_their_firmware_are_refused_in_one_line() {
    let setup = place(None).set("firmware", json!({ "max_image": "1MiB" }));
    let _ = setup.write_config();
    let stick = setup.path("stick");
    let bytes = image(10_000);
    let good = metadata("1.0.0", &bytes);
    let titled = |version: &str| json!({ "org.opencontainers.image.title": "motor", "org.opencontainers.image.version": version });
    let verify = |tag: &str, parts: &[&str]| {
        let reference = format!("oci-layout://{}:{tag}", stick.display());
        refused(&setup, &["firmware", "verify", &reference, "--signed-as", "host/acme/motor"], 1, parts);
    };
    let image_of = |tag: &str, said: &str, layer: &[u8]| labelled(&stick, tag, said, layer);
    image_of("sound", &good, &packed(&[("firmware", &bytes)]));
    let sound = format!("oci-layout://{}:sound", stick.display());
    setup.done(&["firmware", "verify", &sound, "--signed-as", "host/acme/motor"]);

    image_of("size", &good.replace("10000", "9999"), &packed(&[("firmware", &bytes)]));
    verify("size", &["10000"]);
    image_of(
        "checksum",
        &metadata("1.0.0", &image(10_001)).replace("10001", "10000"),
        &packed(&[("firmware", &bytes)]),
    );
    verify("checksum", &["as it says of itself"]);
    image_of("hex", &good.replace("checksum\":\"", "checksum\":\"zz"), &packed(&[("firmware", &bytes)]));
    verify("hex", &["64 hexadecimal digits"]);
    image_of("large", &good.replace("10000", "5000000000"), &packed(&[("firmware", &bytes)]));
    verify("large", &["5000000000", "firmware.max_image"]);
    // From here on an image that was never unpacked: what is kept already is not looked for.
    let bytes = image(9_000);
    let good = metadata("1.0.0", &bytes);
    image_of("missing", &good, &packed(&[("firmware.bin", &bytes)]));
    verify("missing", &["no file `firmware`"]);
    image_of("bomb", &good, &packed(&[("padding", &vec![0; 40 << 20]), ("firmware", &bytes)]));
    verify("bomb", &["unpacks to more than"]);
    image_of("archive", &good, &image(2_000));
    verify("archive", &["no tar archive"]);
    let (one, two) = (packed(&[("firmware", &bytes)]), packed(&[("firmware", b"other")]));
    let config = json!({ "config": { "Labels": { "io.drogue.metadata": good } } });
    lay_out(&stick, "twice", &config, &[(TAR_GZIP, &one), (TAR_GZIP, &two)], &json!({}));
    verify("twice", &["two files `firmware`"]);
    lay_out(
        &stick,
        "zstd",
        &config,
        &[(TAR_GZIP, &one), ("application/vnd.oci.image.layer.v1.tar+zstd", &two)],
        &json!({}),
    );
    verify("zstd", &["tar+zstd"]);
    lay_out(&stick, "blobs", &json!({}), &[(BLOB, &bytes), (BLOB, b"other")], &titled("1"));
    verify("blobs", &["2 layers"]);
    lay_out(&stick, "version", &json!({}), &[(BLOB, &bytes)], &titled(&"v".repeat(65)));
    verify("version", &["1 to 64 bytes"]);
    lay_out(&stick, "from", &json!({}), &[(BLOB, &bytes)], &json!({ "io.causeway.firmware.from": "0.1.0" }));
    verify("from", &["no JSON list"]);
    lay_out(&stick, "other", &json!({}), &[("text/plain", b"hello")], &titled("1"));
    verify("other", &["no firmware"]);
    assert!(!setup.path("pulled.bin").exists());
    // A bare file says of itself what it is, too.
    let told = |parts| refused(&setup, &["firmware", "verify", "motor.bin"], 69, parts);
    told(&["no such file"]);
    fs::write(setup.path("motor.bin"), &bytes).unwrap();
    told(&["motor.json", "causeway firmware push"]);
    fs::write(setup.path("motor.json"), metadata("1.0.0", &bytes)).unwrap();
    setup.done(&["firmware", "verify", "motor.bin"]);
}

#[tokio::test]
async fn an_image_that_finds_no_room_is_unavailable_and_fetched_when_there_is() {
    let setup = place(None);
    let folder = setup.path("small");
    fs::create_dir(&folder).unwrap();
    let Some(disk) = SmallDisk::mount(&folder, 4) else { return };
    let stick = setup.path("stick");
    let title = json!({ "org.opencontainers.image.title": "motor" });
    lay_out(&stick, "1.0.0", &json!({}), &[(BLOB, &image(1_500_000))], &title);
    let setup =
        setup.set("artifacts", json!({ "dir": folder.join("artifacts") })).set("firmware", json!({ "retry": "1s" }));
    let gateway = setup.start().await;
    disk.fill();
    let reference = format!("oci-layout://{}:1.0.0", stick.display());
    assert_eq!(asked(&gateway, &reference).1, 0, "it is being fetched");
    let told = pulled(&gateway, &reference).await;
    assert_eq!(told["state"], "unavailable", "{told}");
    assert_eq!(asked(&gateway, &reference).1, 69);
    disk.free();
    wait::until("it is fetched", async || asked(&gateway, &reference).0.contains(": ready").then_some(())).await;
    gateway.assert_no_panic();
}

#[tokio::test]
async fn a_gateway_needs_no_more_memory_for_a_large_image_than_for_a_small_one() {
    let setup = place(None);
    let stick = setup.path("stick");
    let title = json!({ "org.opencontainers.image.title": "motor" });
    for (tag, bytes) in [("small", 1 << 20), ("large", 64 << 20)] {
        lay_out(&stick, tag, &json!({}), &[(BLOB, &vec![7; bytes])], &title);
    }
    let gateway = setup.start().await;
    let mut used = Vec::new();
    for tag in ["small", "large"] {
        let reference = format!("oci-layout://{}:{tag}", stick.display());
        wait::until("it is there", async || asked(&gateway, &reference).0.contains(": ready").then_some(())).await;
        used.push(resident_kib(gateway.pid()));
    }
    assert!(used[1] < used[0] + 8 * 1024, "{used:?} KiB with 1 MiB and with 64 MiB");
}

/// The memory that a process has, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
