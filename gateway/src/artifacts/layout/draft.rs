//! A blob that is being written: a file that has its name only when its bytes are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::super::digest::Digest;
use super::super::files::{self, FileError};
use super::{Layout, LayoutError};

/// How the names of unfinished blobs begin.
const PREFIX: &str = ".draft-";

/// A blob that is being written. What is not finished is removed.
#[derive(Debug)]
pub struct Draft {
    layout: Layout,
    path: Option<PathBuf>,
    file: File,
}

impl Draft {
    pub(super) fn create(layout: &Layout) -> Result<Self, FileError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(files::flags());
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = layout.blobs().join(format!("{PREFIX}{}.{number}", std::process::id()));
            let disk = |source| FileError::disk(&path, source);
            match options.open(&path) {
                Ok(file) if is_taken(&file).map_err(disk)? => {
                    files::adopt(&file, &layout.blobs()).map_err(disk)?;
                    return Ok(Self { layout: layout.clone(), path: Some(path), file });
                }
                // Whoever tidies was faster.
                Ok(_) => {}
                // Of a process of this number that is no more, or that is in another container.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => remove_if_abandoned(&path)?,
                Err(error) => return Err(disk(error)),
            }
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        Ok(self.file.write_all(bytes).map_err(|source| FileError::disk(&self.layout.0, source))?)
    }

    /// The file, for somebody who writes all of it.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it the blob `digest`, if that is what was written.
    ///
    /// # Errors
    /// Its bytes hash to something else, or the disk.
    pub fn finish(mut self, digest: &Digest) -> Result<(), LayoutError> {
        let disk = |source| FileError::disk(&self.layout.0, source);
        let (found, _) = files::hash(&self.file).map_err(disk)?;
        let target = self.layout.blob_path(digest);
        if found != *digest {
            return Err(LayoutError::Damaged { path: target, found });
        }
        self.file.sync_all().map_err(disk)?;
        let Some(path) = self.path.as_ref() else { return Ok(()) };
        fs::rename(path, &target).map_err(disk)?;
        self.path = None;
        Ok(File::open(self.layout.blobs()).and_then(|folder| folder.sync_all()).map_err(disk)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished download is not removed");
        }
    }
}

/// Removes what processes left unfinished that are no more.
pub(super) fn remove_abandoned(folder: &Path) -> Result<(), FileError> {
    let disk = |source| FileError::disk(folder, source);
    for entry in fs::read_dir(folder).map_err(disk)? {
        let entry = entry.map_err(disk)?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        remove_if_abandoned(&entry.path())?;
    }
    Ok(())
}

/// What a process is writing has its lock.
fn remove_if_abandoned(path: &Path) -> Result<(), FileError> {
    let Some(file) = files::open_regular(path)? else { return Ok(()) };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match fs::remove_file(path) {
        // It was finished just now.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| FileError::disk(path, source)),
    }
}

/// Takes the lock of a new draft; whether nobody has taken it for an abandoned one before that.
fn is_taken(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
