//! Artifacts whose contents are not what they should be, each with a good signature of exactly that.

use super::scene::{Case, REFUSED, Scene, check, said};
use causeway_tests::artifact::{Artifact, descriptor, digest, media};
use causeway_tests::mutating::{Answer, End, Request, Role};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// Changes the answers for one role.
fn answers(scene: &Scene, role: Role, change: impl Fn(&mut Answer) + Send + Sync + 'static) {
    scene.registry.mutate(move |request: &Request, answer: &mut Answer| {
        if request.role == role {
            change(answer);
        }
    });
}

/// Signs the manifest with one of its values replaced.
fn manifest(scene: &mut Scene, pointer: &str, value: Value) {
    scene.edit(|manifest| *manifest.pointer_mut(pointer).unwrap() = value);
}

/// Signs a manifest of any bytes.
fn raw(scene: &mut Scene, bytes: impl Into<Vec<u8>>) {
    let artifact = Artifact { manifest: bytes.into(), ..scene.artifact.clone() };
    scene.publish(artifact);
}

fn nothing_was_fetched(scene: &Scene) {
    let seen = scene.registry.seen();
    assert!(!seen.iter().any(|request| request.role == Role::Layer), "the layer was fetched: {seen:?}");
}

/// A hundred megabytes of zeros, in about a hundred kilobytes.
fn bomb() -> Vec<u8> {
    let mut gzip =
        Command::new("gzip").args(["-9", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writing = std::thread::spawn(move || (0..100).for_each(|_| input.write_all(&vec![0; 1 << 20]).unwrap()));
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

#[test]
fn what_a_registry_sends_is_refused_unless_it_is_what_was_named() {
    check(&[
        Case::new(
            "a manifest that does not hash to its digest",
            |scene| answers(scene, Role::Manifest, |answer| answer.body.push(b' ')),
            &["sha256:"],
        ),
        Case::new(
            "a manifest that does not hash to its digest, asked for by digest",
            |scene| {
                scene.reference = format!("oci://{}@{}", scene.repository(), scene.artifact.digest());
                answers(scene, Role::Manifest, |answer| answer.body[10] ^= 1);
            },
            &["sha256:"],
        ),
        Case::new(
            "a tag that leads to another digest than its manifest has",
            |scene| answers(scene, Role::Tag, |answer| answer.set("docker-content-digest", digest(b"other"))),
            &["no signature"],
        ),
        Case::new(
            "a layer with a flipped bit",
            |scene| {
                answers(scene, Role::Layer, |answer| {
                    let middle = answer.body.len() / 2;
                    answer.body[middle] ^= 1;
                });
            },
            &["sha256:"],
        ),
        Case::new(
            "another layer of the same size",
            |scene| answers(scene, Role::Layer, |answer| answer.body.fill(0)),
            &["sha256:"],
        ),
        Case::new(
            "a layer that ends early",
            |scene| answers(scene, Role::Layer, |answer| answer.body.truncate(100)),
            &["100 bytes"],
        ),
        Case::new(
            "a layer that is longer than its manifest says",
            |scene| answers(scene, Role::Layer, |answer| answer.body.push(0)),
            &["bytes"],
        ),
        Case::new(
            "a layer without an end",
            |scene| answers(scene, Role::Layer, |answer| answer.end = End::Endless),
            &["bytes"],
        )
        .besides(|scene| {
            let most = 20 * scene.artifact.layer.len() as u64 + (8 << 20);
            assert!(scene.registry.sent() < most, "{} bytes were taken", scene.registry.sent());
        }),
        Case::new(
            "a layer whose Content-Length is larger than its manifest says",
            |scene| answers(scene, Role::Layer, |answer| answer.length = Some(answer.body.len() as u64 + 1)),
            &["bytes"],
        ),
        Case::new(
            "a layer whose Content-Length is smaller than its manifest says",
            |scene| answers(scene, Role::Layer, |answer| answer.length = Some(answer.body.len() as u64 - 1)),
            &["bytes"],
        ),
        Case::new(
            "a layer that is a bomb by its Content-Encoding",
            |scene| {
                let bomb = bomb();
                answers(scene, Role::Layer, move |answer| {
                    answer.body.clone_from(&bomb);
                    answer.set("content-encoding", "gzip");
                });
            },
            &["compressed"],
        ),
        Case::new(
            "a manifest that is a bomb by its Content-Encoding",
            |scene| {
                let bomb = bomb();
                answers(scene, Role::Manifest, move |answer| {
                    answer.body.clone_from(&bomb);
                    answer.set("content-encoding", "gzip");
                });
            },
            &["compressed"],
        ),
        Case::new(
            "a manifest without an end",
            |scene| {
                scene.registry.mutate(|request, answer| {
                    if matches!(request.role, Role::Tag | Role::Manifest) {
                        answer.end = End::Endless;
                    }
                });
            },
            &["artifacts.max_manifest"],
        )
        .besides(|scene| assert!(scene.registry.sent() < 32 << 20, "{} bytes were taken", scene.registry.sent())),
    ]);
}

#[test]
fn a_manifest_that_is_no_component_is_refused_although_it_is_signed() {
    check(&[
        Case::new("no JSON", |scene| raw(scene, "not JSON"), &["manifest"]),
        Case::new("no UTF-8", |scene| raw(scene, b"\xff\xfe{}".as_slice()), &["manifest"]),
        Case::new("nothing", |scene| raw(scene, ""), &["manifest"]),
        Case::new("deep JSON", |scene| raw(scene, "[".repeat(100_000)), &["manifest"]),
        Case::new(
            "deep JSON in a manifest",
            |scene| {
                let text = String::from_utf8(scene.artifact.manifest.clone()).unwrap();
                let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
                raw(scene, text.replace("\"doors\"", &deep));
            },
            &["manifest"],
        ),
        Case::new(
            "layers given twice",
            |scene| {
                let text = String::from_utf8(scene.artifact.manifest.clone()).unwrap();
                raw(scene, format!("{{\"layers\":[],{}", &text[1..]));
            },
            &["manifest", "layers"],
        ),
        Case::new(
            "more than a manifest may have",
            |scene| scene.edit(|manifest| manifest["annotations"]["filler"] = "x".repeat(2 << 20).into()),
            &["artifacts.max_manifest"],
        ),
        Case::new(
            "an index",
            |scene| {
                let inner = descriptor(media::MANIFEST, &scene.artifact.manifest);
                let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [inner] });
                raw(scene, index.to_string());
            },
            &["index"],
        ),
        Case::new(
            "a list of another kind",
            |scene| {
                let inner = descriptor(media::DOCKER, &scene.artifact.manifest);
                let list = json!({ "schemaVersion": 2, "mediaType": media::DOCKER_LIST, "manifests": [inner] });
                raw(scene, list.to_string());
            },
            &[media::DOCKER_LIST],
        ),
        Case::new(
            "a manifest of another kind",
            |scene| manifest(scene, "/mediaType", media::DOCKER.into()),
            &[media::DOCKER],
        ),
        Case::new(
            "a media type that is none",
            |scene| manifest(scene, "/mediaType", "text/html".into()),
            &["text/html"],
        ),
        Case::new(
            "another schema version",
            |scene| manifest(scene, "/schemaVersion", 1.into()),
            &["schemaVersion is 1"],
        ),
        Case::new(
            "the configuration of a container image",
            |scene| manifest(scene, "/config/mediaType", media::IMAGE_CONFIG.into()),
            &[media::WASM_CONFIG],
        ),
        Case::new(
            "a layer of an archive",
            |scene| manifest(scene, "/layers/0/mediaType", "application/vnd.oci.image.layer.v1.tar+gzip".into()),
            &[media::WASM],
        ),
        Case::new("no layer", |scene| manifest(scene, "/layers", json!([])), &["layer"]),
        Case::new(
            "two layers",
            |scene| {
                let layer = descriptor(media::WASM, &scene.artifact.layer);
                manifest(scene, "/layers", json!([layer.clone(), layer]));
            },
            &["layer"],
        ),
        Case::new(
            "a layer of 100 MB",
            |scene| manifest(scene, "/layers/0/size", 100_000_000.into()),
            &["100000000", "67108864"],
        )
        .besides(nothing_was_fetched),
        Case::new(
            "a layer of more bytes than there are",
            |scene| manifest(scene, "/layers/0/size", u64::MAX.into()),
            &["67108864"],
        )
        .besides(nothing_was_fetched),
        Case::new("a size below zero", |scene| manifest(scene, "/layers/0/size", (-1).into()), &["`-1`"])
            .besides(nothing_was_fetched),
        Case::new("a size that is text", |scene| manifest(scene, "/layers/0/size", "12".into()), &["\"12\""])
            .besides(nothing_was_fetched),
        Case::new(
            "a size below the true one",
            |scene| manifest(scene, "/layers/0/size", (scene.artifact.layer.len() - 1).into()),
            &["bytes"],
        ),
        Case::new(
            "a size above the true one",
            |scene| manifest(scene, "/layers/0/size", (scene.artifact.layer.len() + 1).into()),
            &["bytes"],
        ),
        Case::new(
            "a digest that is a path",
            |scene| manifest(scene, "/layers/0/digest", "sha256:../../../../etc/passwd".into()),
            &["digest"],
        )
        .besides(nothing_was_fetched),
        Case::new(
            "a digest of another algorithm",
            |scene| manifest(scene, "/layers/0/digest", format!("sha512:{}", "a".repeat(128)).into()),
            &["sha512"],
        )
        .besides(nothing_was_fetched),
    ]);
}

/// It is whose it says it is, so it is kept; but nothing that could run it takes it for a plugin.
#[test]
fn signed_bytes_that_are_no_component_are_no_plugin() {
    for bytes in [b"\0asm\x01\0\0\0".as_slice(), b"\0asm\x0d\0\x01\0", b"not wasm", b""] {
        let mut scene = Scene::new();
        scene.publish(Artifact::component(bytes, "1.0.0"));
        let output = scene.plugin("verify");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(REFUSED), "{bytes:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains("is refused"), "{bytes:?}: {said}");
    }
}
