//! The pause of a swap: messages at a fixed rate through a durable binding, with and without swaps.

use super::SMALL;
use crate::admin;
use crate::benches::guest;
use crate::peer::{Peer, setup};
use crate::table::{Table, count, ms};
use crate::worker::Worker;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Messages a second.
const RATE: u64 = if SMALL { 500 } else { 10_000 };
const SECONDS: u64 = if SMALL { 3 } else { 10 };
const PUBLISHERS: u64 = 16;
/// From one swap to the next: a pause of 5 ms then meets more than one message of a hundred, and shows in the p99.
const EVERY: Duration = Duration::from_millis(if SMALL { 1000 } else { 200 });

/// Publishes each message's payload again, to `bench/out`.
const ECHOES: &str = "(local $n i32) (local $effect i32) (local $message i32)
    (i64.store (i32.const 60000) (i64.const 0x756f2f68636e6562)) (i32.store8 (i32.const 60008) (i32.const 116))
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get 3))
        (then
          (local.set $message (i32.add (local.get 2) (i32.mul (local.get $n) (i32.const 64))))
          (local.set $effect (i32.add (i32.const 62000) (i32.mul (local.get $n) (i32.const 24))))
          (i32.store8 (local.get $effect) (i32.const 1))
          (i32.store offset=4 (local.get $effect) (i32.const 60000))
          (i32.store offset=8 (local.get $effect) (i32.const 9))
          (i32.store offset=12 (local.get $effect) (i32.load offset=20 (local.get $message)))
          (i32.store offset=16 (local.get $effect) (i32.load offset=24 (local.get $message)))
          (i32.store8 offset=20 (local.get $effect) (i32.const 0))
          (i32.store offset=65540 (i32.mul (local.get $n) (i32.const 16)) (local.get $effect))
          (i32.store offset=65544 (i32.mul (local.get $n) (i32.const 16)) (i32.const 1))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br $next))))
    (call $ok (local.get 3))";

/// The versions of the plugin, which differ in nothing but their digest.
pub(super) const VERSIONS: [&str; 2] = ["one.wasm", "two.wasm"];

/// A gateway with a binding that echoes, and the versions of its plugin in files.
pub(super) fn echoing() -> Peer {
    let setup = setup().policy("echo.cedar", "permit (principal is Plugin, action, resource);\n");
    let component = guest::component(ECHOES);
    for (file, number) in VERSIONS.iter().zip(1..) {
        // A custom section whose name is the number.
        fs::write(setup.path(file), [component.as_slice(), &[0, 2, 1, b'0' + number]].concat()).unwrap();
    }
    let bindings = json!([{ "name": "echo", "plugin": VERSIONS[0], "filters": ["bench/in/+"],
        "commit": { "linger": "1ms" } }]);
    Peer::causeway(setup.set("bindings", bindings))
}

/// Messages with and without swaps.
pub(super) fn pause() {
    let settings = format!(
        "{} messages/s of 256 bytes at QoS 1 over mTLS from {PUBLISHERS} publishers, through a durable binding whose plugin \
         publishes each again at QoS 0, {SECONDS} s; `commit.linger` is 1 ms. Acknowledged: PUBLISH to PUBACK; handled: \
         PUBLISH to the delivery of what the plugin published, so plugin call, commit and outbox are in it. Swaps go from \
         one version in a file to another and back, each {} ms; both are compiled before.",
        count(RATE as f64),
        EVERY.as_millis()
    );
    let head = ["swaps", "acknowledged p50 ms", "p99", "max", "handled p50 ms", "p99", "p99.9", "max", "missing"];
    let mut table = Table::new("The pause of a swap", &settings, &head);
    let still = measure(&mut table, false);
    let swapped = measure(&mut table, true);
    let delta = |side: &str, share: &str| {
        let figure = |run: &Value| run[side][share].as_f64().unwrap_or_default();
        format!("{:+.2}", figure(&swapped) - figure(&still))
    };
    table.row(vec![
        "difference (aim: p99 at most 5 ms)".into(),
        delta("ack", "p50"),
        delta("ack", "p99"),
        delta("ack", "max"),
        delta("latency", "p50"),
        delta("latency", "p99"),
        delta("latency", "p999"),
        delta("latency", "max"),
        String::new(),
    ]);
    table.print();
}

fn measure(table: &mut Table, swapping: bool) -> Value {
    let peer = echoing();
    let Peer::Causeway(gateway) = &peer else { unreachable!("a gateway was asked for") };
    let names: Vec<String> = (0..PUBLISHERS).map(|n| format!("publisher-{n}")).collect();
    let task = json!({
        "kind": "cell", "connection": peer.connection(&names), "publishers": PUBLISHERS, "subscribers": 1, "qos": 1,
        "window": 1000, "rate": RATE, "seconds": SECONDS, "topic": "bench/in/{n}", "filter": "bench/out", "payload": 256,
    });
    if swapping {
        // Both versions are compiled before the first swap that counts.
        [VERSIONS[1], VERSIONS[0]].iter().for_each(|version| admin::set_plugin(gateway, "echo", version));
    }
    let (stop, mut swaps) = (AtomicBool::new(false), 0);
    let line = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let line = Worker::start(&task).line();
            stop.store(true, Ordering::Relaxed);
            line
        });
        let began = Instant::now();
        while swapping && !stop.load(Ordering::Relaxed) {
            thread::sleep((EVERY * (swaps + 1)).saturating_sub(began.elapsed()));
            swaps += 1;
            admin::set_plugin(gateway, "echo", VERSIONS[swaps as usize % 2]);
        }
        load.join().unwrap()
    });
    let figure = |side: &str, share: &str| ms(line[side][share].as_f64().unwrap_or_default());
    table.row(vec![
        swaps.to_string(),
        figure("ack", "p50"),
        figure("ack", "p99"),
        figure("ack", "max"),
        figure("latency", "p50"),
        figure("latency", "p99"),
        figure("latency", "p999"),
        figure("latency", "max"),
        line["missing"].to_string(),
    ]);
    line
}
