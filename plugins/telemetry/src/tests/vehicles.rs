//! The four flows of the vehicles: rows, identity, time, units.

use super::*;

#[test]
fn cardata_becomes_history_and_the_latest_of_its_vehicle() {
    let mut world = World::new();
    assert_eq!(world.cardata(1, 90), ["cardata", "latest_telemetry"]);
    let row = world.history("cardata")[0].clone();
    assert_eq!(row, world.latest());
    assert_eq!(row["new"]["key"], 1, "unknown keys are kept, lower-cased");
    assert_eq!((&row["deviceid"], &row["receivedat"], &row["sentat"]), (&json!("d1"), &json!(RECEIVED), &json!(ms(1))));
    assert_eq!(row["geolocation"]["location"], json!([11.5, 48.1]), "longitude comes first");
    assert!(row.get("original").is_none() && row.get("trouble_codes").is_none());
}

#[test]
fn readings_get_names_that_say_their_unit_and_the_wire_form_is_kept() {
    let mut world = World::new();
    world.cardata(1, 90);
    let row = world.latest();
    let canonical = json!({
        "odometer_km": 12.5, "fuel_l": 41.0, "trip_fuel_l": 0.5, "speed_average_kmh": 50.0, "speed_max_kmh": 60.0,
    });
    assert_eq!(row["canonical"], canonical);
    assert_eq!(row["odometer"]["metres"], 12.5);
    let summary = json!({"Distance": 12.5, "Duration": 900_000, "Fuel": 800});
    world.say("dt/cvra/d1/trip", &json!({"VIN": VIN, "TripId": "t", "TripSummary": summary}));
    let trip = world.history("trip")[0];
    assert_eq!(trip["canonical"], json!({"distance_km": 12.5, "duration_s": 900.0, "fuel_l": 0.8}));
}

#[test]
fn the_units_are_the_configurations() {
    let mut world =
        World::configured(r#"{"units":[{"pointer":"/Odometer/Metres","name":"odometer_miles","factor":0.5}]}"#);
    world.cardata(1, 90);
    assert_eq!(world.latest()["canonical"], json!({"odometer_miles": 6.25}));
}

#[test]
fn a_payload_about_another_vehicle_is_rejected() {
    let mut world = World::new();
    let other = cardata(1, 90).to_string().replace(VIN, "WVWZZZ1KZAW000002");
    assert!(world.rejected("dt/cvra/d1/cardata", &other).contains("WVWZZZ1KZAW000002"));
    let own = cardata(1, 90).to_string();
    assert!(world.rejected("dt/cvra/d2/cardata", &own).contains("d2"));
    world.vin = None;
    assert!(world.rejected("dt/cvra/d1/cardata", &own).contains("d1"));
}

#[test]
fn a_sender_without_a_vin_attribute_answers_for_its_own_id() {
    let mut world = World::new();
    world.vin = None;
    let payload = cardata(1, 90).to_string().replace(VIN, "d1");
    assert_eq!(world.ask("dt/cvra/d1/cardata", &payload).unwrap().len(), 2);
}

#[test]
fn a_vin_is_kept_in_capitals_beside_its_original() {
    let mut world = World::new();
    let payload = cardata(1, 90).to_string().replace(VIN, &VIN.to_lowercase());
    world.say(&format!("dt/cvra/{}/cardata", VIN.to_lowercase()), &serde_json::from_str(&payload).unwrap());
    assert_eq!((&world.latest()["vin"], &world.latest()["original"]["vin"]), (&json!(VIN), &json!(VIN.to_lowercase())));
}

#[test]
fn what_only_the_gateway_may_say_is_kept_as_a_claim() {
    let mut world = World::new();
    let mut payload = cardata(1, 90);
    let claims =
        [("trouble_codes", json!([1])), ("deviceid", json!("d9")), ("sentat", json!(1)), ("canonical", json!(2))];
    for (key, claim) in claims.clone() {
        payload[key] = claim;
    }
    payload["original"] = json!("mine");
    world.say("dt/cvra/d1/cardata", &payload);
    let row = world.latest();
    for (key, claim) in claims {
        assert_eq!(row["original"][key], claim, "{key}");
    }
    assert_eq!((&row["original"]["original"], &row["deviceid"]), (&json!("mine"), &json!("d1")));
    assert!(row.get("trouble_codes").is_none());
}

#[test]
fn a_time_too_far_ahead_is_history_and_never_wins() {
    let mut world = World::new();
    world.cardata(1, 90);
    let mut future = cardata(2, 999);
    future["SendTimeStamp"] = "2099-01-01T00:00:00Z".into();
    assert_eq!(world.say("dt/cvra/d1/cardata", &future), ["cardata", "anomaly"]);
    assert_eq!(world.latest()["sentat"], ms(1));
    let row = world.history("cardata")[1];
    assert_eq!((&row["sentat"], &row["clock"]), (&json!(RECEIVED), &json!("ahead")));
    assert_eq!(row["sendtimestamp"], "2099-01-01T00:00:00Z");
    let code = json!({"SendTimeStamp": "2099-01-01", "VIN": VIN, "DTC": {"Code": "P1"}});
    assert_eq!(world.say("dt/cvra/d1/dtc", &code), ["dtc"]);
    assert_eq!(world.document("shared_cardata", VIN), Value::Null);
}

#[test]
fn a_clock_within_the_skew_is_believed() {
    let mut world = World::configured(r#"{"max_skew_seconds":60}"#);
    world.cardata(1600 + 60, 90);
    assert_eq!(world.latest()["sentat"], ms(1660));
    assert_eq!(world.cardata(1600 + 61, 90), ["cardata"]);
}

#[test]
fn the_shipped_shapes_of_trouble_codes_trips_and_events_are_accepted() {
    let place = json!({"Latitude": 1, "Longitude": 2, "Altitude": 3});
    let video = json!({"event_name": "n", "event_id": 3, "event_data": {"any": 1}});
    let cases = [
        (
            "dtc",
            json!({"MessageId": "m", "CreationTimeStamp": "x", "SendTimeStamp": "2020-09-13", "VIN": VIN, "DTC": {"Code": "P0420", "Changed": "true"}}),
        ),
        (
            "trip",
            json!({"VIN": VIN, "TripId": "t", "TripSummary": {"StartTime": "2020-09-13", "Distance": 1, "StartLocation": place}}),
        ),
        ("event", json!({"MessageId": "m", "VIN": VIN, "Alert": {"VideoEvent": video}})),
        ("event", json!({"VIN": VIN, "Alert": {"Body": {"DoorStatus": "open"}, "Chassis": {"TyrePressure": 2}}})),
    ];
    for (flow, payload) in cases {
        let mut world = World::new();
        assert_eq!(world.say(&format!("dt/cvra/d1/{flow}"), &payload)[0], flow);
    }
}
