//! The embedded store: one SQLite file with everything that is not a message in transit.
//!
//! One thread writes; each closure it is given is one transaction, and closures that wait together share one
//! commit. A few connections read, off the async runtime. What is stored is the business of the aggregates
//! below, files of functions on a transaction or a connection; who may store it is not the store's question.

pub mod audit;
mod caches;
pub mod campaigns;
pub mod choices;
pub mod collections;
mod connection;
pub mod cursors;
pub mod dead_letters;
pub mod devices;
pub mod dfu;
mod directory;
mod metrics;
mod migrations;
pub mod outbox;
mod readers;
pub mod retained;
pub mod retention;
pub mod sessions;
mod slice;
pub mod snapshots;
pub mod state;
pub mod usage;
mod vacuum;
mod verify;
pub mod versions;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fs, io};

use rusqlite::{Connection, Transaction};
use thiserror::Error;

pub use metrics::StoreMetrics;
pub use readers::{ReadError, Reader};
pub use slice::Slice;
pub use verify::{Finding, Verified, verify};
pub use writer::WriteError;

use crate::config::StorageConfig;
use collections::{Collection, InstallError};
use directory::Directory;
use readers::Readers;
use writer::{Task, Writer};

/// Name of the database inside the data directory.
const FILE: &str = "store.sqlite";

/// The handle to the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    metrics: StoreMetrics,
    declared: OnceLock<Declared>,
}

/// The collections of this gateway by their names.
pub type Declared = Arc<HashMap<String, Collection>>;

/// Why the store cannot be opened. Each is one line that the operator can act on.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process holds the data directory.
    #[error("data directory {path} is in use by {holder}: stop it or choose another data_dir", path = .path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who holds it, as it wrote into `LOCK`.
        holder: String,
    },
    /// The data was written by a newer version; nothing was changed.
    #[error("the data has version {found}, this build knows up to {known}: start the version that wrote it")]
    Newer {
        /// Version of the data.
        found: u32,
        /// Newest version that this build reads.
        known: u32,
    },
    /// `VERSION` is not a number.
    #[error("{path} does not hold a version number: restore it from a backup", path = .path.display())]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// The data directory cannot be made, read or written.
    #[error("cannot use {path}: {source}", path = .path.display())]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process keeps the database locked.
    #[error("{path} is locked by another process: close it, or see what `causeway store verify` says", path = .path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file is damaged or no database.
    #[error("{path} is damaged ({source}): run `causeway store verify`", path = .path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A check after an interrupted run found damage.
    #[error("{path} is damaged ({finding}): run `causeway store verify`", path = .path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first thing that was found.
        finding: String,
    },
    /// The file system cannot carry a write-ahead log, a network file system for instance.
    #[error("the file system of the data directory does not support a write-ahead log (journal mode {mode})")]
    NoWal {
        /// The mode that SQLite fell back to.
        mode: String,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the store's thread: {0}")]
    Thread(io::Error),
    /// Any other refusal of SQLite.
    #[error("cannot open the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl Store {
    /// Opens the store of a data directory, made and migrated if need be, and claims the directory until
    /// [`Store::shutdown`] or the end of the process. Blocks.
    pub fn open(data_dir: &Path, config: &StorageConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let directory = Directory::claim(data_dir)?;
        let path = data_dir.join(FILE);
        Self::open_file(&path, directory, config, metrics).map_err(|error| connection::explain(error, &path))
    }

    fn open_file(
        path: &Path,
        directory: Directory,
        config: &StorageConfig,
        metrics: StoreMetrics,
    ) -> Result<Self, OpenError> {
        let mut writing = connection::writer(path, config.synchronous)?;
        if directory.interrupted() {
            connection::check(&writing, path, config.start_check)?;
        }
        migrations::apply(&mut writing)?;
        directory.stamp()?;
        let readers = Readers::open(path, config, metrics.clone())?;
        let writer = Writer::start(writing, directory, config, metrics.clone()).map_err(OpenError::Thread)?;
        let parts = Parts { path: path.to_path_buf(), writer, readers, metrics, declared: OnceLock::new() };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Makes the tables of all collections as they are declared, or none; once, before anyone writes rows.
    ///
    /// # Errors
    /// Rows that are there stand in the way of a changed declaration; nothing was touched.
    pub async fn declare(&self, collections: Vec<Collection>) -> Result<(), WriteError<InstallError>> {
        let declared = collections.clone();
        self.write_synced(move |tx| declared.iter().try_for_each(|collection| collections::install(tx, collection)))
            .await?;
        let by_name = collections.into_iter().map(|collection| (collection.name().to_owned(), collection)).collect();
        // Whoever declares twice keeps the first: its tables are those that are written.
        let _ = self.parts.declared.set(Arc::new(by_name));
        Ok(())
    }

    /// What was declared; nothing before it was.
    #[must_use]
    pub fn declared(&self) -> Declared {
        self.parts.declared.get().cloned().unwrap_or_default()
    }

    /// Runs one transaction and resolves when it is committed, and synced unless `synchronous: normal` is set.
    /// An error of the closure leaves nothing behind.
    ///
    /// The closure runs even when the future is dropped after its first poll. Under `normal` a power cut may take
    /// back the newest commits, all of them together: fit for what the journal can replay, and for nothing else.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (task, reply) = Task::new(work);
        self.parts.writer.submit(task).await;
        reply.await.unwrap_or(Err(WriteError::Closed))
    }

    /// As [`Store::write`], and synced whatever the configuration says: for what has no journal entry behind it.
    pub async fn write_synced<T, E, F>(&self, work: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (task, reply) = Task::new(work);
        self.parts.writer.submit(task.synced()).await;
        reply.await.unwrap_or(Err(WriteError::Closed))
    }

    /// As [`Store::write_synced`], and runs `then` on the writer's thread between the commit and the reply.
    /// Tables in memory that follow the store are changed there: in the order of the commits, and never before.
    pub async fn write_then<T, E, F, G>(&self, work: F, then: G) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        G: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (task, reply) = Task::new(work);
        self.parts.writer.submit(task.synced().then(then)).await;
        reply.await.unwrap_or(Err(WriteError::Closed))
    }

    /// As [`Store::write`] for threads outside the async runtime; panics inside it.
    pub fn write_blocking<T, E, F>(&self, work: F) -> Result<T, WriteError<E>>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (task, reply) = Task::new(work);
        self.parts.writer.submit_blocking(task);
        reply.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }

    /// Syncs everything committed so far: after it, a cursor that was committed before it may trim the journal.
    /// Free under `synchronous: full`. For threads outside the async runtime; panics inside it.
    pub fn sync_blocking(&self) -> Result<(), WriteError<rusqlite::Error>> {
        if self.parts.writer.always_synced() {
            return Ok(());
        }
        let (task, reply) = Task::new(|_: &Transaction<'_>| Ok(()));
        self.parts.writer.submit_blocking(task.synced());
        reply.blocking_recv().unwrap_or(Err(WriteError::Closed))
    }

    /// Runs a read on one snapshot, off the async runtime, for at most `query_timeout`.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, ReadError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        self.parts.readers.read(work).await
    }

    /// Runs a read on one snapshot in the calling thread, one at a time: for the start and for plugin threads.
    pub fn read_blocking<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        self.parts.readers.read_blocking(work)
    }

    /// A connection for the reads of one thread, which waits at most `patience` for a lock that another process holds.
    pub fn reader(&self, patience: Duration) -> rusqlite::Result<Reader> {
        Reader::open(&self.parts.path, patience, self.parts.metrics.clone())
    }

    /// Bytes of the store's files on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(&self.parts.path) + size(&self.parts.path.with_extension("sqlite-wal"))
    }

    /// Commits what waits, refuses what comes later, and gives the data directory back.
    pub async fn shutdown(&self) {
        self.parts.writer.shutdown().await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
