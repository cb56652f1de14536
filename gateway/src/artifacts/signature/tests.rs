//! Signatures that were made by this program and by others.

use std::process::Command;

use proptest::prelude::*;

use super::*;

fn payload() -> Payload {
    Payload { repository: "r.lan:5000/acme/alarm".to_owned(), digest: Digest::of(b"manifest") }
}

#[test]
fn a_signature_is_verified_by_its_key_and_no_other() {
    for kind in [KeyKind::EcdsaP256, KeyKind::Ed25519] {
        let key = PrivateKey::generate(kind).unwrap();
        let signed = payload().sign(&key).unwrap();
        let public = PublicKey::from_pem(&key.public_key_pem()).unwrap();
        assert!(public.verifies(&signed.payload, &signed.signature));
        assert_eq!(Payload::parse(&signed.payload).unwrap(), payload());
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public_key(), public);

        let other = PrivateKey::generate(kind).unwrap().public_key();
        assert!(!other.verifies(&signed.payload, &signed.signature));
        assert!(!public.verifies(b"another text", &signed.signature));
        for at in 0..signed.signature.len() {
            let mut changed = signed.signature.clone();
            changed[at] ^= 1;
            assert!(!public.verifies(&signed.payload, &changed), "byte {at}");
        }
        assert!(!public.verifies(&signed.payload, &[]));
    }
}

#[test]
fn what_is_signed_is_written_as_cosign_writes_it() {
    let expected = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"r.lan:5000/acme/alarm"}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
        Digest::of(b"manifest")
    );
    assert_eq!(String::from_utf8(payload().to_bytes()).unwrap(), expected);
    let with_more = expected.replace("null", r#"{"creator":"cosign","timestamp":1}"#);
    assert_eq!(Payload::parse(with_more.as_bytes()).unwrap(), payload());
    let refused = |text: String| Payload::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(refused(expected.replace("cosign container", "atomic container")).contains("of the type"));
    assert!(refused(expected.replace("sha256:", "sha512:")).contains("no digest"));
    assert!(refused(expected.replace("critical", "optionally")).contains("not a signature's text"));
}

#[test]
fn an_image_of_signatures_reads_back() {
    let keys = [KeyKind::EcdsaP256, KeyKind::Ed25519].map(|kind| PrivateKey::generate(kind).unwrap());
    let signatures = keys.map(|key| payload().sign(&key).unwrap());
    let (manifest, config) = Signed::image(&signatures);
    assert_eq!(manifest.config.digest, Digest::of(&config));
    let manifest = Manifest::parse(&manifest.to_bytes()).unwrap();
    let found: Vec<_> = Signed::layers(&manifest).collect();
    assert_eq!(found.len(), 2);
    for ((layer, signature), signed) in found.iter().zip(&signatures) {
        assert_eq!((layer.digest, signature), (Digest::of(&signed.payload), &signed.signature));
    }
}

#[test]
fn layers_that_are_no_signatures_are_passed_over() {
    let signed = payload().sign(&PrivateKey::generate(KeyKind::Ed25519).unwrap()).unwrap();
    let (good, _) = Signed::image(std::slice::from_ref(&signed));
    let count = |change: fn(&mut Descriptor)| {
        let mut manifest = good.clone();
        manifest.layers.iter_mut().for_each(change);
        Signed::layers(&manifest).count()
    };
    assert_eq!(count(|_| ()), 1);
    assert_eq!(count(|layer| layer.media_type = "application/wasm".to_owned()), 0);
    assert_eq!(count(|layer| layer.size = MAX_PAYLOAD + 1), 0);
    assert_eq!(count(|layer| layer.annotations.clear()), 0);
    assert_eq!(count(|layer| drop(layer.annotations.insert(SIGNATURE.to_owned(), "*".to_owned()))), 0);
    assert_eq!(count(|layer| drop(layer.annotations.insert(SIGNATURE.to_owned(), "A".repeat(4_000)))), 0);
    let (many, _) = Signed::image(&vec![signed; 40]);
    assert_eq!(Signed::layers(&many).count(), MAX_SIGNATURES);
}

#[test]
fn a_key_of_another_kind_is_refused_with_a_remedy() {
    let public = |pem: &str| PublicKey::from_pem(pem).unwrap_err();
    let private = |pem: &str| PrivateKey::from_pem(pem).unwrap_err();
    assert_eq!(public(""), KeyError::NoPublicKey);
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    assert_eq!(public(&key.to_pem()), KeyError::NoPublicKey);
    assert_eq!(private(&key.public_key_pem()), KeyError::NoPrivateKey);
    assert_eq!(private("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), KeyError::Encrypted);
    assert_eq!(public(&openssl(&["genpkey", "-algorithm", "X25519"], Some(&["pkey", "-pubout"]))), KeyError::Algorithm);
    let p384 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], None);
    assert_eq!(private(&p384), KeyError::Algorithm);
    assert!(!format!("{key:?}").contains("BEGIN"), "a private key is never printed");
}

/// What `openssl` prints; `then` is given what the first command printed.
fn openssl(arguments: &[&str], then: Option<&[&str]>) -> String {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = run(arguments);
    let Some(then) = then else { return printed };
    std::fs::write(home.path().join("in"), printed).unwrap();
    run(&[then, &["-in", "in"]].concat())
}

#[test]
fn a_signature_made_by_openssl_is_verified() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let read = |name: &str| std::fs::read(home.path().join(name)).unwrap();
    std::fs::write(home.path().join("payload"), payload().to_bytes()).unwrap();

    run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "p256.key"]);
    run(&["pkey", "-in", "p256.key", "-pubout", "-out", "p256.pub"]);
    run(&["dgst", "-sha256", "-sign", "p256.key", "-out", "p256.sig", "payload"]);
    run(&["base64", "-in", "p256.sig", "-out", "p256.b64"]);
    let key = PublicKey::from_pem(&String::from_utf8(read("p256.pub")).unwrap()).unwrap();
    assert_eq!(key.kind(), KeyKind::EcdsaP256);
    let signature = decode(&String::from_utf8(read("p256.b64")).unwrap()).unwrap();
    assert!(key.verifies(&payload().to_bytes(), &signature));
    let private = PrivateKey::from_pem(&String::from_utf8(read("p256.key")).unwrap()).unwrap();
    assert_eq!(private.public_key(), key);

    run(&["genpkey", "-algorithm", "ED25519", "-out", "ed.key"]);
    run(&["pkey", "-in", "ed.key", "-pubout", "-out", "ed.pub"]);
    run(&["pkeyutl", "-sign", "-inkey", "ed.key", "-rawin", "-in", "payload", "-out", "ed.sig"]);
    let key = PublicKey::from_pem(&String::from_utf8(read("ed.pub")).unwrap()).unwrap();
    assert_eq!(key.kind(), KeyKind::Ed25519);
    assert!(key.verifies(&payload().to_bytes(), &read("ed.sig")));

    // And the other way round: OpenSSL reads the keys that are made here.
    for kind in [KeyKind::EcdsaP256, KeyKind::Ed25519] {
        std::fs::write(home.path().join("own.key"), PrivateKey::generate(kind).unwrap().to_pem()).unwrap();
        run(&["pkey", "-in", "own.key", "-pubout", "-out", "own.pub"]);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in ".*", bytes in any::<Vec<u8>>()) {
        let _ = (Payload::parse(&bytes), Payload::parse(text.as_bytes()), decode(&text));
        let wrapped = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&bytes));
        let _ = (PublicKey::from_pem(&text), PrivateKey::from_pem(&text), PublicKey::from_pem(&wrapped));
        let _ = PrivateKey::from_pem(&wrapped.replace("PUBLIC", "PRIVATE"));
    }

    #[test]
    fn a_written_text_reads_back(repository in ".{0,40}", bytes in any::<Vec<u8>>()) {
        let payload = Payload { repository, digest: Digest::of(&bytes) };
        prop_assert_eq!(Payload::parse(&payload.to_bytes()).unwrap(), payload);
    }
}
