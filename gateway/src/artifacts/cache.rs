//! What was fetched, for life without a registry: a layout of this gateway's own, bounded, and verified whenever it is read.
//!
//! A damaged entry is removed and counts as not there. Several processes may use one cache: each file gets its name only
//! when it is whole, and the index changes under a lock. Two gateways may not, because each would remove what the other
//! needs.

mod blob;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::digest::Digest;
use super::files::{self, FileError};
use super::layout::{Draft, Entry, Layout, LayoutError};
use super::manifest::{Descriptor, IMAGE_MANIFEST, Manifest, REF_NAME};
use super::signature::{MAX_PAYLOAD, Signed};
use super::{Access, ArtifactsMetrics};

pub use self::blob::Blob;

/// Held by a gateway for as long as it runs.
const GATEWAY_LOCK: &str = "gateway.lock";

/// The cache cannot be used, or not for this.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Another gateway has it.
    #[error("{path} is in use by another gateway; give each its own `artifacts.dir`", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Everything in it is in use.
    #[error("{path} has no room for {bytes} bytes more: what is in use there has {used}; raise `artifacts.max_bytes`", path = .path.display())]
    Full {
        /// The folder.
        path: PathBuf,
        /// What was to be kept.
        bytes: u64,
        /// What cannot be removed.
        used: u64,
    },
    /// Its folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl From<FileError> for CacheError {
    fn from(error: FileError) -> Self {
        Self::Layout(error.into())
    }
}

impl From<CacheError> for io::Error {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Layout(LayoutError::File(FileError::Disk { source, .. })) => source,
            CacheError::Full { .. } => Self::new(io::ErrorKind::StorageFull, error),
            other => Self::other(other),
        }
    }
}

/// Who needs what is kept: each says for itself what stays.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// Bindings.
    Plugins,
    /// Devices that are updated.
    Firmware,
}

/// A folder of verified content; clones share it.
#[derive(Clone, Debug)]
pub struct Cache {
    layout: Layout,
    max_bytes: u64,
    max_manifest: u64,
    access: Access,
    /// What is in use, and stays.
    roots: Arc<Mutex<BTreeMap<Holder, BTreeSet<Digest>>>>,
    /// Released when the last clone is gone.
    _gateway: Option<Arc<File>>,
    metrics: ArtifactsMetrics,
}

impl Cache {
    /// Opens the folder, and makes it where there is none.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn open(
        folder: &Path,
        max_bytes: u64,
        max_manifest: u64,
        access: Access,
        metrics: ArtifactsMetrics,
    ) -> Result<Self, CacheError> {
        let layout = Layout::create(folder)?;
        let gateway = match access {
            Access::Gateway => Some(Arc::new(claim(folder)?)),
            Access::Shared => None,
        };
        if access == Access::Gateway {
            layout.remove_abandoned()?;
        }
        let roots = Arc::default();
        let cache = Self { layout, max_bytes, max_manifest, access, roots, _gateway: gateway, metrics };
        cache.metrics.size(cache.bytes()?);
        Ok(cache)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.layout.path()
    }

    /// The layout itself.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A whole small blob, if it is there and what it should be.
    ///
    /// # Errors
    /// The disk.
    pub fn get(&self, digest: &Digest, most: u64) -> Result<Option<Vec<u8>>, CacheError> {
        let found = self.sound(digest, self.layout.blob(digest, most))?;
        if found.is_some() {
            self.touch(digest);
        }
        Ok(found)
    }

    /// A blob to read from, if it is there and what it should be: all of it is read for that.
    ///
    /// # Errors
    /// The disk.
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<Option<Blob>, CacheError> {
        let opened = Blob::open(&self.layout, digest, size);
        let found = self.sound(digest, opened)?;
        if found.is_some() {
            self.touch(digest);
        }
        Ok(found)
    }

    /// What signatures are kept of an image.
    ///
    /// # Errors
    /// The disk.
    pub fn signatures(&self, digest: &Digest) -> Result<Vec<Signed>, CacheError> {
        let tag = digest.signature_tag();
        let entries = self.index()?;
        let Some(entry) = entries.iter().find(|entry| entry.name() == Some(&tag)) else { return Ok(Vec::new()) };
        let Some(bytes) = self.get(&entry.manifest.digest, self.max_manifest)? else { return Ok(Vec::new()) };
        let Ok(manifest) = Manifest::parse(&bytes) else { return Ok(Vec::new()) };
        let mut signatures = Vec::new();
        for (layer, signature) in Signed::layers(&manifest) {
            if let Some(payload) = self.get(&layer.digest, MAX_PAYLOAD)? {
                signatures.push(Signed { payload, signature });
            }
        }
        Ok(signatures)
    }

    /// Keeps bytes; a crash or a full disk leaves all of them or nothing.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn keep(&self, bytes: &[u8]) -> Result<Digest, CacheError> {
        let digest = Digest::of(bytes);
        self.keep_as(&digest, bytes)?;
        Ok(digest)
    }

    /// The same for bytes that were found to have this digest.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn keep_as(&self, digest: &Digest, bytes: &[u8]) -> Result<(), CacheError> {
        if self.get(digest, bytes.len() as u64)?.is_none() {
            let mut draft = self.draft(bytes.len() as u64)?;
            draft.write(bytes)?;
            self.finish(draft, digest)?;
        }
        Ok(())
    }

    /// A file for a blob of this size, once there is room for it.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn draft(&self, size: u64) -> Result<Draft, CacheError> {
        self.make_room(size)?;
        Ok(self.layout.draft()?)
    }

    /// Makes a draft the blob of this digest.
    ///
    /// # Errors
    /// It is another one's, or the disk.
    pub fn finish(&self, draft: Draft, digest: &Digest) -> Result<(), CacheError> {
        draft.finish(digest)?;
        self.metrics.size(self.bytes()?);
        Ok(())
    }

    /// Keeps an image and its signatures under a name: what it was asked for as.
    ///
    /// # Errors
    /// No room, or the disk.
    pub fn record(&self, name: &str, manifest: &[u8], signatures: &[Signed]) -> Result<Digest, CacheError> {
        let digest = self.keep(manifest)?;
        let mut named = vec![(name.to_owned(), Descriptor::of(IMAGE_MANIFEST, manifest))];
        if !signatures.is_empty() {
            let (image, config) = Signed::image(signatures);
            self.keep(&config)?;
            for signed in signatures {
                self.keep(&signed.payload)?;
            }
            let image = image.to_bytes();
            self.keep(&image)?;
            named.push((digest.signature_tag(), Descriptor::of(IMAGE_MANIFEST, &image)));
        }
        let _lock = self.lock()?;
        let mut entries = self.index()?;
        let before = entries.clone();
        for (name, mut manifest) in named {
            entries.retain(|entry| entry.name() != Some(&name));
            manifest.annotations.insert(REF_NAME.to_owned(), name);
            entries.push(Entry { manifest });
        }
        if entries != before {
            self.layout.write_index(&entries)?;
        }
        Ok(digest)
    }

    /// What stays from now on for one who needs it: images with what they consist of and their signatures, and single blobs.
    pub fn retain(&self, holder: Holder, roots: impl IntoIterator<Item = Digest>) {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).insert(holder, roots.into_iter().collect());
    }

    /// This stays as well, until that one says anew what stays.
    pub fn hold(&self, holder: Holder, root: Digest) {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner).entry(holder).or_default().insert(root);
    }

    /// The images it has.
    ///
    /// # Errors
    /// The disk.
    pub fn index(&self) -> Result<Vec<Entry>, CacheError> {
        match self.layout.index() {
            // What names nothing is made again: the blobs are found by their digests.
            Err(LayoutError::NoLayout { reason, .. }) => {
                tracing::warn!(path = %self.path().display(), reason, "the index of the cache is damaged and begun anew");
                self.layout.write_index(&[])?;
                Ok(Vec::new())
            }
            other => Ok(other?),
        }
    }

    /// Nobody else changes the index meanwhile.
    pub(super) fn lock(&self) -> Result<File, CacheError> {
        Ok(self.layout.lock()?)
    }

    /// The result of reading an entry; what is damaged is removed and not there.
    fn sound<T>(&self, digest: &Digest, result: Result<T, LayoutError>) -> Result<Option<T>, CacheError> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(LayoutError::NotFound { .. }) => Ok(None),
            // Whole, and not of the size that somebody says it has.
            Err(LayoutError::File(FileError::Size { .. })) if self.is_whole(digest) => Ok(None),
            Err(
                error @ (LayoutError::Damaged { .. }
                | LayoutError::File(FileError::NoFile { .. } | FileError::Size { .. })),
            ) => {
                tracing::warn!(%error, "a damaged file of the cache is removed");
                self.discard(digest)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_whole(&self, digest: &Digest) -> bool {
        let file = self.layout.blob_file(digest).ok();
        file.is_some_and(|file| files::hash(&file).is_ok_and(|(found, _)| found == *digest))
    }

    fn discard(&self, digest: &Digest) -> Result<(), CacheError> {
        let path = self.layout.blob_path(digest);
        // A folder in the place of a file was put there by somebody, and may hold something of theirs.
        match fs::remove_file(&path) {
            Ok(()) => self.metrics.deleted(1),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::disk(&path, source).into()),
        }
        Ok(())
    }

    /// What was used last goes last.
    fn touch(&self, digest: &Digest) {
        if let Ok(Some(file)) = files::open_regular(&self.layout.blob_path(digest)) {
            // A file that looks older than it is goes earlier than it should; nothing else depends on it.
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

/// Takes the folder for one gateway.
fn claim(folder: &Path) -> Result<File, CacheError> {
    let file = files::open_lock(&folder.join(GATEWAY_LOCK))?;
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
    taken.map_err(|_| CacheError::InUse { path: folder.to_owned() })?;
    Ok(file)
}

#[cfg(test)]
mod tests;
