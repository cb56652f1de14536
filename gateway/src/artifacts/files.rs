//! Files that somebody else may have put there: opened never through a link, read within a bound, replaced in one step.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use thiserror::Error;

use super::digest::{Digest, Hasher};
use super::{AtMost, Because, FetchError};
use crate::replace;

/// The buffer of a copy.
pub(super) const CHUNK: usize = 64 << 10;

/// A file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// A link, a folder or a device where a file should be.
    #[error("{path} is no regular file", path = .path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// Larger than it may be, or larger or smaller than was said.
    #[error("{path} has {bytes} bytes and not {expected}", path = .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What was expected, in words.
        expected: String,
    },
    /// The disk does not play along.
    #[error("{path}: {source}", path = .path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl FileError {
    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.to_owned(), source }
    }

    /// The same, as the reason why `reference` was not fetched.
    #[must_use]
    pub fn about(self, reference: &impl Display) -> FetchError {
        match self {
            Self::NoFile { .. } => FetchError::refused(reference, Because::Digest, self),
            Self::Size { .. } => FetchError::refused(reference, Because::Size, self),
            Self::Disk { ref source, .. } if source.kind() == ErrorKind::NotFound => {
                FetchError::not_found(reference, self)
            }
            Self::Disk { path, source } => FetchError::disk(&path, source),
        }
    }
}

/// What the bytes of a file are known by, and how many they are.
pub(super) fn hash(file: &File) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut chunk, at)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((hasher.finish(), at));
        };
        hasher.update(bytes);
        at += read as u64;
    }
}

/// Never through a link, and never waiting for whoever writes into a pipe.
pub(super) fn flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits().cast_signed()
}

/// A regular file, if there is something of that name.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>, FileError> {
    let no_file = || FileError::NoFile { path: path.to_owned() };
    let file = match OpenOptions::new().read(true).custom_flags(flags()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // A link, or a socket or a device without a driver.
        Err(error) if [Errno::LOOP, Errno::NXIO].iter().any(|no| error.raw_os_error() == Some(no.raw_os_error())) => {
            return Err(no_file());
        }
        Err(source) => return Err(FileError::disk(path, source)),
    };
    let metadata = file.metadata().map_err(|source| FileError::disk(path, source))?;
    if metadata.is_file() { Ok(Some(file)) } else { Err(no_file()) }
}

/// A file that is there to be locked, made where there is none.
pub(super) fn open_lock(path: &Path) -> Result<File, FileError> {
    let disk = |source| FileError::disk(path, source);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags());
    let file = options.open(path).map_err(disk)?;
    adopt(&file, path.parent().unwrap_or(path)).map_err(disk)?;
    Ok(file)
}

/// A regular file of this machine's operator, who may lead to it by a link.
pub(super) fn open_own(path: &Path) -> Result<File, FileError> {
    let disk = |source| FileError::disk(path, source);
    let file =
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path).map_err(disk)?;
    let metadata = file.metadata().map_err(disk)?;
    if metadata.is_file() { Ok(file) } else { Err(FileError::NoFile { path: path.to_owned() }) }
}

/// All of a file, if that is not more than `most`.
pub(super) fn read_bounded(file: File, path: &Path, most: impl Into<AtMost>) -> Result<Vec<u8>, FileError> {
    let most = most.into();
    let disk = |source| FileError::disk(path, source);
    let too_large = |bytes| FileError::Size { path: path.to_owned(), bytes, expected: format!("{most} at most") };
    let declared = file.metadata().map_err(disk)?.len();
    if declared > most.bytes {
        return Err(too_large(declared));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(declared).unwrap_or_default());
    file.take(most.bytes + 1).read_to_end(&mut bytes).map_err(disk)?;
    // It grew while it was read.
    if bytes.len() as u64 > most.bytes { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// What root makes in a folder belongs to the folder's owner: a gateway reads what `sudo causeway` put there.
pub(super) fn adopt(file: &File, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder)?;
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// The same for a folder that was made just now.
pub(super) fn adopt_folder(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    adopt(&File::open(folder)?, above)
}

/// Replaces a file in one step, and only after its bytes are on the disk.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    replace::replace(path, bytes, replace::OWNER, |file| adopt(file, folder))
}
