//! cosign's "simple signing": a signature of a small text that names an image and the repository that it is for.
//!
//! What a signature says is read here and whether it is that of a key; whose keys count, and for what, is for `trust.rs`.
//! Neither a transparency log nor an authority is asked: a gateway may be offline for life.

mod key;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::{Digest, DigestError};
use super::manifest::{Descriptor, Manifest};

pub use self::key::{KeyError, KeyKind, PrivateKey, PublicKey};

/// The media type of the text that is signed; it is a layer of the image under the signature tag.
pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of that layer with the signature, in Base64.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The media type of what describes the image of signatures.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What the text says that it is.
const KIND: &str = "cosign container image signature";

/// The longest text that is read.
pub const MAX_PAYLOAD: u64 = 64 << 10;

/// The most signatures of one image that are looked at.
pub const MAX_SIGNATURES: usize = 16;

/// The longest signature, in Base64: both kinds of keys have far shorter ones.
const MAX_SIGNATURE: usize = 1024;

/// A text and somebody's signature of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// The text, to the byte.
    pub payload: Vec<u8>,
    /// ECDSA: DER; Ed25519: 64 bytes.
    pub signature: Vec<u8>,
}

/// What a signed text says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// The repository that the image is for: `host[:port]/repository`.
    pub repository: String,
    /// The image.
    pub digest: Digest,
}

/// A text that is signed does not say what such a text says.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// No such JSON.
    #[error("what is signed is not a signature's text: {0}")]
    Json(#[from] serde_json::Error),
    /// Signed for another purpose.
    #[error("what is signed is of the type `{0}` and not `{KIND}`")]
    Type(String),
    /// No digest that can be compared.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

#[derive(Deserialize, Serialize)]
struct RawPayload {
    critical: Critical,
    optional: Option<serde_json::Value>,
}

#[derive(Deserialize, Serialize)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Payload {
    /// Reads a text whose signature was verified.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PayloadError> {
        let Critical { identity, image, r#type } = serde_json::from_slice::<RawPayload>(bytes)?.critical;
        if r#type != KIND {
            return Err(PayloadError::Type(shown(&r#type)));
        }
        Ok(Self { repository: identity.docker_reference, digest: image.docker_manifest_digest.parse()? })
    }

    /// The text, as cosign writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let identity = Identity { docker_reference: self.repository.clone() };
        let image = Image { docker_manifest_digest: self.digest.to_string() };
        let critical = Critical { identity, image, r#type: KIND.to_owned() };
        // Texts alone: there is nothing that JSON does not take.
        serde_json::to_vec(&RawPayload { critical, optional: None }).unwrap_or_default()
    }

    /// Signs it.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn sign(&self, key: &PrivateKey) -> Result<Signed, KeyError> {
        let payload = self.to_bytes();
        let signature = key.sign(&payload)?;
        Ok(Signed { payload, signature })
    }
}

impl Signed {
    /// The layers of an image of signatures that hold one: the text's descriptor, and the signature.
    pub fn layers(manifest: &Manifest) -> impl Iterator<Item = (&Descriptor, Vec<u8>)> {
        let of_cosign = manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD && layer.size <= MAX_PAYLOAD);
        of_cosign.take(MAX_SIGNATURES).filter_map(|layer| {
            let signature = decode(layer.annotations.get(SIGNATURE)?)?;
            Some((layer, signature))
        })
    }

    /// The image of these signatures: its manifest, and what describes it.
    #[must_use]
    pub fn image(signatures: &[Self]) -> (Manifest, Vec<u8>) {
        image(signatures.iter().map(Self::layer).collect(), BTreeMap::new())
    }

    /// The image of signatures with this one more. What others put there stays as it is, also what is not understood.
    #[must_use]
    pub fn added_to(&self, others: Option<Manifest>) -> (Manifest, Vec<u8>) {
        let (mut layers, annotations) = others.map(|image| (image.layers, image.annotations)).unwrap_or_default();
        layers.push(self.layer());
        image(layers, annotations)
    }

    fn layer(&self) -> Descriptor {
        let mut layer = Descriptor::of(PAYLOAD, &self.payload);
        layer.annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(&self.signature));
        layer
    }
}

/// An image of signatures, as cosign lays it out.
fn image(layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> (Manifest, Vec<u8>) {
    let ids: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let config = serde_json::json!({
        "architecture": "", "config": {}, "created": "0001-01-01T00:00:00Z", "os": "",
        "history": vec![serde_json::json!({"created": "0001-01-01T00:00:00Z"}); layers.len()],
        "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let config = config.to_string().into_bytes();
    (Manifest { artifact_type: None, config: Descriptor::of(CONFIG, &config), layers, annotations }, config)
}

/// Reads a signature in Base64, as `cosign` and `openssl base64` write it.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).take(MAX_SIGNATURE + 1).collect();
    if plain.is_empty() || plain.len() > MAX_SIGNATURE {
        return None;
    }
    STANDARD.decode(plain).ok()
}

/// As much of a text as a message shows.
fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
