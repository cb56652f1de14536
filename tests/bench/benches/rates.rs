//! Rates and latencies: many shapes, three brokers, with and without TLS.

use crate::peer::{Kind, Peer, setup};
use crate::table::{Table, count, mib, ms};
use crate::worker;
use serde_json::{Value, json};

/// Name, publishers, subscribers, total messages per second at fixed load.
const SHAPES: [(&str, u64, u64, u32); 3] = [("1 to 1", 1, 1, 5000), ("50 to 1", 50, 1, 5000), ("1 to 50", 1, 50, 200)];
const SECONDS: u32 = 3;
const BROKERS: [Kind; 3] = [Kind::Causeway, Kind::Mosquitto, Kind::Stock];

/// Stock rumqttd has no TLS here: the crate's own TLS is of another year and is not compiled in.
fn brokers(tls: bool) -> Vec<Kind> {
    BROKERS.into_iter().filter(|kind| !tls || *kind != Kind::Stock).collect()
}

fn task(
    peer: &Peer,
    tls: bool,
    qos: u8,
    (_, publishers, subscribers, rate): (&str, u64, u64, u32),
    paced: bool,
) -> Value {
    let identities = if tls { vec!["load".to_string()] } else { Vec::new() };
    json!({
        "kind": "cell", "connection": peer.connection(&identities), "publishers": publishers,
        "subscribers": subscribers, "qos": qos, "rate": paced.then_some(rate), "window": 100,
        "seconds": SECONDS, "topic": "bench/{n}", "filter": "bench/#", "payload": 256,
    })
}

/// Flat out and at fixed load.
pub(crate) fn throughput() {
    flat_out();
    fixed_load();
}

fn flat_out() {
    let settings = format!(
        "256-byte payloads, MQTT 3.1.1, {SECONDS} s a cell after 0.7 s of warm-up, a fresh broker for each cell; \
         publishers never pause, 100 in flight at QoS 1.\nA cell reads: deliveries/s (p99 ms, resident MiB at the end).\n\
         mosquitto: max_inflight 100, unlimited queues, set_tcp_nodelay; stock rumqttd has no TLS compiled in."
    );
    let mut table = Table::new(
        "Flat out",
        &settings,
        &["transport", "QoS", "shape", "Causeway", "mosquitto", "stock rumqttd", "ratio"],
    );
    for tls in [true, false] {
        for qos in [0, 1] {
            for shape in SHAPES {
                let mut cells = vec![transport(tls), qos.to_string(), shape.0.to_string()];
                if !is_wanted(&cells.join(" ")) {
                    continue;
                }
                let mut rates = Vec::new();
                for kind in BROKERS {
                    if !brokers(tls).contains(&kind) {
                        cells.push("no TLS".into());
                        continue;
                    }
                    let peer = Peer::start(kind);
                    let result = worker::once(&task(&peer, tls, qos, shape, false));
                    let rate = result["delivered"].as_f64().unwrap();
                    let p99 = ms(result["latency"]["p99"].as_f64().unwrap());
                    let missing = result["missing"].as_u64().unwrap();
                    let mut cell = format!("{} ({p99}, {})", count(rate), mib(peer.memory().0));
                    if missing > 0 {
                        cell.push_str(&format!(", {} missing", count(missing as f64)));
                    }
                    rates.push(rate);
                    cells.push(cell);
                }
                cells.push(format!("{:.1}x", rates[0] / rates[1].max(1.0)));
                table.row(cells);
            }
        }
    }
    table.print();
}

fn fixed_load() {
    let settings = format!(
        "5,000 messages/s in all (1 to 50: 200/s, so 10,000 deliveries/s), 256 bytes, {SECONDS} s a cell.\n\
         A cell reads: p50 / p99 in ms from the moment a message was due to its delivery."
    );
    let mut table =
        Table::new("Fixed load", &settings, &["transport", "QoS", "shape", "Causeway", "mosquitto", "stock rumqttd"]);
    for tls in [true, false] {
        for qos in [0, 1] {
            for shape in SHAPES {
                let mut cells = vec![transport(tls), qos.to_string(), shape.0.to_string()];
                if !is_wanted(&cells.join(" ")) {
                    continue;
                }
                for kind in BROKERS {
                    if !brokers(tls).contains(&kind) {
                        cells.push("no TLS".into());
                        continue;
                    }
                    let peer = Peer::start(kind);
                    let result = worker::once(&task(&peer, tls, qos, shape, true));
                    cells.push(latency(&result["latency"]));
                }
                table.row(cells);
            }
        }
    }
    table.print();
}

/// `CAUSEWAY_BENCH_ONLY` picks rows, as in `CAUSEWAY_BENCH_ONLY="mTLS 1 50 to 1"`.
fn is_wanted(row: &str) -> bool {
    std::env::var("CAUSEWAY_BENCH_ONLY").map_or(true, |only| row.contains(&only))
}

fn transport(tls: bool) -> String {
    if tls { "mTLS" } else { "plain" }.into()
}

fn latency(figures: &Value) -> String {
    let figure = |name: &str| ms(figures[name].as_f64().unwrap());
    format!("{} / {}", figure("p50"), figure("p99"))
}

/// With a durable binding, beside the bare disk.
pub(crate) fn durable() {
    let settings = "Vehicles publish telemetry of about 900 bytes at QoS 1 over mTLS; the built-in telemetry plugin \
                    turns it into rows.\nTimes are from PUBLISH to PUBACK in ms, p50 / p99; the bare commit is one \
                    write and one fdatasync for all that has come together, of the same payloads in the same run.";
    let head = ["vehicles", "messages/s", "Causeway", "bare fdatasync", "p99 allowed (1.5x + 1 ms)"];
    let mut table = Table::new("A durable binding", settings, &head);
    for (vehicles, rate) in [(1, 200), (50, 1000), (50, 5000)] {
        let mut task = json!({
            "kind": "bare", "publishers": vehicles, "subscribers": 0, "qos": 1, "rate": rate, "window": 100,
            "seconds": 2 * SECONDS, "topic": "dt/cvra/vehicle-{n}/cardata", "telemetry": true,
        });
        let bare = worker::once(&task);
        let peer = Peer::causeway(setup().telemetry());
        let names: Vec<String> = (0..vehicles).map(|n| format!("vehicle-{n}")).collect();
        task["kind"] = "cell".into();
        task["connection"] = peer.connection(&names);
        let durable = worker::once(&task);
        let allowed = bare["ack"]["p99"].as_f64().unwrap() * 1.5 + 1.0;
        table.row(vec![
            vehicles.to_string(),
            count(rate.into()),
            latency(&durable["ack"]),
            latency(&bare["ack"]),
            ms(allowed),
        ]);
    }
    table.print();
}
