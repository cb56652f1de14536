//! What plugins could not handle, in the hands of operators: listed, shown, sent again, dropped.

use crate::setup;
use causeway_tests::{Device, Gateway, Publish, vehicle, wait};
use serde_json::{Value, json};

/// A vehicle whose VIN the registry learns of too late: its first messages are rejected.
async fn with_rejected(numbers: std::ops::Range<u64>) -> (Gateway, Device) {
    let gateway = setup().telemetry().start().await;
    let mut device = gateway.v5("d1").await;
    let count = usize::try_from(numbers.end - numbers.start).unwrap();
    for n in numbers {
        publish(&mut device, vehicle::cardata("WVW1", n).to_string()).await;
    }
    wait::until("the letters", async || (letters(&gateway).len() == count).then_some(())).await;
    (gateway, device)
}

async fn publish(device: &mut Device, payload: String) {
    assert!(device.publish(Publish::new("dt/cvra/d1/cardata", payload, 1)).await < 0x80);
}

fn letters(gateway: &Gateway) -> Vec<Value> {
    gateway.query(&["deadletters", "list"]).as_array().unwrap().clone()
}

fn rows(gateway: &Gateway) -> usize {
    gateway.query(&["store", "query", "cardata", "--limit", "1000"]).as_array().unwrap().len()
}

#[tokio::test]
async fn letters_are_sent_again_once_their_cause_is_mended() {
    let (gateway, mut device) = with_rejected(0..20).await;
    assert!(gateway.operator(&["device", "set", "d1", "vin=WVW1"]).status.success());
    publish(&mut device, vehicle::cardata("WVW1", 20).to_string()).await;
    let answer = gateway.query(&["deadletters", "replay", "--binding", "telemetry", "--kind", "rejected"]);
    assert_eq!(answer, json!({ "letters": 20, "done": 20, "failed": 0, "waiting": 0, "unserved": 0 }));
    assert!(letters(&gateway).is_empty());
    wait::until("all rows", async || (rows(&gateway) == 21).then_some(())).await;
    assert!(gateway.query(&["audit"]).to_string().contains("dead-letters/replay"));
}

#[tokio::test]
async fn a_letter_is_shown_with_its_payload_and_dropped_by_its_number() {
    let (gateway, mut device) = with_rejected(0..1).await;
    publish(&mut device, "not json".to_owned()).await;
    let malformed = wait::until("the letter", async || {
        gateway.query(&["deadletters", "list", "--kind", "malformed"]).as_array()?.first().cloned()
    })
    .await;
    let id = malformed["id"].to_string();
    let shown = gateway.operator(&["deadletters", "show", &id, "--payload", "payload.bin"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("not json") && text.contains("sha256:") && text.contains("dt/cvra/d1/cardata"), "{text}");
    assert_eq!(std::fs::read(gateway.setup().path("payload.bin")).unwrap(), b"not json");
    let again = gateway.query(&["deadletters", "replay", &id]);
    assert_eq!((&again["done"], &again["failed"]), (&json!(0), &json!(1)), "it is as malformed as before");
    assert_eq!(gateway.query(&["deadletters", "show", &id])["attempts"], 1);
    let refused = gateway.operator(&["deadletters", "drop", "--all"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("2 letters"), "{refused:?}");
    assert_eq!(gateway.query(&["deadletters", "drop", &id]), json!({ "dropped": 1 }));
    assert_eq!(gateway.query(&["deadletters", "drop", "--all", "--count", "1"]), json!({ "dropped": 1 }));
    assert!(letters(&gateway).is_empty());
}
