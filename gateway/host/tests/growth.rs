//! Ten thousand traps leave nothing behind. Alone in its program: the memory of a process is what is measured.

#![expect(clippy::unwrap_used, reason = "a test that cannot set the scene fails")]

#[path = "support/guest.rs"]
mod guest;

#[path = "support/host.rs"]
mod host;

use host::{Lines, imports, load, route, setup};

/// Bytes that the process has in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_traps_leave_no_memory_behind() {
    // It touches 128 KiB before it traps.
    let body = "(drop (memory.grow (i32.const 16)))
        (memory.fill (i32.const 196608) (i32.const 1) (i32.const 131072)) (unreachable)";
    let plugin = load(&guest::component(body)).unwrap();
    let trap = || {
        let instance = plugin.start(&setup(), &host::limits(), imports(&Lines::default())).unwrap();
        route(instance, &[b"x"]).unwrap_err();
    };
    (0..500).for_each(|_| trap());
    let before = resident();
    (0..10_000).for_each(|_| trap());
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after 10,000 traps; each had touched 128 KiB");
}
