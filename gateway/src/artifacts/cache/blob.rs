//! A verified blob that is read as a whole or in parts, with constant memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::digest::Digest;
use super::super::files::{self, FileError};
use super::super::layout::{Layout, LayoutError};

/// A blob whose bytes were verified when it was opened; clones share the file.
///
/// It stays readable when the cache removes it.
#[derive(Clone, Debug)]
pub struct Blob {
    file: Arc<File>,
    digest: Digest,
    len: u64,
}

impl Blob {
    /// Opens a blob of exactly this size and verifies all of it.
    pub(super) fn open(layout: &Layout, digest: &Digest, size: u64) -> Result<Self, LayoutError> {
        let path = layout.blob_path(digest);
        let file = layout.blob_file(digest)?;
        let disk = |source| FileError::disk(&path, source);
        let bytes = file.metadata().map_err(disk)?.len();
        if bytes != size {
            return Err(FileError::Size { path, bytes, expected: size.to_string() }.into());
        }
        let (found, len) = files::hash(&file).map_err(disk)?;
        if found != *digest {
            return Err(LayoutError::Damaged { path, found });
        }
        Ok(Self { file: Arc::new(file), digest: found, len })
    }

    /// What it is known by.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, verified once more: these are the bytes that are used, whatever happened to the file since.
    ///
    /// # Errors
    /// The disk, or somebody changed the file.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        if Digest::of(&bytes) == self.digest {
            Ok(bytes)
        } else {
            Err(io::Error::other("it was changed while it was used"))
        }
    }

    /// Fills `buffer` from `offset` on; the number of bytes is smaller at the end alone.
    ///
    /// # Errors
    /// The disk.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
