//! Firmware updates: a thousand devices at once beside a bare echo and beside a gateway with the plugin's logic as native
//! code, what they cost in memory, and what devices cost that have nothing to do.

use crate::load::updates::{NEW, OLD};
use crate::peer::{Peer, cpu_seconds, memory, program, setup, setup_of};
use crate::table::{Table, count, mib, ms};
use crate::worker::Worker;
use causeway_tests::Setup;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A debug build shows that the bench runs, with less of everything; its figures mean nothing.
const SMALL: bool = cfg!(debug_assertions);

const DEVICES: usize = if SMALL { 20 } else { 1000 };
const SECONDS: f64 = if SMALL { 2.0 } else { 5.0 };
/// What else the machine does comes and goes: what is compared runs in turns.
const ROUNDS: usize = if SMALL { 1 } else { 5 };

/// Bytes that a command in the packed form has beside its data, with a version of five bytes.
const OVERHEAD: u32 = 22;

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

const IMAGES: [(&str, u32); 2] = [("1 MiB", MIB), ("64 MiB", 64 * MIB)];

pub(crate) fn dfu() {
    updates();
    whole();
    polls();
}

/// What a run of devices came to.
struct Outcome {
    said: Value,
    /// Resident memory of the gateway with all devices connected, and the most while they ran, KiB.
    idle: u64,
    most: u64,
    /// Seconds of processor time of the gateway.
    cpu: f64,
}

impl Outcome {
    fn number(&self, name: &str) -> f64 {
        self.said[name].as_f64().unwrap()
    }

    fn rate(&self, name: &str) -> f64 {
        self.number(name) / self.number("seconds")
    }

    fn turn(&self, share: &str) -> String {
        ms(self.said["turn"][share].as_f64().unwrap())
    }
}

/// A gateway that has devices updated to an image of so many bytes.
fn updating(setup: Setup, size: u32, version: &str) -> Setup {
    let setup = setup
        .set("bindings", json!([{ "name": "dfu", "kind": "dfu" }]))
        .set("assignments", json!([{ "name": "all", "devices": "*", "release": format!("app:{version}") }]));
    let image: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = setup.path("image");
    fs::write(&file, image).unwrap();
    let _ = setup.write_config();
    let push = ["firmware", "push", "image", "--name", "app", "--version", version, "-c", "causeway.yaml"];
    let output = setup.command(&push);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    setup
}

/// Connects so many devices, each with a certificate of its own, and has them do what `task` says.
fn run(setup: Setup, devices: usize, task: Value) -> Outcome {
    let peer = Peer::causeway(setup);
    let names: Vec<String> = (0..devices).map(|n| format!("device-{n}")).collect();
    let mut whole = json!({ "kind": "updates", "connection": peer.connection(&names), "names": names });
    whole.as_object_mut().unwrap().extend(task.as_object().unwrap().clone());
    let mut worker = Worker::start(&whole);
    worker.line();
    thread::sleep(Duration::from_secs(1));
    let (pid, stop) = (peer.pid(), Arc::new(AtomicBool::new(false)));
    let (idle, before) = (memory(pid).0, cpu_seconds(pid));
    let watching = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut most = 0;
            while !stop.load(Ordering::Relaxed) {
                most = most.max(memory(pid).0);
                thread::sleep(Duration::from_millis(100));
            }
            most
        }
    });
    worker.go();
    let said = worker.line();
    let cpu = cpu_seconds(pid) - before;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(said["lost"], 0, "{said}");
    Outcome { said, idle, most: watching.join().unwrap(), cpu }
}

/// The gateway that calls the plugin's logic as native code, if it is built.
fn native() -> Option<Setup> {
    let program = program("causeway-native-dfu");
    if !program.exists() {
        let profile = if SMALL { "" } else { " --release" };
        eprintln!(
            "The rows `native` are left out. For them: cargo build -p causeway-tests --features native-dfu \
             --bin causeway-native-dfu{profile}"
        );
        return None;
    }
    Some(setup_of(&program))
}

/// What is compared, one right after the other.
struct Round {
    echo: Outcome,
    /// By image; none if it is not built.
    native: Vec<Outcome>,
    updates: Vec<Outcome>,
}

impl Round {
    fn run(mtu: u32) -> Self {
        let echo = json!({ "mode": "echo", "bytes": mtu + OVERHEAD, "seconds": SECONDS });
        let mut round = Self { echo: run(setup(), DEVICES, echo), native: Vec::new(), updates: Vec::new() };
        for (_, size) in IMAGES {
            let task = json!({ "mode": "stream", "mtu": mtu, "size": size, "seconds": SECONDS });
            let stream = |setup| run(updating(setup, size, NEW), DEVICES, task.clone());
            round.native.extend(native().map(stream));
            round.updates.push(stream(setup()));
        }
        round
    }
}

/// The one in the middle.
fn median<T>(all: impl Iterator<Item = T>, key: impl Fn(&T) -> f64) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_by(|one, other| key(one).total_cmp(&key(other)));
    let middle = all.len() / 2;
    all.into_iter().nth(middle)
}

/// Blocks and memory, beside an echo and beside native code.
fn updates() {
    let settings = format!(
        "{DEVICES} devices over mTLS, each with its own certificate, status and command at QoS 1, packed CBOR, one status \
         under way for each device and no pause; {SECONDS} s each time, in which a device that has nearly all of the image \
         begins again. Memory is resident memory of the gateway: with all devices connected and silent, and at most while \
         they update.\n\
         The rows of an mtu run in turns, {ROUNDS} rounds; a row shows its run with the middle rate, and a ratio is the middle \
         one of those within a round.\n\
         The echo: as many devices of a gateway without plugins send themselves messages of the size of a command, so that \
         the bytes of a block come in as well as go out; there is no plugin, no image and no second message on its way.\n\
         Native: a gateway that differs in one thing, it calls the plugin's crate as native code and not as a component."
    );
    let head = [
        "what",
        "image",
        "mtu",
        "blocks/s",
        "MiB/s",
        "p50 ms",
        "p99 ms",
        "idle MiB",
        "most MiB",
        "more",
        "µs a block",
        "of the echo",
        "of native",
        "aims",
    ];
    let mut table = Table::new("Updates at once", &settings, &head);
    for mtu in [512, 4096] {
        let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::run(mtu)).collect();
        compare(&mut table, mtu, &rounds);
    }
    table.print();
}

/// The rows of one mtu.
fn compare(table: &mut Table, mtu: u32, rounds: &[Round]) {
    let rate = |outcome: &Outcome| outcome.rate("blocks");
    let ratio = |ratios: Vec<f64>| {
        median(ratios.into_iter(), |ratio| *ratio).map(|ratio| format!("{ratio:.2}x")).unwrap_or_default()
    };
    let mut row = |what, image, runs: Vec<&Outcome>, compared| {
        if let Some(outcome) = median(runs.into_iter(), |outcome| rate(outcome)) {
            table.row(row(what, image, mtu, outcome, compared));
        }
    };
    row("echo", "", rounds.iter().map(|round| &round.echo).collect(), [const { String::new() }; 3]);
    for (at, (image, _)) in IMAGES.into_iter().enumerate() {
        let native: Vec<_> = rounds.iter().filter_map(|round| round.native.get(at)).collect();
        let updates: Vec<_> = rounds.iter().map(|round| &round.updates[at]).collect();
        let of_echo = |runs: &[&Outcome]| {
            ratio(runs.iter().zip(rounds).map(|(run, round)| rate(run) / rate(&round.echo)).collect())
        };
        let of_native =
            ratio(updates.iter().zip(&native).map(|(update, native)| rate(update) / rate(native)).collect());
        let compared = [of_echo(&updates), of_native, "32 MiB more, 0.6x, 0.8x".to_owned()];
        row("native", image, native.clone(), [of_echo(&native), String::new(), String::new()]);
        row("update", image, updates, compared);
    }
}

fn row(what: &str, image: &str, mtu: u32, outcome: &Outcome, compared: [String; 3]) -> Vec<String> {
    let mib_a_second = outcome.rate("bytes") / f64::from(MIB);
    // The time before the measuring, a fifth, counts as well.
    let micros = outcome.cpu * 1e6 / (outcome.number("blocks") * 1.2);
    let measured = [
        what.into(),
        image.into(),
        mtu.to_string(),
        count(outcome.rate("blocks")),
        format!("{mib_a_second:.1}"),
        outcome.turn("p50"),
        outcome.turn("p99"),
        mib(outcome.idle),
        mib(outcome.most),
        mib(outcome.most.saturating_sub(outcome.idle)),
        format!("{micros:.1}"),
    ];
    measured.into_iter().chain(compared).collect()
}

/// From the first status to the last confirmation, with everything that turns on the way.
fn whole() {
    let size = if SMALL { 16 * KIB } else { MIB };
    let settings = format!(
        "{DEVICES} devices over mTLS, mtu 4096, from {OLD} to {NEW}, an image of {} KiB: all blocks, swap, and the \
         confirmation of the new version; each swap waits for its attempt to be on the disk.",
        size / KIB
    );
    let mut table =
        Table::new("Updates from beginning to end", &settings, &["devices", "updated", "seconds", "MiB/s", "p99 ms"]);
    let outcome = run(updating(setup(), size, NEW), DEVICES, json!({ "mode": "whole", "mtu": 4096, "seconds": 120 }));
    table.row(vec![
        DEVICES.to_string(),
        count(outcome.number("synced")),
        format!("{:.1}", outcome.number("seconds")),
        format!("{:.1}", outcome.rate("bytes") / f64::from(MIB)),
        outcome.turn("p99"),
    ]);
    table.print();
}

/// Devices that have what they are to have.
fn polls() {
    /// Seconds between two statuses of ten thousand devices, as the gateway tells them by default.
    const EVERY: f64 = 300.0;
    const MEANT: f64 = 10_000.0;
    let every = if SMALL { 1.0 } else { 3.0 };
    let rate = DEVICES as f64 / every;
    let compressed = rate / (MEANT / EVERY);
    let settings = format!(
        "{DEVICES} devices that are up to date ask every {every} s: {rate:.0} statuses a second, {compressed:.0} times what \
         10,000 devices ask that poll every {EVERY} s. The last column is the processor time of the gateway divided by that; what \
         the connections themselves cost is in the table of idle connections.",
    );
    let head = ["statuses/s", "p99 ms", "% of a core", "% for 10,000 at 300 s", "aim"];
    let mut table = Table::new("Devices that only ask", &settings, &head);
    let task = json!({ "mode": "poll", "every": every, "seconds": if SMALL { 3.0 } else { 30.0 } });
    let outcome = run(updating(setup(), 64 * KIB, NEW), DEVICES, task);
    // The time before the measuring, a fifth, counts as well.
    let share = outcome.cpu / (outcome.number("seconds") * 1.2) * 100.0;
    table.row(vec![
        count(outcome.rate("synced")),
        outcome.turn("p99"),
        format!("{share:.1}"),
        format!("{:.2}", share / compressed),
        "5 %".into(),
    ]);
    table.print();
}
