//! Telemetry routing through the real program: vehicles, an asset library and update jobs over mutual TLS.

use crate::setup;
use causeway_tests::peers;
use causeway_tests::{Device, Gateway, Publish, Setup, vehicle, wait};
use serde_json::{Value, json};

const VIN: &str = "vehicle-1";
const DENIED: u8 = 0x87;

/// The shipped policies, and what an operator adds to let one client say how update jobs ended.
fn shipped() -> Setup {
    let jobs = "permit (principal == Device::\"cloud\", action == Action::\"publish\", resource == Template::\"job-execution\");\n";
    let mut setup = setup().telemetry().policy("open.cedar", jobs);
    for file in ["devices.cedar", "plugins.cedar", "operators.cedar"] {
        let path = format!("{}/../policies/{file}", env!("CARGO_MANIFEST_DIR"));
        setup = setup.policy(file, &std::fs::read_to_string(path).unwrap());
    }
    setup
}

/// The documents of a collection in which a column has that value, newest first.
fn documents(gateway: &Gateway, collection: &str, condition: &str) -> Vec<Value> {
    let answer = gateway.query(&["store", "query", collection, "--where", condition, "--limit", "10000"]);
    let rows = answer.as_array().unwrap_or_else(|| panic!("no rows in {answer}"));
    rows.iter().map(|row| row["document"].clone()).collect()
}

/// The vehicle's latest telemetry, once `wanted` holds for it.
async fn latest(gateway: &Gateway, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let condition = format!("vin={VIN}");
    wait::until(what, async || documents(gateway, "latest_telemetry", &condition).pop().filter(&wanted)).await
}

async fn say(device: &mut Device, topic: &str, payload: impl ToString) {
    let code = device.publish(Publish::new(topic, payload.to_string(), 1)).await;
    assert!(code < 0x80, "{topic}: {code:#04x}");
}

/// `cardata` that was sent `at` milliseconds after midnight.
async fn cardata(device: &mut Device, at: u64, oil: u64) {
    let mut payload = vehicle::cardata(VIN, at);
    payload["OilTemp"] = oil.into();
    say(device, &vehicle::topic(VIN, "cardata"), payload).await;
}

async fn dtc(device: &mut Device, at: u64, code: &str, changed: bool) {
    let mut payload = vehicle::dtc(VIN, code);
    payload["MessageId"] = format!("{code}-{at}").into();
    payload["SendTimeStamp"] = vehicle::cardata(VIN, at)["SendTimeStamp"].clone();
    payload["DTC"]["Changed"] = changed.to_string().into();
    say(device, &vehicle::topic(VIN, "dtc"), payload).await;
}

/// What the asset library says of the vehicle, and of the device `ecu-1` in it.
fn descriptions() -> [(&'static str, Value); 3] {
    let group = format!("/auto/vehicles/{VIN}");
    let time = "2020-01-01T00:00:00Z";
    let software = json!({"deviceId": "ECU-1", "attributes": {"status": "installed", "softwareVersion": "1.0"}});
    let vehicle = json!({"name": VIN, "groupPath": group, "attributes": {"make": "Rover", "modelYear": 2020}});
    [
        (
            "cdf/assetlibrary/events/devices/ecu-1/modify",
            json!({"event": "modify", "time": time, "payload": software.to_string()}),
        ),
        (
            "cdf/assetlibrary/events/devices/ecu-1/modify",
            json!({"event": "modify", "time": time, "attributes": {"deviceId": "ecu-1", "attachedToGroup": group, "relationship": "installed_in"}}),
        ),
        (
            "cdf/assetlibrary/events/groups/vehicles/create",
            json!({"event": "create", "time": time, "payload": vehicle.to_string()}),
        ),
    ]
}

fn codes(document: &Value) -> Vec<&str> {
    let codes = document["trouble_codes"].as_array().into_iter().flatten();
    codes.filter_map(|code| code["code"].as_str()).collect()
}

fn operator(gateway: &Gateway, arguments: &[&str]) {
    let output = gateway.operator(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn telemetry_is_enriched_by_the_asset_library_and_a_job_updates_the_software() {
    let gateway = shipped().start().await;
    operator(&gateway, &["device", "add", "library", "--group", "asset-library"]);
    let mut library = gateway.v5("library").await;
    for (topic, event) in descriptions() {
        say(&mut library, topic, event).await;
    }
    wait::until("the vehicle is described", async || {
        documents(&gateway, "shared_cardata", &format!("vin={VIN}")).pop()
    })
    .await;
    let mut vehicle = gateway.v5(VIN).await;
    cardata(&mut vehicle, 1000, 90).await;
    let known = |document: &Value| {
        document["attributes"]["make"] == "Rover" && document["devices"][0]["softwareversion"] == "1.0"
    };
    let document = latest(&gateway, "enriched telemetry", known).await;
    assert_eq!(document["geolocation"]["location"], json!([11.5, 48.1]));
    assert_eq!(document["canonical"]["odometer_km"], 12.5);

    dtc(&mut vehicle, 2000, "P0420", true).await;
    cardata(&mut vehicle, 3000, 90).await;
    latest(&gateway, "the trouble code", |document| codes(document) == ["P0420"]).await;
    let job = json!({
        "eventType": "JOB_EXECUTION", "eventId": "e1", "timestamp": "2026-11-21T00:00:04Z", "jobId": "j1",
        "thingArn": "arn:aws:iot:eu-west-1:1:thing/ECU-1", "status": "SUCCEEDED", "statusDetails": {"softwareVersion": "2.0"},
    });
    let topic = "$aws/events/jobExecution/j1/SUCCEEDED";
    assert_eq!(vehicle.publish(Publish::new(topic, job.to_string(), 1)).await, DENIED);
    assert_eq!(library.publish(Publish::new(topic, job.to_string(), 1)).await, DENIED);
    let mut cloud = gateway.v5("cloud").await;
    say(&mut cloud, topic, &job).await;
    let document =
        latest(&gateway, "the new software", |document| document["devices"][0]["softwareversion"] == "2.0").await;
    assert_eq!(codes(&document), Vec::<&str>::new(), "a success clears trouble codes");
    let row = documents(&gateway, "job_execution", "jobid=j1").pop().unwrap();
    assert_eq!((&row["deviceid"], &row["vin"]), (&json!("ecu-1"), &json!(VIN)));
    assert_eq!(documents(&gateway, "devices", "deviceid=ecu-1")[0]["softwareversion"], "2.0");
}

#[tokio::test]
async fn only_a_member_of_the_asset_library_may_describe_vehicles() {
    let gateway = shipped().start().await;
    let mut vehicle = gateway.v5(VIN).await;
    for (topic, event) in descriptions() {
        assert_eq!(vehicle.publish(Publish::new(topic, event.to_string(), 1)).await, DENIED, "{topic}");
    }
    let Some(publish) = peers::require("mosquitto_pub") else { return };
    operator(&gateway, &["device", "add", "library", "--group", "asset-library"]);
    let options = peers::mosquitto_options(&gateway, &gateway.identity("library"));
    for (topic, event) in descriptions() {
        let output =
            peers::run(&publish, &options, &["-V", "mqttv5", "-q", "1", "-t", topic, "-m", &event.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let shared = wait::until("what mosquitto_pub said", async || {
        documents(&gateway, "shared_cardata", &format!("vin={VIN}"))
            .pop()
            .filter(|shared| shared["attributes"].is_object())
    });
    assert_eq!(shared.await["devices"]["ecu-1"]["softwareversion"], "1.0");
}

#[tokio::test]
async fn trouble_codes_and_anomalies_follow_the_newest_message_and_are_cleared() {
    let gateway = shipped().start().await;
    let mut device = gateway.v5(VIN).await;
    dtc(&mut device, 10, "P1", true).await;
    dtc(&mut device, 20, "P2", true).await;
    dtc(&mut device, 30, "P1", false).await;
    dtc(&mut device, 25, "P1", true).await;
    cardata(&mut device, 40, 300).await;
    let hot = latest(&gateway, "hot oil", |document| document["anomalies"][0]["anomaly_type"] == "OilTemp").await;
    assert_eq!(codes(&hot), ["P2"], "an older message does not bring a code back");
    assert_eq!(hot["anomalies"][0]["anomaly_score"], 50.0);
    cardata(&mut device, 35, 90).await;
    cardata(&mut device, 50, 270).await;
    let cool = latest(&gateway, "cool oil", |document| document["anomalies"] == json!([])).await;
    assert_eq!(cool["messageid"], format!("{VIN}-50"));
    cardata(&mut device, 45, 310).await;
    let rows = wait::until("all readings", async || {
        Some(documents(&gateway, "cardata", &format!("vin={VIN}"))).filter(|rows| rows.len() == 4)
    });
    rows.await;
    let anomalies = documents(&gateway, "anomaly", &format!("vin={VIN}"));
    let mut scores: Vec<_> = anomalies.iter().map(|row| row["anomaly_score"].as_f64().unwrap()).collect();
    scores.sort_by(f64::total_cmp);
    assert_eq!(scores, [50.0, 60.0], "a late reading is history");
    let now = latest(&gateway, "the newest reading", |_| true).await;
    assert_eq!((&now["messageid"], &now["anomalies"]), (&json!(format!("{VIN}-50")), &json!([])));
    assert_eq!(documents(&gateway, "dtc", &format!("vin={VIN}")).len(), 4);
}

#[tokio::test]
async fn copies_are_dropped_and_a_clock_far_ahead_never_wins() {
    let gateway = shipped().start().await;
    let mut device = gateway.v5(VIN).await;
    cardata(&mut device, 10, 90).await;
    cardata(&mut device, 10, 90).await;
    let mut future = vehicle::cardata(VIN, 20);
    future["SendTimeStamp"] = "2099-01-01T00:00:00Z".into();
    say(&mut device, &vehicle::topic(VIN, "cardata"), future).await;
    cardata(&mut device, 30, 90).await;
    let rows = wait::until("three rows", async || {
        Some(documents(&gateway, "cardata", &format!("vin={VIN}"))).filter(|rows| rows.len() >= 3)
    });
    let rows = rows.await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    let ahead = rows.iter().find(|row| row["clock"] == "ahead").expect("the message of 2099");
    assert_eq!((&ahead["sentat"], &ahead["sendtimestamp"]), (&ahead["receivedat"], &json!("2099-01-01T00:00:00Z")));
    latest(&gateway, "the honest clock", |document| document["messageid"] == format!("{VIN}-30")).await;
}

#[tokio::test]
async fn a_vehicle_answers_for_its_own_vin_only() {
    let gateway = shipped().start().await;
    operator(&gateway, &["device", "add", "tcu-7", "vin=WVWZZZ1KZAW000007"]);
    let mut device = gateway.v5("tcu-7").await;
    let topic = vehicle::topic("tcu-7", "cardata");
    for vin in ["WVWZZZ1KZAW000008", "tcu-7", "wvwzzz1kzaw000007"] {
        say(&mut device, &topic, vehicle::cardata(vin, 1)).await;
    }
    let row = wait::until("the row under its own VIN", async || {
        documents(&gateway, "cardata", "vin=WVWZZZ1KZAW000007").pop()
    });
    assert_eq!(row.await["original"]["vin"], "wvwzzz1kzaw000007");
    let letters = gateway.query(&["deadletters", "list"]);
    let letters = letters.as_array().unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["reason"].as_str().unwrap().contains("answers for")), "{letters:?}");
}

#[tokio::test]
async fn bad_payloads_become_dead_letters_with_a_reason_and_neighbours_go_on() {
    let setup = shipped()
        .set("mqtt.max_packet_bytes", json!("16MiB"))
        .set("journal", json!({ "segment_bytes": "64MiB", "max_record_bytes": "33MiB" }));
    let gateway = setup.start().await;
    let mut device = gateway.v5(VIN).await;
    let topic = vehicle::topic(VIN, "cardata");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let flat = format!("{{\"a\":[{}0]}}", "{\"\":0},".repeat(30_000));
    let cases: [(String, &str); 8] = [
        ("not json".into(), "not JSON"),
        ("[]".into(), "not a JSON object"),
        (deep, "nested deeper than 64 levels"),
        (r#"{"a":NaN}"#.into(), "expected value"),
        (r#"{"vin":"a","VIN":"b"}"#.into(), "is given twice"),
        (r#"{"a":"\ud800"}"#.into(), "hex escape"),
        (flat, "/sendtimestamp: missing"),
        ("x".repeat(10 << 20), "10485760 bytes"),
    ];
    for (payload, _) in &cases {
        say(&mut device, &topic, payload).await;
        let mut neighbour = gateway.v5("neighbour").await;
        say(&mut neighbour, &vehicle::topic("neighbour", "trip"), vehicle::trip("neighbour")).await;
    }
    let letters = wait::until("all dead letters", async || {
        let letters = gateway.query(&["deadletters", "list"]);
        letters.as_array().filter(|letters| letters.len() == cases.len()).cloned()
    });
    let letters = letters.await;
    for (payload, reason) in &cases {
        let said = letters.iter().any(|letter| letter["reason"].as_str().unwrap().contains(reason));
        let start: String = payload.chars().take(20).collect();
        assert!(said, "{start}: no {reason:?} in {letters:?}");
    }
    assert!(letters.iter().all(|letter| letter["kind"] == "malformed"), "{letters:?}");
    cardata(&mut device, 1, 90).await;
    latest(&gateway, "the next good message", |_| true).await;
    assert_eq!(documents(&gateway, "trip", "vin=neighbour").len(), 1, "copies of one trip");
}

#[tokio::test]
async fn an_unknown_key_of_the_plugin_is_an_error_that_names_it() {
    let setup =
        shipped().set("bindings.0.config", json!({ "anomalies": [{ "type": "a", "pointer": "/a", "limt": 1 }] }));
    assert!(setup.write_config().exists());
    let output = setup.command(&["run", "--config", "causeway.yaml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("anomalies[0].lim"), "{said}");
}
