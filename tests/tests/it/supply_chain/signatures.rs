//! Signatures that say nothing about the artifact, or that nobody here trusts.

use super::scene::{Case, REPOSITORY, Scene, check};
use causeway_tests::artifact::{Key, SIGNATURE, Signature, descriptor, digest, media, payload};
use causeway_tests::mutating::Role;
use serde_json::{Value, json};

/// A good signature of a payload in which one value is replaced.
fn payload_with(scene: &Scene, pointer: &str, value: Value) {
    let mut payload = payload(&scene.artifact.digest(), &scene.repository());
    *payload.pointer_mut(pointer).unwrap() = value;
    scene.sign(&Signature::over(payload.to_string().into_bytes(), &scene.key));
}

/// The good payload with anything in the place of its signature.
fn signature_with(scene: &Scene, text: &str) {
    let payload = payload(&scene.artifact.digest(), &scene.repository()).to_string().into_bytes();
    scene.sign(&Signature::with(payload, text));
}

fn good(scene: &Scene) -> Signature {
    Signature::of(&scene.artifact.digest(), &scene.repository(), &scene.key)
}

/// What newer versions of cosign leave in place of a signature.
fn bundle() -> Vec<u8> {
    let config = b"{}";
    json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": media::BUNDLE,
        "config": descriptor(media::EMPTY, config),
        "layers": [descriptor(media::BUNDLE, b"a bundle")],
    })
    .to_string()
    .into_bytes()
}

fn no_layer_was_fetched(scene: &Scene) {
    assert!(!scene.registry.seen().iter().any(|request| request.role == Role::Layer), "{:?}", scene.registry.seen());
}

#[test]
fn an_artifact_whose_signature_does_not_count_is_refused() {
    let no_layer = |case: Case| case.besides(no_layer_was_fetched);
    let cases = [
        Case::new("no signature", |scene| scene.registry.shelf().unsign(), &["sign"]),
        Case::new(
            "a signature by another key",
            |scene| {
                scene.sign(&Signature::of(&scene.artifact.digest(), &scene.repository(), &Key::p256()));
            },
            &["key"],
        ),
        Case::new(
            "a signature by a key of another kind",
            |scene| {
                scene.sign(&Signature::of(&scene.artifact.digest(), &scene.repository(), &Key::ed25519()));
            },
            &["key"],
        ),
        Case::new(
            "a signature of other bytes",
            |scene| {
                let text = scene.key.sign(b"other bytes");
                signature_with(scene, &text);
            },
            &["key"],
        ),
        Case::new("a signature that is not base64", |scene| signature_with(scene, "no base64!"), &["signature"]),
        Case::new("an empty signature", |scene| signature_with(scene, ""), &["signature"]),
        Case::new("a signature of zeros", |scene| signature_with(scene, "MAYCAQACAQA="), &["key"]),
        Case::new(
            "a signature of a megabyte",
            |scene| signature_with(scene, &"A".repeat(1 << 20)),
            &["artifacts.max_manifest"],
        ),
        Case::new(
            "a signature of another digest",
            |scene| {
                scene.sign(&Signature::of(&digest(b"other"), &scene.repository(), &scene.key));
            },
            &["release", "and not of sha256:"],
        ),
        Case::new(
            "a right signature for another repository",
            |scene| {
                let other = format!("{}/plugins/windows", scene.registry.host());
                scene.sign(&Signature::of(&scene.artifact.digest(), &other, &scene.key));
            },
            &["plugins/windows", "plugins/doors"],
        ),
        Case::new(
            "a right signature for another registry",
            |scene| {
                let other = format!("registry.example/{REPOSITORY}");
                scene.sign(&Signature::of(&scene.artifact.digest(), &other, &scene.key));
            },
            &["registry.example/plugins/doors"],
        ),
        Case::new(
            "a right signature for the start of the repository",
            |scene| {
                let other = format!("{}/plugins", scene.registry.host());
                scene.sign(&Signature::of(&scene.artifact.digest(), &other, &scene.key));
            },
            &["plugins/doors"],
        ),
        Case::new(
            "a payload of another type",
            |scene| {
                payload_with(scene, "/critical/type", "atomic container signature".into());
            },
            &["atomic container signature"],
        ),
        Case::new(
            "a payload without a repository",
            |scene| {
                payload_with(scene, "/critical/identity", json!({}));
            },
            &["release", "docker-reference"],
        ),
        Case::new(
            "a payload whose digest is none",
            |scene| {
                payload_with(scene, "/critical/image/docker-manifest-digest", "latest".into());
            },
            &["digest"],
        ),
        Case::new(
            "a payload that is no JSON",
            |scene| {
                scene.sign(&Signature::over(b"not JSON".to_vec(), &scene.key));
            },
            &["release", "not to be read"],
        ),
        Case::new(
            "a payload of deep JSON",
            |scene| {
                scene.sign(&Signature::over("[".repeat(100_000).into_bytes(), &scene.key));
            },
            &["no signature"],
        ),
        Case::new(
            "a payload without an end of its size",
            |scene| {
                let mut payload = payload(&scene.artifact.digest(), &scene.repository());
                payload["optional"] = json!({ "filler": "x".repeat(4 << 20) });
                scene.sign(&Signature::over(payload.to_string().into_bytes(), &scene.key));
            },
            &["no signature"],
        ),
        Case::new(
            "a payload that does not hash to its digest",
            |scene| {
                scene.registry.mutate(|request, answer| {
                    if request.role == Role::Payload {
                        answer.body.push(b' ');
                    }
                });
            },
            &["sha256:"],
        ),
        Case::new(
            "a signature without its annotation",
            |scene| {
                let signature = good(scene).edit(|manifest| manifest["layers"][0]["annotations"] = json!({}));
                scene.sign(&signature);
            },
            &["no signature"],
        ),
        Case::new(
            "a signature in a layer of another kind",
            |scene| {
                let signature = good(scene).edit(|manifest| manifest["layers"][0]["mediaType"] = media::WASM.into());
                scene.sign(&signature);
            },
            &["sign"],
        ),
        Case::new(
            "a signature that is no manifest",
            |scene| {
                let signature = Signature { manifest: b"not JSON".to_vec(), ..good(scene) };
                scene.sign(&signature);
            },
            &["sign"],
        ),
        Case::new(
            "ten thousand signatures",
            |scene| {
                let signature = good(scene).edit(|manifest| {
                    let mut layer = manifest["layers"][0].clone();
                    layer["annotations"][SIGNATURE] = "MAYCAQACAQA=".into();
                    manifest["layers"] = vec![layer; 10_000].into();
                });
                scene.sign(&signature);
            },
            &["artifacts.max_manifest"],
        ),
    ];
    check(&cases.map(no_layer));
}

#[test]
fn a_signature_in_the_format_of_newer_cosign_is_recognised_and_the_flags_are_said() {
    const FLAGS: &[&str] =
        &["--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false", "cosign sign"];
    check(&[
        Case::new(
            "a bundle among the referrers",
            |scene| {
                let bundle = bundle();
                let mut entry = descriptor(media::MANIFEST, &bundle);
                entry["artifactType"] = media::BUNDLE.into();
                let mut shelf = scene.registry.shelf();
                shelf.unsign();
                shelf.manifest(REPOSITORY, &digest(&bundle), Role::Signature, &bundle);
                shelf.referrers(REPOSITORY, &scene.artifact.digest(), &json!([entry]));
            },
            FLAGS,
        ),
        Case::new(
            "a bundle under the tag of a registry without referrers",
            |scene| {
                let bundle = bundle();
                let mut entry = descriptor(media::MANIFEST, &bundle);
                entry["artifactType"] = media::BUNDLE.into();
                let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": [entry] }).to_string();
                let mut shelf = scene.registry.shelf();
                shelf.unsign();
                shelf.manifest(REPOSITORY, &digest(&bundle), Role::Signature, &bundle);
                let tag = scene.artifact.digest().replace(':', "-");
                shelf.manifest(REPOSITORY, &tag, Role::Referrers, index.as_bytes());
            },
            FLAGS,
        ),
    ]);
}

#[test]
fn a_key_counts_for_what_it_is_trusted_with_and_no_longer_than_it_is() {
    check(&[
        Case::new("no keys", |scene| scene.config["trust"]["keys"] = json!([]), &["trust.keys"]),
        Case::new(
            "another key in its place",
            |scene| {
                std::fs::write(scene.path("key.pub"), Key::p256().public()).unwrap();
            },
            &["key"],
        ),
        Case::new(
            "a key for other repositories",
            |scene| {
                scene.config["trust"]["keys"][0]["repositories"] = json!([format!("{}/others", scene.registry.host())]);
            },
            &["release"],
        ),
        Case::new(
            "a key for what only looks like the beginning",
            |scene| {
                scene.config["trust"]["keys"][0]["repositories"] = json!([format!("{}/plug", scene.registry.host())]);
            },
            &["release"],
        )
        .arranged(|scene| {
            scene.config["trust"]["keys"][0]["repositories"] = json!([format!("{}/plugins", scene.registry.host())]);
        }),
        Case::new(
            "a revoked manifest",
            |scene| {
                scene.config["trust"]["revoked"] = json!([scene.artifact.digest()]);
            },
            &["revoked", "trust.revoked"],
        ),
        Case::new(
            "a revoked component",
            |scene| {
                scene.config["trust"]["revoked"] = json!([scene.artifact.layer_digest()]);
            },
            &["revoked", "trust.revoked"],
        )
        .besides(no_layer_was_fetched),
        Case::new(
            "an exception that only looks like the beginning",
            |scene| {
                scene.registry.shelf().unsign();
                scene.config["trust"]["unsigned"] = json!([format!("oci://{}/plug", scene.registry.host())]);
            },
            &["trust.unsigned"],
        )
        .arranged(|scene| {
            scene.registry.shelf().unsign();
            scene.config["trust"]["unsigned"] = json!([format!("oci://{}/plugins", scene.registry.host())]);
        }),
    ]);
}
