//! From a reference to verified bytes, for everything that comes to a gateway from outside and runs there.
//!
//! An artifact is found in a registry, a layout on a stick or a file; what it is known by is resolved first, then whose
//! signature it has, and only then is it fetched, by its digest. What it is for is not known here: plugins ask, and
//! firmware takes the same road.

pub mod cache;
pub mod files;
pub mod layout;
pub mod lockfile;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod shelf;
pub mod signature;
pub mod trust;

mod carry;
mod error;
mod metrics;
mod origin;
mod road;

use std::fmt::{self, Debug, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime::Handle;

use self::cache::{Cache, CacheError};
use self::reference::is_below;
use self::registry::Registries;
use self::trust::{Distrust, Trust};
use crate::config::{ArtifactsConfig, Config, Problem, RegistryConfig, TrustConfig};

pub use causeway_core::digest::{self, Digest};

pub use self::cache::{Blob, Holder};
pub use self::carry::Carried;
pub use self::error::{Because, FetchError};
pub use self::layout::{Draft, Entry};
pub use self::manifest::{Descriptor, Manifest};
pub use self::metrics::ArtifactsMetrics;
pub use self::reference::{ImageReference, Reference};

/// What the configuration says of artifacts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How they are fetched and kept.
    pub artifacts: ArtifactsConfig,
    /// What is known of registries.
    pub registries: Vec<RegistryConfig>,
    /// Whose artifacts run here.
    pub trust: TrustConfig,
}

impl Settings {
    /// The sections of a configuration that are about artifacts.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (artifacts, registries) = (config.artifacts.clone(), config.registries.clone());
        let mut trust = config.trust.clone();
        // Whoever can publish there can change files there too: it is the operator's own as files are.
        let own = config.firmware.dir.display();
        if trust.unsigned.iter().any(|prefix| is_below(&format!("file://{own}"), prefix)) {
            trust.unsigned.push(format!("oci-layout://{own}"));
        }
        Self { artifacts, registries, trust }
    }
}

/// The most bytes that something may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AtMost {
    /// So many.
    pub bytes: u64,
    /// The key of the configuration that says so, if one does.
    pub key: Option<&'static str>,
}

impl AtMost {
    /// A bound that an operator may raise.
    #[must_use]
    pub const fn of(bytes: u64, key: &'static str) -> Self {
        Self { bytes, key: Some(key) }
    }
}

impl From<u64> for AtMost {
    fn from(bytes: u64) -> Self {
        Self { bytes, key: None }
    }
}

impl fmt::Display for AtMost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "{} (`{key}`)", self.bytes),
            None => write!(f, "{}", self.bytes),
        }
    }
}

/// Who uses the folder of what was fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// A running gateway: no other gateway may use it meanwhile, and what nobody needs is removed.
    Gateway,
    /// A command: it adds and reads beside a running gateway, and removes nothing.
    Shared,
}

/// What a tag stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lock {
    /// What the lockfile says; the registry is asked about what is not in it.
    Use,
    /// What the registry says now; the lockfile says so too from then on.
    Update,
}

/// Which artifact is wanted, and as what.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Wanted {
    /// Where it is found.
    pub reference: Reference,
    /// The repository that its signature must name, when it is found elsewhere: `host[:port]/repository`.
    pub signed_as: Option<String>,
    /// What it is to be used as: keys are for kinds.
    pub kind: &'static str,
}

/// An artifact whose manifest may be believed.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Where it was found.
    pub reference: Reference,
    /// What its manifest is known by.
    pub digest: Digest,
    /// What it consists of.
    pub manifest: Manifest,
    /// The key whose signature it has; none if the configuration does not ask for one.
    pub signed_by: Option<String>,
}

/// A bare file that may be used.
#[derive(Clone, Debug)]
pub struct TrustedFile {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What it is known by.
    pub digest: Digest,
    /// The key whose signature lies beside it; none if the configuration does not ask for one.
    pub signed_by: Option<String>,
}

/// An image of the cache.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it was asked for as.
    pub reference: String,
    /// What its manifest is known by.
    pub digest: Digest,
    /// What it consists of.
    pub manifest: Manifest,
    /// Whether all its layers are there.
    pub complete: bool,
    /// How many signatures are kept with it.
    pub signatures: usize,
}

/// Why artifacts cannot be used at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The folder of the cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The keys; one line for each that is wrong.
    #[error("{}", lines(.0))]
    Trust(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// From references to verified bytes; clones share everything.
///
/// What blocks is for a thread outside the runtime: a command's own, or one for blocking work.
#[derive(Clone)]
pub struct Artifacts {
    cache: Cache,
    holder: Holder,
    lockfile: PathBuf,
    max_manifest: u64,
    registries: Registries,
    trust: Arc<ArcSwap<Trust>>,
    runtime: Handle,
    metrics: ArtifactsMetrics,
}

impl Debug for Artifacts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Artifacts({})", self.folder().display())
    }
}

impl Artifacts {
    /// Opens the cache and reads the keys; nobody is asked yet. `runtime` is where the network is waited for. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &Settings, runtime: Handle, access: Access) -> Result<Self, OpenError> {
        Self::open_counted(settings, runtime, access, ArtifactsMetrics::default())
    }

    /// The same, counted where somebody looks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_counted(
        settings: &Settings,
        runtime: Handle,
        access: Access,
        metrics: ArtifactsMetrics,
    ) -> Result<Self, OpenError> {
        let Settings { artifacts, registries, trust } = settings;
        let trust = Trust::load(trust).map_err(OpenError::Trust)?;
        let (most, max_manifest) = (artifacts.max_bytes.bytes(), artifacts.max_manifest.bytes());
        Ok(Self {
            cache: Cache::open(&artifacts.dir, most, max_manifest, access, metrics.clone())?,
            holder: Holder::Plugins,
            lockfile: artifacts.lockfile.clone(),
            max_manifest,
            registries: Registries::new(artifacts, registries),
            trust: Arc::new(ArcSwap::from_pointee(trust)),
            runtime,
            metrics,
        })
    }

    /// Trusts whom this configuration trusts from now on, in all clones. What runs already is not asked about again.
    ///
    /// # Errors
    /// A key that cannot be read; the trust stays as it is.
    pub fn retrust(&self, trust: &TrustConfig) -> Result<(), Vec<Problem>> {
        self.trust.store(Arc::new(Trust::load(trust)?));
        Ok(())
    }

    /// Whether a blob that is kept may still be used.
    ///
    /// # Errors
    /// It was revoked.
    pub fn not_revoked(&self, digest: &Digest) -> Result<(), Distrust> {
        self.trust.load().not_revoked(digest)
    }

    /// Whether a bare file that was kept may still be used; `signer` answered for it when it was judged.
    ///
    /// # Errors
    /// It may not.
    pub fn judge_kept_file(
        &self,
        reference: &Reference,
        kind: &str,
        digest: &Digest,
        signer: Option<&str>,
    ) -> Result<(), Distrust> {
        self.trust.load().judge_kept_file(&reference.to_string(), kind, digest, signer)
    }

    /// Keeps bytes that may be needed again, wherever they came from; they stay until [`Self::retain`] says what is in
    /// use. Blocks.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, CacheError> {
        let digest = Digest::of(bytes);
        self.keep_as(&digest, bytes)?;
        Ok(digest)
    }

    /// The same for bytes that were found to have this digest. Blocks.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn keep_as(&self, digest: &Digest, bytes: &[u8]) -> Result<(), CacheError> {
        self.cache.keep_as(digest, bytes)?;
        self.cache.hold(self.holder, *digest);
        Ok(())
    }

    /// A file for what was made of an artifact here and is to be kept as well, once there is room for `size` bytes. Blocks.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn draft(&self, size: u64) -> Result<Draft, CacheError> {
        self.cache.draft(size)
    }

    /// Keeps what was written into a draft, if it has this digest; it stays until [`Self::retain`] says what is in use.
    /// Blocks.
    ///
    /// # Errors
    /// It has another one, or the disk.
    pub fn keep_draft(&self, draft: Draft, digest: &Digest) -> Result<(), CacheError> {
        self.cache.hold(self.holder, *digest);
        self.cache.finish(draft, digest)
    }

    /// Keeps an image that was made here under a name, with the blobs that it names; it stays until [`Self::retain`] says
    /// what is in use. Blocks.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn keep_image(&self, name: &str, manifest: &Manifest, blobs: &[&[u8]]) -> Result<Digest, CacheError> {
        for blob in blobs {
            self.keep(blob)?;
        }
        let digest = self.cache.record(name, &manifest.to_bytes(), &[])?;
        self.cache.hold(self.holder, digest);
        Ok(digest)
    }

    /// A blob of this digest and size to read from, if it is kept and whole: all of it is read for that. Whether it may be
    /// used is for the caller to ask. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn kept_blob(&self, digest: &Digest, size: u64) -> Result<Option<Blob>, CacheError> {
        self.cache.blob(digest, size)
    }

    /// The bytes of this digest, if they are kept and whole. Whether they may be used is for the caller to ask. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn kept(&self, digest: &Digest) -> Result<Option<Vec<u8>>, CacheError> {
        self.cache.get(digest, u64::MAX - 1)
    }

    /// The same, for somebody who says for itself what it needs.
    #[must_use]
    pub fn held_by(&self, holder: Holder) -> Self {
        Self { holder, ..self.clone() }
    }

    /// What its holder needs from now on, images or single blobs, and whatever that one asks for after this; what nobody
    /// needs goes when there is no room.
    pub fn retain(&self, roots: impl IntoIterator<Item = Digest>) {
        self.cache.retain(self.holder, roots);
    }

    /// The images of the cache, by what they were asked for as. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self) -> Result<Vec<Listed>, CacheError> {
        let index = self.index()?;
        let images = index.iter().filter(|entry| !entry.is_signature());
        images.filter_map(|entry| self.listed(entry).transpose()).collect()
    }

    /// What the index of the cache names; nothing else is read. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn index(&self) -> Result<Vec<Entry>, CacheError> {
        self.cache.index()
    }

    /// One image of the index, if it is there and whole. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn listed(&self, entry: &Entry) -> Result<Option<Listed>, CacheError> {
        let digest = entry.manifest.digest;
        let Some(bytes) = self.cache.get(&digest, self.max_manifest)? else { return Ok(None) };
        let Ok(manifest) = Manifest::parse(&bytes) else { return Ok(None) };
        let complete = manifest.layers.iter().all(|layer| self.cache.layout().has_blob(&layer.digest));
        let reference = entry.name().unwrap_or_default().to_owned();
        let signatures = self.cache.signatures(&digest)?.len();
        Ok(Some(Listed { reference, digest, manifest, complete, signatures }))
    }

    /// Whether there is a file for a blob, whatever is in it. Blocks.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.cache.layout().has_blob(digest)
    }

    /// The folder of the cache.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.cache.path()
    }
}

#[cfg(test)]
mod tests;
