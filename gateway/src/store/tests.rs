//! The store as a whole: transactions, readers, shutdown, and what its aggregates share in tests.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
pub(super) use tempfile::TempDir as Home;

use super::*;
use crate::config::Synchronous;

/// Runs `work` in a transaction of an empty, migrated database.
pub(crate) fn scratch(work: impl FnOnce(&Transaction<'_>) -> Result<(), Box<dyn std::error::Error>>) {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    migrations::apply(&mut connection).unwrap();
    let tx = connection.transaction().unwrap();
    work(&tx).unwrap();
}

fn open(home: &Home, config: &StorageConfig) -> Result<Store, OpenError> {
    Store::open(home.path(), config, StoreMetrics::new(&mut Registry::default()))
}

pub(super) fn store(home: &Home) -> Store {
    open(home, &StorageConfig::default()).unwrap()
}

/// A closure that the writer is inside of until the sender is dropped or used.
fn gate() -> (mpsc::Sender<()>, impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static) {
    let (open, closed) = mpsc::channel();
    let work = move |_: &Transaction<'_>| {
        let _ = closed.recv();
        Ok(())
    };
    (open, work)
}

/// The files as the system would have them if the process died now, or nothing when the log began anew meanwhile:
/// a copy takes its time, death does not.
fn copy_of(home: &Home) -> Option<Home> {
    let log = |directory: &Home| {
        let bytes = fs::read(directory.path().join("store.sqlite-wal")).unwrap();
        bytes.get(..32).map(<[u8]>::to_vec)
    };
    let copy = Home::new().unwrap();
    let before = log(home);
    for file in ["VERSION", "store.sqlite", "store.sqlite-wal"] {
        fs::copy(home.path().join(file), copy.path().join(file)).unwrap();
    }
    (log(&copy) == before).then_some(copy)
}

#[tokio::test]
async fn a_write_is_read_back_and_survives_a_restart() {
    let home = Home::new().unwrap();
    let first = store(&home);
    first.write(|tx| cursors::set(tx, "a", 7)).await.unwrap();
    assert_eq!(first.read(|connection| cursors::get(connection, "a")).await.unwrap(), Some(7));
    first.shutdown().await;
    let error = first.write(|tx| cursors::set(tx, "a", 8)).await.unwrap_err();
    assert!(matches!(error, WriteError::Closed));
    let second = store(&home);
    assert_eq!(second.read_blocking(|connection| cursors::get(connection, "a")).unwrap(), Some(7));
}

#[tokio::test]
async fn an_error_of_a_write_takes_back_that_write_only() {
    let home = Home::new().unwrap();
    let store = store(&home);
    let (open, wait) = gate();
    let held = tokio::spawn({
        let store = store.clone();
        async move { store.write(wait).await }
    });
    // These three wait together, so that they share one transaction.
    let write = |name: &'static str, fails: bool| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(move |tx| {
                    cursors::set(tx, name, 1)?;
                    if fails { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) }
                })
                .await
        })
    };
    let writes = [write("a", false), write("b", true), write("c", false)];
    while store.parts.metrics.queue_length.get() < 3 {
        tokio::task::yield_now().await;
    }
    drop(open);
    held.await.unwrap().unwrap();
    let [a, b, c] = writes;
    a.await.unwrap().unwrap();
    assert!(matches!(b.await.unwrap().unwrap_err(), WriteError::Refused(_)));
    c.await.unwrap().unwrap();
    let kept = store.read(cursors::all).await.unwrap();
    assert_eq!(kept, [("a".to_owned(), 1), ("c".to_owned(), 1)]);
    assert!(store.parts.metrics.commits.get() < 4, "waiting writes share a commit");
}

#[tokio::test]
async fn a_write_that_panics_is_taken_back_and_the_next_one_is_made() {
    let home = Home::new().unwrap();
    let store = store(&home);
    let outcome = store
        .write(|tx| -> rusqlite::Result<()> {
            cursors::set(tx, "a", 1)?;
            panic!("as a test")
        })
        .await;
    assert!(matches!(outcome.unwrap_err(), WriteError::Panicked));
    store.write(|tx| cursors::set(tx, "b", 2)).await.unwrap();
    assert_eq!(store.read(cursors::all).await.unwrap(), [("b".to_owned(), 2)]);
}

#[tokio::test]
async fn what_follows_a_commit_runs_in_the_order_of_the_commits() {
    let home = Home::new().unwrap();
    let store = store(&home);
    let (sender, order) = mpsc::channel();
    let mut writes = Vec::new();
    for n in 0..50u64 {
        let sender = sender.clone();
        writes.push(store.write_then(move |tx| cursors::set(tx, "a", n), move |()| sender.send(n).unwrap()));
    }
    for write in writes {
        write.await.unwrap();
    }
    drop(sender);
    let order: Vec<_> = order.iter().collect();
    assert!(order.is_sorted());
    assert_eq!(order.len(), 50);
}

/// The rule of one transaction: whenever the process dies, rows and cursor are both there or both not.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_keeps_effects_and_cursor_together() {
    let home = Home::new().unwrap();
    let store = store(&home);
    let writer = tokio::task::spawn_blocking({
        let store = store.clone();
        move || {
            for position in 1..=300u64 {
                let write = store.write_blocking(move |tx| {
                    for item in 0..5 {
                        outbox::insert(tx, "b", Some(position), item, &[1; 500])?;
                    }
                    cursors::set(tx, "b", position)
                });
                write.unwrap();
            }
        }
    });
    let mut seen = Vec::new();
    while !writer.is_finished() {
        let Some(copy) = copy_of(&home) else {
            continue;
        };
        let after = self::store(&copy);
        let cursor = after.read_blocking(|connection| cursors::get(connection, "b")).unwrap().unwrap_or(0);
        let rows = after.read_blocking(|connection| outbox::pending(connection, 0, 10_000)).unwrap();
        assert_eq!(rows.len() as u64, cursor * 5);
        seen.push(cursor);
    }
    writer.await.unwrap();
    assert!(!seen.is_empty());
}

#[test]
fn a_write_that_never_committed_leaves_nothing_after_a_crash() {
    let home = Home::new().unwrap();
    let store = store(&home);
    store.write_blocking(|tx| cursors::set(tx, "a", 1)).unwrap();
    let copied = store.write_blocking(move |tx| {
        // More than the page cache holds, so that pages reach the log before their commit.
        for item in 0..300 {
            outbox::insert(tx, "a", Some(2), item, &[1; 100_000])?;
        }
        cursors::set(tx, "a", 2)?;
        rusqlite::Result::<_, rusqlite::Error>::Ok(copy_of(&home))
    });
    let copied = copied.unwrap().unwrap();
    assert!(fs::metadata(copied.path().join("store.sqlite-wal")).unwrap().len() > 10_000_000);
    let after = self::store(&copied);
    assert_eq!(after.read_blocking(|connection| cursors::get(connection, "a")).unwrap(), Some(1));
    assert!(after.read_blocking(|connection| outbox::pending(connection, 0, 10)).unwrap().is_empty());
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_the_next_one_is_answered() {
    let home = Home::new().unwrap();
    let config = StorageConfig { query_timeout: Duration::from_millis(50), readers: 1, ..StorageConfig::default() };
    let store = open(&home, &config).unwrap();
    let endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select max(x) from n";
    let started = Instant::now();
    let stopped: Result<i64, ReadError<rusqlite::Error>> =
        store.read(move |connection| connection.query_row(endless, [], |row| row.get(0))).await;
    assert!(matches!(stopped.unwrap_err(), ReadError::TimedOut(_)));
    assert!(started.elapsed() < Duration::from_secs(20));
    store.read(cursors::all).await.unwrap();
}

#[tokio::test]
async fn readers_cannot_write() {
    let home = Home::new().unwrap();
    let store = store(&home);
    let outcome = store.read(|connection| connection.execute("delete from cursors", [])).await;
    assert!(matches!(outcome.unwrap_err(), ReadError::Refused(_)));
}

#[test]
fn normal_commits_are_synced_on_request() {
    let home = Home::new().unwrap();
    let config = StorageConfig { synchronous: Synchronous::Normal, ..StorageConfig::default() };
    let store = open(&home, &config).unwrap();
    let marks = || {
        store.read_blocking(|connection| -> rusqlite::Result<u64> {
            connection.query_row("select count from sync_mark", [], |row| row.get(0))
        })
    };
    store.write_blocking(|tx| cursors::set(tx, "a", 1)).unwrap();
    assert_eq!(marks().unwrap(), 0);
    store.sync_blocking().unwrap();
    assert_eq!(marks().unwrap(), 1);
    let mode = store.write_blocking(|tx| tx.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0)));
    assert_eq!(mode.unwrap(), 1, "back to normal");
}

#[test]
fn a_second_gateway_is_refused() {
    let home = Home::new().unwrap();
    let _store = store(&home);
    let error = open(&home, &StorageConfig::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
}

#[test]
fn data_of_a_newer_version_is_refused_and_left_alone() {
    let home = Home::new().unwrap();
    let connection = Connection::open(home.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 900).unwrap();
    drop(connection);
    let error = open(&home, &StorageConfig::default()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 900, .. }), "{error}");
    assert!(!home.path().join("VERSION").exists());
}

#[test]
fn a_file_that_is_no_database_is_refused_in_one_line() {
    let home = Home::new().unwrap();
    fs::write(home.path().join(FILE), [7; 8192]).unwrap();
    let error = open(&home, &StorageConfig::default()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn a_database_that_another_process_locks_is_refused_in_one_line() {
    let home = Home::new().unwrap();
    let other = Connection::open(home.path().join(FILE)).unwrap();
    other.execute_batch("begin exclusive; create table x (y)").unwrap();
    let error = open(&home, &StorageConfig::default()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("`causeway store verify`") && !error.to_string().contains('\n'));
}

/// Makes a store with a few hundred rows and overwrites a page in the middle of it.
pub(super) fn damaged(home: &Home) {
    let store = store(home);
    let write = store.write_blocking(|tx| {
        (0..300).try_for_each(|item| outbox::insert(tx, "b", Some(1), item, &[1; 1000]).map(drop))
    });
    write.unwrap();
    drop(store);
    // The last handle is gone, so the thread ends.
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(home.path().join("LOCK")).unwrap().len() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let path = home.path().join(FILE);
    // What is damaged must not stand in the log as well.
    let connection = Connection::open(&path).unwrap();
    connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).unwrap();
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(7);
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_looked_for_after_an_interruption_only_and_for_a_bounded_time() {
    let home = Home::new().unwrap();
    damaged(&home);
    let unchecked = StorageConfig { start_check: Duration::ZERO, ..StorageConfig::default() };
    fs::write(home.path().join("LOCK"), "process 1\n").unwrap();
    let error = open(&home, &StorageConfig::default()).unwrap_err();
    assert!(error.to_string().contains("`causeway store verify`"), "{error}");
    assert!(!error.to_string().contains('\n'));
    drop(open(&home, &unchecked).unwrap());
}
