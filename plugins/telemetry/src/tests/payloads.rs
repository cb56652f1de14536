//! Payloads that are not what they must be: each is refused with a reason, none ends the plugin.

use super::*;

const CARDATA: &str = "dt/cvra/d1/cardata";

#[test]
fn what_is_no_unambiguous_json_object_is_malformed() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases = [
        ("", "EOF"),
        ("7", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{", "EOF"),
        (r#"{"a":NaN}"#, "expected value"),
        (r#"{"a":1e999}"#, "number out of range"),
        (r#"{"a":"\ud800"}"#, "hex escape"),
        (r#"{"VIN":"VIN1","vin":"VIN2"}"#, r#"key "vin" is given twice"#),
        (deep.as_str(), "nested deeper than 64 levels"),
    ];
    for (payload, reason) in cases {
        let said = World::new().malformed(CARDATA, payload);
        assert!(said.contains(reason), "{said} has no {reason:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_malformed() {
    let world = World::new();
    let input = Input {
        topic: CARDATA,
        device: None,
        sender: "d1",
        vin: Some(VIN),
        payload: b"{\"a\":\"\xff\"}",
        received_ms: 0,
    };
    assert!(matches!(route(&world.settings, input, &world), Err(Failure::Malformed(_))));
}

#[test]
fn a_payload_beyond_its_bound_is_malformed_before_it_is_read() {
    let payload = " ".repeat(10 << 20);
    let said = World::new().malformed(CARDATA, &payload);
    assert_eq!(said, "the payload has 10485760 bytes, `max_payload_bytes` is 262144");
}

#[test]
fn unknown_keys_are_refused_everywhere_but_in_cardata() {
    let world = World::new();
    let dtc = json!({"SendTimeStamp": "2020-09-13", "VIN": VIN, "DTC": {"Code": "P1", "Colour": "red"}}).to_string();
    assert!(world.malformed("dt/cvra/d1/dtc", &dtc).contains("/dtc/colour"));
    let trip = json!({"VIN": VIN, "TripId": "t", "Speed": 3}).to_string();
    assert!(world.malformed("dt/cvra/d1/trip", &trip).contains("/speed"));
}

#[test]
fn missing_fields_are_named() {
    let world = World::new();
    let without = json!({"VIN": VIN, "TripId": "t"}).to_string();
    assert!(world.malformed(CARDATA, &without).contains("/sendtimestamp"));
    let dtc = json!({"VIN": VIN, "SendTimeStamp": "2020-09-13", "DTC": {}}).to_string();
    assert!(world.malformed("dt/cvra/d1/dtc", &dtc).contains("/dtc/code"));
    let when = json!({"VIN": VIN, "TripId": "t", "SendTimeStamp": "yesterday"}).to_string();
    assert_eq!(world.malformed(CARDATA, &when), "/sendtimestamp: not a time");
}

#[test]
fn a_trouble_code_that_changed_to_neither_is_malformed() {
    let payload = json!({"SendTimeStamp": stamp(1), "VIN": VIN, "DTC": {"Code": "P1", "Changed": "maybe"}}).to_string();
    assert!(World::new().malformed("dt/cvra/d1/dtc", &payload).contains("/dtc/changed"));
    let payload = payload.replace("P1", &"P".repeat(65));
    assert!(World::new().malformed("dt/cvra/d1/dtc", &payload).contains("/dtc/code"));
}

#[test]
fn records_that_cannot_be_read_now_are_asked_for_again() {
    struct Busy;
    impl Records for Busy {
        fn get(&self, _: &str, _: &str) -> Result<Option<String>, Failure> {
            Err(Failure::Unavailable("busy".to_owned()))
        }
    }
    let payload = cardata(1, 90).to_string();
    let input = Input {
        topic: CARDATA,
        device: None,
        sender: "d1",
        vin: Some(VIN),
        payload: payload.as_bytes(),
        received_ms: RECEIVED,
    };
    assert!(matches!(route(&Settings::default(), input, &Busy), Err(Failure::Unavailable(_))));
}
