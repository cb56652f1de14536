//! The process dies exactly between two steps of a message's way, and what the table in `docs/operate.md` says about it
//! comes true: rows once, publications as promised.
//!
//! The client is rumqttc with a persistent session: it comes back by itself and sends again what was not acknowledged.
//! SIGKILL leaves what was written, synced or not; what a disk loses with the power is tested in the journal and, for
//! the store, by `a_store_that_lost_its_newest_commits_gets_the_same_rows_again`.

use crate::{guest, setup};
use causeway_tests::{Gateway, Setup, vehicle, wait};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A binding that makes a row of each message, and one that publishes `out/x` for each.
fn with_relay() -> Setup {
    let setup = setup();
    fs::write(setup.path("relay.wasm"), guest::component(guest::PUBLISHES)).unwrap();
    let filters = ["dt/cvra/+/cardata"];
    setup.set(
        "bindings",
        json!([
            // It commits late, so that the acknowledgement is there before.
            { "name": "telemetry", "filters": filters, "commit": { "linger": "2s" } },
            { "name": "relay", "plugin": "relay.wasm", "filters": filters },
        ]),
    )
}

/// What the client has seen.
#[derive(Default)]
struct Seen {
    subscribed: bool,
    acknowledged: usize,
    published: Vec<Publish>,
}

struct Client {
    client: AsyncClient,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        let address = gateway.address(8883);
        let mut options = MqttOptions::new("v1", address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(10));
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(600));
        let tls = rumqttc::TlsConfiguration::Rustls(gateway.identity("v1").client);
        options.set_transport(rumqttc::Transport::tls_with_config(tls));
        let (client, events) = AsyncClient::new(options, 10);
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn(watch(events, Arc::clone(&seen)));
        let new = Self { client, seen, task };
        new.client.subscribe("out/x", QoS::AtLeastOnce).await.unwrap();
        new.until("the subscription", |seen| seen.subscribed).await;
        new
    }

    async fn publish(&self, number: u64) {
        let payload = vehicle::cardata("v1", number).to_string();
        self.client.publish("dt/cvra/v1/cardata", QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        wait::until(what, async || condition(&self.seen.lock().unwrap()).then_some(())).await;
    }

    /// How often `out/x` has come, and how many different publications that were.
    fn published(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        let ids: BTreeSet<_> = seen.published.iter().map(id).collect();
        (seen.published.len(), ids.len())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn id(publish: &Publish) -> String {
    let properties = &publish.properties.as_ref().unwrap().user_properties;
    properties.iter().find(|(name, _)| name == "causeway-id").unwrap().1.clone()
}

/// Notes what comes; an error is the end of a connection, and the next poll connects again.
async fn watch(mut events: EventLoop, seen: Arc<Mutex<Seen>>) {
    loop {
        let event = events.poll().await;
        let noted = {
            let mut seen = seen.lock().unwrap();
            match event {
                Ok(Event::Incoming(Packet::SubAck(_))) => seen.subscribed = true,
                Ok(Event::Incoming(Packet::PubAck(_))) => seen.acknowledged += 1,
                Ok(Event::Incoming(Packet::Publish(publish))) => seen.published.push(publish),
                Ok(_) => {}
                Err(_) => seen.subscribed = false,
            }
            seen.subscribed
        };
        if !noted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The documents of the rows, read beside the gateway.
fn rows(gateway: &Gateway) -> Vec<Value> {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    let mut statement = store.prepare("select _document from collection_cardata order by _position, _item").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| serde_json::from_str(&row.unwrap()).unwrap()).collect()
}

async fn dies(gateway: &mut Gateway, point: &str) {
    wait::until(point, async || (!gateway.is_alive()).then_some(())).await;
}

/// One line of the table: where the process dies; whether the publisher was told before that the message is taken.
/// `sent_again` says how the resent copy of a message that was not acknowledged fares: with the message itself in the
/// journal, the relay gets both.
struct Line {
    point: &'static str,
    /// What the client must have been told when the process is gone; none if both may be.
    acknowledged: Option<bool>,
    journalled: bool,
    /// Publications leave twice, under one id.
    twice: bool,
}

async fn check(line: Line) {
    let setup = with_relay().environment("CAUSEWAY_CRASH_AT", line.point);
    let mut gateway = setup.start().await;
    let client = Client::connect(&gateway).await;
    client.publish(1).await;
    dies(&mut gateway, line.point).await;
    let acknowledged = client.seen.lock().unwrap().acknowledged > 0;
    assert!(line.acknowledged.is_none_or(|expected| expected == acknowledged), "{}: {acknowledged}", line.point);

    gateway.setup_mut().forget_environment("CAUSEWAY_CRASH_AT");
    gateway.launch().await;
    client.until("the acknowledgement", |seen| seen.acknowledged > 0).await;
    // What comes after everything that the crash left behind.
    client.publish(2).await;
    wait::until("the rows", async || (rows(&gateway).len() >= 2).then_some(())).await;
    let messages = if line.journalled && !acknowledged { 3 } else { 2 };
    wait::until("the publications", async || (client.published().1 >= messages).then_some(())).await;
    wait::until("an empty outbox", async || outbox_is_empty(&gateway).then_some(())).await;
    let ids: Vec<_> = rows(&gateway).iter().map(|row| row["messageid"].clone()).collect();
    assert_eq!(ids, ["v1-1", "v1-2"], "{}: each row once", line.point);
    let (times, publications) = client.published();
    assert_eq!(publications, messages, "{}: publications", line.point);
    assert!(!line.twice || times > publications, "{}: {times} deliveries of {publications}", line.point);
}

fn outbox_is_empty(gateway: &Gateway) -> bool {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    store.query_row("select count(*) = 0 from outbox", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn received_and_not_yet_written() {
    check(Line { point: "received", acknowledged: Some(false), journalled: false, twice: false }).await;
}

#[tokio::test]
async fn written_and_not_yet_synced() {
    check(Line { point: "written", acknowledged: Some(false), journalled: true, twice: false }).await;
}

#[tokio::test]
async fn synced_and_not_yet_acknowledged() {
    check(Line { point: "synced", acknowledged: Some(false), journalled: true, twice: false }).await;
}

#[tokio::test]
async fn acknowledged_and_not_yet_committed() {
    check(Line { point: "handled/telemetry", acknowledged: Some(true), journalled: true, twice: false }).await;
}

#[tokio::test]
async fn committed_and_not_yet_sent() {
    check(Line { point: "committed/relay", acknowledged: None, journalled: true, twice: false }).await;
}

#[tokio::test]
async fn sent_and_still_in_the_outbox() {
    check(Line { point: "sent", acknowledged: None, journalled: true, twice: true }).await;
}

/// The power fails after commits that nobody synced: the store comes back as it was before them, rows and cursor alike,
/// while the journal has everything.
#[tokio::test]
async fn a_store_that_lost_its_newest_commits_gets_the_same_rows_again() {
    let setup = with_relay()
        .set("storage", json!({ "synchronous": "normal" }))
        .environment("CAUSEWAY_CRASH_AT", "handled/telemetry");
    let mut gateway = setup.start().await;
    let client = Client::connect(&gateway).await;
    for number in 1..=10 {
        client.publish(number).await;
    }
    dies(&mut gateway, "handled/telemetry").await;
    let older = gateway.setup().path("older");
    copy(&gateway.setup().path("data"), &older);

    gateway.setup_mut().forget_environment("CAUSEWAY_CRASH_AT");
    gateway.launch().await;
    client.until("the acknowledgements", |seen| seen.acknowledged >= 10).await;
    wait::until("the rows", async || (rows(&gateway).len() >= 10).then_some(())).await;
    let before = rows(&gateway);
    gateway.kill();

    let data = gateway.setup().path("data");
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
    copy(&older, &data);
    gateway.launch().await;
    wait::until("the rows again", async || (rows(&gateway).len() >= before.len()).then_some(())).await;
    assert_eq!(rows(&gateway), before);
}

/// Copies the files of the store.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["store.sqlite", "store.sqlite-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}
