//! The asset library and update jobs: they describe vehicles, in any order.

use super::*;

const DEVICES: &str = "cdf/assetlibrary/events/devices/ecu-1/modify";
const GROUPS: &str = "cdf/assetlibrary/events/groups/auto/vehicles/create";
const JOBS: &str = "$aws/events/jobExecution/j1/SUCCEEDED";

/// A device that was put into a vehicle; the asset library lower-cases paths and ids.
fn installed(at: u64) -> Value {
    let group = format!("/auto/vehicles/{}", VIN.to_lowercase());
    json!({
        "objectId": "ecu-1", "type": "devices", "event": "modify", "time": stamp(at),
        "attributes": {"deviceId": "ECU-1", "attachedToGroup": group, "relationship": "installed_in"},
    })
}

/// A device whose software changed, with the object as JSON in a text.
fn software(at: u64, version: &str) -> Value {
    let object = json!({"deviceId": "ECU-1", "attributes": {"status": "installed", "softwareVersion": version}});
    json!({"objectId": "ecu-1", "event": "modify", "time": stamp(at), "payload": object.to_string()})
}

fn vehicle(at: u64, attributes: &Value) -> Value {
    let payload =
        json!({"name": VIN, "groupPath": format!("/auto/vehicles/{}", VIN.to_lowercase()), "attributes": attributes});
    json!({"event": "create", "time": stamp(at), "payload": payload.to_string()})
}

fn job(at: u64, status: &str, version: Option<&str>) -> Value {
    json!({
        "eventType": "JOB_EXECUTION", "eventId": format!("e{at}"), "timestamp": ms(at) / 1000, "operation": "succeeded",
        "jobId": "j1", "thingArn": "arn:aws:iot:eu-west-1:1:thing/ECU-1", "status": status,
        "statusDetails": {"softwareVersion": version},
    })
}

fn described() -> World {
    let mut world = World::new();
    world.say(DEVICES, &software(1, "1.0"));
    world.say(DEVICES, &installed(2));
    world.say(GROUPS, &vehicle(3, &json!({"Make": "Rover", "ModelYear": 2020})));
    world
}

#[test]
fn telemetry_is_enriched_with_what_the_asset_library_said_in_any_order() {
    let events =
        [(DEVICES, software(1, "1.0")), (DEVICES, installed(2)), (GROUPS, vehicle(3, &json!({"Make": "Rover"})))];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::new();
        for at in order {
            let (topic, event) = &events[at];
            world.say(topic, event);
        }
        world.cardata(10, 90);
        let row = world.latest();
        assert_eq!(row["attributes"], json!({"make": "Rover"}), "{order:?}");
        let device = json!({"deviceid": "ecu-1", "softwareversion": "1.0", "status": "installed", "relationship": "installed_in"});
        assert_eq!(row["devices"], json!([device]), "{order:?}");
        assert_eq!((&row["trouble_codes"], &row["anomalies"]), (&json!([]), &json!([])));
    }
}

#[test]
fn a_device_has_a_record_that_joins_its_events() {
    let record = described().document("devices", "ecu-1");
    for (key, expected) in [("vin", json!(VIN)), ("softwareversion", json!("1.0")), ("sentat", json!(ms(2)))] {
        assert_eq!(record[key], expected, "{key}");
    }
}

#[test]
fn older_events_of_the_asset_library_change_nothing() {
    let mut world = described();
    let before = world.kept.clone();
    assert_eq!(world.say(DEVICES, &software(0, "0.9")), Vec::<&str>::new());
    assert_eq!(world.say(GROUPS, &vehicle(1, &json!({"Make": "Other"}))), Vec::<&str>::new());
    let mut elsewhere = installed(1);
    elsewhere["attributes"]["attachedToGroup"] = "/auto/vehicles/other".into();
    assert_eq!(world.say(DEVICES, &elsewhere), Vec::<&str>::new());
    assert_eq!(world.kept, before);
}

#[test]
fn a_device_that_moves_leaves_its_old_vehicle() {
    let mut world = described();
    let mut moved = installed(5);
    moved["attributes"]["attachedToGroup"] = "/auto/vehicles/other".into();
    world.say(DEVICES, &moved);
    assert_eq!(world.document("shared_cardata", VIN)["devices"], json!({}));
    assert_eq!(world.document("shared_cardata", "other")["devices"]["ecu-1"]["softwareversion"], "1.0");
    let detached = json!({"time": stamp(6), "event": "modify", "attributes": {"deviceId": "ecu-1", "detachedFromGroup": "/auto/vehicles/other"}});
    world.say(DEVICES, &detached);
    assert_eq!(world.document("shared_cardata", "other")["devices"], json!({}));
    world.say(DEVICES, &installed(7));
    world.say(DEVICES, &json!({"objectId": "ecu-1", "event": "delete", "time": stamp(8)}));
    assert_eq!(world.document("shared_cardata", VIN)["devices"], json!({}));
    assert_eq!(world.document("devices", "ecu-1")["status"], "deleted");
}

#[test]
fn the_forms_of_the_issue_are_taken_without_an_envelope() {
    let mut world = World::new();
    world.say(DEVICES, &json!({"deviceId": "ecu-1", "attributes": {"status": "installed", "softwareVersion": "3"}}));
    world.say(DEVICES, &json!({"attributes": {"deviceId": "ecu-1", "attachedToGroup": format!("/auto/vehicles/{VIN}"), "relationship": "installed_in"}}));
    world.say(GROUPS, &json!({"name": VIN, "attributes": {"make": "Rover"}}));
    let shared = world.document("shared_cardata", VIN);
    assert_eq!(
        (&shared["devices"]["ecu-1"]["softwareversion"], &shared["attributes"]["make"]),
        (&json!("3"), &json!("Rover"))
    );
}

#[test]
fn attributes_that_are_gone_are_removed() {
    let mut world = described();
    world.say(GROUPS, &vehicle(4, &json!({"Make": "Rover", "Colour": "green"})));
    assert_eq!(world.document("shared_cardata", VIN)["attributes"], json!({"make": "Rover", "colour": "green"}));
    let mut gone = vehicle(5, &json!({}));
    gone["event"] = "delete".into();
    world.say(GROUPS, &gone);
    assert!(world.document("shared_cardata", VIN).get("attributes").is_none());
}

#[test]
fn groups_that_are_no_vehicles_and_relations_of_groups_have_no_effects() {
    let mut world = World::new();
    let supplier = json!({"event": "create", "objectId": "/auto/suppliers/s1", "payload": {"name": "s1", "groupPath": "/auto/suppliers/s1"}});
    let owned = json!({"event": "modify", "objectId": format!("/auto/vehicles/{VIN}"), "attributes": {"attachedToGroup": "/auto/owners/o"}});
    assert_eq!(world.say(GROUPS, &supplier), Vec::<&str>::new());
    assert_eq!(world.say(GROUPS, &owned), Vec::<&str>::new());
    assert!(world.malformed(GROUPS, r#"{"event":"create"}"#).contains("/payload/name"));
    assert!(world.malformed(DEVICES, "{}").contains("/payload/deviceId"));
    assert!(world.malformed(DEVICES, r#"{"payload":"{"}"#).contains("/payload: not JSON"));
    assert!(world.malformed(DEVICES, r#"{"payload":7}"#).contains("/payload: neither"));
}

#[test]
fn an_event_from_the_future_is_rejected_and_not_lost() {
    let mut event = installed(1);
    event["time"] = "2099-01-01T00:00:00Z".into();
    assert!(World::new().rejected(DEVICES, &event.to_string()).contains("/time"));
}

#[test]
fn a_vehicle_has_a_bounded_number_of_devices() {
    let mut world = World::configured(r#"{"max_members":1}"#);
    world.say(DEVICES, &installed(1));
    world.say(DEVICES, &installed(2));
    let second = installed(3).to_string().replace("ECU-1", "ECU-2");
    assert!(world.rejected(DEVICES, &second).contains("1 devices already"));
}

#[test]
fn a_successful_job_updates_the_software_everywhere_and_clears() {
    let mut world = described();
    world.dtc(4, "P1", "true");
    world.cardata(5, 300);
    assert_eq!(
        world.say(JOBS, &job(6, "SUCCEEDED", Some("2.0"))),
        ["job_execution", "devices", "latest_telemetry", "shared_cardata"]
    );
    assert_eq!(world.document("devices", "ecu-1")["softwareversion"], "2.0");
    let latest = world.latest();
    assert_eq!((&latest["devices"][0]["softwareversion"], &latest["sentat"]), (&json!("2.0"), &json!(ms(5))));
    assert_eq!((&latest["trouble_codes"], &latest["anomalies"]), (&json!([]), &json!([])));
    assert_eq!(world.history("cardata")[0]["devices"][0]["softwareversion"], "1.0", "history stays");
    let row = world.history("job_execution")[0].clone();
    assert_eq!((&row["deviceid"], &row["vin"], &row["sentat"]), (&json!("ecu-1"), &json!(VIN), &json!(ms(6))));
    world.dtc(5, "P2", "true");
    assert_eq!(world.active("trouble_codes", "code"), Vec::<String>::new(), "it was sent before the update");
    world.dtc(7, "P1", "true");
    world.cardata(8, 300);
    assert_eq!(world.active("trouble_codes", "code"), ["P1"]);
    assert_eq!(world.latest()["anomalies"][0]["identified_at"], json!(ms(8)), "a new episode");
}

#[test]
fn other_outcomes_are_history_only() {
    let mut world = described();
    let before = world.kept.clone();
    for status in ["QUEUED", "IN_PROGRESS", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"] {
        assert_eq!(world.say(JOBS, &job(6, status, Some("2.0"))), ["job_execution"], "{status}");
    }
    let mut ahead = job(6, "SUCCEEDED", Some("2.0"));
    ahead["timestamp"] = "2099-01-01".into();
    assert_eq!(world.say(JOBS, &ahead), ["job_execution"]);
    assert_eq!(world.kept, before);
}

#[test]
fn an_older_success_does_not_take_newer_software_away() {
    let mut world = described();
    world.say(JOBS, &job(6, "SUCCEEDED", Some("2.0")));
    world.say(JOBS, &job(5, "SUCCEEDED", Some("1.5")));
    assert_eq!(world.document("shared_cardata", VIN)["devices"]["ecu-1"]["softwareversion"], "2.0");
    assert_eq!(world.document("shared_cardata", VIN)["cleared"]["trouble_codes"], json!(ms(6)));
}

#[test]
fn what_a_success_clears_and_installs_is_the_configurations() {
    let mut world = World::configured(r#"{"job_success":{"clears":[],"versions":{"j1":"7.0"}}}"#);
    world.say(DEVICES, &installed(1));
    world.dtc(2, "P1", "true");
    world.say(JOBS, &job(3, "SUCCEEDED", None));
    assert_eq!(world.document("devices", "ecu-1")["softwareversion"], "7.0");
    assert_eq!(world.active("trouble_codes", "code"), ["P1"]);
}

#[test]
fn the_success_of_an_unknown_device_waits_for_its_vehicle() {
    let mut world = World::new();
    assert_eq!(world.say(JOBS, &job(3, "SUCCEEDED", Some("2.0"))), ["job_execution", "devices"]);
    world.say(DEVICES, &installed(4));
    assert_eq!(world.active("devices", "softwareversion"), ["2.0"]);
    let nameless = job(3, "SUCCEEDED", None).to_string().replace("thing/ECU-1", "thing/");
    assert!(world.malformed(JOBS, &nameless).contains("/thingarn"));
}
