//! Devices as the fleet sees them, over a real store.

mod keeping;

use std::sync::Mutex;

use causeway_core::dfu::update::State;
use causeway_core::dfu::{Assignment, Hold, Progress};
use prometheus_client::registry::Registry;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{DevicesConfig, StorageConfig};
use crate::devices::{Change, DevicesMetrics};
use crate::store::StoreMetrics;

/// What is assigned, which a test changes.
type Assigned = Arc<Mutex<Option<Desire>>>;

/// What happens while the fleet asks what a turning point means, once.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// What the fleet is answered.
struct Answers {
    desire: Assigned,
    meanwhile: Meanwhile,
}

impl Sources for Answers {
    fn desire(&self, _: &Device, _: Option<&str>, _: u64) -> Option<Desire> {
        self.desire.lock().unwrap().clone()
    }

    fn turned(&self, device: &str, _: &By, turn: &Turn, _: u64) -> Vec<Also> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        meanwhile.into_iter().for_each(|meanwhile| meanwhile());
        let row = format!("{device} {turn:?}");
        vec![Arc::new(move |tx| tx.execute("insert into turns values (?1)", [&row]).map(drop))]
    }

    fn patch_size(&self, _: &str, _: &Release, _: &str) -> Option<u64> {
        Some(100)
    }
}

/// A store on the disk, devices `a`, `b` and `c`, and one fleet over them.
struct Scene {
    home: tempfile::TempDir,
    store: Store,
    fleet: Fleet,
    assigned: Assigned,
    meanwhile: Meanwhile,
    /// What went out, in its order: topic and payload.
    sent: Arc<Mutex<Vec<(String, String)>>>,
    registry: Registry,
}

fn release(version: &str) -> Arc<Release> {
    Arc::new(Release {
        name: "app".to_owned(),
        version: version.to_owned(),
        image: "sha256:00".to_owned(),
        size: 1_000,
        checksum: [0; 32],
        from: Vec::new(),
    })
}

fn desire(version: &str) -> Desire {
    Desire {
        by: By::Rule("all".to_owned()),
        release: Ok(release(version)),
        hold: None,
        swap: true,
        refused: None,
        attempts: None,
    }
}

fn says(version: &str, offset: Option<u64>) -> Heard {
    let progress = offset.map(|offset| Progress { version: "2".to_owned(), offset, patch: None });
    Heard { version: version.to_owned(), mtu: None, progress, formats: Vec::new() }
}

impl Scene {
    async fn new(config: DfuConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let scene = Self::over(home, config);
        for device in ["a", "b", "c"] {
            scene.fleet.parts.devices.add(device, Change::default()).await.unwrap();
        }
        scene
    }

    fn over(home: tempfile::TempDir, config: DfuConfig) -> Self {
        let mut registry = Registry::default();
        let store = Store::open(home.path(), &StorageConfig::default(), StoreMetrics::new(&mut registry)).unwrap();
        let devices =
            Devices::open(store.clone(), &DevicesConfig::default(), DevicesMetrics::new(&mut registry)).unwrap();
        let assigned = Assigned::default();
        *assigned.lock().unwrap() = Some(desire("2"));
        let meanwhile = Meanwhile::default();
        let sources = Box::new(Answers { desire: assigned.clone(), meanwhile: meanwhile.clone() });
        let metrics = DfuMetrics::new(&mut registry);
        let fleet = Fleet::open(&config, store.clone(), devices, Clock::new(0), sources, metrics).unwrap();
        Self { home, store, fleet, assigned, meanwhile, sent: Arc::default(), registry }
    }

    /// The rows that campaigns would write have a table.
    async fn with_turns(self) -> Self {
        self.store.write(|tx| tx.execute_batch("create table if not exists turns (turn text)")).await.unwrap();
        self
    }

    /// From now on the store refuses turns with that in them.
    async fn refuses_turns(&self, with: &str) {
        let bad = format!(
            "create trigger bad before insert on turns when instr(new.turn, '{with}') begin select raise(abort, 'no'); end"
        );
        self.store.write(move |tx| tx.execute_batch(&bad)).await.unwrap();
    }

    async fn turns(&self) -> Vec<String> {
        let read = |connection: &Connection| {
            let mut statement = connection.prepare("select turn from turns order by rowid")?;
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        };
        self.store.read(read).await.unwrap()
    }

    fn line(&self) -> Line {
        let sent = self.sent.clone();
        let publish: Publish = Arc::new(move |message| {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            sent.lock().unwrap().push((message.topic.to_string(), payload));
        });
        Line { publish, progress: Some("progress".into()) }
    }

    fn device(&self, id: &str) -> Arc<Device> {
        self.fleet.parts.devices.get(id).unwrap()
    }

    /// One status of a device, and its command, as a plugin that does what it should would make it.
    fn speaks(&self, id: &str, heard: &Heard, now_ms: u64) -> Step {
        let (device, line) = (self.device(id), self.line());
        let orders = self.fleet.heard(&device, heard, &line, now_ms);
        let offset = heard.progress.as_ref().map_or(0, |progress| progress.offset);
        let step = match &orders {
            Orders::Stay => Step::Sync,
            Orders::Hold(_) => Step::Wait,
            Orders::Update(_) if offset < 1_000 => Step::Write { offset, length: 500, patch: None },
            Orders::Update(_) => Step::Swap,
        };
        let reply = Message { topic: "command".into(), payload: format!("{step:?}").into(), ..Message::default() };
        self.fleet.told(&device, &orders, &step, reply, &line, now_ms);
        step
    }

    /// All of version 2, and the order to start it.
    fn transfers(&self, id: &str, now_ms: u64) {
        for offset in [None, Some(500), Some(1_000)] {
            self.speaks(id, &says("1", offset), now_ms);
        }
    }

    /// What turned gets onto the disk, and what waited for it goes out.
    async fn writes(&self) {
        assert!(self.fleet.parts.write().await.is_none());
    }

    /// From now on the disk has room for so many pages, or for no more than there are.
    async fn has_room(&self, pages: u64) {
        let set = move |tx: &rusqlite::Transaction<'_>| tx.pragma_update(None, "max_page_count", pages);
        self.store.write(set).await.unwrap();
    }

    fn commands(&self) -> usize {
        self.sent.lock().unwrap().iter().filter(|(topic, _)| topic == "command").count()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    fn state(&self, id: &str) -> State {
        self.fleet.device(id, 1).unwrap().state
    }
}

#[tokio::test]
async fn a_block_goes_out_at_once_and_the_order_to_start_it_only_from_the_disk() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    assert_eq!(scene.commands(), 2, "the order to start waits");
    assert_eq!(scene.state("a"), State::Swapping);
    scene.writes().await;
    assert_eq!(scene.commands(), 3);
    assert_eq!(scene.turns().await, ["a Assigned", "a Started", "a SwapSent(1)"]);
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!((stored[0].1.state, stored[0].1.attempts.of("2").made), (State::Swapping, 1));
}

#[tokio::test]
async fn a_device_that_runs_its_release_is_told_so_although_the_release_cannot_be_looked_up() {
    let scene = Scene::new(DfuConfig::default()).await;
    scene.transfers("a", 10);
    let gone = Desire { release: Err(Hold::Image("the registry is away".to_owned())), ..desire("2") };
    *scene.assigned.lock().unwrap() = Some(gone);
    assert_eq!(scene.speaks("a", &says("2", None), 20), Step::Sync);
    assert_eq!(scene.speaks("b", &says("1", None), 20), Step::Wait);
}

#[tokio::test]
async fn nothing_goes_out_of_what_the_store_does_not_take_and_the_next_transaction_has_all_of_it() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    let locker = Connection::open(scene.home.path().join("store.sqlite")).unwrap();
    locker.execute_batch("begin immediate").unwrap();
    assert!(scene.fleet.parts.write().await.is_some());
    assert_eq!(scene.commands(), 2);
    assert!(scene.metrics().contains("causeway_dfu_unsent_total{reason=\"store\"} 1"), "{}", scene.metrics());
    assert!(scene.metrics().contains("causeway_dfu_waiting 1"));
    locker.execute_batch("rollback").unwrap();
    assert_eq!(scene.speaks("a", &says("1", Some(1_000)), 11), Step::Swap, "it asks again");
    scene.writes().await;
    assert_eq!(scene.commands(), 3);
    assert_eq!(scene.turns().await, ["a Assigned", "a Started", "a SwapSent(1)"], "one order went out");
}

#[tokio::test]
async fn a_record_that_cannot_be_written_holds_up_no_other() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.refuses_turns("a ").await;
    scene.transfers("a", 10);
    scene.transfers("b", 10);
    scene.writes().await;
    assert_eq!(scene.commands(), 5, "b is told to start, a is not");
    assert_eq!((scene.state("a"), scene.state("b")), (State::Transferring, State::Swapping));
    assert_eq!(scene.turns().await.len(), 3);
    assert!(scene.metrics().contains("causeway_dfu_lost_total 1"));
}

#[tokio::test]
async fn more_orders_to_start_than_may_wait_are_not_sent() {
    let config = DfuConfig { max_waiting: 1, progress_interval: Duration::ZERO, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    let mut line = scene.line();
    line.progress = None;
    for id in ["a", "b"] {
        let device = scene.device(id);
        let orders = scene.fleet.heard(&device, &says("1", Some(1_000)), &line, 10);
        scene.fleet.told(&device, &orders, &Step::Swap, Message::default(), &line, 10);
    }
    scene.writes().await;
    assert_eq!(scene.sent.lock().unwrap().len(), 1);
    assert!(scene.metrics().contains("causeway_dfu_unsent_total{reason=\"full\"} 1"));
    assert_eq!((scene.state("a"), scene.state("b")), (State::Swapping, State::Transferring));
    let stored = scene.store.read(dfu::all).await.unwrap();
    let made: Vec<_> = stored.iter().map(|(_, standing)| standing.attempts.of("2").made).collect();
    assert_eq!(made, [1, 0], "what was not sent is no attempt");
}

#[tokio::test]
async fn a_full_disk_costs_no_device_an_attempt() {
    let config = DfuConfig { attempts: 1, swaps: 1, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    let fills = "create table filler (bytes blob);
        create trigger fills after insert on turns begin insert into filler values (zeroblob(500000)); end";
    scene.store.write(move |tx| tx.execute_batch(fills)).await.unwrap();
    scene.has_room(1).await;
    scene.transfers("a", 10);
    for now_ms in 20..100 {
        assert!(scene.fleet.parts.write().await.is_some());
        assert_eq!(scene.state("a"), State::Transferring);
        assert_eq!(scene.speaks("a", &says("1", Some(1_000)), now_ms), Step::Swap);
        assert_eq!(scene.speaks("a", &says("1", Some(1_000)), now_ms), Step::Swap, "it cannot have heard");
    }
    assert_eq!(scene.commands(), 2, "blocks need no disk");
    assert!(scene.metrics().contains("causeway_dfu_lost_total 0"), "{}", scene.metrics());
    scene.has_room(1_000_000).await;
    scene.writes().await;
    assert_eq!(scene.commands(), 3);
    assert_eq!(scene.turns().await, ["a Assigned", "a Started", "a SwapSent(1)"], "the orders in between were none");
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!((stored[0].1.state, stored[0].1.attempts.of("2").made), (State::Swapping, 1));
    assert_eq!(scene.speaks("a", &says("2", None), 100), Step::Sync);
}

#[tokio::test]
async fn an_order_to_start_goes_where_its_device_has_asked_last() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    let (device, line) = (scene.device("a"), scene.line());
    let orders = scene.fleet.heard(&device, &says("1", Some(1_000)), &line, 20);
    let reply = Message { topic: "elsewhere".into(), ..Message::default() };
    scene.fleet.told(&device, &orders, &Step::Swap, reply, &line, 20);
    scene.writes().await;
    let elsewhere = scene.sent.lock().unwrap().iter().filter(|(topic, _)| topic == "elsewhere").count();
    assert_eq!((scene.commands(), elsewhere), (2, 1));
    assert!(scene.metrics().contains("causeway_dfu_unsent_total{reason=\"waiting\"} 1"), "{}", scene.metrics());
}

#[tokio::test]
async fn an_order_to_start_is_not_sent_to_a_device_that_has_begun_anew() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    scene.transfers("a", 10);
    assert!(matches!(scene.speaks("a", &says("1", None), 20), Step::Write { offset: 0, .. }));
    scene.writes().await;
    assert_eq!(scene.commands(), 3, "three blocks");
    assert!(scene.metrics().contains("causeway_dfu_unsent_total{reason=\"late\"} 1"), "{}", scene.metrics());
    let stored = scene.store.read(dfu::all).await.unwrap();
    assert_eq!((stored[0].1.state, stored[0].1.attempts.of("2").made), (State::Transferring, 0));
}

#[tokio::test]
async fn an_order_to_start_is_not_sent_to_a_device_that_was_told_to_wait_since() {
    let now = desire("2");
    let paused = Desire { hold: Some(Hold::Paused), ..now.clone() };
    let refused = Desire { refused: Some("older".to_owned()), ..now };
    for (until_then, step) in [(paused, Step::Wait), (refused, Step::Sync)] {
        let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
        scene.transfers("a", 10);
        *scene.assigned.lock().unwrap() = Some(until_then);
        assert_eq!(scene.speaks("a", &says("1", Some(1_000)), 20), step);
        scene.writes().await;
        assert_eq!(scene.commands(), 3, "two blocks, and what it was told last");
        assert!(scene.metrics().contains("causeway_dfu_unsent_total{reason=\"late\"} 1"), "{}", scene.metrics());
        let stored = scene.store.read(dfu::all).await.unwrap();
        assert_eq!(stored[0].1.attempts.of("2").made, 0, "it is no attempt");
    }
}

#[tokio::test]
async fn the_orders_follow_what_is_assigned_and_how_the_device_stands() {
    let scene = Scene::new(DfuConfig::default()).await.with_turns().await;
    let device = scene.device("a");
    let orders = |now_ms| scene.fleet.orders(&device, now_ms);
    let Orders::Update(assignment) = orders(10) else { panic!("{:?}", orders(10)) };
    assert_eq!((assignment.attempt, assignment.restart, assignment.swap), (1, false, true));
    let fetching = Some(Hold::Image("it is being fetched".to_owned()));
    *scene.assigned.lock().unwrap() = Some(Desire { hold: fetching, ..desire("2") });
    assert!(matches!(orders(10), Orders::Hold(Hold::Image(_))));
    *scene.assigned.lock().unwrap() = Some(Desire { hold: Some(Hold::Paused), ..desire("2") });
    assert_eq!(orders(10), Orders::Hold(Hold::Paused));
    *scene.assigned.lock().unwrap() = Some(Desire { refused: Some("older".to_owned()), ..desire("2") });
    assert_eq!(orders(10), Orders::Stay);
    *scene.assigned.lock().unwrap() = Some(Desire { hold: Some(Hold::Paused), ..desire("2") });
    scene.speaks("a", &says("2", None), 10);
    assert_eq!(orders(10), Orders::Stay, "what runs is confirmed whatever is paused");
    *scene.assigned.lock().unwrap() = None;
    assert_eq!(orders(10), Orders::Stay);
}

#[tokio::test]
async fn a_failure_waits_longer_each_time_and_the_last_is_quarantine_until_it_is_forgiven() {
    let config = DfuConfig { back_off: Duration::from_secs(1), attempts: 2, ..DfuConfig::default() };
    let scene = Scene::new(config).await.with_turns().await;
    scene.transfers("a", 10);
    scene.writes().await;
    assert_eq!(scene.speaks("a", &says("1", None), 20), Step::Wait);
    assert_eq!(scene.fleet.orders(&scene.device("a"), 1_019), Orders::Hold(Hold::BackOff { until_ms: 1_020 }));
    scene.transfers("a", 1_020);
    scene.writes().await;
    assert_eq!(scene.speaks("a", &says("1", None), 1_030), Step::Sync, "it keeps what it runs");
    let view = scene.fleet.device("a", 9_999_999).unwrap();
    assert_eq!(
        (view.state, view.why.as_deref()),
        (State::Quarantined, Some("quarantined for 2 after 2 failed attempts"))
    );
    let stop = CancellationToken::new();
    let task = tokio::spawn(scene.fleet.clone().run(stop.clone()));
    assert!(scene.fleet.forgive("a", 2_000).await.unwrap());
    assert!(!scene.fleet.forgive("a", 2_000).await.unwrap());
    assert!(scene.store.read(dfu::all).await.unwrap()[0].1.attempts.all().is_empty());
    assert!(matches!(scene.fleet.orders(&scene.device("a"), 2_000), Orders::Update(Assignment { attempt: 1, .. })));
    stop.cancel();
    task.await.unwrap();
}
