//! What goes when there is no room: what nobody uses, the oldest first, whole images at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::PoisonError;
use std::time::SystemTime;

use super::super::digest::Digest;
use super::super::files::FileError;
use super::super::layout::Entry;
use super::super::manifest::Manifest;
use super::{Cache, CacheError};
use crate::artifacts::Access;

/// A blob as it lies in the folder.
#[derive(Clone, Copy, Debug)]
struct Stored {
    bytes: u64,
    used: SystemTime,
}

/// What goes together: an image, or a single blob that belongs to none.
#[derive(Debug)]
struct Candidate {
    used: SystemTime,
    /// The image, if it is one.
    image: Option<Digest>,
    blobs: BTreeSet<Digest>,
}

impl Cache {
    /// The size of all blobs.
    ///
    /// # Errors
    /// The disk.
    pub fn bytes(&self) -> Result<u64, CacheError> {
        Ok(self.stored()?.values().map(|stored| stored.bytes).sum())
    }

    /// Removes what nobody uses until `bytes` more have room.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), CacheError> {
        let used = self.bytes()?;
        if used.saturating_add(bytes) <= self.max_bytes {
            return Ok(());
        }
        let used = match self.access {
            Access::Gateway => self.sweep(self.max_bytes.saturating_sub(bytes))?,
            // A command does not know what the gateway beside it needs.
            Access::Shared => used,
        };
        if used.saturating_add(bytes) <= self.max_bytes {
            return Ok(());
        }
        Err(CacheError::Full { path: self.path().to_owned(), bytes, used })
    }

    /// Removes what nobody uses until `most` bytes are left at most; returns how many are left.
    fn sweep(&self, most: u64) -> Result<u64, CacheError> {
        let _lock = self.lock()?;
        let stored = self.stored()?;
        let mut entries = self.index()?;
        let roots: BTreeSet<Digest> =
            self.roots.lock().unwrap_or_else(PoisonError::into_inner).values().flatten().copied().collect();
        let in_use: BTreeSet<Digest> = roots.iter().flat_map(|root| self.with_parts(root, &entries)).collect();
        let mut candidates = self.candidates(&stored, &entries, &in_use);
        // The newest last: taken from the front.
        candidates.sort_by_key(|candidate| candidate.used);
        let mut left: u64 = stored.values().map(|stored| stored.bytes).sum();
        let mut shares: BTreeMap<Digest, usize> = BTreeMap::new();
        for digest in candidates.iter().flat_map(|candidate| &candidate.blobs) {
            *shares.entry(*digest).or_default() += 1;
        }
        let mut removed = Vec::new();
        for candidate in candidates {
            if left <= most {
                break;
            }
            if let Some(image) = candidate.image {
                let tag = image.signature_tag();
                entries.retain(|entry| entry.manifest.digest != image && entry.name() != Some(&tag));
            }
            for digest in candidate.blobs {
                let share = shares.entry(digest).or_default();
                *share = share.saturating_sub(1);
                if *share == 0
                    && !in_use.contains(&digest)
                    && let Some(stored) = stored.get(&digest)
                {
                    left -= stored.bytes;
                    removed.push(digest);
                }
            }
        }
        if !removed.is_empty() {
            // The index first: a name without its blob is worse than a blob without a name.
            self.layout.write_index(&entries)?;
        }
        for digest in removed {
            tracing::info!(%digest, "removed from the cache of artifacts to make room");
            self.discard(&digest)?;
        }
        self.metrics.size(left);
        Ok(left)
    }

    /// Every image and every single blob that is not in use.
    fn candidates(
        &self,
        stored: &BTreeMap<Digest, Stored>,
        entries: &[Entry],
        in_use: &BTreeSet<Digest>,
    ) -> Vec<Candidate> {
        let signatures: BTreeSet<_> = entries.iter().filter(|entry| entry.is_signature()).map(digest_of).collect();
        let images: BTreeSet<_> = entries.iter().map(digest_of).filter(|image| !signatures.contains(image)).collect();
        let used = |digest: &Digest| stored.get(digest).map_or(SystemTime::UNIX_EPOCH, |stored| stored.used);
        let mut named = in_use.clone();
        let mut candidates = Vec::new();
        for image in images.iter().filter(|image| !in_use.contains(image)) {
            let blobs = self.with_parts(image, entries);
            named.extend(&blobs);
            candidates.push(Candidate { used: used(image), image: Some(*image), blobs });
        }
        let single = stored.iter().filter(|(digest, _)| !named.contains(digest));
        candidates.extend(single.map(|(digest, stored)| Candidate {
            used: stored.used,
            image: None,
            blobs: BTreeSet::from([*digest]),
        }));
        candidates
    }

    /// A blob, and if it is an image what that consists of and its signatures.
    fn with_parts(&self, digest: &Digest, entries: &[Entry]) -> BTreeSet<Digest> {
        let mut parts = self.image(digest);
        let tag = digest.signature_tag();
        for signatures in entries.iter().filter(|entry| entry.name() == Some(&tag)) {
            parts.extend(self.image(&signatures.manifest.digest));
        }
        parts
    }

    fn image(&self, digest: &Digest) -> BTreeSet<Digest> {
        let bytes = self.layout.blob(digest, self.max_manifest).ok();
        let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes).ok());
        let parts = manifest.iter().flat_map(Manifest::blobs).map(|descriptor| descriptor.digest);
        std::iter::once(*digest).chain(parts).collect()
    }

    /// What lies in the folder under the name of a digest.
    fn stored(&self) -> Result<BTreeMap<Digest, Stored>, CacheError> {
        let folder = self.layout.blobs();
        let disk = |source| FileError::disk(&folder, source);
        let mut stored = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            let Some(digest) = entry.file_name().to_str().and_then(Digest::from_hex) else { continue };
            // It may have gone since.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                stored.insert(digest, Stored { bytes: metadata.len(), used });
            }
        }
        Ok(stored)
    }
}

fn digest_of(entry: &Entry) -> Digest {
    entry.manifest.digest
}
