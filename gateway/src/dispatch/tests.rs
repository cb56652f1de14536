//! Dispatch between a real journal and a real store: the built-in router, and guests that misbehave.

mod canaries;
mod letters;
mod reads;
mod statuses;
mod swap;
mod versions;

use std::path::PathBuf;
use std::sync::Mutex;

use causeway_core::dfu::{By, Release, Turn};
use causeway_core::message::QoS;
use causeway_host::EngineConfig;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::artifacts::{Access, Artifacts, Settings};
use crate::config::{
    ArtifactsConfig, BindingConfig, BudgetConfig, Delivery, DevicesConfig, DfuConfig, FirmwareConfig, JournalConfig,
    LimitsConfig, Overflow, RecordingsConfig, Size, StorageConfig, TrustConfig,
};
use crate::devices::{Change, Device, DevicesMetrics};
use crate::dfu::{Also, Desire, DfuMetrics, Fleet};
use crate::firmware::{Firmware, FirmwareMetrics};
use crate::guest;
use crate::journal::{Durable, JournalMetrics, Kind};
use crate::plugins::{Plugins, PluginsMetrics};
use crate::recording::RecordingMetrics;
use crate::store::dead_letters::{self, DeadLetter, Filter};
use crate::store::{StoreMetrics, cursors, outbox};

/// Everything below dispatch, in a directory of its own.
struct Ground {
    home: TempDir,
    parts: Parts,
    published: Arc<Mutex<Vec<Message>>>,
}

impl Ground {
    async fn new() -> Self {
        Self::with_policy("").await
    }

    /// The shipped policies and one more.
    async fn with_policy(policy: &str) -> Self {
        let home = TempDir::new().unwrap();
        let folder = home.path().join("policies");
        std::fs::create_dir(&folder).unwrap();
        crate::policy::export(&folder).unwrap();
        std::fs::write(folder.join("test.cedar"), policy).unwrap();
        Self::open(home).await
    }

    async fn open(home: TempDir) -> Self {
        let registry = &mut Registry::default();
        let store = Store::open(home.path(), &StorageConfig::default(), StoreMetrics::new(registry)).unwrap();
        store.declare(crate::telemetry::collections().unwrap()).await.unwrap();
        let journal = home.path().join("journal");
        let (journal, _) = Journal::open(&journal, &JournalConfig::default(), JournalMetrics::new(registry)).unwrap();
        let devices = Devices::open(store.clone(), &DevicesConfig::default(), DevicesMetrics::new(registry)).unwrap();
        let clock = Clock::new(0);
        let updates = updates(home.path(), &store, &devices, &clock);
        let policies = Policies::load(Some(&home.path().join("policies"))).unwrap();
        let metrics = DispatchMetrics::new(registry);
        let counts = RecordingMetrics::new(registry);
        let recordings = Recordings::new(home.path(), RecordingsConfig::default(), clock.clone(), counts);
        let parts = Parts {
            gateway: "edge-1".to_owned(),
            journal,
            store,
            policies,
            devices,
            clock,
            recordings,
            updates,
            max_state: 1 << 20,
            retry: Duration::from_millis(50),
            metrics,
        };
        Self { home, parts, published: Arc::default() }
    }

    /// The gateway stops and starts again.
    async fn reopened(self) -> Self {
        let Self { home, parts, .. } = self;
        parts.store.shutdown().await;
        let journal = parts.journal.clone();
        drop(parts);
        tokio::task::spawn_blocking(move || journal.shutdown()).await.unwrap();
        Self::open(home).await
    }

    async fn try_start(&self, bindings: Vec<BindingConfig>) -> Result<Dispatch, Vec<OpenError>> {
        let (home, parts) = (self.home.path().to_owned(), self.parts.clone());
        let road = road(self.home.path());
        let plugins = move || Plugins::open(&home, EngineConfig::default(), road, PluginsMetrics::default()).unwrap();
        let open = move || Dispatch::open(&bindings, &plugins(), parts);
        let mut dispatch = tokio::task::spawn_blocking(open).await.unwrap()?;
        let published = Arc::clone(&self.published);
        let publish = move |message: &Message| {
            published.lock().unwrap().push(message.clone());
            Ok(None)
        };
        dispatch.start(Arc::new(publish)).unwrap();
        Ok(dispatch)
    }

    async fn start(&self, binding: BindingConfig) -> Dispatch {
        self.try_start(vec![binding]).await.unwrap()
    }

    /// Appends a QoS 1 message and waits until it is on disk.
    async fn append(&self, message: &Message) -> Position {
        let position = self.parts.journal.append(Kind::Publish, message.encode()).unwrap();
        let mut durable = self.parts.journal.durable();
        durable.wait_for(|d| matches!(d, Durable::Position(p) if *p >= position)).await.unwrap();
        position
    }

    /// Documents of a collection.
    async fn rows(&self, collection: &str) -> Vec<Value> {
        let sql = format!("select _document from \"collection_{collection}\" order by _position, _item");
        let read = move |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<Result<Vec<_>, rusqlite::Error>>()
        };
        let rows = self.parts.store.read(read).await.unwrap();
        rows.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        let kept = self.parts.store.read(|c| dead_letters::list(c, &Filter::default(), 1000)).await.unwrap();
        kept.into_iter().rev().map(|kept| kept.letter).collect()
    }

    /// Waits until the binding's first cursor has this position on disk.
    async fn committed(&self, cursor: &'static str, position: Position) {
        until(cursor, async || self.parts.store.read(|c| cursors::get(c, cursor)).await.unwrap() >= Some(position))
            .await;
    }

    /// A plugin file with this `route-batch`.
    fn plugin(&self, name: &str, body: &str) -> String {
        let path: PathBuf = self.home.path().join(name);
        std::fs::write(&path, guest::component(body)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// From references to bytes, with nobody to ask.
fn road(home: &std::path::Path) -> Artifacts {
    let artifacts = ArtifactsConfig {
        dir: home.join("artifacts"),
        lockfile: home.join("plugins.lock"),
        ..ArtifactsConfig::default()
    };
    let trust =
        TrustConfig { unsigned: vec!["file://".to_owned(), "oci-layout://".to_owned()], ..TrustConfig::default() };
    let settings = Settings { artifacts, trust, ..Settings::default() };
    Artifacts::open(&settings, tokio::runtime::Handle::current(), Access::Shared).unwrap()
}

/// What updates stand on, with nothing to update to.
fn updates(home: &std::path::Path, store: &Store, devices: &Devices, clock: &Clock) -> dfu::Ground {
    let config = FirmwareConfig { dir: home.join("firmware"), ..FirmwareConfig::default() };
    let firmware = Firmware::start(&config, &road(home), FirmwareMetrics::default()).unwrap();
    let (store, devices, metrics) = (store.clone(), devices.clone(), DfuMetrics::new(&mut Registry::default()));
    let fleet = Fleet::open(&DfuConfig::default(), store, devices, clock.clone(), Box::new(Nothing), metrics).unwrap();
    dfu::Ground { fleet, firmware }
}

/// Nobody is to get anything.
struct Nothing;

impl dfu::Sources for Nothing {
    fn desire(&self, _: &Device, _: Option<&str>, _: u64) -> Option<Desire> {
        None
    }

    fn turned(&self, _: &str, _: &By, _: &Turn, _: u64) -> Vec<Also> {
        Vec::new()
    }

    fn patch_size(&self, _: &str, _: &Release, _: &str) -> Option<u64> {
        None
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn binding() -> BindingConfig {
    BindingConfig { name: "telemetry".to_owned(), ..BindingConfig::default() }
}

fn calling(plugin: String) -> BindingConfig {
    BindingConfig { plugin, filters: vec!["#".to_owned()], ..binding() }
}

fn message(sender: &str, payload: impl Into<bytes::Bytes>) -> Message {
    Message {
        topic: format!("dt/cvra/{sender}/cardata").into(),
        payload: payload.into(),
        qos: QoS::AtLeastOnce,
        sender: sender.into(),
        received_ms: 1_800_000_000_000,
        ..Message::default()
    }
}

fn cardata(sender: &str, number: u32) -> Message {
    let sent = format!("2026-11-20T10:00:{:02}Z", number % 60);
    let text = format!(
        r#"{{"MessageId":"{sender}-{number}","SendTimeStamp":"{sent}","VIN":"{sender}","TripId":"t","OilTemp":{number}}}"#
    );
    message(sender, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journalled_telemetry_becomes_rows_once_even_over_a_restart() {
    let ground = Ground::new().await;
    let mut dispatch = ground.start(binding()).await;
    let mut last = 0;
    for number in 1..=5 {
        last = ground.append(&cardata("d1", number)).await;
    }
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.rows("cardata").await.len(), 5);
    let latest = ground.rows("latest_telemetry").await;
    assert_eq!(latest.len(), 1);
    assert_eq!((&latest[0]["vin"], &latest[0]["oiltemp"]), (&"d1".into(), &5.into()));
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);

    let ground = ground.reopened().await;
    let _dispatch = ground.start(binding()).await;
    let last = ground.append(&cardata("d1", 6)).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.rows("cardata").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_while_dispatch_was_away_is_handled_at_the_next_start() {
    let ground = Ground::new().await;
    let mut dispatch = ground.start(binding()).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    let last = ground.append(&cardata("d1", 1)).await;
    let _dispatch = ground.start(binding()).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.rows("cardata").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vehicle_is_known_by_its_registered_vin() {
    let ground = Ground::new().await;
    let change = Change {
        attributes: vec![("vin".to_owned(), Some("VIN1".to_owned()))].into_iter().collect(),
        ..Change::default()
    };
    ground.parts.devices.add("d1", change).await.unwrap();
    let _dispatch = ground.start(binding()).await;
    let mut message = cardata("VIN1", 1);
    (message.sender, message.topic) = ("d1".into(), "dt/cvra/d1/cardata".into());
    ground.append(&message).await;
    let last = ground.append(&cardata("d1", 2)).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.rows("cardata").await[0]["deviceid"], "d1");
    let letters = ground.letters().await;
    assert_eq!((letters.len(), letters[0].kind.as_str()), (1, "rejected"), "its id is not its VIN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_message_becomes_a_dead_letter_and_the_others_go_on() {
    let ground = Ground::new().await;
    let dispatch = ground.start(binding()).await;
    ground.append(&cardata("d1", 1)).await;
    let bad = message("d1", "{");
    let position = ground.append(&bad).await;
    let last = ground.append(&cardata("d1", 2)).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.rows("cardata").await.len(), 2);
    let letters = ground.letters().await;
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.kind.as_str(), letter.position), ("malformed", Some(position)));
    assert!(letter.reason.contains("not JSON") && letter.digest.starts_with("sha256:"), "{}", letter.reason);
    assert_eq!(Message::decode(&letter.message.clone().into()).unwrap(), bad);
    until("counted", async || dispatch.status()[0].handled == 3).await;
    let status = &dispatch.status()[0];
    assert_eq!((status.dead_letters, &status.state), (1, &State::Running));
}

/// Traps when the payload of any message begins with `!`.
const POISONED: &str = "(local $n i32)
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get 3))
        (then
          (if (i32.eq (i32.load8_u (i32.load offset=20 (i32.add (local.get 2) (i32.mul (local.get $n) (i32.const 64))))) (i32.const 33))
            (then (unreachable)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next))))
    (call $ok (local.get 3))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_that_traps_twice_is_a_dead_letter_and_its_batch_goes_on() {
    let ground = Ground::new().await;
    // All are there before the first call, so they make one batch.
    let binding = calling(ground.plugin("poisoned.wasm", POISONED));
    ground.start(binding.clone()).await.drain(Instant::now() + Duration::from_secs(10)).await;
    let mut positions = Vec::new();
    for payload in ["a", "b", "!", "c", "!", "d"] {
        positions.push(ground.append(&message("d1", payload)).await);
    }
    let dispatch = ground.start(binding).await;
    ground.committed("telemetry/0", positions[5]).await;
    let letters = ground.letters().await;
    let found: Vec<_> = letters.iter().map(|letter| (letter.kind.as_str(), letter.position)).collect();
    assert_eq!(found, [("trap", Some(positions[2])), ("trap", Some(positions[4]))]);
    until("counted", async || dispatch.status()[0].handled == 6).await;
    assert_eq!(dispatch.status()[0].traps, 3, "the batch, and each poisoned message alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_always_traps_is_parked_and_its_messages_stay_in_the_journal() {
    let ground = Ground::new().await;
    let binding = calling(ground.plugin("broken.wasm", "(unreachable)"));
    let dispatch = ground.start(binding).await;
    for number in 0..40 {
        ground.append(&message("d1", format!("{number}"))).await;
    }
    until("parked", async || matches!(dispatch.status()[0].state, State::Parked(_))).await;
    let before = dispatch.status()[0].clone();
    assert!(before.lag_bytes > 0 && before.dead_letters < 40, "{before:?}");
    ground.append(&message("d1", "more")).await;
    assert_eq!(dispatch.status()[0].calls, before.calls, "it is not called any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_beyond_the_budget_of_a_parked_binding_becomes_dead_letters() {
    let ground = Ground::new().await;
    let budget = BudgetConfig { bytes: Size::mib(1), overflow: Overflow::Park, ..BudgetConfig::default() };
    let binding = BindingConfig { budget, ..calling(ground.plugin("broken.wasm", "(unreachable)")) };
    let dispatch = ground.start(binding).await;
    for _ in 0..40 {
        ground.append(&message("d1", "small")).await;
    }
    until("parked", async || matches!(dispatch.status()[0].state, State::Parked(_))).await;
    // Beyond twice the budget the journal would give up the oldest by itself.
    for _ in 0..24 {
        ground.append(&message("d1", vec![b'x'; 64 << 10])).await;
    }
    until("overflow", async || ground.letters().await.iter().any(|letter| letter.kind == "overflow")).await;
    assert!(!dispatch.bindings()[0].over_budget(), "only `refuse` holds publishers back");
}

/// Puts `{}` into the collection `cardata`.
const WRITES: &str = "
    (i64.store (i32.const 70000) (i64.const 0x61746164726163)) (i32.store (i32.const 70016) (i32.const 0x7d7b))
    (i32.store (i32.const 69636) (i32.const 70000)) (i32.store (i32.const 69640) (i32.const 7))
    (i32.store (i32.const 69644) (i32.const 70016)) (i32.store (i32.const 69648) (i32.const 2))
    (call $outcome (i32.const 0) (i32.const 69632) (i32.const 1))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_for_a_collection_that_was_not_granted_is_a_dead_letter_with_the_policy_to_add() {
    let ground = Ground::new().await;
    let _dispatch = ground.start(calling(ground.plugin("writes.wasm", WRITES))).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    let letter = ground.letters().await.remove(0);
    assert_eq!(letter.kind, "denied");
    let policy =
        r#"permit (principal == Plugin::"telemetry", action == Action::"write", resource == Collection::"cardata");"#;
    assert!(letter.reason.contains(policy), "{}", letter.reason);
    // A policy that comes later holds from the next message on; what is wrong now is the row.
    std::fs::write(ground.home.path().join("policies/test.cedar"), policy).unwrap();
    ground.parts.policies.reload().unwrap();
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.letters().await[1].kind, "effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_import_was_not_granted_does_not_start() {
    let ground = Ground::with_policy(
        r#"@id("test") forbid (principal, action == Action::"import", resource == Import::"log");"#,
    )
    .await;
    let body = "(call $log (i32.const 2) (i32.const 0) (i32.const 0)) (call $ok (i32.const 1))";
    let binding = calling(ground.plugin("logs.wasm", body));
    let error = ground.try_start(vec![binding.clone()]).await.err().unwrap().remove(0);
    assert!(matches!(error.problem, Problem::Grant(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("binding `telemetry`") && text.contains("may not import log") && text.contains("`test`"),
        "{text}"
    );
    let bindings = [binding];
    let plugins = Plugins::without_cache(EngineConfig::default(), None).unwrap();
    let found = check(&bindings, &plugins, "edge-1", Some(&ground.parts.policies));
    assert!(matches!(found.as_slice(), [(_, Problem::Grant(_))]), "`check` finds it, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_no_policy_permits_makes_its_input_a_dead_letter() {
    let ground = Ground::new().await;
    let _dispatch = ground.start(calling(ground.plugin("publishes.wasm", guest::PUBLISHES))).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    let letters = ground.letters().await;
    assert_eq!((letters.len(), letters[0].kind.as_str()), (1, "denied"));
    assert!(letters[0].reason.contains("out/x"), "{}", letters[0].reason);
    assert!(ground.published.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permitted_publication_leaves_through_the_outbox() {
    let permit = r#"@id("test") permit (principal is Plugin, action == Action::"publish", resource);"#;
    let ground = Ground::with_policy(permit).await;
    let _dispatch = ground.start(calling(ground.plugin("publishes.wasm", guest::PUBLISHES))).await;
    ground.append(&message("d1", "x")).await;
    until("published", async || !ground.published.lock().unwrap().is_empty()).await;
    let published = ground.published.lock().unwrap()[0].clone();
    assert_eq!((&*published.topic, &*published.payload, published.qos), ("out/x", &b"hi"[..], QoS::AtLeastOnce));
    assert_eq!((&*published.sender, &*published.client), ("", "plugin/1/telemetry"));
    until("the outbox is empty", async || {
        ground.parts.store.read(|c| outbox::pending(c, 0, 10)).await.unwrap().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_feeds_its_own_binding_ends_after_a_few_rounds() {
    let permit = r#"@id("test") permit (principal is Plugin, action == Action::"publish", resource);"#;
    let ground = Ground::with_policy(permit).await;
    let _dispatch = ground.start(calling(ground.plugin("publishes.wasm", guest::PUBLISHES))).await;
    let tired = Message { client: "plugin/8/telemetry".into(), sender: "".into(), ..message("", "x") };
    let last = ground.append(&tired).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.letters().await[0].kind, "loop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_binding_handles_what_it_is_offered_and_a_durable_one_only_qos_0() {
    let ground = Ground::new().await;
    let live = BindingConfig { name: "live".to_owned(), delivery: Delivery::Live, ..binding() };
    let dispatch = ground.try_start(vec![live, binding()]).await.unwrap();
    let [live, durable] = dispatch.bindings() else { panic!("two bindings") };
    assert!(!live.durable() && durable.durable());
    live.offer(&cardata("d1", 1));
    durable.offer(&cardata("d1", 2));
    durable.offer(&Message { qos: QoS::AtMostOnce, ..cardata("d1", 3) });
    until("two rows", async || ground.rows("cardata").await.len() == 2).await;
    until("one each", async || (live.status().handled, durable.status().handled) == (1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partitions_lose_nothing_and_repeat_nothing() {
    let ground = Ground::new().await;
    let mut dispatch = ground.start(binding()).await;
    let mut last = 0;
    for device in 0..8 {
        last = ground.append(&cardata(&format!("d{device}"), 1)).await;
    }
    ground.committed("telemetry/0", last).await;
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);
    for device in 0..8 {
        last = ground.append(&cardata(&format!("d{device}"), 2)).await;
    }
    let _dispatch = ground.start(BindingConfig { partitions: 3, ..binding() }).await;
    for cursor in ["telemetry/0", "telemetry/1", "telemetry/2"] {
        ground.committed(cursor, last).await;
    }
    assert_eq!(ground.rows("cardata").await.len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_loses_nothing_and_repeats_nothing() {
    let permit = r#"@id("test") permit (principal is Plugin, action == Action::"publish", resource);"#;
    let ground = Ground::with_policy(permit).await;
    let by_sender = BindingConfig { partitions: 2, ..calling(ground.plugin("publishes.wasm", guest::PUBLISHES)) };
    let filters = vec!["dt/cvra/{vehicle}/cardata".to_owned()];
    let by_vehicle = BindingConfig { key: Some("vehicle".to_owned()), filters, partitions: 3, ..by_sender.clone() };
    let of = |sender: &str, vehicle: &str| Message {
        topic: format!("dt/cvra/{vehicle}/cardata").into(),
        ..message(sender, "x")
    };
    // One message of each, so that a call has one effect; the partitions stand at different places afterwards.
    let mut dispatch = ground.start(by_sender.clone()).await;
    for number in 0..8 {
        ground.append(&of(&format!("d{number}"), &format!("v{}", number % 3))).await;
        until("published", async || ground.published.lock().unwrap().len() == number + 1).await;
    }
    dispatch.drain(Instant::now() + Duration::from_secs(10)).await;
    drop(dispatch);
    let last = ground.append(&of("d9", "v9")).await;
    let dispatch = ground.start(by_vehicle).await;
    for cursor in ["telemetry/vehicle/0", "telemetry/vehicle/1", "telemetry/vehicle/2"] {
        ground.committed(cursor, last).await;
    }
    until("published", async || ground.published.lock().unwrap().len() == 9).await;
    until("counted", async || dispatch.status()[0].handled > 0).await;
    assert_eq!(dispatch.status()[0].handled, 1, "what was handled by sender is not handled by vehicle again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_stays_unavailable_is_a_dead_letter_after_its_retries() {
    let ground = Ground::new().await;
    // Every call fails with `unavailable` and no text.
    let plugin = ground.plugin("unavailable.wasm", "(call $outcome (i32.const 1) (i32.const 2) (i32.const 0))");
    let dispatch = ground.start(BindingConfig { retries: 2, ..calling(plugin) }).await;
    let last = ground.append(&message("d1", "x")).await;
    ground.committed("telemetry/0", last).await;
    assert_eq!(ground.letters().await[0].kind, "unavailable");
    assert_eq!(dispatch.status()[0].calls, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_binding_that_cannot_be_served_is_reported() {
    let ground = Ground::new().await;
    let mut configured = binding();
    configured.name = "configured".to_owned();
    configured.config.0.insert("colour".to_owned(), "red".into());
    let missing = BindingConfig { name: "missing".to_owned(), plugin: "builtin:nothing".to_owned(), ..binding() };
    let limits = LimitsConfig { memory: Size::kib(64), ..LimitsConfig::default() };
    let narrow = BindingConfig { name: "narrow".to_owned(), limits, ..binding() };
    let errors = ground.try_start(vec![configured, missing, narrow]).await.err().unwrap();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3);
    assert!(texts[0].contains("configured") && texts[0].contains("colour"), "{}", texts[0]);
    assert!(texts[1].contains("builtin") || texts[1].contains("built-in plugin `nothing`"), "{}", texts[1]);
    assert!(texts[2].contains("narrow"), "{}", texts[2]);
}
