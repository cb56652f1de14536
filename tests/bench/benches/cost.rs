//! Costs: memory of a connection, time to connect, hostile neighbours, growth, start.

use crate::peer::{Kind, Peer, memory, setup};
use crate::table::{Table, count, mib, ms};
use crate::worker::{self, Worker};
use causeway_tests::{Connect, Version};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn identities(tls: bool) -> Vec<String> {
    if tls { vec!["load".into()] } else { Vec::new() }
}

/// Idle connections with one QoS 1 subscription each.
pub(crate) fn idle() {
    let settings = "One QoS 1 subscription each, 64 connecting at a time; bytes are resident memory after minus before, \
                    divided by the connections.";
    let head = ["broker", "transport", "connections", "bytes each", "MiB in all", "s to connect"];
    let mut table = Table::new("Idle connections", settings, &head);
    for (kind, tls) in [
        (Kind::Causeway, true),
        (Kind::Mosquitto, true),
        (Kind::Causeway, false),
        (Kind::Mosquitto, false),
        (Kind::Stock, false),
    ] {
        for connections in [1000, 5000_u64] {
            let peer = Peer::start(kind);
            sleep(Duration::from_secs(1));
            let before = peer.memory().0;
            let task = json!({ "kind": "idle", "connection": peer.connection(&identities(tls)), "count": connections });
            let mut worker = Worker::start(&task);
            let said = worker.line();
            sleep(Duration::from_secs(1));
            let after = peer.memory().0;
            worker.go();
            let each = after.saturating_sub(before) * 1024 / connections;
            let transport = if tls { "mTLS" } else { "plain" };
            table.row(vec![
                kind.name().into(),
                transport.into(),
                count(connections as f64),
                count(each as f64),
                mib(after),
                format!("{:.1}", said["seconds"].as_f64().unwrap()),
            ]);
        }
    }
    table.print();
}

/// Good clients beside silent sockets.
pub(crate) fn silent() {
    let settings = "1 to 1 at 2,000 messages/s, QoS 1, mTLS, 256 bytes, 5 s; each of the 300 sockets is opened again when \
                    the broker closes it, half of them after the first bytes of a ClientHello.";
    let mut table = Table::new("Silent sockets", settings, &["broker", "silent", "p50 ms", "p99 ms", "ratio of p99"]);
    for kind in [Kind::Causeway, Kind::Mosquitto] {
        let mut alone = 0.0;
        for count in [0, 300] {
            let peer = Peer::start(kind);
            let connection = peer.connection(&identities(true));
            let noise = (count > 0).then(|| {
                let mut worker = Worker::start(&json!({ "kind": "silent", "connection": connection, "count": count }));
                worker.line();
                worker
            });
            let result = worker::once(&json!({
                "kind": "cell", "connection": connection, "publishers": 1, "subscribers": 1, "qos": 1, "rate": 2000,
                "window": 100, "seconds": 5, "topic": "bench/{n}", "filter": "bench/#", "payload": 256,
            }));
            drop(noise);
            let p99 = result["latency"]["p99"].as_f64().unwrap();
            if count == 0 {
                alone = p99;
            }
            let p50 = ms(result["latency"]["p50"].as_f64().unwrap());
            table.row(vec![kind.name().into(), count.to_string(), p50, ms(p99), format!("{:.2}", p99 / alone)]);
        }
    }
    table.print();
}

/// What must not grow with filters, topics and client ids.
pub(crate) fn growth() {
    let settings = "mTLS. Filters and topics: p50 ms of a QoS 1 publish and its PUBACK to a topic never used before, one at \
                    a time. Memory before the topics is taken after 1,200,000 messages to one topic. Client ids: seconds for a quarter of the connections, 16 at a time, clean sessions.";
    let head = ["what", "broker", "start", "25 %", "50 %", "75 %", "100 %", "MiB before", "MiB after"];
    let mut table = Table::new("Growth", settings, &head);
    for (kind, name, number) in [
        ("filters", "10,000 filters", 10_000),
        ("topics", "100,000 topics", 100_000),
        ("ids", "100,000 client ids", 100_000),
    ] {
        for broker in [Kind::Causeway, Kind::Mosquitto] {
            let peer = Peer::causeway_or(broker, setup().set("mqtt.max_subscriptions", json!(1000)));
            let mut before = peer.memory().0;
            let task = json!({ "kind": kind, "connection": peer.connection(&identities(true)), "count": number });
            let mut worker = Worker::start(&task);
            let mut line = worker.line();
            while line["steps"].is_null() {
                if line["at"] == "warm" {
                    before = peer.memory().0;
                }
                eprintln!("  {name}: {line} {} MiB", mib(peer.memory().0));
                worker.go();
                line = worker.line();
            }
            let steps = line["steps"].as_array().unwrap();
            let mut figures: Vec<String> = steps
                .iter()
                .map(|step| {
                    step["p50"].as_f64().map_or_else(|| format!("{:.1} s", step["seconds"].as_f64().unwrap()), ms)
                })
                .collect();
            if figures.len() == 4 {
                figures.insert(0, "-".into());
            }
            let mut row = vec![name.to_string(), broker.name().into()];
            row.extend(figures);
            row.extend([mib(before), mib(peer.memory().0)]);
            table.row(row);
        }
    }
    table.print();
}

/// Start and idle memory.
pub(crate) fn start() {
    const STARTS: usize = 20;
    let settings = format!(
        "{STARTS} starts on the same data directory with the telemetry plugin bound, so the compile cache is warm; \
         time from the start of the process to a CONNACK over mTLS, tried every millisecond."
    );
    let head = ["what", "median", "slowest"];
    let mut table = Table::new("Start", &settings, &head);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut gateway = setup().telemetry().start().await;
        let identity = gateway.identity("load");
        let address = gateway.address(8883);
        let mut times = Vec::new();
        for _ in 0..STARTS {
            gateway.stop().await;
            let began = Instant::now();
            gateway.launch_only();
            loop {
                if let Ok(wire) = causeway_tests::wire::Wire::tls(address, &identity, Version::V311).await {
                    causeway_tests::Device::open(wire, &Connect::new(Version::V311, "first")).await;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let last = times[times.len() - 1];
        table.row(vec!["exec to first CONNACK, ms".into(), ms(times[times.len() / 2]), ms(last)]);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (now, peak) = memory(gateway.pid());
        table.row(vec!["idle memory after 3 s, MiB (peak)".into(), mib(now), mib(peak)]);
    });
    table.print();
}
