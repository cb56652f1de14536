//! Layouts and files that lead somewhere else or are not what they say.

use super::scene::{Case, Scene, check};
use causeway_tests::artifact::{Signature, descriptor, digest, media};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const NAME: &str = "org.opencontainers.image.ref.name";

/// The file of a blob in the layout.
fn blob(scene: &Scene, digest: &str) -> PathBuf {
    scene.path("stick/blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

fn write(scene: &Scene, bytes: &[u8]) {
    fs::write(blob(scene, &digest(bytes)), bytes).unwrap();
}

fn write_index(scene: &Scene, index: &Value) {
    fs::write(scene.path("stick/index.json"), index.to_string()).unwrap();
}

/// The layout of the good artifact with its signature, as a stick carries it.
fn index(scene: &Scene) -> Value {
    let signature = Signature::of(&scene.artifact.digest(), &scene.repository(), &scene.key);
    let mut artifact = descriptor(media::MANIFEST, &scene.artifact.manifest);
    artifact["annotations"] = json!({ NAME: "1.0.0" });
    let mut signed = descriptor(media::MANIFEST, &signature.manifest);
    signed["annotations"] = json!({ NAME: Signature::tag(&scene.artifact.digest()) });
    for bytes in [&signature.manifest, &signature.config, &signature.payload] {
        write(scene, bytes);
    }
    json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [artifact, signed] })
}

fn on_a_stick(scene: &mut Scene) {
    fs::create_dir_all(scene.path("stick/blobs/sha256")).unwrap();
    fs::write(scene.path("stick/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for bytes in [&scene.artifact.manifest, &scene.artifact.config, &scene.artifact.layer] {
        write(scene, bytes);
    }
    write_index(scene, &index(scene));
    scene.reference = format!("oci-layout://{}:1.0.0", scene.path("stick").display());
    scene.signed_as = Some(scene.repository());
}

/// Changes the index of the layout.
fn edit_index(scene: &Scene, change: impl FnOnce(&mut Value)) {
    let mut index = index(scene);
    change(&mut index);
    write_index(scene, &index);
}

fn replace_by_link(scene: &Scene, digest: &str) {
    let file = blob(scene, digest);
    let elsewhere = scene.path("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(elsewhere, file).unwrap();
}

#[test]
fn a_layout_is_believed_as_little_as_a_registry() {
    let cases = [
        Case::new(
            "no oci-layout file",
            |scene| fs::remove_file(scene.path("stick/oci-layout")).unwrap(),
            &["oci-layout"],
        ),
        Case::new(
            "a layout of another version",
            |scene| {
                fs::write(scene.path("stick/oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
            },
            &["version is not 1.0.0"],
        ),
        Case::new("no index", |scene| fs::remove_file(scene.path("stick/index.json")).unwrap(), &["index.json"]),
        Case::new(
            "an index that is no JSON",
            |scene| {
                fs::write(scene.path("stick/index.json"), "not JSON").unwrap();
            },
            &["index.json"],
        ),
        Case::new(
            "an index of deep JSON",
            |scene| {
                fs::write(scene.path("stick/index.json"), "[".repeat(100_000)).unwrap();
            },
            &["index.json"],
        ),
        Case::new(
            "an index of 64 MiB",
            |scene| {
                fs::write(scene.path("stick/index.json"), vec![b' '; 64 << 20]).unwrap();
            },
            &["index.json"],
        ),
        Case::new(
            "an index that is a link",
            |scene| {
                fs::rename(scene.path("stick/index.json"), scene.path("elsewhere")).unwrap();
                symlink(scene.path("elsewhere"), scene.path("stick/index.json")).unwrap();
            },
            &["index.json"],
        ),
        Case::new(
            "an index with a digest that is a path",
            |scene| {
                edit_index(scene, |index| index["manifests"][0]["digest"] = "sha256:../../../../../etc/passwd".into());
            },
            &["digest"],
        ),
        Case::new(
            "an index with a digest that is an absolute path",
            |scene| {
                edit_index(scene, |index| index["manifests"][0]["digest"] = "/etc/passwd".into());
            },
            &["digest"],
        ),
        Case::new(
            "an index with the digest of something else",
            |scene| {
                edit_index(scene, |index| index["manifests"][0]["digest"] = digest(b"something else").into());
            },
            &["no signature"],
        ),
        Case::new(
            "an index that has the name twice",
            |scene| {
                edit_index(scene, |index| {
                    let mut other = index["manifests"][0].clone();
                    other["digest"] = digest(b"something else").into();
                    index["manifests"].as_array_mut().unwrap().push(other);
                });
            },
            &["1.0.0"],
        ),
        Case::new(
            "a name that is not there",
            |scene| {
                scene.reference = format!("oci-layout://{}:2.0.0", scene.path("stick").display());
            },
            &["2.0.0"],
        ),
        Case::new(
            "a manifest with a flipped bit",
            |scene| {
                let mut bytes = scene.artifact.manifest.clone();
                bytes[20] ^= 1;
                fs::write(blob(scene, &scene.artifact.digest()), bytes).unwrap();
            },
            &["sha256:"],
        ),
        Case::new(
            "a layer with a flipped bit",
            |scene| {
                let mut bytes = scene.artifact.layer.clone();
                bytes[20] ^= 1;
                fs::write(blob(scene, &scene.artifact.layer_digest()), bytes).unwrap();
            },
            &["sha256:"],
        ),
        Case::new(
            "a layer that ends early",
            |scene| {
                fs::write(blob(scene, &scene.artifact.layer_digest()), &scene.artifact.layer[..50]).unwrap();
            },
            &["50 bytes"],
        ),
        Case::new(
            "a layer that is a link",
            |scene| replace_by_link(scene, &scene.artifact.layer_digest()),
            &["regular file"],
        ),
        Case::new(
            "a manifest that is a link",
            |scene| replace_by_link(scene, &scene.artifact.digest()),
            &["regular file"],
        ),
        Case::new(
            "a layer that is a folder",
            |scene| {
                let file = blob(scene, &scene.artifact.layer_digest());
                fs::remove_file(&file).unwrap();
                fs::create_dir(file).unwrap();
            },
            &["file"],
        ),
        Case::new(
            "a layer that is a pipe",
            |scene| {
                let file = blob(scene, &scene.artifact.layer_digest());
                fs::remove_file(&file).unwrap();
                let mode = rustix::fs::Mode::from_bits_truncate(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            },
            &["file"],
        ),
        Case::new(
            "no layer",
            |scene| {
                fs::remove_file(blob(scene, &scene.artifact.layer_digest())).unwrap();
            },
            &["sha256:"],
        ),
        Case::new(
            "no signature",
            |scene| {
                edit_index(scene, |index| drop(index["manifests"].as_array_mut().unwrap().pop()));
            },
            &["sign"],
        ),
        Case::new(
            "a signature for another repository than it should have",
            |scene| {
                scene.signed_as = Some("registry.example/plugins/doors".into());
            },
            &["registry.example/plugins/doors"],
        ),
        Case::new("no word on which repository the signature names", |scene| scene.signed_as = None, &["signed_as"]),
    ];
    check(&cases.map(|case| case.arranged(on_a_stick)));
}

/// A component as a file, with its signature beside it.
fn as_a_file(scene: &mut Scene) {
    fs::write(scene.path("doors.wasm"), &scene.artifact.layer).unwrap();
    fs::write(scene.path("doors.wasm.sig"), scene.key.sign(&scene.artifact.layer)).unwrap();
    scene.config["trust"]["unsigned"] = json!([]);
    scene.reference = format!("file://{}", scene.path("doors.wasm").display());
}

#[test]
fn a_file_that_has_to_be_signed_is_refused_without_a_signature_of_its_own_bytes() {
    let cases = [
        Case::new("no signature", |scene| fs::remove_file(scene.path("doors.wasm.sig")).unwrap(), &["no signature"]),
        Case::new(
            "a signature of other bytes",
            |scene| {
                fs::write(scene.path("doors.wasm.sig"), scene.key.sign(b"other bytes")).unwrap();
            },
            &["key"],
        ),
        Case::new(
            "other bytes",
            |scene| {
                fs::write(scene.path("doors.wasm"), &scene.artifact.layer[1..]).unwrap();
            },
            &["key"],
        ),
        Case::new(
            "a signature that is no signature",
            |scene| {
                fs::write(scene.path("doors.wasm.sig"), "not base64!").unwrap();
            },
            &["trust.keys"],
        ),
        Case::new(
            "a signature of 64 MiB",
            |scene| {
                fs::write(scene.path("doors.wasm.sig"), vec![b'A'; 64 << 20]).unwrap();
            },
            &["doors.wasm.sig"],
        ),
        Case::new(
            "a key for repositories",
            |scene| {
                scene.config["trust"]["keys"][0]["repositories"] = json!([scene.repository()]);
            },
            &["release"],
        ),
        Case::new(
            "a revoked component",
            |scene| {
                scene.config["trust"]["revoked"] = json!([scene.artifact.layer_digest()]);
            },
            &["revoked"],
        ),
        Case::new(
            "a folder",
            |scene| {
                fs::remove_file(scene.path("doors.wasm")).unwrap();
                fs::create_dir(scene.path("doors.wasm")).unwrap();
            },
            &["doors.wasm"],
        ),
        Case::new(
            "a device without an end",
            |scene| {
                scene.config["trust"]["unsigned"] = json!(["file://"]);
                scene.reference = "file:///dev/zero".into();
            },
            &["/dev/zero"],
        ),
        Case::new(
            "a file that is too large",
            |scene| {
                scene.config["plugins"] = json!({ "max_component": "1KiB" });
            },
            &["1024 (`plugins.max_component`) at most"],
        ),
    ];
    check(&cases.map(|case| case.arranged(as_a_file)));
}
