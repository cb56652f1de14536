//! Plugin calls without a gateway around them: what a call costs beside the same logic as native code, what a trap costs,
//! what an instance weighs, and what a neighbour notices.

mod statuses;

use super::guest;
use crate::histogram::Histogram;
use crate::peer::memory;
use crate::table::{Table, count};
use causeway_host::{
    Batch, Binary, Component, Engine, EngineConfig, Imports, Input, Level, Limits, Log, LostLines, Qos, ReadError,
    Records, Sender, Setup, State, TelemetryInstance, TelemetryPlugin,
};
use causeway_plugin::bindings::telemetry::causeway::plugin::types as raw;
use causeway_plugin::telemetry::Router;
use causeway_plugin_telemetry::Telemetry;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TAKES_ALL: &str = "(call $ok (local.get 3))";
const PAYLOAD: &str = r#"{"MessageId":"WVW-1","SimulationId":"s-1","CreationTimeStamp":"2024-05-01T10:00:00Z","SendTimeStamp":"2024-05-01T10:00:01Z","VIN":"WVW","TripId":"t-1","Speed":88.5,"EngineSpeed":2100,"Fuel":41.5,"GeoLocation":{"Latitude":48.137,"Longitude":11.575,"Altitude":520,"Heading":90},"Oil":{"Temperature":95.5}}"#;
const TOPIC: &str = "dt/cvra/truck-7/cardata";
const RECEIVED_MS: u64 = 1_714_557_601_500;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(2);

/// Imports that answer nothing.
pub(super) fn nothing() -> Imports {
    Imports { log: Box::new(Nothing), state: Box::new(Nothing), records: Box::new(Nothing) }
}

struct Nothing;

impl Log for Nothing {
    fn write(&mut self, _: Level, _: &str) {}

    fn lost(&mut self, _: LostLines) {}
}

impl State for Nothing {
    fn get(&mut self, _: u32, _: &str) -> Option<Vec<u8>> {
        None
    }
}

impl Records for Nothing {
    fn get(&mut self, _: u32, _: &str, _: &[&str]) -> Result<Option<String>, ReadError> {
        Ok(None)
    }
}

fn load(engine: &Arc<Engine>, component: &[u8]) -> TelemetryPlugin {
    TelemetryPlugin::new(engine, &Component::load(engine, &Binary::of(component), None, |_| {}).unwrap()).unwrap()
}

fn start(plugin: &TelemetryPlugin, limits: &Limits) -> TelemetryInstance {
    let setup = Setup { gateway: "edge".into(), binding: "bench".into(), config: "{}".into() };
    plugin.start(&setup, limits, nothing()).unwrap()
}

/// Asks about so many messages; none when the call trapped.
fn ask(instance: TelemetryInstance, messages: usize) -> Option<TelemetryInstance> {
    let input = Input {
        topic: TOPIC,
        variables: &[("device", "truck-7")],
        sender: 0,
        payload: PAYLOAD.as_bytes(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_ms: RECEIVED_MS,
        content_type: None,
        user_properties: &[],
    };
    let senders = [Sender { id: "truck-7", attributes: &[("vin", "WVW")] }];
    let inputs = vec![input; messages];
    let (instance, outcomes) = instance.route_batch(Batch { senders: &senders, inputs: &inputs }).ok()?;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    Some(instance)
}

/// The same question as [`ask`] for native code.
fn native_batch(messages: usize) -> raw::Batch {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let message = raw::Message {
        topic: TOPIC.into(),
        variables: vec![pair("device", "truck-7")],
        sender: 0,
        payload: PAYLOAD.as_bytes().to_vec(),
        qos: raw::Qos::AtLeastOnce,
        retain: false,
        received: RECEIVED_MS,
        content_type: None,
        user_properties: Vec::new(),
    };
    let sender = raw::Sender { id: "truck-7".into(), attributes: vec![pair("vin", "WVW")] };
    raw::Batch { senders: vec![sender], messages: vec![message; messages] }
}

/// Nanoseconds of one turn: the median of many chunks.
fn nanos(mut turn: impl FnMut()) -> f64 {
    const CHUNK: u32 = 50;
    let (began, mut chunks) = (Instant::now(), Vec::new());
    while began.elapsed() < SPAN {
        let start = Instant::now();
        (0..CHUNK).for_each(|_| turn());
        chunks.push(start.elapsed().as_nanos() as f64 / f64::from(CHUNK));
    }
    chunks.sort_by(f64::total_cmp);
    chunks[chunks.len() / 2]
}

fn guest_nanos(plugin: &TelemetryPlugin, messages: usize) -> f64 {
    let mut instance = Some(start(plugin, &Limits::default()));
    nanos(|| instance = ask(instance.take().unwrap(), messages))
}

pub(crate) fn plugins() {
    let engine = Arc::new(Engine::start(EngineConfig::default()).unwrap());
    let idle = load(&engine, &guest::component(TAKES_ALL));
    let telemetry = load(&engine, causeway_plugins::TELEMETRY);
    calls(&idle, &telemetry);
    statuses::statuses(&engine);
    traps(&engine, &telemetry);
    instances(&telemetry);
    neighbours(&engine, &telemetry);
}

fn calls(idle: &TelemetryPlugin, telemetry: &TelemetryPlugin) {
    let settings = format!(
        "Messages of {} bytes from one sender; medians of chunks of 50 calls. `nothing` answers each message with no \
         effects, so it is the cost of the border; `telemetry` is the built-in router, native: the same crate in the host.",
        PAYLOAD.len()
    );
    let head = ["plugin", "batch", "ns a call", "ns a message", "native ns a message", "overhead ns a message"];
    let mut table = Table::new("Plugin calls", &settings, &head);
    let setup =
        causeway_plugin::telemetry::Setup { gateway: "edge".into(), binding: "bench".into(), config: "{}".into() };
    let router = Telemetry::configure(&setup).unwrap();
    for messages in [1, 16, 64] {
        let each = messages as f64;
        let call = guest_nanos(idle, messages);
        let cells = [call, call / each, 0.0, call / each].map(count);
        table.row([vec!["nothing".into(), messages.to_string()], cells.to_vec()].concat());
        let call = guest_nanos(telemetry, messages);
        let batch = native_batch(messages);
        let native = nanos(|| drop(black_box(causeway_plugin::rt::route_batch(&router, black_box(&batch)))));
        let cells = [call, call / each, native / each, (call - native) / each].map(count);
        table.row([vec!["telemetry".into(), messages.to_string()], cells.to_vec()].concat());
    }
    table.print();
}

fn traps(engine: &Arc<Engine>, telemetry: &TelemetryPlugin) {
    let settings =
        "A fresh instance that has taken its configuration, and one that traps and is replaced; microseconds.";
    let mut table = Table::new("After a trap", settings, &["what", "median", "p99"]);
    let broken = load(engine, &guest::component("(unreachable)"));
    let limits = Limits::default();
    let measure = |turn: &mut dyn FnMut()| {
        let (began, mut histogram) = (Instant::now(), Histogram::new());
        while began.elapsed() < SPAN {
            let start = Instant::now();
            turn();
            histogram.record(start.elapsed().as_nanos() as u64);
        }
        [0.5, 0.99].map(|share| format!("{:.1}", histogram.percentile(share) * 1000.0)).to_vec()
    };
    let fresh = measure(&mut || drop(start(telemetry, &limits)));
    table.row([vec!["telemetry: a fresh instance".into()], fresh].concat());
    let first = measure(&mut || drop(ask(start(telemetry, &limits), 1)));
    table.row([vec!["telemetry: a fresh instance and its first message".into()], first].concat());
    let trapped = measure(&mut || assert!(ask(start(&broken, &limits), 1).is_none()));
    table.row([vec!["a fresh instance, a call that traps, and its end".into()], trapped].concat());
    table.print();
}

fn instances(telemetry: &TelemetryPlugin) {
    const COUNT: usize = 100;
    let settings = format!(
        "{COUNT} instances of the built-in router, as {COUNT} bindings have them, called in turn with a batch of 16; \
         memory is resident memory divided by the instances."
    );
    let head = ["instances", "KiB each, fresh", "KiB each, after 100 batches each", "ns a message"];
    let mut table = Table::new("Many bindings of one plugin", &settings, &head);
    for instances in [1, COUNT] {
        let resident = || memory(std::process::id()).0;
        let before = resident();
        let mut all: Vec<_> = (0..instances).map(|_| Some(start(telemetry, &Limits::default()))).collect();
        let fresh = resident().saturating_sub(before);
        for _ in 0..100 {
            all.iter_mut().for_each(|instance| *instance = ask(instance.take().unwrap(), 16));
        }
        let used = resident().saturating_sub(before);
        let mut turn = (0..instances).cycle();
        let call = nanos(|| {
            let instance = &mut all[turn.next().unwrap()];
            *instance = ask(instance.take().unwrap(), 16);
        });
        let each = |kib: u64| count(kib as f64 / instances as f64);
        table.row(vec![instances.to_string(), each(fresh), each(used), count(call / 16.0)]);
    }
    table.print();
}

fn neighbours(engine: &Arc<Engine>, telemetry: &TelemetryPlugin) {
    const ROUNDS: u32 = 4;
    let settings = format!(
        "The built-in router, a batch of 16 each millisecond on one thread, {ROUNDS} times one second alone and one second \
         beside a misbehaving plugin of the same engine that is called without a pause on another thread. Microseconds of a call."
    );
    let head =
        ["beside", "alone p50", "alone p99", "beside p50", "beside p99", "ratio of p99", "stopped calls of the other"];
    let mut table = Table::new("A misbehaving neighbour", &settings, &head);
    let bodies = [
        ("an endless loop", "(loop $more (br $more)) (unreachable)"),
        ("a panic in each call", "(unreachable)"),
        ("a memory bomb", "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)"),
        (
            "a flood of log lines",
            "(loop $more (call $log (i32.const 0) (i32.const 65536) (i32.const 99)) (br $more)) (unreachable)",
        ),
    ];
    for (what, body) in bodies {
        let other = load(engine, &guest::component(body));
        let (mut alone, mut beside, mut stopped) = (Histogram::new(), Histogram::new(), 0);
        for _ in 0..ROUNDS {
            alone.add(&paced(telemetry));
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                let misbehaving = scope.spawn(|| {
                    let mut stopped = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        stopped += u32::from(ask(start(&other, &Limits::default()), 16).is_none());
                    }
                    stopped
                });
                beside.add(&paced(telemetry));
                stop.store(true, Ordering::Relaxed);
                stopped += misbehaving.join().unwrap();
            });
        }
        let ratio = beside.percentile(0.99) / alone.percentile(0.99);
        let figures = [(&alone, 0.5), (&alone, 0.99), (&beside, 0.5), (&beside, 0.99)];
        let mut row = vec![what.to_owned()];
        row.extend(figures.map(|(histogram, share)| micros(histogram, share)));
        row.extend([format!("{ratio:.2}"), count(f64::from(stopped))]);
        table.row(row);
    }
    table.print();
}

fn paced(plugin: &TelemetryPlugin) -> Histogram {
    let mut instance = Some(start(plugin, &Limits::default()));
    let (began, mut histogram) = (Instant::now(), Histogram::new());
    while began.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        instance = ask(instance.take().unwrap(), 16);
        histogram.record(start.elapsed().as_nanos() as u64);
        thread::sleep(Duration::from_millis(1));
    }
    histogram
}

fn micros(histogram: &Histogram, share: f64) -> String {
    format!("{:.0}", histogram.percentile(share) * 1000.0)
}
