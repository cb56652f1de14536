//! Campaigns and update jobs as operators see them.

use std::time::Duration;

use causeway_core::dfu::{By, Release, Turn};
use serde_json::json;

use super::*;
use crate::dfu::{Campaigns, CampaignsMetrics, Desired, Releases};
use crate::firmware::Unready;
use crate::store::collections::{self, Row, Source};

/// Of the firmware `tcu` every version is there, and nothing else.
pub(super) fn desired(store: &Store, devices: &Devices, config: &Config, registry: &mut Registry) -> Desired {
    let metrics = CampaignsMetrics::new(registry);
    let campaigns = Campaigns::open(store.clone(), devices.clone(), &config.campaigns, metrics).unwrap();
    let release = |reference: &str| {
        let version = reference.strip_prefix("tcu:").ok_or(Unready::Unknown)?;
        Ok(Arc::new(Release {
            name: "tcu".to_owned(),
            version: version.to_owned(),
            image: format!("sha256:{version}"),
            size: 1_000,
            checksum: [0; 32],
            from: Vec::new(),
        }))
    };
    let releases = Releases { release: Box::new(release), image: Box::new(|_| Ok(())) };
    Desired::new(config.assignments.clone(), campaigns, releases)
}

const OTA: &str = "
listeners: [{name: devices, bind: \"127.0.0.1:0\", plain: {identity: {fixed: legacy}}}]
campaigns: {ota: {firmware: tcu, types: [tcu]}}
";

/// Four vehicles, each a device of the type `tcu`.
async fn fleet(config: &str) -> Fixture {
    let fixture = fixture_with(config);
    for (number, year) in [(1, "2014"), (2, "2015"), (3, "2015"), (4, "2016")] {
        let device = json!({
            "id": format!("car-{number}"), "groups": ["pilot"],
            "attributes": { "type": "tcu", "vin": format!("V{number}"), "make": "Fjord", "year": year },
        });
        assert_eq!(fixture.admin("POST", "/v1/devices", &device.to_string()).await.0, 200);
    }
    fixture.admin("POST", "/v1/devices", r#"{"id": "door", "attributes": {"type": "door", "year": "2015"}}"#).await;
    fixture
}

fn asking() -> Json {
    json!({ "name": "one", "release": "tcu:2.9", "devices": "group=pilot", "waves": [1, "50%"] })
}

fn names(answer: &Json, key: &str) -> Vec<String> {
    let items = answer.as_array().unwrap().iter();
    items.map(|item| item[key].as_str().map_or_else(|| item[key].to_string(), str::to_owned)).collect()
}

#[tokio::test]
async fn a_campaign_is_what_its_preview_showed_and_goes_through_its_states() {
    let fixture = fleet(CONFIG).await;
    let (status, preview) = fixture.admin("POST", "/v1/campaigns/preview", &asking().to_string()).await;
    assert_eq!((status, &preview["waves"]), (200, &3.into()), "{preview}");
    assert_eq!(fixture.admin("GET", "/v1/campaigns", "").await.1, json!([]));
    let (status, made) = fixture.admin("POST", "/v1/campaigns", &asking().to_string()).await;
    assert_eq!((status, &made["state"], &made["devices"]), (200, &"draft".into(), &4.into()), "{made}");
    let (_, devices) = fixture.admin("GET", "/v1/campaigns/one/devices", "").await;
    for key in ["device", "wave", "state"] {
        assert_eq!(names(&devices, key), names(&preview["devices"], key), "{key}");
    }
    assert_eq!(names(&devices, "wave"), ["1", "2", "2", "3"]);
    for (order, state) in [("start", "running"), ("pause", "paused"), ("resume", "running"), ("abort", "aborted")] {
        let (status, shown) = fixture.admin("POST", &format!("/v1/campaigns/one/{order}"), "").await;
        assert_eq!((status, &shown["state"]), (200, &state.into()), "{order}: {shown}");
    }
    let (_, shown) = fixture.admin("GET", "/v1/campaigns/one", "").await;
    assert_eq!((&shown["counts"]["cancelled"], &shown["operator"]), (&4.into(), &"ops".into()), "{shown}");
    let (status, answer) = fixture.admin("POST", "/v1/campaigns/one/resume", "").await;
    assert_eq!(status, 409, "{answer}");
    assert_eq!(fixture.admin("DELETE", "/v1/campaigns/one", "").await.0, 200);
    assert_eq!(fixture.admin("GET", "/v1/campaigns/one", "").await.0, 404);
}

#[tokio::test]
async fn a_campaign_that_needs_an_approval_does_not_start_without_it() {
    let fixture = fleet(CONFIG).await;
    let mut asked = asking();
    asked["approval"] = true.into();
    asked["start"] = "now".into();
    fixture.admin("POST", "/v1/campaigns", &asked.to_string()).await;
    let (status, answer) = fixture.admin("POST", "/v1/campaigns/one/start", "").await;
    assert_eq!(status, 409, "{answer}");
    let (status, shown) = fixture.admin("POST", "/v1/campaigns/one/approve", "").await;
    assert_eq!((status, &shown["state"]), (200, &"running".into()), "{shown}");
}

#[tokio::test]
async fn what_is_wrong_with_a_campaign_is_said_in_words() {
    let fixture = fleet(CONFIG).await;
    for (key, value, expected) in [
        ("devices", json!("pilot"), "compares nothing"),
        ("devices", json!("id=nobody"), "for no device"),
        ("devices", json!(["car-1", "car-9"]), "there is no device `car-9`"),
        ("release", json!("door:1"), "there is no such firmware"),
        ("waves", json!(["0%"]), "no size of a wave"),
        ("windows", json!(["never"]), "`never` is no day"),
        ("success", json!(101), "write 1 to 100"),
        ("on_error", json!("panic"), "`pause` or `abort`"),
        ("start", json!("tomorrow"), "a time with an offset"),
        ("name", json!("a/b"), "is no name for a campaign"),
        ("colour", json!("red"), "unknown field"),
    ] {
        let mut asked = asking();
        asked[key] = value;
        let (status, answer) = fixture.admin("POST", "/v1/campaigns", &asked.to_string()).await;
        assert_eq!(status, 400, "{key}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{key}: {answer}");
    }
    assert_eq!(fixture.admin("GET", "/v1/campaigns", "").await.1, json!([]));
}

#[tokio::test]
async fn viewers_look_and_what_operators_do_is_audited() {
    let fixture = fleet(CONFIG).await;
    let asked = asking().to_string();
    let viewer = Some(Role::Viewer);
    // It may have a release fetched.
    assert_eq!(fixture.ask(viewer, "POST", "/v1/campaigns/preview", &asked).await.0, 403);
    assert_eq!(fixture.ask(viewer, "POST", "/v1/campaigns", &asked).await.0, 403);
    assert_eq!(fixture.ask(Some(Role::Operator), "POST", "/v1/campaigns", &asked).await.0, 200);
    assert_eq!(fixture.ask(viewer, "POST", "/v1/campaigns/one/start", "").await.0, 403);
    assert_eq!(fixture.ask(viewer, "GET", "/v1/campaigns/one", "").await.0, 200);
    let (_, entries) = fixture.admin("GET", "/v1/audit?limit=3", "").await;
    assert_eq!(names(&entries, "outcome"), ["denied", "done", "denied"]);
}

/// Which vehicles a job would be for, by its filters.
async fn check_job(fixture: &Fixture, filters: Json, expected: &[&str]) {
    let body = json!({ "desiredVersion": "2.9", "filters": filters }).to_string();
    let (status, answer) = fixture.admin("POST", "/ota/create", &body).await;
    assert_eq!(status, 200, "{filters}: {answer}");
    let id = answer["jobId"].as_str().unwrap();
    assert!(id.starts_with("cdf-"), "{id}");
    let (_, page) = fixture.admin("GET", &format!("/ota/{id}/devices"), "").await;
    assert_eq!(names(&page["devices"], "deviceId"), expected, "{filters}");
    assert_eq!(page["nextToken"], Json::Null);
}

#[tokio::test]
async fn a_job_is_for_what_its_filters_mean_by_all_elements_of_their_lists_and_by_year() {
    let fixture = fleet(OTA).await;
    // As in the example of the original, which could not do this.
    let example = json!({ "troubleCodes": [], "vehicle": { "vin": [], "make": [], "model": [], "year": [2015] },
                          "software": { "swVersion": "" } });
    check_job(&fixture, example, &["car-2", "car-3"]).await;
    check_job(&fixture, json!({ "vehicle": { "vin": ["V1", "v4"] } }), &["car-1", "car-4"]).await;
    check_job(&fixture, json!({ "vehicle": { "year": ["2014", "2016"], "make": ["fjord"] } }), &["car-1", "car-4"])
        .await;
    let nobody = json!({ "desiredVersion": "2.9", "filters": { "troubleCodes": ["P1"] } });
    assert_eq!(fixture.admin("POST", "/ota/create", &nobody.to_string()).await.0, 404);
}

/// What telemetry plugins have learnt, as they write it.
async fn learn(fixture: &Fixture, collection: &'static str, document: Json) {
    let store = &fixture.context.store;
    if store.declared().is_empty() {
        store.declare(crate::telemetry::collections().unwrap()).await.unwrap();
    }
    let collection = store.declared()[collection].clone();
    let source = Source { binding: "telemetry", position: None, item: 0, sender: "car", received_ms: 1 };
    let row = Row::new(&collection, &source, document.to_string()).unwrap();
    store.write_synced(move |tx| collections::insert(tx, &collection, &[row], 0)).await.unwrap();
}

#[tokio::test]
async fn a_job_knows_vehicles_by_what_telemetry_and_the_asset_library_said() {
    let fixture = fleet(OTA).await;
    let codes = json!({ "P1": { "code": "P1", "active": true, "sentat": 5 },
                        "P2": { "code": "P2", "active": false, "sentat": 5 },
                        "P3": { "code": "P3", "active": true, "sentat": 1 } });
    let known = json!({ "vin": "V2", "attributes": { "model": "F" }, "trouble_codes": codes,
                        "anomalies": { "OilTemp": { "active": true, "sentat": 5 } }, "cleared": { "trouble_codes": 2 } });
    learn(&fixture, "shared_cardata", known).await;
    learn(&fixture, "devices", json!({ "deviceid": "car-3", "softwareversion": "2.8" })).await;
    check_job(&fixture, json!({ "troubleCodes": ["P9", "P1"] }), &["car-2"]).await;
    check_job(&fixture, json!({ "anomalies": ["OilTemp"], "vehicle": { "model": ["f"] } }), &["car-2"]).await;
    check_job(&fixture, json!({ "software": { "swVersion": "2.8" } }), &["car-3"]).await;
    for (code, why) in [("P2", "it is not active"), ("P3", "it was cleared")] {
        let body = json!({ "desiredVersion": "2.9", "filters": { "troubleCodes": [code] } }).to_string();
        assert_eq!(fixture.admin("POST", "/ota/create", &body).await.0, 404, "{why}");
    }
    let dry = json!({ "desiredVersion": "2.9", "dryRun": true, "filters": { "vehicle": { "year": [2015] } } });
    let (_, before) = fixture.admin("GET", "/ota", "").await;
    let (status, answer) = fixture.admin("POST", "/ota/create", &dry.to_string()).await;
    assert_eq!((status, &answer["deviceIds"]), (200, &json!(["car-2", "car-3"])), "{answer}");
    assert_eq!(fixture.admin("GET", "/ota", "").await.1, before);
}

#[tokio::test]
async fn a_job_is_shown_with_the_states_of_its_executions() {
    let fixture = fleet(OTA).await;
    let (status, answer) = fixture.admin("POST", "/ota/create/CAR-2", r#"{"desiredVersion": "2.9"}"#).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["jobId"].as_str().unwrap();
    let (_, job) = fixture.admin("GET", &format!("/ota/{id}"), "").await;
    let told = (&job["type"], &job["status"], &job["desiredVersion"], &job["executions"]["QUEUED"]);
    assert_eq!(told, (&"snapshot".into(), &"IN_PROGRESS".into(), &"2.9".into(), &1.into()), "{job}");
    let (_, campaign) = fixture.admin("GET", &format!("/v1/campaigns/{id}"), "").await;
    assert_eq!(campaign["plan"]["error"], Json::Null, "no failures stop it");
    let (_, page) = fixture.admin("GET", &format!("/ota/{id}/devices"), "").await;
    assert_eq!(page["devices"], json!([{ "deviceId": "car-2", "vin": "V2" }]));
    let status_of =
        async |filters: &str| fixture.admin("GET", &format!("/ota/{id}/devices/status?filters={filters}"), "").await;
    let (_, queued) = status_of("CAR-2").await;
    assert_eq!(
        (&queued["executions"][0]["status"], &queued["executions"][0]["deviceId"]),
        (&"QUEUED".into(), &"car-2".into())
    );
    assert_eq!((status_of("").await.0, status_of("car-1").await.0), (400, 404));
    assert_eq!(status_of(&vec!["car-2"; 21].join(",")).await.0, 400);
    fixture.admin("POST", &format!("/v1/campaigns/{id}/abort"), "").await;
    assert_eq!(status_of("car-2").await.1["executions"][0]["status"], "CANCELED");
    assert_eq!(fixture.admin("GET", &format!("/ota/{id}"), "").await.1["status"], "CANCELED");
}

#[tokio::test]
async fn a_job_for_one_device_keeps_to_the_types_of_jobs_and_to_its_dry_run() {
    let fixture = fleet(OTA).await;
    let dry = r#"{"desiredVersion": "2.9", "dryRun": true}"#;
    let (status, answer) = fixture.admin("POST", "/ota/create/CAR-3", dry).await;
    assert_eq!((status, answer), (200, json!({ "devices": 1, "deviceIds": ["car-3"] })));
    let (status, answer) = fixture.admin("POST", "/ota/create/door", r#"{"desiredVersion": "2.9"}"#).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("of the type tcu (`campaigns.ota.types`)"), "{answer}");
    assert_eq!(fixture.admin("POST", "/ota/create/door", dry).await.0, 400);
    let misspelt = r#"{"desiredVersion": "2.9", "dryrun": true}"#;
    assert_eq!(fixture.admin("POST", "/ota/create/CAR-3", misspelt).await.0, 400);
    assert_eq!(fixture.admin("GET", "/ota", "").await.1, json!({ "jobs": [], "nextToken": null }));
}

/// What a device of a campaign came to, as the ledger of turning points writes it; returns when the campaign is as it
/// should be then.
async fn turn(fixture: &Fixture, campaign: &str, device: &str, turn: Turn, expected: impl Fn(&Json) -> bool) {
    let (desired, store) = (fixture.context.desired.clone(), &fixture.context.store);
    for also in desired.turned(device, &By::Campaign(campaign.to_owned()), &turn, 1) {
        store.write_synced(move |tx| also(tx)).await.unwrap();
    }
    until(fixture, campaign, expected).await;
}

/// Lets campaigns go on by themselves until one is as it should be.
async fn until(fixture: &Fixture, campaign: &str, expected: impl Fn(&Json) -> bool) {
    let address = format!("/v1/campaigns/{campaign}");
    let becomes = async {
        while !expected(&fixture.admin("GET", &address, "").await.1) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = fixture.context.desired.campaigns().clone().run(fixture.context.clock.clone()) => unreachable!("it never ends"),
        becomes = tokio::time::timeout(Duration::from_secs(10), becomes) => becomes.expect("it becomes so"),
    }
}

#[tokio::test]
async fn a_job_goes_on_in_spite_of_failed_attempts_until_the_last_one() {
    let fixture = fleet(OTA).await;
    let (_, answer) = fixture.admin("POST", "/ota/create/car-2", r#"{"desiredVersion": "2.9"}"#).await;
    let id = answer["jobId"].as_str().unwrap();
    let failed = Turn::Failed { attempt: 1, reason: "it runs 2.8".to_owned() };
    turn(&fixture, id, "car-2", failed, |campaign| campaign["counts"]["failed"] == 1).await;
    let told = async || {
        let (_, job) = fixture.admin("GET", &format!("/ota/{id}"), "").await;
        (job["status"].clone(), job["comment"].clone(), job["executions"].clone())
    };
    let (status, comment, executions) = told().await;
    assert_eq!((&status, &comment, &executions["IN_PROGRESS"]), (&"IN_PROGRESS".into(), &Json::Null, &1.into()));
    turn(&fixture, id, "car-2", Turn::Quarantined, |campaign| campaign["state"] == "finished").await;
    let (status, comment, executions) = told().await;
    assert_eq!((&status, &comment, &executions["FAILED"]), (&"COMPLETED".into(), &Json::Null, &1.into()));
}

#[tokio::test]
async fn a_device_that_takes_too_long_is_timed_out_and_one_that_comes_late_succeeds() {
    let fixture = fleet(OTA).await;
    let asked = json!({ "desiredVersion": "2.9", "timeoutConfig": { "inProgressTimeoutInMinutes": 2 } });
    let (_, answer) = fixture.admin("POST", "/ota/create/car-2", &asked.to_string()).await;
    let id = answer["jobId"].as_str().unwrap();
    turn(&fixture, id, "car-2", Turn::Started, |campaign| campaign["counts"]["in-progress"] == 1).await;
    let minutes_pass = async {
        tokio::time::pause();
        for _ in 0..180 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
    };
    tokio::select! {
        () = fixture.context.desired.campaigns().clone().run(fixture.context.clock.clone()) => unreachable!("it never ends"),
        () = minutes_pass => {}
    }
    until(&fixture, id, |campaign| campaign["counts"]["timed-out"] == 1).await;
    let (_, status) = fixture.admin("GET", &format!("/ota/{id}/devices/status?filters=car-2"), "").await;
    let execution = &status["executions"][0];
    let reason = "it has been in progress for 2 minutes";
    assert_eq!((&execution["status"], &execution["reason"]), (&"TIMED_OUT".into(), &reason.into()), "{execution}");
    turn(&fixture, id, "car-2", Turn::Confirmed, |campaign| campaign["counts"]["succeeded"] == 1).await;
    assert_eq!(fixture.admin("GET", &format!("/ota/{id}"), "").await.1["executions"]["SUCCEEDED"], 1);
    let mut asked = asking();
    for (minutes, expected) in [(0, 400), (45, 200)] {
        asked["device_timeout"] = minutes.into();
        assert_eq!(fixture.admin("POST", "/v1/campaigns", &asked.to_string()).await.0, expected, "{minutes}");
    }
    assert_eq!(fixture.admin("GET", "/v1/campaigns/one", "").await.1["plan"]["device_timeout"], 45);
}

#[tokio::test]
async fn jobs_are_listed_fifty_at_once_the_newest_first_and_without_campaigns() {
    let fixture = fleet(OTA).await;
    fixture.admin("POST", "/v1/campaigns", &asking().to_string()).await;
    let mut made = Vec::new();
    for _ in 0..52 {
        let (_, answer) = fixture.admin("POST", "/ota/create/car-1", r#"{"desiredVersion": "2.9"}"#).await;
        made.insert(0, answer["jobId"].as_str().unwrap().to_owned());
    }
    let (_, first) = fixture.admin("GET", "/ota", "").await;
    let token = first["nextToken"].as_str().unwrap();
    let (_, second) = fixture.admin("GET", &format!("/ota?token={token}"), "").await;
    assert_eq!([names(&first["jobs"], "jobId"), names(&second["jobs"], "jobId")].concat(), made);
    assert_eq!((names(&first["jobs"], "jobId").len(), &second["nextToken"]), (50, &Json::Null));
    assert_eq!(fixture.admin("GET", "/ota?token=cdf-0", "").await.0, 400);
    assert_eq!(fixture.admin("GET", "/ota/one", "").await.0, 404);
}

#[tokio::test]
async fn a_job_that_cannot_be_made_is_refused_in_words() {
    let fixture = fleet(OTA).await;
    for (body, expected) in [
        (r#"{"desiredVersion": "2.9"}"#, 400),
        (r#"{"desiredVersion": "2.9", "filters": {"vehicle": {"vin": [""]}}}"#, 400),
        (r#"{"desiredVersion": "2.9", "filters": {"colour": ["red"]}}"#, 400),
        (r#"{"filters": {"vehicle": {"vin": ["V1"]}}}"#, 400),
    ] {
        let (status, answer) = fixture.admin("POST", "/ota/create", body).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    assert_eq!(fixture.admin("POST", "/ota/create/nobody", r#"{"desiredVersion": "2.9"}"#).await.0, 404);
    let unset = fleet(CONFIG).await;
    let (status, answer) = unset.admin("POST", "/ota/create/car-1", r#"{"desiredVersion": "2.9"}"#).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("campaigns.ota.firmware"), "{answer}");
}
