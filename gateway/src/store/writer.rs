//! The one thread that writes, and the transactions it makes of what it is given.
//!
//! Writes that wait together share a commit, and with it its sync: each later one runs inside a savepoint of
//! its own, so that its error takes back its own changes only. A write that comes alone, as the big ones of the
//! dispatcher do, pays for no savepoint.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::StoreMetrics;
use super::connection::pragma;
use super::directory::Directory;
use crate::config::{StorageConfig, Synchronous};

/// Writes that share one commit at most; what waits longer goes into the next one.
const GROUP_WRITES: usize = 256;

/// Time after which a group takes no further write, so that the first does not wait for the last.
const GROUP_TIME: Duration = Duration::from_millis(5);

/// Why a write did not happen.
#[derive(Debug, Error)]
pub enum WriteError<E> {
    /// The closure's own error; nothing was changed.
    #[error(transparent)]
    Refused(E),
    /// The transaction could not be begun, committed or synced; assume that nothing was changed and try again.
    #[error("the store did not commit: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// The closure panicked; nothing was changed.
    #[error("the write panicked")]
    Panicked,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

/// A write as the thread sees it.
trait Job: Send {
    /// Runs the closure; `false` takes its changes back.
    fn run(&mut self, tx: &Transaction<'_>) -> bool;
    /// Answers whoever waits, after the commit.
    fn finish(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>);
    /// Whether the answer needs a sync that the configuration alone does not promise.
    fn wants_sync(&self) -> bool;
}

type Then<T> = Box<dyn FnOnce(&T) + Send>;

/// A closure, its outcome until the commit, and where the answer goes.
pub(super) struct Task<T, E, F> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    then: Option<Then<T>>,
    synced: bool,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
}

impl<T, E, F> Task<T, E, F> {
    pub(super) fn new(work: F) -> (Self, oneshot::Receiver<Result<T, WriteError<E>>>) {
        let (reply, receiver) = oneshot::channel();
        let task = Self { work: Some(work), outcome: None, then: None, synced: false, reply };
        (task, receiver)
    }

    pub(super) fn synced(mut self) -> Self {
        self.synced = true;
        self
    }

    pub(super) fn then(mut self, then: impl FnOnce(&T) + Send + 'static) -> Self {
        self.then = Some(Box::new(then));
        self
    }
}

impl<T, E, F> Job for Task<T, E, F>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> bool {
        self.outcome = self.work.take().map(|work| work(tx));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>) {
        let answer = match (self.outcome, commit) {
            (None, Ok(())) => Err(WriteError::Panicked),
            (Some(Err(error)), _) => Err(WriteError::Refused(error)),
            (_, Err(error)) => Err(WriteError::Commit(error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
        };
        if let (Ok(value), Some(then)) = (&answer, self.then) {
            then(value);
        }
        // Whoever dropped the future does not want the answer.
        let _ = self.reply.send(answer);
    }

    fn wants_sync(&self) -> bool {
        self.synced
    }
}

enum Request {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The handle to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
    metrics: StoreMetrics,
    synchronous: Synchronous,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        directory: Directory,
        config: &StorageConfig,
        metrics: StoreMetrics,
    ) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel(config.max_pending_writes);
        let synchronous = config.synchronous;
        let counted = metrics.clone();
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let mut thread = WriterThread { connection, requests, metrics: counted, synchronous };
            let closing = thread.run();
            // The directory is free when whoever asked for the end hears of it.
            drop(thread);
            directory.release();
            if let Some(done) = closing {
                let _ = done.send(());
            }
        })?;
        Ok(Self { queue, metrics, synchronous })
    }

    /// Whether each commit is synced.
    pub(super) fn always_synced(&self) -> bool {
        self.synchronous == Synchronous::Full
    }

    /// Queues a write; waits for room. A closed store drops the task, and with it the sender of its answer.
    pub(super) async fn submit<T, E, F>(&self, task: Task<T, E, F>)
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        if let Ok(room) = self.queue.reserve().await {
            self.metrics.queue_length.inc();
            room.send(Request::Write(Box::new(task)));
        }
    }

    pub(super) fn submit_blocking<T, E, F>(&self, task: Task<T, E, F>)
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.metrics.queue_length.inc();
        if self.queue.blocking_send(Request::Write(Box::new(task))).is_err() {
            self.metrics.queue_length.dec();
        }
    }

    pub(super) async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Request::Close(done)).await.is_ok() {
            // An error means that the thread ended first, which is what was asked for.
            let _ = finished.await;
        }
    }
}

struct WriterThread {
    connection: Connection,
    requests: mpsc::Receiver<Request>,
    metrics: StoreMetrics,
    synchronous: Synchronous,
}

/// What became of a group that was begun.
struct Group {
    jobs: Vec<Box<dyn Job>>,
    closing: Option<oneshot::Sender<()>>,
    keep: bool,
}

impl WriterThread {
    fn run(&mut self) -> Option<oneshot::Sender<()>> {
        let mut closing = None;
        while closing.is_none() {
            match self.requests.blocking_recv() {
                Some(Request::Write(job)) => closing = self.transact(job),
                Some(Request::Close(done)) => closing = Some(done),
                None => break,
            }
        }
        self.requests.close();
        closing
    }

    /// One transaction: `first` and whatever waits behind it.
    fn transact(&mut self, first: Box<dyn Job>) -> Option<oneshot::Sender<()>> {
        let before = self.connection.total_changes();
        let tx = match self.connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(error) => {
                self.metrics.queue_length.dec();
                self.metrics.failures.inc();
                tracing::error!(%error, "store: begin failed");
                first.finish(Err(Arc::new(error)));
                return None;
            }
        };
        let group = collect(&tx, first, &mut self.requests, &self.metrics);
        let started = Instant::now();
        let ended = if group.keep { tx.commit() } else { tx.rollback() };
        let result = ended.and_then(|()| self.sync_for(&group));
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.count(&group, before, &result);
        let result = result.map_err(Arc::new);
        for job in group.jobs {
            job.finish(result.clone());
        }
        group.closing
    }

    /// Makes the commit durable for those who need that more than the configuration does.
    fn sync_for(&mut self, group: &Group) -> rusqlite::Result<()> {
        let wanted = group.keep && group.jobs.iter().any(|job| job.wants_sync());
        if self.synchronous == Synchronous::Full || !wanted {
            return Ok(());
        }
        // A commit under `full` syncs the log with all commits before it (SQLite, "WAL-mode").
        self.connection.pragma_update(None, "synchronous", pragma(Synchronous::Full))?;
        let touched = self.connection.execute("update sync_mark set count = count + 1", []);
        self.connection.pragma_update(None, "synchronous", pragma(self.synchronous))?;
        touched.map(drop)
    }

    fn count(&self, group: &Group, before: u64, result: &rusqlite::Result<()>) {
        match result {
            Ok(()) if group.keep => {
                self.metrics.commits.inc();
                self.metrics.writes.inc_by(group.jobs.len() as u64);
                let rows = self.connection.total_changes().saturating_sub(before);
                self.metrics.rows_changed.inc_by(rows);
            }
            Ok(()) => {}
            Err(error) => {
                self.metrics.failures.inc();
                tracing::error!(%error, writes = group.jobs.len(), "store: commit failed");
            }
        }
    }
}

/// Runs `first`, then what waits, until the group is full. A first that fails ends its group at once: the
/// rollback of the transaction is then its savepoint.
fn collect(
    tx: &Transaction<'_>,
    first: Box<dyn Job>,
    requests: &mut mpsc::Receiver<Request>,
    metrics: &StoreMetrics,
) -> Group {
    let started = Instant::now();
    let mut group = Group { jobs: Vec::new(), closing: None, keep: true };
    let mut next = Some(first);
    while let Some(mut job) = next.take() {
        metrics.queue_length.dec();
        let alone = group.jobs.is_empty();
        let kept = if alone { run(&mut *job, tx) } else { run_in_savepoint(&mut *job, tx) };
        group.jobs.push(job);
        if alone && !kept {
            group.keep = false;
            break;
        }
        // A full disk makes SQLite roll the whole transaction back: the commit will say so to everyone.
        if tx.is_autocommit() || group.jobs.len() >= GROUP_WRITES || started.elapsed() >= GROUP_TIME {
            break;
        }
        match requests.try_recv() {
            Ok(Request::Write(job)) => next = Some(job),
            Ok(Request::Close(done)) => group.closing = Some(done),
            Err(_) => {}
        }
    }
    group
}

fn run(job: &mut dyn Job, tx: &Transaction<'_>) -> bool {
    match catch_unwind(AssertUnwindSafe(|| job.run(tx))) {
        Ok(kept) => kept,
        Err(_) => {
            tracing::error!("store: a write panicked and was taken back");
            false
        }
    }
}

fn run_in_savepoint(job: &mut dyn Job, tx: &Transaction<'_>) -> bool {
    let statement = |sql| tx.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    if let Err(error) = statement("savepoint job") {
        tracing::error!(%error, "store: savepoint failed");
        return false;
    }
    let kept = run(job, tx);
    let ended = if kept {
        statement("release job")
    } else {
        statement("rollback to job").and_then(|_| statement("release job"))
    };
    if let Err(error) = ended {
        tracing::error!(%error, "store: savepoint failed");
    }
    kept
}
