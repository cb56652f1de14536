//! Turning points over a real store that fails where a test says so.

use std::collections::VecDeque;

use causeway_core::dfu::By;
use causeway_core::dfu::update::{End, Tally, Target};
use prometheus_client::registry::Registry;
use rusqlite::ffi;

use super::*;
use crate::config::StorageConfig;
use crate::store::{StoreMetrics, devices};

/// What the next rows of campaigns come to, in their order: well, or a code of SQLite. Then all go well.
type Script = Arc<Mutex<VecDeque<Option<std::ffi::c_int>>>>;

struct Scene {
    _home: tempfile::TempDir,
    store: Store,
    ledger: Ledger,
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let store = Store::open(home.path(), &StorageConfig::default(), StoreMetrics::new(&mut registry)).unwrap();
        let tables = |tx: &Transaction<'_>| {
            let known = |id: &str| devices::Device { id: id.to_owned(), ..devices::Device::default() };
            ["a", "b", "c"].iter().try_for_each(|id| devices::put(tx, &known(id)))?;
            tx.execute_batch("create table turns (turn text)")
        };
        store.write(tables).await.unwrap();
        let ledger = Ledger::new(store.clone(), 10, 10, DfuMetrics::new(&mut registry));
        Self { _home: home, store, ledger }
    }

    /// An attempt of a device ends, and it is told something.
    fn ends(&self, device: &str, script: &Script) {
        let script = script.clone();
        let also: Also = Arc::new(move |tx| match script.lock().unwrap().pop_front().flatten() {
            Some(code) => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
            None => tx.execute("insert into turns values ('failed')", []).map(drop),
        });
        let also = vec![AlsoOf { order: None, also }];
        let record = Record { number: 1, standing: Standing::default(), ended: vec![ended()], also };
        let device: Arc<str> = device.into();
        let publish: Publish = Arc::new(|_| ());
        let reply = Reply { device: device.clone(), message: Message::default(), publish, command: Some(1) };
        assert!(self.ledger.submit(&device, record, [reply]));
    }

    /// Lines of the history, and rows of campaigns.
    async fn rows(&self) -> (u64, u64) {
        let counts = "select (select count(*) from dfu_history), (select count(*) from turns)";
        let read = move |connection: &rusqlite::Connection| {
            connection.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        self.store.read(read).await.unwrap()
    }
}

fn ended() -> Ended {
    let target = Target {
        name: "app".to_owned(),
        version: "2".to_owned(),
        image: String::new(),
        size: 1,
        by: By::Rule("all".to_owned()),
        from: "1".to_owned(),
        restart: false,
        astray: false,
        waiting: false,
        started_ms: None,
        tally: Tally::default(),
    };
    Ended { target, attempt: 1, end: End::Superseded, at_ms: 1 }
}

#[tokio::test]
async fn what_was_committed_of_a_group_is_sent_and_not_written_again() {
    let scene = Scene::new().await;
    // Together they are refused; of each alone the second finds the disk full.
    let script = Script::new(Mutex::new([Some(ffi::SQLITE_CONSTRAINT), None, Some(ffi::SQLITE_FULL)].into()));
    for device in ["a", "b", "c"] {
        scene.ends(device, &script);
    }
    let round = scene.ledger.write().await.unwrap();
    assert_eq!((round.written.len(), round.again), (1, true));
    assert_eq!((round.due.len(), round.dropped.len()), (1, 2));
    assert_eq!(round.due[0].device, round.written[0].0);
    assert_eq!(scene.rows().await, (1, 1));
    let round = scene.ledger.write().await.unwrap();
    assert_eq!((round.written.len(), round.again), (2, false));
    assert_eq!(scene.rows().await, (3, 3), "each once");
    assert!(scene.ledger.write().await.is_none());
}

#[tokio::test]
async fn what_follows_from_a_record_that_is_given_up_is_not_sent() {
    let scene = Scene::new().await;
    let refused = Some(ffi::SQLITE_CONSTRAINT);
    let script = Script::new(Mutex::new([refused, refused].into()));
    for device in ["a", "b"] {
        scene.ends(device, &script);
    }
    let mut waits = ["a", "b"].map(|device| scene.ledger.written(device.into(), 1));
    let round = scene.ledger.write().await.unwrap();
    assert_eq!((round.written.len(), round.due.len(), round.dropped.len(), round.again), (1, 1, 1, false));
    assert!(waits.iter_mut().all(|wait| wait.try_recv().is_err()), "they are told when all is taken in");
    let told: Vec<_> = round.waiters.iter().map(|(waiter, written)| (waiter.device.clone(), *written)).collect();
    assert_eq!(told.len(), 2);
    for (device, written) in told {
        assert_eq!(written, round.written.contains(&(device, 1)));
    }
    assert_eq!(scene.rows().await, (1, 1));
}
