//! Markdown out of figures, and the machine they were taken on.

use std::fs;
use std::process::Command;

/// Figures of another profile are no figures.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// Prints what the figures depend on.
pub(crate) fn machine() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |p| p.1);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("Machine: {cores} cores ({model}), {} GiB, Linux {}.", kib.div_ceil(1 << 20), kernel.trim());
    println!(
        "Versions: causeway {} ({BUILD} build), {}, rumqttd 0.20.0, {}.",
        env!("CARGO_PKG_VERSION"),
        first_line("/usr/sbin/mosquitto", "-h"),
        first_line("rustc", "--version"),
    );
    println!("Gateway, peers and load run on the same cores over loopback; the load is a process of its own.\n");
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("not installed").to_string()
}

/// A table that is printed when it is complete.
pub(crate) struct Table {
    title: String,
    settings: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &str, settings: &str, head: &[&str]) -> Self {
        eprintln!("# {title}");
        Self { title: title.into(), settings: settings.into(), rows: vec![head.iter().map(|h| (*h).into()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        eprintln!("  {}", cells.join(" | "));
        self.rows.push(cells);
    }

    pub(crate) fn print(self) {
        println!("### {}\n\n{}\n", self.title, self.settings);
        for (at, row) in self.rows.iter().enumerate() {
            println!("| {} |", row.join(" | "));
            if at == 0 {
                println!("|{}", "---|".repeat(row.len()));
            }
        }
        println!();
    }
}

/// A count with thousands separated.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds with two or three significant figures.
pub(crate) fn ms(milliseconds: f64) -> String {
    match milliseconds {
        m if m < 1.0 => format!("{m:.2}"),
        m if m < 100.0 => format!("{m:.1}"),
        m => count(m),
    }
}

/// KiB as MiB.
pub(crate) fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}
