//! An acknowledgement means "on disk": what was acknowledged is there after SIGKILL, and with a full disk nothing is
//! acknowledged that is not.

use crate::setup;
use causeway_tests::packet::{self, Packet};
use causeway_tests::wire::Wire;
use causeway_tests::{Connect, Device, Gateway, Identity, Publish, Setup, SmallDisk, Version, vehicle, wait};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// One vehicle that publishes without pause, `window` messages ahead of their acknowledgements.
struct Publisher {
    identity: Identity,
    connect: Connect,
    qos: u8,
    next: u64,
    acknowledged: BTreeSet<u64>,
}

impl Publisher {
    fn new(gateway: &Gateway, n: usize) -> Self {
        let name = format!("vehicle-{n}");
        let version = [Version::V311, Version::V5][n % 2];
        let qos = [1, 2][n / 2 % 2];
        let connect = Connect::new(version, &name);
        Self { identity: gateway.identity(&name), connect, qos, next: 0, acknowledged: BTreeSet::new() }
    }

    /// Connects, if the gateway lives long enough.
    async fn connect(&self, address: SocketAddr) -> Option<Device> {
        let mut wire = Wire::tls(address, &self.identity, self.connect.version).await.ok()?;
        wire.send(&self.connect.bytes()).await.ok()?;
        matches!(wire.receive().await?, Packet::ConnAck { code: 0, .. }).then(|| Device::on(wire))
    }

    /// Publishes until the connection ends; the ledger gets what PUBACK or PUBREC promised.
    async fn run(mut self, address: SocketAddr) -> Self {
        const WINDOW: u64 = 20;
        let Some(mut device) = self.connect(address).await else { return self };
        let first = self.next;
        let mut in_flight = 0;
        loop {
            while in_flight < WINDOW {
                let vin = &self.identity.name;
                let payload = vehicle::cardata(vin, self.next).to_string();
                let id = u16::try_from((self.next - first) % 60_000 + 1).unwrap();
                device.start(Publish::new(&vehicle::topic(vin, "cardata"), payload, self.qos).id(id)).await;
                self.next += 1;
                in_flight += 1;
            }
            let Some(packet) = device.wire.next().await else { return self };
            match packet {
                Packet::PubAck { id, reason, .. } if reason < 0x80 => {
                    self.acknowledged.insert(first + u64::from(id) - 1);
                    in_flight -= 1;
                }
                Packet::PubRec { id, reason, .. } if reason < 0x80 => {
                    self.acknowledged.insert(first + u64::from(id) - 1);
                    device.send(&packet::ack(0x62, id)).await;
                }
                Packet::PubComp { .. } => in_flight -= 1,
                Packet::Disconnect { .. } => {}
                other => panic!("{other:?} for {}", self.identity.name),
            }
        }
    }
}

/// The ids that `device` still has in its queue, by vehicle.
async fn drain(mut device: Device, mut missing: BTreeSet<String>) {
    while !missing.is_empty() {
        let message = device.message().await;
        let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        missing.remove(body["MessageId"].as_str().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_fifty_kills() {
    let cycles = std::env::var("CAUSEWAY_KILL_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut gateway = setup().telemetry().set("mqtt.max_session_messages", json!(10_000_000)).start().await;
    let address = gateway.address(8883);
    let keeper = Connect::new(Version::V5, "keeper").persistent(86_400);
    let mut device = gateway.device(keeper.clone()).await;
    assert_eq!(device.subscribe("dt/cvra/+/cardata", 1).await, 1);
    drop(device);

    let mut publishers: Vec<_> = (0..4).map(|n| Publisher::new(&gateway, n)).collect();
    for cycle in 0..cycles {
        let running: Vec<_> = publishers.drain(..).map(|publisher| tokio::spawn(publisher.run(address))).collect();
        // The moment of the kill moves through whatever the gateway does in its first quarter of a second of load.
        tokio::time::sleep(Duration::from_millis(30 + cycle * 37 % 220)).await;
        gateway.kill();
        for publisher in running {
            publishers.push(wait::soon("the connections end", publisher).await.unwrap());
        }
        gateway.assert_no_panic();
        gateway.launch().await;
    }

    let mut acknowledged = 0;
    let mut expected = BTreeSet::new();
    for publisher in &publishers {
        let vin = &publisher.identity.name;
        acknowledged += publisher.acknowledged.len();
        let ids = publisher.acknowledged.iter().map(|n| format!("{vin}-{n}"));
        expected.extend(ids);
    }
    println!("{acknowledged} acknowledged messages in {cycles} kills");
    assert!(acknowledged > usize::try_from(cycles).unwrap() * 10, "too few to prove anything: {acknowledged}");

    wait::within(Duration::from_secs(240), "the binding has caught up", async {
        while gateway.query(&["binding", "list"])[0]["lag_bytes"] != 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    wait::until("every acknowledged row is in the store", async || {
        expected.is_subset(&stored_ids(&gateway)).then_some(())
    })
    .await;
    let device = gateway.device(keeper).await;
    assert!(device.session_present);
    wait::within(Duration::from_secs(120), "the session's whole queue", drain(device, expected)).await;
}

/// The message ids of all telemetry in the store, read beside the gateway because a query has a bound.
fn stored_ids(gateway: &Gateway) -> BTreeSet<String> {
    let store = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    let mut statement = store.prepare("select json_extract(_document, '$.messageid') from collection_cardata").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

/// A gateway whose journal needs little room, and whose 3.1.1 clients need little patience.
fn with_small_segments() -> Setup {
    setup()
        .set("journal", json!({ "segment_bytes": "1MiB", "max_record_bytes": "256KiB" }))
        .set("mqtt", json!({ "max_packet_bytes": "128KiB", "ack_timeout": "1s" }))
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_new_and_service_returns_with_the_room() {
    let setup = with_small_segments();
    let Some(disk) = SmallDisk::mount(&setup.path("data"), 32) else { return };
    let mut gateway = setup.start().await;
    let keeper = Connect::new(Version::V5, "keeper").persistent(86_400);
    let mut device = gateway.device(keeper.clone()).await;
    device.subscribe("full", 1).await;
    drop(device);
    let mut acknowledged = Vec::new();
    let mut publisher = gateway.v5("publisher").await;
    for n in 0..50 {
        assert!(publisher.publish(Publish::new("full", format!("{n}"), 1)).await < 0x80);
        acknowledged.push(n);
    }

    disk.fill();
    let mut refused = 0;
    for n in 50..5000 {
        if refused >= 20 {
            break;
        }
        let mut payload = format!("{n} ");
        payload.push_str(&"x".repeat(4000));
        match publisher.try_publish(Publish::new("full", payload, 1)).await {
            Some(reason) if reason < 0x80 => acknowledged.push(n),
            Some(reason) => {
                assert_eq!(reason, 0x97);
                refused += 1;
            }
            // The message that met the full disk first is neither written nor refused: its sender has to send again.
            None => publisher = gateway.v5("publisher").await,
        }
    }
    assert!(refused > 0, "the disk was never full");
    publisher.ping().await;
    assert_eq!(publisher.publish(Publish::new("nobody/listens", "needs no disk", 0)).await, 0);

    disk.free();
    wait::until("service returns", async || {
        let reason = publisher.publish(Publish::new("full", "1000000", 1)).await;
        (reason < 0x80).then_some(())
    })
    .await;
    gateway.kill();
    gateway.launch().await;
    let mut device = gateway.device(keeper).await;
    let mut seen = BTreeSet::new();
    while !seen.contains(&1_000_000) {
        let text = device.message().await.text();
        seen.insert(text.split(' ').next().unwrap().parse::<u32>().unwrap());
    }
    let lost: Vec<_> = acknowledged.iter().filter(|n| !seen.contains(n)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

#[tokio::test]
async fn a_3_1_1_publisher_is_closed_when_there_is_no_room_so_that_it_sends_again() {
    let setup = with_small_segments();
    let Some(disk) = SmallDisk::mount(&setup.path("data"), 32) else { return };
    let gateway = setup.start().await;
    let mut keeper = gateway.device(Connect::new(Version::V5, "keeper").persistent(86_400)).await;
    keeper.subscribe("full", 1).await;
    // Both devices are known before the disk is full: learning of a new one needs it.
    let mut again = gateway.v5("again").await;
    let mut publisher = gateway.v311("publisher").await;
    disk.fill();
    let mut train = Vec::new();
    for id in 1..=5000 {
        train.extend(Publish::new("full", vec![b'x'; 4000], 1).id(id).bytes(Version::V311));
    }
    publisher.send(&train).await;
    publisher.closed().await;
    disk.free();
    wait::until("service returns", async || {
        (again.publish(Publish::new("full", "again", 1)).await < 0x80).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_binding_that_is_stuck_refuses_its_own_messages_and_no_others() {
    let gateway =
        setup().telemetry().set("bindings.0.budget", json!({ "bytes": "1MiB", "overflow": "refuse" })).start().await;
    let mut keeper = gateway.device(Connect::new(Version::V5, "keeper").persistent(600)).await;
    keeper.subscribe("other/#", 1).await;
    let mut device = gateway.v5("vehicle-1").await;
    // The store is held by somebody else, so the binding cannot commit anything.
    let connection = rusqlite::Connection::open(gateway.setup().path("data/store.sqlite")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();

    let topic = vehicle::topic("vehicle-1", "cardata");
    let mut accepted = 0_u64;
    wait::until("the binding is over its budget", async || {
        let mut payload = vehicle::cardata("vehicle-1", accepted);
        payload["Filler"] = "x".repeat(50_000).into();
        match device.publish(Publish::new(&topic, payload.to_string(), 1)).await {
            0x97 => Some(()),
            reason => {
                assert!(reason < 0x80, "{reason:#04x}");
                accepted += 1;
                None
            }
        }
    })
    .await;
    for n in 0..100 {
        assert!(device.publish(Publish::new("other/x", format!("{n}"), 1)).await < 0x80);
        assert_eq!(keeper.message().await.text(), n.to_string());
    }

    connection.execute_batch("ROLLBACK").unwrap();
    wait::until("the binding catches up", async || {
        let payload = vehicle::cardata("vehicle-1", accepted).to_string();
        (device.publish(Publish::new(&topic, payload, 1)).await < 0x80).then_some(())
    })
    .await;
    wait::until("every accepted row", async || {
        let stored = stored_ids(&gateway);
        (0..=accepted).all(|n| stored.contains(&format!("vehicle-1-{n}"))).then_some(())
    })
    .await;
}
