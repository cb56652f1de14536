//! An OCI image layout: a folder with `oci-layout`, `index.json` and `blobs/sha256/<hex>`.
//!
//! What is on a stick, what is exported, and what the cache of a gateway is. Nothing in it is believed: a file is opened
//! only under the name of a digest, never through a link, and what is read hashes to that name or is refused.

mod draft;

use std::fmt::Display;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::Digest;
use super::files::{self, FileError, open_regular, read_bounded};
use super::manifest::{Descriptor, IMAGE_INDEX, REF_NAME, RawDescriptor};
use super::{AtMost, Because, FetchError};

pub use self::draft::Draft;

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";

/// Held for as long as the index is read and written back. The marker cannot be: a layout that is begun has none yet.
const LOCK: &str = "index.lock";

/// Another process holds the lock for as long as it writes one small file.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

const VERSION: &str = "1.0.0";

/// The largest `index.json` that is read.
const MAX_INDEX: u64 = 16 << 20;

/// A folder is no layout that can be used, or a blob of it is not what its name says.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// Not a layout.
    #[error("{path} is no OCI image layout: {reason}", path = .path.display())]
    NoLayout {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A blob, or an image of that name, that is not there.
    #[error("{path} has no {what}", path = .path.display())]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// Other bytes than the name says.
    #[error("{path} is damaged: its bytes hash to {found}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What its bytes are known by.
        found: Digest,
    },
    /// A lock that is held for longer than anybody should.
    #[error("{path} is locked by another process for more than 10 s; see what it does", path = .path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
}

impl LayoutError {
    /// The same, as the reason why `reference` was not fetched.
    #[must_use]
    pub fn about(self, reference: &impl Display) -> FetchError {
        match self {
            Self::NoLayout { .. } | Self::NotFound { .. } => FetchError::not_found(reference, self),
            Self::Damaged { .. } => FetchError::refused(reference, Because::Digest, self),
            Self::Locked { ref path } => {
                FetchError::disk(path, io::Error::new(io::ErrorKind::WouldBlock, self.to_string()))
            }
            Self::File(error) => error.about(reference),
        }
    }
}

/// A folder with images.
#[derive(Clone, Debug)]
pub struct Layout(PathBuf);

/// An image of a layout's index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its manifest.
    pub manifest: Descriptor,
}

impl Entry {
    /// Its name there.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.manifest.annotations.get(REF_NAME).map(String::as_str)
    }

    /// Whether it holds the signatures of another image.
    #[must_use]
    pub fn is_signature(&self) -> bool {
        self.name().is_some_and(|name| name.starts_with("sha256-") && name.ends_with(".sig"))
    }
}

#[derive(Deserialize, Serialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct RawIndex {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Vec<RawDescriptor>,
}

impl Layout {
    /// A folder that is a layout already.
    ///
    /// # Errors
    /// It is none.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let no = |reason: &str| LayoutError::NoLayout { path: path.to_owned(), reason: reason.to_owned() };
        let layout = Self(path.to_owned());
        let marker = match layout.small(MARKER, MAX_INDEX)? {
            Some(bytes) => serde_json::from_slice::<Marker>(&bytes).map_err(|error| no(&error.to_string()))?,
            None => return Err(no("it has no file `oci-layout`")),
        };
        if marker.version == VERSION { Ok(layout) } else { Err(no("its version is not 1.0.0")) }
    }

    /// The same, made where there is none; for its owner alone.
    ///
    /// # Errors
    /// It cannot be made, or what is there is no layout.
    pub fn create(path: &Path) -> Result<Self, LayoutError> {
        let blobs = path.join(BLOBS);
        let mut missing: Vec<_> = blobs.ancestors().take(3).filter(|folder| !folder.exists()).collect();
        missing.reverse();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&blobs);
        made.map_err(|source| FileError::disk(path, source))?;
        let layout = Self(path.to_owned());
        // Each that was made belongs to whom the folder above it does.
        for folder in missing {
            files::adopt_folder(folder).map_err(|source| FileError::disk(folder, source))?;
        }
        if layout.small(MARKER, MAX_INDEX)?.is_none() {
            layout.begin()?;
        }
        Self::open(path)
    }

    /// Makes an empty layout of a folder, unless somebody else was faster.
    fn begin(&self) -> Result<(), LayoutError> {
        let _lock = self.lock()?;
        if self.small(MARKER, MAX_INDEX)?.is_some() {
            return Ok(());
        }
        self.write_index(&[])?;
        let marker = serde_json::to_vec(&Marker { version: VERSION.to_owned() }).unwrap_or_default();
        self.replace(MARKER, &marker)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The images it names.
    ///
    /// # Errors
    /// There is no index, or it is none.
    pub fn index(&self) -> Result<Vec<Entry>, LayoutError> {
        let no = |reason: String| LayoutError::NoLayout { path: self.0.clone(), reason };
        let bytes = self.small(INDEX, MAX_INDEX)?.ok_or_else(|| no(format!("it has no `{INDEX}`")))?;
        let raw: RawIndex = serde_json::from_slice(&bytes).map_err(|error| no(format!("`{INDEX}`: {error}")))?;
        let entry = |raw: RawDescriptor| Ok(Entry { manifest: raw.try_into()? });
        let entries: Result<_, super::digest::DigestError> = raw.manifests.into_iter().map(entry).collect();
        entries.map_err(|error| no(format!("`{INDEX}`: {error}")))
    }

    /// Nobody else who asks for this changes the index until the file is dropped.
    ///
    /// # Errors
    /// Somebody else has it for longer than anybody should, or the disk.
    pub fn lock(&self) -> Result<File, LayoutError> {
        let path = self.0.join(LOCK);
        let file = files::open_lock(&path)?;
        let deadline = Instant::now() + LOCK_DEADLINE;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= deadline {
                return Err(LayoutError::Locked { path });
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(file)
    }

    /// Replaces the index in one step.
    ///
    /// # Errors
    /// The disk.
    pub fn write_index(&self, entries: &[Entry]) -> Result<(), LayoutError> {
        let manifests = entries.iter().map(|entry| RawDescriptor::from(&entry.manifest)).collect();
        let raw = RawIndex { schema_version: 2, media_type: Some(IMAGE_INDEX.to_owned()), manifests };
        self.replace(INDEX, &serde_json::to_vec(&raw).unwrap_or_default())
    }

    /// The file of a blob, whose bytes are not verified yet.
    ///
    /// # Errors
    /// It is not there, or no regular file.
    pub fn blob_file(&self, digest: &Digest) -> Result<File, LayoutError> {
        let path = self.blob_path(digest);
        open_regular(&path)?
            .ok_or_else(|| LayoutError::NotFound { path: self.0.clone(), what: format!("blob {digest}") })
    }

    /// A whole blob of `most` bytes at most, verified.
    ///
    /// # Errors
    /// It is not there, damaged or too large.
    pub fn blob(&self, digest: &Digest, most: impl Into<AtMost>) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let bytes = read_bounded(self.blob_file(digest)?, &path, most)?;
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(LayoutError::Damaged { path, found }) }
    }

    /// Whether there is a file of this name, whatever is in it.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.blob_path(digest)).is_ok_and(|found| found.is_file())
    }

    /// Keeps these bytes; a crash or a full disk leaves all of them or nothing.
    ///
    /// # Errors
    /// The disk.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = Digest::of(bytes);
        let mut draft = self.draft()?;
        draft.write(bytes)?;
        draft.finish(&digest)?;
        Ok(digest)
    }

    /// A file that becomes a blob when it is whole.
    ///
    /// # Errors
    /// The disk.
    pub fn draft(&self) -> Result<Draft, LayoutError> {
        Ok(Draft::create(self)?)
    }

    /// Removes what processes left unfinished that are no more.
    ///
    /// # Errors
    /// The disk.
    pub fn remove_abandoned(&self) -> Result<(), LayoutError> {
        Ok(draft::remove_abandoned(&self.blobs())?)
    }

    /// Where a blob is.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.0.join(BLOBS).join(digest.hex())
    }

    /// The folder of all blobs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.0.join(BLOBS)
    }

    /// A file of the folder itself, if there is one.
    fn small(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let path = self.0.join(name);
        Ok(open_regular(&path)?.map(|file| read_bounded(file, &path, most)).transpose()?)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.0.join(name);
        Ok(files::replace(&path, bytes).map_err(|source| FileError::disk(&path, source))?)
    }
}

#[cfg(test)]
mod tests;
