//! Files that are either the old or the new ones, never halves.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::CertsError;
use crate::replace;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody, as far as the process's umask lets them.
    All,
    /// The owner alone: private keys.
    Owner,
}

/// Writes a file whole, synced, under its name; whoever reads it sees the old content or the new.
pub(super) fn write(file: &Path, content: &[u8], readers: Readers) -> Result<(), CertsError> {
    let mode = if readers == Readers::Owner { replace::OWNER } else { replace::ALL };
    replace::replace(file, content, mode, |_| Ok(())).map_err(CertsError::io(file))
}

/// Keeps other processes out of the directory while the file is open.
pub(super) fn lock(directory: &Path) -> Result<File, CertsError> {
    let file = directory.join(".lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
    let open = open.map_err(CertsError::io(&file))?;
    match flock(&open, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(open),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CertsError::Locked(directory.to_owned())),
        Err(error) => Err(CertsError::Io { file, source: error.into() }),
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, CertsError> {
    fs::read(file).map_err(CertsError::io(file))
}
