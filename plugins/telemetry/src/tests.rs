//! The router as a plain Rust type: one message in, effects or a failure out.

use causeway_plugin::Effect;
use causeway_plugin::testing::{Gateway, Input};
use serde_json::{Value, json};

use super::*;

const RECEIVED: u64 = 1_600_000_000_000;

fn route(flow: &str, payload: &str) -> Result<Vec<Effect>, Failure> {
    route_from(&[("vin", "VIN1")], flow, payload)
}

fn route_from(attributes: &[(&str, &str)], flow: &str, payload: &str) -> Result<Vec<Effect>, Failure> {
    let input = Input::new(format!("dt/cvra/d1/{flow}"), payload).sender("d1", attributes).variable("device", "d1");
    let effects = Gateway::new().route(&Telemetry, &input.received_ms(RECEIVED))?;
    Ok(effects.as_slice().to_vec())
}

fn cardata(sent: &str) -> String {
    format!(r#"{{"MessageId":"VIN1-1","SendTimeStamp":"{sent}","VIN":"VIN1","TripId":"t","New":{{"Key":1}}}}"#)
}

fn malformed(result: Result<Vec<Effect>, Failure>) -> String {
    match result {
        Err(Failure::Malformed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn rejected(result: Result<Vec<Effect>, Failure>) -> String {
    match result {
        Err(Failure::Rejected(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cardata_becomes_history_and_the_latest_of_its_vehicle() {
    let effects = route("cardata", &cardata("2020-09-13T12:26:40Z")).unwrap();
    let [Effect::Put(history), Effect::Put(latest)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((history.collection.as_str(), latest.collection.as_str()), ("cardata", "latest_telemetry"));
    assert_eq!(history.document, latest.document);
    let document: Value = serde_json::from_str(&latest.document).unwrap();
    assert_eq!(document["new"]["key"], 1, "unknown keys are kept, lower-cased");
    assert_eq!((&document["deviceid"], &document["receivedat"]), (&json!("d1"), &json!(RECEIVED)));
    assert_eq!(document["sentat"], json!(1_600_000_000_000_u64));
}

#[test]
fn a_position_gets_its_location_in_longitude_latitude_order() {
    let payload =
        r#"{"SendTimeStamp":"2020-09-13","VIN":"VIN1","TripId":"t","GeoLocation":{"Latitude":48.1,"Longitude":11.5}}"#;
    let effects = route("cardata", payload).unwrap();
    let Some(Effect::Put(history)) = effects.first() else { panic!("{effects:?}") };
    let document: Value = serde_json::from_str(&history.document).unwrap();
    assert_eq!(document["geolocation"]["location"], json!([11.5, 48.1]));
}

#[test]
fn a_payload_about_another_vehicle_is_rejected() {
    let other = cardata("2020-09-13").replace(r#""VIN":"VIN1""#, r#""VIN":"VIN2""#);
    assert!(rejected(route("cardata", &other)).contains("VIN2"));
    assert!(rejected(route_from(&[], "cardata", &cardata("2020-09-13"))).contains("d1"));
}

#[test]
fn a_sender_without_a_vin_attribute_answers_for_its_own_id() {
    let payload = cardata("2020-09-13").replace("VIN1", "d1");
    assert_eq!(route_from(&[], "cardata", &payload).unwrap().len(), 2);
}

#[test]
fn the_shipped_shapes_of_trouble_codes_trips_and_events_are_accepted() {
    let cases = [
        (
            "dtc",
            r#"{"MessageId":"m","CreationTimeStamp":"x","SendTimeStamp":"2020-09-13","VIN":"VIN1","DTC":{"Code":"P0420","Changed":"true"}}"#,
        ),
        (
            "trip",
            r#"{"VIN":"VIN1","TripId":"t","TripSummary":{"StartTime":"2020-09-13","Distance":1,"StartLocation":{"Latitude":1,"Longitude":2,"Altitude":3}}}"#,
        ),
        (
            "event",
            r#"{"MessageId":"m","VIN":"VIN1","Alert":{"VideoEvent":{"event_name":"n","event_id":3,"event_data":{"any":1}}}}"#,
        ),
        ("event", r#"{"VIN":"VIN1","Alert":{"Body":{"DoorStatus":"open"},"Chassis":{"TyrePressure":2}}}"#),
    ];
    for (flow, payload) in cases {
        let effects = route(flow, payload).unwrap();
        assert!(matches!(effects.as_slice(), [Effect::Put(row)] if row.collection == flow), "{flow}: {effects:?}");
    }
}

#[test]
fn unknown_keys_are_refused_everywhere_but_in_cardata() {
    let dtc = r#"{"SendTimeStamp":"2020-09-13","VIN":"VIN1","DTC":{"Code":"P1","Colour":"red"}}"#;
    assert!(malformed(route("dtc", dtc)).contains("/dtc/colour"));
    assert!(malformed(route("trip", r#"{"VIN":"VIN1","TripId":"t","Speed":3}"#)).contains("/speed"));
}

#[test]
fn missing_fields_are_named() {
    assert!(malformed(route("cardata", r#"{"VIN":"VIN1","TripId":"t"}"#)).contains("/sendtimestamp"));
    assert!(malformed(route("dtc", r#"{"VIN":"VIN1","SendTimeStamp":"2020-09-13","DTC":{}}"#)).contains("/dtc/code"));
    assert!(malformed(route("cardata", &cardata("yesterday"))).contains("ISO 8601"));
}

#[test]
fn what_is_no_unambiguous_json_object_is_malformed() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for payload in ["", "7", "[]", "{", "{\"a\":NaN}", r#"{"a":"\ud800"}"#, r#"{"VIN":"VIN1","vin":"VIN2"}"#, &deep] {
        malformed(route("cardata", payload));
    }
    malformed(route("cardata/x", "{}"));
}

#[test]
fn an_unknown_configuration_key_is_an_error_that_names_it() {
    let configure = |config: &str| {
        let setup = Setup { gateway: "g".to_owned(), binding: "b".to_owned(), config: config.to_owned() };
        Telemetry::configure(&setup)
    };
    assert!(configure("{}").is_ok());
    assert!(configure(r#"{"max_skew":1}"#).unwrap_err().starts_with("max_skew:"));
}
