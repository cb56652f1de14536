//! What comes from a registry, a layout, a file or the cache and is not what it should be: refused, with the reason in
//! one line, and never run.
//!
//! Each case begins with an artifact that the gateway accepts, and changes one thing.

mod cache;
mod contents;
mod layouts;
mod logins;
mod network;
mod running;
mod scene;
mod signatures;

use causeway_tests::artifact::{Artifact, Key, Signature, digest};
use causeway_tests::mutating::{Mutating, Role};
use causeway_tests::peers;
use std::fs;
use std::process::Command;

/// Made by others: what the harness makes is what they take.
#[test]
fn the_artifacts_of_these_tests_are_what_skopeo_copies_and_openssl_verifies() {
    let (Some(skopeo), Some(openssl)) = (peers::require("skopeo"), peers::require("openssl")) else { return };
    let registry = Mutating::plain();
    let artifact = Artifact::component(b"\0asm\x0d\0\x01\0", "1.0.0");
    registry.shelf().put("plugins/doors", "1.0.0", &artifact);
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new(skopeo)
        .args(["copy", "--src-tls-verify=false", &format!("docker://{}/plugins/doors:1.0.0", registry.host())])
        .arg(format!("oci:{}:1.0.0", folder.path().join("layout").display()))
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let blob = folder.path().join("layout/blobs/sha256").join(artifact.digest().replace("sha256:", ""));
    assert_eq!(digest(&fs::read(blob).unwrap()), artifact.digest());
    assert!(registry.seen().iter().any(|request| request.role == Role::Layer));

    for key in [Key::p256(), Key::ed25519()] {
        let signature = Signature::of(&artifact.digest(), "registry.example/plugins/doors", &key);
        let file = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).unwrap();
            folder.path().join(name)
        };
        let manifest: serde_json::Value = serde_json::from_slice(&signature.manifest).unwrap();
        let text = manifest["layers"][0]["annotations"][causeway_tests::artifact::SIGNATURE].as_str().unwrap();
        let verified = Command::new(&openssl)
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(file("key.pem", key.public().as_bytes()))
            .arg("-in")
            .arg(file("payload", &signature.payload))
            .arg("-sigfile")
            .arg(file("signature", &base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()))
            .output()
            .unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
}
