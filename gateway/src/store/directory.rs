//! The claim on the data directory: one gateway at a time, and none that is older than the data.
//!
//! `VERSION` holds the data version of everything in the directory, so that it can be read before any file
//! is opened; `LOCK` is held by the process that uses the directory and names it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::{OpenError, migrations};
use crate::replace;

/// A claimed data directory. The claim ends when this value is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
    interrupted: bool,
}

impl Directory {
    /// Makes the directory if need be, locks it and refuses newer data.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Directory { path: path.to_path_buf(), source };
        fs::create_dir_all(path).map_err(io)?;
        let (lock, interrupted) = lock(path)?;
        let directory = Self { path: path.to_path_buf(), lock, interrupted };
        match directory.version()? {
            Some(found) if found > migrations::CURRENT => Err(OpenError::Newer { found, known: migrations::CURRENT }),
            _ => Ok(directory),
        }
    }

    /// Whether the last process ended without saying so: it was killed, or the power went.
    pub(super) const fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// Ends the claim and says that all is well. Without it the next one finds an interruption.
    pub(super) fn release(self) {
        if let Err(error) = self.lock.set_len(0) {
            tracing::warn!(path = %self.path.display(), %error, "the next start will look for damage");
        }
        // Closing alone would not do: a child that is just being forked has the file too, until it becomes a program.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "the claim ends with the process");
        }
    }

    /// Writes the version of this build; called when the data has it.
    pub(super) fn stamp(&self) -> Result<(), OpenError> {
        if self.version()? == Some(migrations::CURRENT) {
            return Ok(());
        }
        let version = format!("{}\n", migrations::CURRENT);
        replace::replace(&self.path.join("VERSION"), version.as_bytes(), replace::ALL, |_| Ok(()))
            .map_err(|source| OpenError::Directory { path: self.path.clone(), source })
    }

    fn version(&self) -> Result<Option<u32>, OpenError> {
        let path = self.path.join("VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(version) => Ok(Some(version)),
                Err(_) => Err(OpenError::Version { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Directory { path, source }),
        }
    }
}

/// The lock, and whether the last holder did not release it.
fn lock(directory: &Path) -> Result<(File, bool), OpenError> {
    let path = directory.join("LOCK");
    let io = |source| OpenError::Directory { path: path.clone(), source };
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The name of the holder is a courtesy; the refusal stands without it.
            let _ = file.read_to_string(&mut holder);
            return Err(OpenError::InUse { path: directory.to_path_buf(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    let interrupted = file.metadata().map_err(io)?.len() > 0;
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "process {}", std::process::id()).map_err(io)?;
    Ok((file, interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_in_use_is_refused_and_the_holder_named() {
        let home = tempfile::tempdir().unwrap();
        let held = Directory::claim(home.path()).unwrap();
        let error = Directory::claim(home.path()).unwrap_err();
        let expected = format!("process {}", std::process::id());
        assert!(matches!(&error, OpenError::InUse { holder, .. } if *holder == expected));
        drop(held);
        Directory::claim(home.path()).unwrap();
    }

    #[test]
    fn a_claim_that_was_not_released_is_an_interruption() {
        let home = tempfile::tempdir().unwrap();
        let first = Directory::claim(home.path()).unwrap();
        assert!(!first.interrupted());
        drop(first);
        let second = Directory::claim(home.path()).unwrap();
        assert!(second.interrupted());
        let forked = second.lock.try_clone().unwrap();
        second.release();
        assert!(!Directory::claim(home.path()).unwrap().interrupted(), "although a copy of the file is open");
        drop(forked);
    }

    #[test]
    fn newer_data_is_refused_before_any_file_is_opened() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("VERSION"), "7000\n").unwrap();
        let error = Directory::claim(home.path()).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 7000, .. }));
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn a_version_file_that_is_no_number_is_refused() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("VERSION"), "new\n").unwrap();
        let error = Directory::claim(home.path()).unwrap_err();
        assert!(matches!(error, OpenError::Version { .. }));
    }

    #[test]
    fn stamping_writes_the_version_once() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::claim(home.path()).unwrap();
        directory.stamp().unwrap();
        directory.stamp().unwrap();
        assert_eq!(directory.version().unwrap(), Some(migrations::CURRENT));
    }
}
