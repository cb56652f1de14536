//! What a plugin remembers is exact, however often and wherever the process is killed.

use crate::{guest, setup};
use causeway_tests::{Gateway, Publish, Setup, wait};
use serde_json::json;
use std::fs;

const ROUNDS: u8 = 5;
const MESSAGES: u8 = 40;

/// A binding that counts the messages of each vehicle, and commits small transactions.
fn counting() -> Setup {
    let setup = setup();
    // Only the first of its two effects: the count is remembered and not published.
    let body = guest::COUNTS.replace("(i32.const 16)) (i32.const 2))", "(i32.const 16)) (i32.const 1))");
    assert_ne!(body, guest::COUNTS);
    fs::write(setup.path("counts.wasm"), guest::component(&body)).unwrap();
    let binding = json!({
        "name": "counts", "plugin": "counts.wasm", "filters": ["dt/cvra/{vehicle}/cardata"], "key": "vehicle",
        "partitions": 2, "batch": { "messages": 3 }, "commit": { "rows": 2, "linger": "1ms" },
    });
    setup.set("bindings", json!([binding]))
}

/// What the binding remembers of a vehicle.
pub(super) fn counted(gateway: &Gateway, vehicle: &str) -> u8 {
    let store = gateway.setup().path("data/store.sqlite");
    let connection = rusqlite::Connection::open(store).unwrap();
    let value = connection.query_row(
        "select value from state where binding = 'counts' and key = ?1 and name = 'n'",
        [vehicle],
        |row| row.get::<_, Vec<u8>>(0),
    );
    value.map_or(0, |value| value[0])
}

#[tokio::test]
async fn a_plugins_counts_are_exact_over_kills() {
    let mut gateway = counting().start().await;
    for round in 1..=ROUNDS {
        for vehicle in ["d1", "d2"] {
            let mut device = gateway.v5(vehicle).await;
            let topic = format!("dt/cvra/{vehicle}/cardata");
            for _ in 0..MESSAGES {
                assert!(device.publish(Publish::new(&topic, "x", 1)).await < 0x80);
            }
        }
        // All are acknowledged, and not all are counted.
        gateway.kill();
        gateway.launch().await;
        for vehicle in ["d1", "d2"] {
            wait::until("the count", async || (counted(&gateway, vehicle) >= round * MESSAGES).then_some(())).await;
        }
    }
    // One more of each goes behind whatever would still come, and shows that nothing was counted twice.
    for vehicle in ["d1", "d2"] {
        let mut device = gateway.v5(vehicle).await;
        let topic = format!("dt/cvra/{vehicle}/cardata");
        assert!(device.publish(Publish::new(&topic, "x", 1)).await < 0x80);
        wait::until("the count", async || (counted(&gateway, vehicle) > ROUNDS * MESSAGES).then_some(())).await;
        assert_eq!(counted(&gateway, vehicle), ROUNDS * MESSAGES + 1);
    }
}
