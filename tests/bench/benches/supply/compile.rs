//! What the gateway weighs while a large component compiles: the compiler is a process of its own.

use super::{SMALL, swap};
use crate::admin;
use crate::peer::{Peer, memory};
use crate::table::{Table, mib};
use causeway_tests::{Gateway, bulk};
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Functions of 4.9 KB each: 18 MB.
const FUNCTIONS: usize = if SMALL { 20 } else { 3_670 };

/// Memory before, while and after.
pub(super) fn memory_while_compiling() {
    let peer = swap::echoing();
    let Peer::Causeway(gateway) = &peer else { unreachable!("a gateway was asked for") };
    let small = fs::read(gateway.setup().path(swap::VERSIONS[0])).unwrap();
    let large = bulk::beside(&small, FUNCTIONS, 700);
    fs::write(gateway.setup().path("large.wasm"), &large).unwrap();
    let settings = format!(
        "A binding runs a plugin of {} KB and is given one of {:.1} MB, which does the same and has {FUNCTIONS} more \
         functions; resident memory in MiB, looked at each 5 ms. The gateway reads the component to hash it, and maps the \
         native code that the compiler leaves.",
        small.len() / 1000,
        large.len() as f64 / 1e6
    );
    let head = ["process", "before", "peak while it compiles", "after", "seconds", "outcome"];
    let mut table = Table::new("Memory while a large component compiles", &settings, &head);
    let pid = peer.pid();
    let before = memory(pid).0;
    let began = Instant::now();
    let compiling = AtomicBool::new(true);
    let (outcome, (own, child)) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(pid, &compiling));
        let outcome = swapped(gateway);
        compiling.store(false, Ordering::Relaxed);
        (outcome, watching.join().unwrap())
    });
    let seconds = format!("{:.1}", began.elapsed().as_secs_f64());
    table.row(vec!["gateway".into(), mib(before), mib(own), mib(memory(pid).0), seconds, outcome]);
    table.row(vec!["compiler".into(), String::new(), mib(child), String::new(), String::new(), String::new()]);
    table.print();
}

/// Has the binding run the large component, and waits until it does or does not.
fn swapped(gateway: &Gateway) -> String {
    let large = gateway.setup().path("large.wasm");
    let path = "/v1/bindings/echo/plugin";
    let (status, answer) = admin::exchange(gateway, "POST", path, &json!({ "reference": large }));
    if !status.starts_with('2') {
        return format!("{status} {answer}");
    }
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let bindings = admin::ask(gateway, "GET", "/v1/bindings", &Value::Null);
        let binding = &bindings[0];
        if let Some(problem) = binding["problem"].as_str() {
            return problem.to_owned();
        }
        if binding["plugin"].as_str().is_some_and(|plugin| plugin.contains("large.wasm sha256:")) {
            return "runs".to_owned();
        }
        assert!(Instant::now() < deadline, "neither runs nor is refused: {binding}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The most that the gateway and its compiler weigh, in KiB.
fn watch(gateway: u32, compiling: &AtomicBool) -> (u64, u64) {
    let (mut own, mut child, mut compiler) = (0, 0, None);
    while compiling.load(Ordering::Relaxed) {
        own = own.max(memory(gateway).0);
        compiler = compiler.or_else(|| child_of(gateway));
        child = compiler.map_or(child, |pid| child.max(memory(pid).1));
        thread::sleep(Duration::from_millis(5));
    }
    (own, child)
}

fn child_of(parent: u32) -> Option<u32> {
    // The compiler is started by whichever thread asked for it.
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.collect::<String>().split_whitespace().find_map(|pid| pid.parse().ok())
}
