//! Trouble codes and anomalies as sets that follow the newest message.

use super::*;

#[test]
fn trouble_codes_are_a_set_and_each_is_cleared_by_its_own_word() {
    let mut world = World::new();
    assert_eq!(world.dtc(1, "P1", "true"), ["dtc", "shared_cardata"]);
    world.dtc(2, "P2", "true");
    assert_eq!(world.active("trouble_codes", "code"), ["P1", "P2"]);
    world.dtc(3, "P1", "false");
    assert_eq!(world.active("trouble_codes", "code"), ["P2"]);
    world.dtc(4, "P1", "True");
    assert_eq!(world.active("trouble_codes", "code"), ["P1", "P2"]);
    assert_eq!(world.history("dtc").len(), 4);
}

#[test]
fn an_older_message_neither_clears_nor_brings_back_a_code() {
    let mut world = World::new();
    world.dtc(5, "P1", "true");
    assert_eq!(world.dtc(4, "P1", "false"), ["dtc"]);
    assert_eq!(world.active("trouble_codes", "code"), ["P1"]);
    world.dtc(8, "P1", "false");
    world.dtc(7, "P1", "true");
    world.dtc(10, "P2", "false");
    world.dtc(9, "P2", "true");
    assert_eq!(world.active("trouble_codes", "code"), Vec::<String>::new());
}

#[test]
fn the_set_has_a_bound_and_what_is_cleared_goes_first() {
    let mut world = World::configured(r#"{"max_members":2}"#);
    world.dtc(1, "P1", "true");
    world.dtc(2, "P2", "true");
    world.dtc(3, "P2", "false");
    world.dtc(4, "P3", "true");
    assert_eq!(world.active("trouble_codes", "code"), ["P1", "P3"]);
    world.dtc(5, "P4", "true");
    assert_eq!(world.active("trouble_codes", "code"), ["P3", "P4"]);
    assert_eq!(world.document("shared_cardata", VIN)["trouble_codes"].as_object().unwrap().len(), 2);
}

#[test]
fn hot_oil_is_an_anomaly_until_it_has_cooled() {
    let mut world = World::new();
    assert_eq!(world.cardata(1, 280), ["cardata", "latest_telemetry"], "a score of 30 is not above 30");
    assert_eq!(world.cardata(2, 281), ["cardata", "anomaly", "shared_cardata", "latest_telemetry"]);
    let row = world.history("anomaly")[0].clone();
    for (key, expected) in [
        ("anomaly_type", json!("OilTemp")),
        ("value", json!(281.0)),
        ("anomaly_score", json!(31.0)),
        ("vin", json!(VIN)),
        ("sentat", json!(ms(2))),
        ("messageid", json!(format!("{VIN}-2-281"))),
    ] {
        assert_eq!(row[key], expected, "{key}");
    }
    let anomalies = world.latest()["anomalies"].clone();
    assert_eq!(anomalies.as_array().unwrap().len(), 1);
    let anomaly = &anomalies[0];
    assert_eq!((&anomaly["anomaly_type"], &anomaly["anomaly_score"]), (&json!("OilTemp"), &json!(31.0)));
    world.cardata(3, 290);
    assert_eq!(world.latest()["anomalies"][0]["identified_at"], json!(ms(2)), "the episode began before");
    assert_eq!(world.latest()["anomalies"][0]["updated_at"], json!(ms(3)));
    assert_eq!(world.cardata(4, 270), ["cardata", "shared_cardata", "latest_telemetry"]);
    assert_eq!(world.latest()["anomalies"], json!([]));
    assert_eq!(world.history("anomaly").len(), 2);
}

#[test]
fn a_late_hot_reading_is_history_and_not_the_vehicles_state() {
    let mut world = World::new();
    world.cardata(5, 90);
    assert_eq!(world.cardata(4, 300), ["cardata", "anomaly", "latest_telemetry"]);
    assert_eq!(world.active("anomalies", "anomaly_type"), Vec::<String>::new());
    world.cardata(8, 300);
    world.cardata(7, 90);
    assert_eq!(world.active("anomalies", "anomaly_type"), ["OilTemp"]);
    world.cardata(10, 90);
    world.cardata(9, 310);
    assert_eq!(world.active("anomalies", "anomaly_type"), Vec::<String>::new());
    assert_eq!(world.latest()["sentat"], ms(10));
}

#[test]
fn rules_are_the_configurations() {
    let rules = r#"{"anomalies":[{"type":"Fast","pointer":"/Speed/Max","limit":55},{"type":"Low","pointer":"/Absent","limit":1}]}"#;
    let mut world = World::configured(rules);
    world.cardata(1, 999);
    let [row] = world.history("anomaly").try_into().unwrap();
    let row: &Value = row;
    assert_eq!((&row["anomaly_type"], &row["anomaly_score"]), (&json!("Fast"), &json!(5.0)));
}

#[test]
fn without_enrichment_and_rules_nothing_is_read() {
    struct Never;
    impl Records for Never {
        fn get(&self, collection: &str, _: &str) -> Result<Option<String>, Failure> {
            panic!("{collection} was read")
        }
    }
    let settings = Settings::from_json(r#"{"enrich":false,"anomalies":[]}"#).unwrap();
    let payload = cardata(1, 999).to_string();
    let topic = "dt/cvra/d1/cardata";
    let input =
        Input { topic, device: None, sender: "d1", vin: Some(VIN), payload: payload.as_bytes(), received_ms: RECEIVED };
    assert_eq!(route(&settings, input, &Never).unwrap().len(), 2);
}

#[test]
fn the_same_message_twice_changes_nothing_more() {
    let mut world = World::new();
    world.dtc(1, "P1", "true");
    world.cardata(2, 300);
    let kept = world.kept.clone();
    world.dtc(1, "P1", "true");
    world.cardata(2, 300);
    assert_eq!(world.kept, kept);
    assert_eq!(world.history("anomaly")[0]["anomaly_id"], world.history("anomaly")[1]["anomaly_id"]);
}
