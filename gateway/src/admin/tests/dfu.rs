//! Updates of devices, as operators see them.

use std::time::Duration;

use causeway_core::dfu::{By, Heard, Orders, Progress, Release, Step, Turn};
use causeway_core::message::Message;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::config::DfuConfig;
use crate::devices::Device;
use crate::dfu::{Also, Desire, DfuMetrics, Line, Sources};

/// Every device is to get version 2.
struct Everybody;

impl Sources for Everybody {
    fn desire(&self, _: &Device, _: Option<&str>, _: u64) -> Option<Desire> {
        let release = Release {
            name: "app".to_owned(),
            version: "2".to_owned(),
            image: "sha256:00".to_owned(),
            size: 1_000,
            checksum: [0; 32],
            from: Vec::new(),
        };
        let by = By::Rule("all".to_owned());
        Some(Desire { by, release: Ok(Arc::new(release)), hold: None, swap: true, refused: None, attempts: None })
    }

    fn turned(&self, _: &str, _: &By, _: &Turn, _: u64) -> Vec<Also> {
        Vec::new()
    }

    fn patch_size(&self, _: &str, _: &Release, _: &str) -> Option<u64> {
        None
    }
}

pub(super) fn fleet(store: &Store, devices: &Devices, clock: &Clock, registry: &mut Registry) -> Fleet {
    let config = DfuConfig { attempts: 1, ..DfuConfig::default() };
    let metrics = DfuMetrics::new(registry);
    Fleet::open(&config, store.clone(), devices.clone(), clock.clone(), Box::new(Everybody), metrics).unwrap()
}

/// One status, and what the device is told, which the channel shows once it has gone out.
fn speaks(fixture: &Fixture, id: &str, version: &str, offset: Option<u64>, step: &Step) -> mpsc::UnboundedReceiver<()> {
    let (fleet, now_ms) = (&fixture.context.fleet, fixture.context.clock.now_ms());
    let device = fixture.context.devices.get(id).unwrap();
    let (told, tells) = mpsc::unbounded_channel();
    // Most do not look.
    let line = Line { publish: Arc::new(move |_| told.send(()).unwrap_or_default()), progress: None };
    let progress = offset.map(|offset| Progress { version: "2".to_owned(), offset, patch: None });
    let heard = Heard { version: version.to_owned(), mtu: None, progress, formats: Vec::new() };
    let orders = fleet.heard(&device, &heard, &line, now_ms);
    if matches!(orders, Orders::Update(_)) {
        fleet.told(&device, &orders, step, Message::default(), &line, now_ms);
    }
    tells
}

/// `d1` failed and is quarantined, `d2` is half way, `d3` is done, `d4` says nothing.
async fn with_updates() -> Fixture {
    let fixture = fixture();
    for id in ["d1", "d2", "d3", "d4"] {
        let body = json!({ "id": id, "groups": if id == "d3" { vec!["done"] } else { vec![] } }).to_string();
        assert_eq!(fixture.admin("POST", "/v1/devices", &body).await.0, 200);
    }
    let mut started = speaks(&fixture, "d1", "1", Some(1_000), &Step::Swap);
    tokio::select! {
        () = fixture.context.fleet.clone().run(CancellationToken::new()) => unreachable!("nobody stops it"),
        gone_out = tokio::time::timeout(Duration::from_secs(30), started.recv()) => assert!(gone_out.unwrap().is_some()),
    }
    speaks(&fixture, "d1", "1", None, &Step::Wait);
    speaks(&fixture, "d2", "1", None, &Step::Write { offset: 0, length: 500, patch: None });
    speaks(&fixture, "d2", "1", Some(500), &Step::Wait);
    speaks(&fixture, "d3", "2", None, &Step::Sync);
    fixture
}

async fn ids(fixture: &Fixture, query: &str) -> Json {
    let (status, devices) = fixture.admin("GET", &format!("/v1/dfu/devices?{query}"), "").await;
    assert_eq!(status, 200, "{devices}");
    devices.as_array().unwrap().iter().map(|device| device["device"].clone()).collect()
}

#[tokio::test]
async fn devices_are_listed_by_state_query_and_page() {
    let fixture = with_updates().await;
    assert_eq!(ids(&fixture, "").await, json!(["d1", "d2", "d3"]));
    assert_eq!(ids(&fixture, "state=transferring").await, json!(["d2"]));
    assert_eq!(ids(&fixture, "query=group%3Ddone").await, json!(["d3"]));
    assert_eq!(ids(&fixture, "limit=1&after=d1").await, json!(["d2"]));
    assert_eq!(ids(&fixture, "stalled=true").await, json!([]));
    for (wrong, what) in [("state=lost", "is not a state"), ("query=group", "compares nothing")] {
        let (status, answer) = fixture.admin("GET", &format!("/v1/dfu/devices?{wrong}"), "").await;
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().contains(what), "{answer}");
    }
    let (_, summary) = fixture.admin("GET", "/v1/dfu", "").await;
    assert_eq!((&summary["devices"]["quarantined"], &summary["devices"]["confirmed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_device_is_shown_with_how_far_it_is_and_why_it_gets_nothing() {
    let fixture = with_updates().await;
    let (status, half) = fixture.admin("GET", "/v1/dfu/devices/d2", "").await;
    assert_eq!(
        (status, &half["target"]["percent"], &half["target"]["by"]),
        (200, &json!(50), &json!({ "rule": "all" }))
    );
    let (_, failed) = fixture.admin("GET", "/v1/dfu/devices/d1", "").await;
    assert_eq!(failed["why"], "quarantined for 2 after 1 failed attempts");
    assert_eq!(failed["reason"], "it runs 1 after it was told to start 2");
    let (status, answer) = fixture.admin("GET", "/v1/dfu/devices/d4", "").await;
    assert_eq!((status, &answer["error"]), (404, &json!("device `d4` has said nothing about its firmware yet")));
    assert_eq!(fixture.admin("GET", "/v1/dfu/devices/d5", "").await.0, 404);
}

#[tokio::test]
async fn a_device_is_forgiven_by_an_operator_and_the_audit_log_knows() {
    let fixture = with_updates().await;
    let stop = CancellationToken::new();
    let task = tokio::spawn(fixture.context.fleet.clone().run(stop.clone()));
    let address = "/v1/dfu/devices/d1/forgive";
    assert_eq!(fixture.ask(Some(Role::Viewer), "POST", address, "").await.0, 403);
    let (status, done) = fixture.ask(Some(Role::Operator), "POST", address, "").await;
    assert_eq!((status, &done["forgiven"]), (200, &json!(true)), "{done}");
    let (_, again) = fixture.admin("POST", address, "").await;
    assert_eq!(again["forgiven"], false);
    assert_eq!(ids(&fixture, "state=quarantined").await, json!([]));
    let (_, history) = fixture.admin("GET", "/v1/dfu/history?device=d1&outcome=failed", "").await;
    assert_eq!((history.as_array().unwrap().len(), &history[0]["attempt"]), (1, &json!(1)), "{history}");
    let (_, audit) = fixture.admin("GET", "/v1/audit", "").await;
    let outcomes: Vec<_> = audit.as_array().unwrap().iter().filter(|entry| entry["subject"] == "d1").collect();
    assert!(outcomes.iter().any(|entry| entry["outcome"] == "denied"), "{audit}");
    assert!(outcomes.iter().any(|entry| entry["outcome"] == "done"), "{audit}");
    stop.cancel();
    task.await.unwrap();
}
