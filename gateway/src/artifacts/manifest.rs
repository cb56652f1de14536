//! An image manifest of the OCI: what an artifact consists of.
//!
//! Says what is there and how large it claims to be; nothing of it is believed before its digest is that of a signature.
//! What the layers mean is for those who asked for the artifact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::{Digest, DigestError};

/// The media type of an image manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of an index of several images.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The media types of an image as `docker push` makes it, of what describes that, and of a list of several.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The media type of a description that says nothing: `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The annotation with the version of an artifact.
pub const VERSION: &str = "org.opencontainers.image.version";

/// The annotation with the tag of an image in a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// More layers than any artifact has that is meant for a gateway.
const MAX_LAYERS: usize = 128;

/// An image manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// What kind of artifact it says that it is.
    pub artifact_type: Option<String>,
    /// What describes the artifact.
    pub config: Descriptor,
    /// What it consists of.
    pub layers: Vec<Descriptor>,
    /// What its maker says of it.
    pub annotations: BTreeMap<String, String>,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// What it says that it is.
    pub media_type: String,
    /// What it is known by.
    pub digest: Digest,
    /// Its bytes, as declared.
    pub size: u64,
    /// What its maker says of it.
    pub annotations: BTreeMap<String, String>,
}

/// Bytes are no manifest that can be used; nothing more is fetched.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not the JSON that a manifest is.
    #[error("the manifest is not one: {0}")]
    Json(#[from] serde_json::Error),
    /// Several images in one.
    #[error("it is an index of several images (`{0}`); name one of them by its digest, or push one alone")]
    Index(&'static str),
    /// Another kind of manifest.
    #[error("its media type is `{0}` and not `{IMAGE_MANIFEST}`; push it as an OCI image")]
    MediaType(String),
    /// Another version of the specification.
    #[error("its schemaVersion is {0} and not 2")]
    Schema(u64),
    /// Something in it is named by no digest that can be checked.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// More layers than are looked at.
    #[error("it has {0} layers, more than the {MAX_LAYERS} that are looked at")]
    Layers(usize),
}

impl Manifest {
    /// Reads a manifest; whoever fetched the bytes bounded them.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        // Asked before the rest, so that what is no image is called by its name.
        let kind: RawKind = serde_json::from_slice(bytes)?;
        match kind.media_type.as_deref() {
            Some(IMAGE_INDEX) => return Err(ManifestError::Index(IMAGE_INDEX)),
            Some(DOCKER_LIST) => return Err(ManifestError::Index(DOCKER_LIST)),
            None if kind.manifests.is_some() => return Err(ManifestError::Index(IMAGE_INDEX)),
            None | Some(IMAGE_MANIFEST) => {}
            // The same fields with other names for the types; only containers are laid out so.
            Some(DOCKER_MANIFEST) if kind.config.is_some_and(|config| config.media_type == DOCKER_CONFIG) => {}
            Some(other) => return Err(ManifestError::MediaType(shown(other))),
        }
        if kind.schema_version != 2 {
            return Err(ManifestError::Schema(kind.schema_version));
        }
        let raw: RawManifest = serde_json::from_slice(bytes)?;
        if raw.layers.len() > MAX_LAYERS {
            return Err(ManifestError::Layers(raw.layers.len()));
        }
        Ok(Self {
            artifact_type: raw.artifact_type,
            config: raw.config.try_into()?,
            layers: raw.layers.into_iter().map(Descriptor::try_from).collect::<Result<_, _>>()?,
            annotations: raw.annotations,
        })
    }

    /// The manifest as it is pushed: the same bytes, and so the same digest, for the same content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let raw = RawManifest {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.to_owned()),
            artifact_type: self.artifact_type.clone(),
            config: (&self.config).into(),
            layers: self.layers.iter().map(RawDescriptor::from).collect(),
            annotations: self.annotations.clone(),
        };
        // Texts and numbers alone: there is nothing that JSON does not take.
        serde_json::to_vec(&raw).unwrap_or_default()
    }

    /// The version that its maker gave it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.annotations.get(VERSION).map(String::as_str)
    }

    /// What it consists of, its description included.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl Descriptor {
    /// Names these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

/// As much of a manifest as says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKind {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<RawConfigKind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfigKind {
    media_type: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u64,
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: RawDescriptor,
    layers: Vec<RawDescriptor>,
    #[serde(default, deserialize_with = "nothing_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// A descriptor as it is written, in a manifest and in a layout's index.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, deserialize_with = "nothing_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = DigestError;

    fn try_from(raw: RawDescriptor) -> Result<Self, DigestError> {
        let RawDescriptor { media_type, digest, size, annotations } = raw;
        Ok(Self { media_type, digest: digest.parse()?, size, annotations })
    }
}

impl From<&Descriptor> for RawDescriptor {
    fn from(own: &Descriptor) -> Self {
        let Descriptor { media_type, digest, size, annotations } = own.clone();
        Self { media_type, digest: digest.to_string(), size, annotations }
    }
}

/// Some tools write `null` for no annotations.
fn nothing_is_empty<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(reader).map(Option::unwrap_or_default)
}

/// As much of a text as a message shows.
fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// What `oras push` writes, with one part exchanged.
    fn with(key: &str, value: Value) -> Vec<u8> {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": DIGEST, "size": 2},
            "layers": [{"mediaType": "application/wasm", "digest": DIGEST, "size": 3, "annotations": {"a": "b"}}],
            "annotations": {VERSION: "1.2.0"},
        });
        manifest[key] = value;
        serde_json::to_vec(&manifest).unwrap()
    }

    fn refused(key: &str, value: Value, words: &str) {
        let error = Manifest::parse(&with(key, value)).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_manifest_says_what_an_artifact_consists_of() {
        let manifest = Manifest::parse(&with("annotations", json!({VERSION: "1.2.0"}))).unwrap();
        assert_eq!(manifest.version(), Some("1.2.0"));
        assert_eq!(manifest.layers.len(), 1);
        assert_eq!(manifest.layers[0].media_type, "application/wasm");
        assert_eq!((manifest.layers[0].size, manifest.config.size), (3, 2));
        assert_eq!(manifest.layers[0].digest, Digest::of(b""));
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        assert!(Manifest::parse(&with("annotations", Value::Null)).unwrap().annotations.is_empty());
        assert!(Manifest::parse(&with("mediaType", Value::Null)).is_ok(), "the media type may be missing");
    }

    #[test]
    fn a_container_that_docker_pushed_is_an_image_too() {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG, "digest": DIGEST, "size": 2},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": DIGEST, "size": 3}],
        });
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        assert_eq!((manifest.config.media_type.as_str(), manifest.layers.len()), (DOCKER_CONFIG, 1));
    }

    #[test]
    fn what_is_no_image_is_called_by_its_name() {
        refused("mediaType", json!(IMAGE_INDEX), "index of several images");
        refused("mediaType", json!(DOCKER_LIST), "name one of them by its digest");
        refused("mediaType", json!(DOCKER_MANIFEST), "as an OCI image");
        refused("mediaType", json!("a\nb"), "`ab`");
        refused("schemaVersion", json!(1), "schemaVersion is 1");
        refused("config", json!(null), "not one");
        refused("layers", json!([{"mediaType": "a", "digest": "sha512:00", "size": 1}]), "no digest");
        refused("layers", json!([{"mediaType": "a", "digest": "../../etc/passwd", "size": 1}]), "no digest");
        refused("layers", json!([{"mediaType": "a", "digest": DIGEST, "size": -1}]), "not one");
        let layer = json!({"mediaType": "a", "digest": DIGEST, "size": 1});
        refused("layers", Value::Array(vec![layer; MAX_LAYERS + 1]), "129 layers");
        let index = json!({"schemaVersion": 2, "manifests": []}).to_string();
        assert!(matches!(Manifest::parse(index.as_bytes()), Err(ManifestError::Index(_))));
        let twice = format!(
            "{{\"schemaVersion\": 2, \"layers\": [], {}",
            &String::from_utf8(with("x", Value::Null)).unwrap()[1..]
        );
        assert!(Manifest::parse(twice.as_bytes()).is_err(), "a key that stands twice means two things");
        assert!(Manifest::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut changed = with("x", Value::Null);
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = (Manifest::parse(&bytes), Manifest::parse(&changed), Manifest::parse(&changed[..at]));
        }

        #[test]
        fn a_written_manifest_reads_back(versions in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..4), sizes in prop::collection::vec(any::<u64>(), 0..4), kind in prop::option::of(".{1,9}")) {
            let layer = |size: &u64| Descriptor { size: *size, annotations: versions.clone(), ..Descriptor::of("a", b"") };
            let manifest = Manifest { artifact_type: kind, config: layer(&0), layers: sizes.iter().map(layer).collect(), annotations: versions.clone() };
            prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        }
    }
}
