//! Files that are either the old or the new ones, never halves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::CertsError;

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
    write_new(file, content, readers).map_err(CertsError::io(file))
}

fn write_new(file: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = file.with_file_name(name);
    // Only the holder of the lock writes here, so a leftover is of a process that died.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = if readers == Readers::Owner { 0o600 } else { 0o666 };
    let mut open = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    open.write_all(content)?;
    open.sync_all()?;
    fs::rename(&temporary, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
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
