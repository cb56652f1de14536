//! Signed OCI artifacts, put together by hand: manifests, their blobs, and signatures as cosign makes them.
//!
//! Nothing here is the gateway's own code, so that a fault there cannot make its own tests pass. An artifact is good until
//! a test edits it; its digest and its signature are those of what it has become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SigningKey};
use serde_json::{Value, json};
use std::fmt::Write;

/// Media types, as the specifications have them.
pub mod media {
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    pub const WASM: &str = "application/wasm";
    pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// The annotation in which cosign keeps a signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// What a manifest says of a blob.
#[must_use]
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// A manifest and the blobs that it names.
#[derive(Clone)]
pub struct Artifact {
    /// The bytes whose digest is the artifact's.
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

impl Artifact {
    /// A component of this version, as `wkg` and the gateway's own `plugin push` lay it out.
    #[must_use]
    pub fn component(bytes: &[u8], version: &str) -> Self {
        let config = json!({ "created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2",
            "layerDigests": [digest(bytes)], "component": { "exports": [], "imports": [], "target": null } });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": descriptor(media::WASM_CONFIG, &config),
            "layers": [descriptor(media::WASM, bytes)],
            "annotations": { "org.opencontainers.image.version": version, "org.opencontainers.image.title": "doors" },
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer: bytes.to_vec() }
    }

    /// Changes what the manifest says; the artifact is then another one, with another digest.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        self.manifest = edited(&self.manifest, change);
        self
    }

    #[must_use]
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The digest of the component itself.
    #[must_use]
    pub fn layer_digest(&self) -> String {
        digest(&self.layer)
    }
}

fn edited(manifest: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut manifest = serde_json::from_slice(manifest).expect("a manifest");
    change(&mut manifest);
    manifest.to_string().into_bytes()
}

/// A private key.
pub struct Key(KeyPair);

impl Key {
    /// An ECDSA key on P-256, the kind that cosign makes.
    #[must_use]
    pub fn p256() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    #[must_use]
    pub fn ed25519() -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }

    /// The public key, as PEM.
    #[must_use]
    pub fn public(&self) -> String {
        self.0.public_key_pem()
    }

    /// The private key, as PEM.
    #[must_use]
    pub fn private(&self) -> String {
        self.0.serialize_pem()
    }

    /// A signature of these bytes, in base64.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.0.sign(bytes).unwrap())
    }
}

/// What cosign signs.
#[must_use]
pub fn payload(manifest_digest: &str, repository: &str) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": repository },
            "image": { "docker-manifest-digest": manifest_digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// The artifact in which a registry keeps signatures of another one.
#[derive(Clone)]
pub struct Signature {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Signature {
    /// A good signature of a digest in a repository.
    #[must_use]
    pub fn of(manifest_digest: &str, repository: &str, key: &Key) -> Self {
        Self::over(payload(manifest_digest, repository).to_string().into_bytes(), key)
    }

    /// A good signature of any payload.
    #[must_use]
    pub fn over(payload: Vec<u8>, key: &Key) -> Self {
        let signature = key.sign(&payload);
        Self::with(payload, &signature)
    }

    /// A payload with anything in the place of its signature.
    #[must_use]
    pub fn with(payload: Vec<u8>, signature: &str) -> Self {
        let config = b"{}".to_vec();
        let mut layer = descriptor(media::SIMPLE_SIGNING, &payload);
        layer["annotations"] = json!({ SIGNATURE: signature });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": descriptor(media::IMAGE_CONFIG, &config),
            "layers": [layer],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, payload }
    }

    /// Changes what the manifest says.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        self.manifest = edited(&self.manifest, change);
        self
    }

    /// The tag under which the signature of a digest is looked for.
    #[must_use]
    pub fn tag(manifest_digest: &str) -> String {
        format!("{}.sig", manifest_digest.replace(':', "-"))
    }
}
