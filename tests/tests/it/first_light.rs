//! The main job from end to end: a device's message becomes a row in the store.

use crate::setup;
use causeway_tests::{Connect, Gateway, Publish, Version, vehicle, wait};
use serde_json::Value;

/// The rows of a collection for one vehicle.
fn rows(gateway: &Gateway, collection: &str, vin: &str) -> Vec<Value> {
    let answer = gateway.query(&["store", "query", collection, "--where", &format!("vin={vin}"), "--limit", "10000"]);
    let list = answer.as_array().or_else(|| answer["rows"].as_array());
    list.unwrap_or_else(|| panic!("no rows in {answer}")).clone()
}

#[tokio::test]
async fn a_published_message_becomes_a_row_in_the_store() {
    let gateway = setup().telemetry().start().await;
    for (version, vin) in [(Version::V311, "vehicle-1"), (Version::V5, "vehicle-2")] {
        let mut device = gateway.device(Connect::new(version, vin)).await;
        for (kind, payload) in [
            ("cardata", vehicle::cardata(vin, 90)),
            ("dtc", vehicle::dtc(vin, "P0420")),
            ("trip", vehicle::trip(vin)),
            ("event", vehicle::event(vin)),
        ] {
            let publish = Publish::new(&vehicle::topic(vin, kind), payload.to_string(), 1);
            assert!(device.publish(publish).await < 0x80, "{kind}");
        }
        for collection in ["cardata", "latest_telemetry", "dtc", "trip", "event"] {
            let row = wait::until(collection, async || rows(&gateway, collection, vin).pop()).await;
            assert!(row.to_string().contains(vin), "{row}");
        }
    }
}

#[tokio::test]
async fn a_message_that_the_plugin_cannot_read_goes_to_the_dead_letters_and_others_pass() {
    let gateway = setup().telemetry().start().await;
    let mut device = gateway.v5("vehicle-1").await;
    let topic = vehicle::topic("vehicle-1", "cardata");
    for payload in ["not json".into(), "{}".into(), vehicle::cardata("vehicle-1", 1).to_string()] {
        assert!(device.publish(Publish::new(&topic, payload, 1)).await < 0x80);
    }
    let rows =
        wait::until("the good row", async || Some(rows(&gateway, "cardata", "vehicle-1")).filter(|r| !r.is_empty()));
    assert_eq!(rows.await.len(), 1);
}

#[tokio::test]
async fn rows_survive_the_death_of_the_process_and_are_not_doubled() {
    let mut gateway = setup().telemetry().start().await;
    let topic = vehicle::topic("vehicle-1", "cardata");
    for round in 0..3 {
        let mut device = gateway.v5("vehicle-1").await;
        for n in 0..20 {
            let payload = vehicle::cardata("vehicle-1", round * 20 + n).to_string();
            assert!(device.publish(Publish::new(&topic, payload, 1)).await < 0x80);
        }
        gateway.kill();
        gateway.launch().await;
    }
    let rows = wait::until("all rows", async || Some(rows(&gateway, "cardata", "vehicle-1")).filter(|r| r.len() >= 60));
    assert_eq!(rows.await.len(), 60);
}

#[tokio::test]
async fn sigterm_ends_the_gateway_with_exit_code_zero() {
    let mut gateway = setup().telemetry().start().await;
    let mut device = gateway.v5("vehicle-1").await;
    let topic = vehicle::topic("vehicle-1", "cardata");
    for n in 0..50 {
        assert!(device.publish(Publish::new(&topic, vehicle::cardata("vehicle-1", n).to_string(), 1)).await < 0x80);
    }
    assert_eq!(gateway.stop().await.code(), Some(0));
    gateway.launch().await;
    let rows = wait::until("all rows", async || Some(rows(&gateway, "cardata", "vehicle-1")).filter(|r| r.len() >= 50));
    assert_eq!(rows.await.len(), 50);
}
