//! The few operations of a file system that the journal needs, behind one trait.
//!
//! The real implementation is here; the tests have a second one that cuts the power at any of these calls.
//! A name (a file created, renamed or removed) is only safe after [`Disk::sync_names`], written bytes only after
//! [`SegmentFile::sync`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The directory that holds the segments.
pub(super) trait Disk: Send + Sync {
    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file, or empties the one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Renames a file; one that has the new name already is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; whoever has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all changes of names safe.
    fn sync_names(&self) -> io::Result<()>;
}

/// One open file.
pub(super) trait SegmentFile: Send + Sync {
    /// Returns the file's length.
    fn len(&self) -> io::Result<u64>;
    /// Reads at `offset` until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes everything written so far safe.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the real file system, locked against a second process.
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
}

/// The file whose lock says that a process uses the directory.
pub(super) const LOCK: &str = "lock";

impl Directory {
    /// Opens the directory, creating it when it is missing; `None` when another process has it.
    pub(super) fn lock(path: PathBuf) -> io::Result<Option<Self>> {
        std::fs::create_dir_all(&path)?;
        let handle = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match handle.try_lock() {
            Ok(()) => Ok(Some(Self { path, handle })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file would unlock it too; a child process that inherited it must not keep the lock.
        let _ = self.handle.unlock();
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let options = OpenOptions::new().create(true).truncate(true).read(true).write(true).to_owned();
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl SegmentFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
