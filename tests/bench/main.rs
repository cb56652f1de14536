//! The benches: each starts the gateway and its peers as processes, loads them from a process of its own and prints
//! tables in Markdown with the machine, the versions and the settings. `cargo xtask bench NAME` builds and runs it.
//!
//! The same program is the load (`worker`) and the stock broker (`stock`), so that one build makes all that is needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot measure must stop")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tables go to standard output, progress to standard error"
)]

mod admin;
mod bare;
mod benches;
mod histogram;
mod load;
mod peer;
mod router_shapes;
mod table;
mod worker;

use std::env;

/// Name, what it shows, how to run it.
type Bench = (&'static str, &'static str, fn());

const BENCHES: [Bench; 13] = [
    ("throughput", "deliveries and latency: 1 to 1, 50 to 1, 1 to 50, flat out and at fixed load", benches::throughput),
    ("durable", "publish to PUBACK with a durable binding, beside a bare group commit", benches::durable),
    ("rows", "publish to committed rows, beside a bare loop; the plugin beside native code", benches::rows),
    ("idle", "memory and time of 1,000 and 5,000 idle connections", benches::idle),
    ("silent", "latency of good clients beside 300 silent sockets", benches::silent),
    ("growth", "cost and memory over 10,000 filters, 100,000 topics, 100,000 client ids", benches::growth),
    ("router", "the two candidate shapes of the live path, without sockets", router_shapes::run),
    ("plugins", "a plugin call beside native code, a trap, 100 instances, a misbehaving neighbour", benches::plugins),
    ("supply", "cold start of a plugin, the pause of a swap, memory while 18 MB compile", benches::supply),
    ("dfu", "1,000 devices updating at once beside an echo and beside native code, memory, polling", benches::dfu),
    ("policy", "a decision asked and remembered, effects authorised in a second", benches::policy),
    ("retention", "inserts into a collection with and without trimming beside them", benches::retention),
    ("start", "time from exec to the first CONNACK, and idle memory", benches::start),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["worker"] => worker::run(),
        ["stock", address] => peer::run_stock(address),
        [] => {
            println!("usage: cargo xtask bench NAME ...\n");
            for (name, about, _) in BENCHES {
                println!("  {name:<11} {about}");
            }
            println!("  all         one after the other");
        }
        names => {
            table::machine();
            for (name, _, run) in BENCHES {
                if names.contains(&name) || names.contains(&"all") {
                    run();
                }
            }
        }
    }
}
