//! What an artifact that may be believed says about the firmware in it: the three layouts that are in use.
//!
//! A blob (`oras push image.bin:application/octet-stream`), a container image with a label, and a container image with
//! `firmware.bin` and `firmware.json` in its root. Where the bytes are is said here; who fetches them knows where from.

use causeway_core::dfu::MAX_VERSION_BYTES;
use serde::Deserialize;
use thiserror::Error;

use super::unpack::{self, Layer, UnpackError, packed};
use crate::artifacts::digest::Digest;
use crate::artifacts::{Blob, Descriptor, FetchError, Manifest, Reference};

/// The media type of a layer that is the image itself.
pub const BLOB: &str = "application/octet-stream";

/// The annotation with the name.
pub const TITLE: &str = "org.opencontainers.image.title";

/// The annotation with the versions over which it may be installed, a JSON list of texts.
pub const FROM: &str = "io.causeway.firmware.from";

/// The label with what an image says of its firmware.
const LABEL: &str = "io.drogue.metadata";

/// The file of the firmware in an image with that label, and in one without.
const LABELLED_FILE: &str = "firmware";
const ROOT_FILE: &str = "firmware.bin";
const ROOT_METADATA: &str = "firmware.json";

const MAX_METADATA: u64 = 64 << 10;
const MAX_NAME: usize = 64;
const MAX_FROM: usize = 1024;

/// An artifact says nothing of a firmware, or nothing that can be used; whoever published it publishes it otherwise.
#[derive(Debug, Error)]
pub enum NoFirmware {
    /// Neither of the layouts.
    #[error(
        "it is no firmware: it has neither a layer `{BLOB}` nor one that is a tar archive; `causeway firmware push` makes one"
    )]
    Layout,
    /// What is meant would be a matter of luck.
    #[error("it has {0} layers `{BLOB}`; publish one image in one artifact")]
    Layers(usize),
    /// Nothing to call it by.
    #[error("it has no name: neither is its title one nor does a repository say one; push it with `--name`")]
    Name,
    /// A version that no device can report.
    #[error("its version `{0}` is none: 1 to {MAX_VERSION_BYTES} bytes of text without control characters")]
    Version(String),
    /// Neither tag nor annotation.
    #[error("it has no version: neither a tag nor the annotation `org.opencontainers.image.version` says one")]
    NoVersion,
    /// More than a device can count.
    #[error("its image has {size} bytes, more than the {most} that are allowed (`firmware.max_image`)")]
    Size {
        /// What it says.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// No JSON of that form.
    #[error("what it says of its firmware cannot be read: {0}")]
    Metadata(String),
    /// A list of versions that is none.
    #[error("its annotation `{FROM}` is no JSON list of at most {MAX_FROM} versions")]
    From,
    /// What it says is not what it has.
    #[error("its firmware has {found} and not {said}, as it says of itself; make the image again")]
    Disagrees {
        /// What the bytes are.
        found: String,
        /// What was said of them.
        said: String,
    },
    /// The layers.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// What an artifact says of its firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The versions over which it may be installed.
    pub from: Vec<String>,
    /// What its image is known by.
    pub image: Digest,
    /// The image's bytes.
    pub size: u64,
    /// Where they are.
    pub source: Source,
}

/// Where the bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A layer is the image.
    Layer(Descriptor),
    /// A file of this name in one of the layers.
    Packed(&'static str),
    /// A file of this machine.
    File,
}

impl Source {
    /// The word for the layout.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Layer(_) => "blob",
            Self::Packed(LABELLED_FILE) => "labelled image",
            Self::Packed(_) => "image",
            Self::File => "file",
        }
    }
}

/// What the label and the file in the root say.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    version: String,
    size: u64,
    checksum: String,
}

#[derive(Deserialize)]
struct ImageConfig {
    config: Option<ImageSettings>,
}

#[derive(Deserialize)]
struct ImageSettings {
    #[serde(rename = "Labels")]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// Gets a blob of the artifact, of so many bytes at most; none if it is not here and nobody is to be asked.
pub(super) type Get<'g> = &'g dyn Fn(&Descriptor, u64) -> Result<Option<Blob>, FetchError>;

/// Why an artifact was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Something of it is not here.
    Absent,
    /// It was not to be had.
    Fetch(FetchError),
    /// It is no firmware.
    No(NoFirmware),
}

impl Said {
    /// Whether it is the release of this name and version.
    pub(super) fn is(&self, name: &str, version: &str) -> bool {
        self.name == name && self.version == version
    }
}

impl ReadError {
    /// Whether there was no room for it.
    pub(super) fn is_full(&self) -> bool {
        let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
        match self {
            Self::Fetch(FetchError::Disk { source, .. }) | Self::No(NoFirmware::Unpack(UnpackError::Disk(source))) => {
                full(source)
            }
            _ => false,
        }
    }
}

impl<E: Into<NoFirmware>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::No(error.into())
    }
}

/// Where an artifact was found, as far as that says something about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    pub(super) reference: &'p Reference,
    pub(super) repository: Option<&'p str>,
    /// Bytes of the largest image.
    pub(super) most: u64,
}

/// Reads what an artifact says.
pub(super) fn read(manifest: &Manifest, place: Place<'_>, get: Get<'_>) -> Result<Said, ReadError> {
    let blobs: Vec<&Descriptor> = manifest.layers.iter().filter(|layer| layer.media_type == BLOB).collect();
    let (version, image, size, source) = match blobs.as_slice() {
        [] if manifest.layers.iter().any(|layer| packed(&layer.media_type).is_some()) => image(manifest, place, get)?,
        [] => return Err(NoFirmware::Layout.into()),
        [layer] => {
            let version = manifest.version().or_else(|| tag(place.reference)).ok_or(NoFirmware::NoVersion)?;
            (version.to_owned(), layer.digest, layer.size, Source::Layer((*layer).clone()))
        }
        more => return Err(NoFirmware::Layers(more.len()).into()),
    };
    let most = place.most.min(u32::MAX.into());
    if size > most {
        return Err(NoFirmware::Size { size, most }.into());
    }
    Ok(Said { name: name(manifest, place)?, version: checked(version)?, from: from(manifest)?, image, size, source })
}

/// What a container image says: in its label, or in a file of its root.
fn image(manifest: &Manifest, place: Place<'_>, get: Get<'_>) -> Result<(String, Digest, u64, Source), ReadError> {
    let config = get(&manifest.config, MAX_METADATA << 4).map_err(ReadError::Fetch)?.ok_or(ReadError::Absent)?;
    let config = config.bytes().map_err(|error| NoFirmware::Metadata(error.to_string()))?;
    let labels = serde_json::from_slice::<ImageConfig>(&config).ok().and_then(|image| image.config?.labels);
    let (bytes, source) = match labels.as_ref().and_then(|labels| labels.get(LABEL)) {
        Some(label) => (label.clone().into_bytes(), Source::Packed(LABELLED_FILE)),
        None => {
            let layers = layers(manifest, place.most, get)?;
            let bytes = unpack::small(&layers, ROOT_METADATA, MAX_METADATA, place.most)?;
            (bytes, Source::Packed(ROOT_FILE))
        }
    };
    let (version, image, size) = metadata(&bytes)?;
    Ok((version, image, size, source))
}

/// Reads the JSON that stands in a label or in a file beside an image.
pub(super) fn metadata(bytes: &[u8]) -> Result<(String, Digest, u64), NoFirmware> {
    let Metadata { version, size, checksum } =
        serde_json::from_slice(bytes).map_err(|error| NoFirmware::Metadata(error.to_string()))?;
    let hex = checksum.strip_prefix("sha256:").unwrap_or(&checksum).to_ascii_lowercase();
    let image = Digest::from_hex(&hex);
    let wrong = || NoFirmware::Metadata("its checksum is not the 64 hexadecimal digits of a SHA-256".to_owned());
    Ok((version, image.ok_or_else(wrong)?, size))
}

/// The layers that are archives.
pub(super) fn layers(manifest: &Manifest, most: u64, get: Get<'_>) -> Result<Vec<Layer>, ReadError> {
    let open = |descriptor: &Descriptor| {
        // A layer that is not read is not fetched.
        if packed(&descriptor.media_type).is_none() {
            return Err(NoFirmware::from(UnpackError::Layer(descriptor.media_type.clone())).into());
        }
        let blob = get(descriptor, most.saturating_add(1 << 20)).map_err(ReadError::Fetch)?;
        Ok(Layer::new(blob.ok_or(ReadError::Absent)?, &descriptor.media_type)?)
    };
    manifest.layers.iter().map(open).collect()
}

/// Compares what was unpacked with what was said of it.
pub(super) fn agree(said: (Digest, u64), found: (Digest, u64)) -> Result<(), NoFirmware> {
    let told = |(digest, size): (Digest, u64)| format!("{size} bytes, {digest}");
    if said == found { Ok(()) } else { Err(NoFirmware::Disagrees { found: told(found), said: told(said) }) }
}

/// A version as devices report it.
pub(super) fn checked(version: String) -> Result<String, NoFirmware> {
    check_version(&version).map(|()| version)
}

/// Whether a text can be a version as devices report it.
///
/// # Errors
/// It cannot.
pub fn check_version(version: &str) -> Result<(), NoFirmware> {
    if (1..=MAX_VERSION_BYTES).contains(&version.len()) && !version.chars().any(char::is_control) {
        return Ok(());
    }
    Err(NoFirmware::Version(version.chars().filter(|c| !c.is_control()).take(MAX_VERSION_BYTES).collect()))
}

/// Whether a text can be the name of a firmware: it stands before the colon of `name:version`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.len() <= MAX_NAME && text.bytes().all(inner)
}

/// The title, if that can be a name, or the last part of its repository.
fn name(manifest: &Manifest, place: Place<'_>) -> Result<String, NoFirmware> {
    let title = manifest.annotations.get(TITLE).map(String::as_str);
    let of_reference = place.reference.repository_name();
    let repository = place.repository.or(of_reference.as_deref());
    let last = repository.and_then(|repository| repository.rsplit('/').next());
    title.into_iter().chain(last).find(|text| is_name(text)).map(str::to_owned).ok_or(NoFirmware::Name)
}

fn from(manifest: &Manifest) -> Result<Vec<String>, NoFirmware> {
    let Some(text) = manifest.annotations.get(FROM) else { return Ok(Vec::new()) };
    let versions: Vec<String> = serde_json::from_str(text).map_err(|_| NoFirmware::From)?;
    if versions.len() > MAX_FROM {
        return Err(NoFirmware::From);
    }
    versions.into_iter().map(checked).collect()
}

fn tag(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Registry(image) => image.tag.as_deref(),
        Reference::Layout { tag, .. } => tag.as_deref(),
        Reference::File(_) | Reference::Builtin(_) => None,
    }
}
