//! The connections that read. They never wait for the writer, nor it for them.
//!
//! Queries of the async parts run on blocking threads, a few at a time and with a deadline; whoever has a
//! thread of its own uses the one connection set aside for that.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{OpenError, StoreMetrics, connection};
use crate::config::StorageConfig;

/// Why a read has no answer.
#[derive(Debug, Error)]
pub enum ReadError<E> {
    /// The closure's own error.
    #[error(transparent)]
    Refused(E),
    /// The read took longer than `storage.query_timeout` and was stopped: ask for less.
    #[error("the query was stopped after {0:?}")]
    TimedOut(Duration),
    /// The read panicked, or the runtime is ending.
    #[error("the read was abandoned")]
    Abandoned,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    threads: Mutex<Connection>,
    deadline: Duration,
    metrics: StoreMetrics,
}

/// A connection out of the pool; it returns when dropped, wherever that happens.
struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            lock(&self.idle).push(connection);
        }
    }
}

/// A connection that belongs to one thread. What is read up to [`Reader::end`] is one state of the store.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    reading: bool,
    metrics: StoreMetrics,
}

impl Reader {
    pub(super) fn open(path: &Path, patience: Duration, metrics: StoreMetrics) -> rusqlite::Result<Self> {
        let connection = connection::reader(path).map_err(|error| match error {
            OpenError::Sqlite(error) => error,
            _ => rusqlite::Error::InvalidPath(path.to_owned()),
        })?;
        connection.busy_timeout(patience)?;
        Ok(Self { connection, reading: false, metrics })
    }

    /// Reads; the first read decides which state of the store this and the following ones see.
    pub fn read<T, E>(&mut self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        let started = Instant::now();
        if !self.reading {
            self.connection.execute_batch("begin")?;
            self.reading = true;
        }
        let result = work(&self.connection);
        self.metrics.read_seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    /// The next read sees the store as it is then.
    pub fn end(&mut self) {
        // It fails only when SQLite has ended the transaction itself.
        if std::mem::take(&mut self.reading) {
            let _ = self.connection.execute_batch("rollback");
        }
    }
}

impl Readers {
    pub(super) fn open(path: &Path, config: &StorageConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let idle = (0..config.readers).map(|_| connection::reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(idle.len())),
            idle: Arc::new(Mutex::new(idle)),
            threads: Mutex::new(connection::reader(path)?),
            deadline: config.query_timeout,
            metrics,
        })
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, ReadError<E>>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        let (lease, interrupt) = self.lease().await.ok_or(ReadError::Abandoned)?;
        let metrics = self.metrics.clone();
        let mut running = tokio::task::spawn_blocking(move || {
            let result = lease.connection.as_ref().map(|connection| snapshot(connection, &metrics, work));
            (result, lease)
        });
        let stopped = match tokio::time::timeout(self.deadline, &mut running).await {
            Ok(finished) => return settle(finished),
            Err(_) => {
                interrupt.interrupt();
                running.await
            }
        };
        // The lease is still ours, so that the interrupt cannot hit the next read of the connection.
        match settle(stopped) {
            Ok(value) => Ok(value),
            Err(_) => Err(ReadError::TimedOut(self.deadline)),
        }
    }

    pub(super) fn read_blocking<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        snapshot(&lock(&self.threads), &self.metrics, work)
    }

    async fn lease(&self) -> Option<(Lease, InterruptHandle)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let connection = lock(&self.idle).pop()?;
        let interrupt = connection.get_interrupt_handle();
        let lease = Lease { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit };
        Some((lease, interrupt))
    }
}

type Finished<T, E> = Result<(Option<Result<T, E>>, Lease), tokio::task::JoinError>;

fn settle<T, E>(finished: Finished<T, E>) -> Result<T, ReadError<E>> {
    match finished {
        Ok((Some(result), _lease)) => result.map_err(ReadError::Refused),
        Ok((None, _)) | Err(_) => Err(ReadError::Abandoned),
    }
}

/// Runs the closure in a read transaction, so that all its statements see one state.
fn snapshot<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    metrics: &StoreMetrics,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let started = Instant::now();
    let tx = connection.unchecked_transaction()?;
    let result = work(&tx);
    metrics.read_seconds.observe(started.elapsed().as_secs_f64());
    result
}

/// A panic in a read leaves the connection usable: its transaction is rolled back as the stack unwinds.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
