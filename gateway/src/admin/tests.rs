//! The whole API against real parts: store, registry and policies, without devices and sockets.

mod campaigns;
mod dfu;
mod firmware;
mod letters;
mod remote;
mod roles;
mod socket;

use std::convert::Infallible;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::{Extension, Router};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use serde_json::Value as Json;

use super::caller::{Access, Caller};
use super::*;
use crate::artifacts::{self, Artifacts, Settings};
use crate::config::Role;
use crate::devices::DevicesMetrics;
use crate::firmware::FirmwareMetrics;
use crate::recording::RecordingMetrics;
use crate::store::StoreMetrics;

const CONFIG: &str = "listeners: [{name: devices, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]";

struct Fixture {
    context: Context,
    _folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    fixture_with(CONFIG)
}

fn fixture_with(config: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(crate::config::parse(config, &folder.path().join("causeway.yaml")).unwrap());
    let effective = config.effective();
    let mut registry = Registry::default();
    std::fs::create_dir(&config.data_dir).unwrap();
    let store = Store::open(&config.data_dir, &config.storage, StoreMetrics::new(&mut registry)).unwrap();
    let devices = Devices::open(store.clone(), &config.devices, DevicesMetrics::new(&mut registry)).unwrap();
    let (clock, policies) = (Clock::new(0), Policies::load(None).unwrap());
    let journal = JournalView {
        state: "open",
        damaged: 0,
        vanished: 0,
        bytes: 0,
        segments: 1,
        oldest_ms: None,
        first: 1,
        durable: 0,
        cursors: Vec::new(),
    };
    let counts = RecordingMetrics::new(&mut registry);
    let recordings = Recordings::new(folder.path(), config.recordings.clone(), clock.clone(), counts);
    let fleet = dfu::fleet(&store, &devices, &clock, &mut registry);
    let runtime = tokio::runtime::Handle::current();
    let artifacts = Artifacts::open(&Settings::of(&config), runtime, artifacts::Access::Gateway).unwrap();
    let firmware = Firmware::start(&config.firmware, &artifacts, FirmwareMetrics::new(&mut registry)).unwrap();
    let desired = campaigns::desired(&store, &devices, &config, &mut registry);
    let context = Context::new(Parts {
        gateway_id: "edge-1".to_owned(),
        started_ms: clock.now_ms(),
        reloads: Reloads::new(clock.clone(), Vec::new(), policies.clone(), Arc::new(Default::default)),
        config,
        clock,
        policies,
        desired,
        fleet,
        firmware,
        devices,
        store,
        recordings,
        tls: Vec::new(),
        views: Views {
            configuration: Box::new(move || effective.clone()),
            sessions: Box::new(Vec::new),
            listeners: Box::new(Vec::new),
            bindings: Box::new(Vec::new),
            canary: Box::new(|_| None),
            journal: Box::new(move || journal.clone()),
        },
        orders: Orders { replay: Box::new(|_| false), swap: Box::new(|_, _| None), shadow: Box::new(|_, _| None) },
        metrics: AdminMetrics::new(&mut registry),
        tasks: TaskTracker::new(),
    });
    Fixture { context, _folder: folder }
}

impl Fixture {
    fn router(&self, role: Option<Role>) -> Router {
        let caller = Caller { name: "ops".to_owned(), roles: role.into_iter().collect(), via: "socket" };
        gate::router(&self.context).layer(Extension(Access::Proven(caller)))
    }

    /// Asks as an operator with this role.
    async fn ask(&self, role: Option<Role>, method: &str, address: &str, body: &str) -> (u16, Json) {
        let request = Request::builder().method(method).uri(address).body(Body::from(body.to_owned())).unwrap();
        let answered: Result<Response, Infallible> = TowerToHyperService::new(self.router(role)).call(request).await;
        let (head, body) = answered.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn admin(&self, method: &str, address: &str, body: &str) -> (u16, Json) {
        self.ask(Some(Role::Admin), method, address, body).await
    }
}

#[tokio::test]
async fn a_device_is_added_changed_shown_and_removed() {
    let fixture = fixture();
    let body = r#"{"id": "d1", "attributes": {"vin": "V1", "hall": "3"}, "groups": ["test"]}"#;
    let (status, added) = fixture.admin("POST", "/v1/devices", body).await;
    assert_eq!((status, &added["identities"][0]), (200, &"d1".into()), "{added}");
    assert_eq!(fixture.admin("POST", "/v1/devices", body).await.0, 409);
    let change = r#"{"attributes": {"vin": "V2", "hall": null}, "enabled": false}"#;
    let (status, changed) = fixture.admin("PUT", "/v1/devices/d1", change).await;
    assert_eq!((status, &changed["attributes"]), (200, &serde_json::json!({ "vin": "V2" })));
    let (status, shown) = fixture.admin("GET", "/v1/devices/d1", "").await;
    assert_eq!((status, &shown["enabled"], &shown["refusals"]), (200, &false.into(), &serde_json::json!([])));
    assert_eq!(fixture.admin("GET", "/v1/devices?enabled=true", "").await.1, serde_json::json!([]));
    assert_eq!(fixture.admin("DELETE", "/v1/devices/d1", "").await.0, 200);
    assert_eq!(fixture.admin("GET", "/v1/devices/d1", "").await.0, 404);
}

#[tokio::test]
async fn a_list_is_imported_whole_or_not_at_all() {
    let fixture = fixture();
    let (status, answer) = fixture.admin("POST", "/v1/devices/import?format=csv", "id,vin\nd1,V1\nd2,V2\n").await;
    assert_eq!((status, &answer["added"]), (200, &2.into()), "{answer}");
    let (status, answer) = fixture.admin("POST", "/v1/devices/import", "[{id: d3}, {vin: V4}]").await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["problems"][0].as_str().unwrap().contains("id"), "{answer}");
    assert_eq!(fixture.context.devices.count(), 2);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_its_outcome() {
    let fixture = fixture();
    fixture.admin("POST", "/v1/devices", r#"{"id": "d1"}"#).await;
    fixture.admin("DELETE", "/v1/devices/d9", "").await;
    fixture.ask(Some(Role::Viewer), "DELETE", "/v1/devices/d1", "").await;
    fixture.ask(Some(Role::Viewer), "GET", "/v1/devices/d1", "").await;
    let (_, entries) = fixture.admin("GET", "/v1/audit", "").await;
    let found: Vec<_> = entries.as_array().unwrap().iter().rev().collect();
    let expected = [("d1", "done"), ("d9", "failed"), ("d1", "denied")];
    assert_eq!(found.len(), expected.len(), "{entries}");
    for (entry, (subject, outcome)) in found.iter().zip(expected) {
        assert_eq!((&entry["subject"], &entry["outcome"]), (&subject.into(), &outcome.into()), "{entry}");
        assert_eq!((&entry["operator"], &entry["detail"]["via"]), (&"ops".into(), &"socket".into()));
    }
    assert_eq!(found[0]["detail"]["body"], r#"{"id": "d1"}"#);
}

#[tokio::test]
async fn a_decision_about_a_live_device_is_explained() {
    let fixture = fixture();
    fixture.admin("POST", "/v1/devices", r#"{"id": "d1"}"#).await;
    let question = r#"{"device": "d1", "action": "publish", "resource": "dt/cvra/d2/cardata"}"#;
    let (status, answer) = fixture.admin("POST", "/v1/policies/explain", question).await;
    assert_eq!((status, &answer["allowed"]), (200, &false.into()), "{answer}");
    let own = question.replace("d2", "d1");
    let (_, answer) = fixture.admin("POST", "/v1/policies/explain", &own).await;
    assert_eq!(answer["allowed"], true, "{answer}");
    assert!(answer["policy"]["file"].as_str().unwrap().ends_with(".cedar"), "{answer}");
    let wrong = question.replace("cardata", "#");
    assert_eq!(fixture.admin("POST", "/v1/policies/explain", &wrong).await.0, 400);
}

#[tokio::test]
async fn a_reload_says_what_it_found_and_is_remembered() {
    let fixture = fixture();
    assert_eq!(fixture.admin("GET", "/v1/status", "").await.1["last_reload"], Json::Null);
    assert_eq!(fixture.admin("POST", "/v1/reload", "").await.0, 200);
    let (status, answer) = fixture.admin("GET", "/v1/status", "").await;
    assert_eq!((status, &answer["last_reload"]["problems"]), (200, &serde_json::json!([])), "{answer}");
    assert_eq!(answer["gateway"], "edge-1");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let fixture = fixture();
    let cases = [
        ("GET", "/nowhere", "", 404),
        ("PATCH", "/v1/devices/d1", "", 405),
        ("GET", "/v1/devices?colour=red", "", 400),
        ("GET", "/v1/devices?limit=many", "", 400),
        ("GET", "/v1/devices/%ff", "", 400),
        ("GET", "/v1/collections/nothing", "", 404),
        ("GET", "/v1/collections/nothing?where=%5B%5D", "", 400),
        ("GET", "/v1/dead-letters/17", "", 404),
        ("GET", "/v1/dead-letters/x", "", 404),
        ("POST", "/v1/dead-letters/drop", "{}", 400),
        ("POST", "/v1/dead-letters/drop", r#"{"all": true, "ids": [1]}"#, 400),
        ("POST", "/v1/dead-letters/drop", r#"{"all": true}"#, 409),
        ("POST", "/v1/devices", "{", 400),
        ("POST", "/v1/devices", r#"{"id": "d1", "color": "red"}"#, 400),
        ("POST", "/v1/devices", r#"{"id": "a/+/b"}"#, 400),
        ("POST", "/v1/devices/import?format=xml", "", 400),
    ];
    for (method, address, body, expected) in cases {
        let (status, answer) = fixture.admin(method, address, body).await;
        assert_eq!(status, expected, "{method} {address}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{method} {address}: {answer}");
    }
}

#[tokio::test]
async fn no_request_makes_a_handler_fail() {
    let fixture = fixture();
    let bodies =
        ["", "null", "[]", "{}", "{\"id\":\"\\u0000\"}", "\u{0}\u{1}", "- a\n- {b", "\"", "1e999", "{\"id\":7}"];
    let values = ["", "x", "-1", "99999999999999999999", "%00", "%F0%9F%9A%97", "a%2F..%2Fb", "%7B%7D"];
    for route in routes::ROUTES {
        for (body, value) in bodies.iter().flat_map(|body| values.iter().map(move |value| (body, value))) {
            let path: Vec<&str> =
                route.path.split('/').map(|part| if part.starts_with('{') { value } else { part }).collect();
            let query: Vec<String> = route.query.iter().map(|(name, _)| format!("{name}={value}")).collect();
            let address = format!("{}?{}", path.join("/"), query.join("&"));
            let (status, answer) = fixture.admin(route.method.word(), &address, body).await;
            assert!(status < 500, "{} {address} with {body:?}: {status} {answer}", route.method.word());
        }
    }
}

#[test]
fn the_committed_openapi_document_is_current() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
    let committed = std::fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == format!("{:#}\n", openapi()), "docs/reference/openapi.json is stale: run `cargo xtask docs`");
}
