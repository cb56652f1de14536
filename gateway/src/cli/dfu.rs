//! `causeway dfu`: what devices run, and what becomes of their updates.

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::client::Client;
use super::show::{bytes, items, millis, plain, rows, text, time};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Dfu {
    #[command(flatten)]
    client: Client,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what devices run, what they are to run and how far they are.
    Status(Status),
    /// Show a device with its history.
    Show { device: String },
    /// List the attempts that are over, the latest first.
    History(History),
    /// Let a device have again what it failed at: lifts its quarantine and its waiting time.
    Forgive { device: String },
}

#[derive(Debug, Args)]
struct Status {
    /// Only devices of this query, such as `group=pilot version!=0.1.1`.
    #[arg(long)]
    query: Option<String>,
    /// Only devices in this state: idle, assigned, transferring, swapping, confirmed, failed or quarantined.
    #[arg(long)]
    state: Option<String>,
    /// Only devices that say nothing in the middle of an attempt.
    #[arg(long)]
    stalled: bool,
    /// Only ids behind this one: the last of the page before.
    #[arg(long)]
    after: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// Show it again every so many seconds, until Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    watch: Option<u64>,
}

#[derive(Debug, Args)]
struct History {
    /// Only those of this device.
    #[arg(long)]
    device: Option<String>,
    /// Only those that ended so: confirmed, failed or superseded.
    #[arg(long)]
    outcome: Option<String>,
    /// Only those with a lower number: the last of the page before.
    #[arg(long)]
    before: Option<i64>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Dfu {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let client = &self.client;
        match self.verb {
            Verb::Status(status) => status.run(client, output),
            Verb::Show { device } => {
                let device = client.get(&["v1", "dfu", "devices", &device], &[])?;
                if output.is_json() {
                    output.json(&device)
                } else {
                    print(&device, output)
                }
                Ok(())
            }
            Verb::History(history) => history.run(client, output),
            Verb::Forgive { device } => {
                let done = client.change("POST", &["v1", "dfu", "devices", &device, "forgive"], None)?;
                if output.is_json() {
                    output.json(&done);
                } else if done["forgiven"] == true {
                    output.line(format_args!("{device}: forgiven"));
                } else {
                    output.line(format_args!("{device}: there is nothing to forgive"));
                }
                Ok(())
            }
        }
    }
}

impl Status {
    fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        loop {
            let devices = client.get(&["v1", "dfu", "devices"], &self.query())?;
            if output.is_json() {
                output.json(&devices);
            } else {
                let summary = client.get(&["v1", "dfu"], &[])?;
                if self.watch.is_some() && std::io::stdout().is_terminal() {
                    // Home, and erase to the end (ECMA-48 8.3.21, 8.3.39).
                    output.text("\x1b[H\x1b[J");
                }
                table(devices.as_array().map_or(&[], Vec::as_slice), output);
                output.line(format_args!("\n{}", totals(&summary)));
            }
            let Some(seconds) = self.watch else { return Ok(()) };
            if !output.is_read() {
                return Ok(());
            }
            thread::sleep(Duration::from_secs(seconds.max(1)));
        }
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.query.clone().map(|text| ("query", text)));
        query.extend(self.state.clone().map(|state| ("state", state)));
        query.extend(self.stalled.then(|| ("stalled", "true".to_owned())));
        query.extend(self.after.clone().map(|after| ("after", after)));
        query
    }
}

impl History {
    fn run(self, client: &Client, output: &mut Output) -> Result<(), Failure> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.device.map(|device| ("device", device)));
        query.extend(self.outcome.map(|outcome| ("outcome", outcome)));
        query.extend(self.before.map(|before| ("before", before.to_string())));
        let found = client.get(&["v1", "dfu", "history"], &query)?;
        if output.is_json() {
            output.json(&found);
        } else {
            history(found.as_array().map_or(&[], Vec::as_slice), output);
        }
        Ok(())
    }
}

fn table(devices: &[Json], output: &mut Output) {
    let cells = |device: &Json| {
        let target = &device["target"];
        let some = |shown: String| if target.is_object() { shown } else { "-".to_owned() };
        let stalled = if device["stalled"] == true { "stalled" } else { "" };
        vec![
            text(device, "device"),
            text(device, "running"),
            text(target, "version"),
            format!("{} {stalled}", text(device, "state")).trim_end().to_owned(),
            some(format!("{}%", text(target, "percent"))),
            if target["rate"].is_null() { "-".to_owned() } else { format!("{}/s", bytes(target, "rate")) },
            if target["left_ms"].is_null() { "-".to_owned() } else { millis(target, "left_ms") },
            text(target, "attempt"),
            time(device, "since_ms"),
            why(device),
        ]
    };
    let heads = ["device", "running", "target", "state", "%", "rate", "eta", "attempt", "since", "why"];
    output.table(&heads, &rows(devices, cells));
}

/// The first that there is to say of why a device does not run what it is to run.
fn why(device: &Json) -> String {
    let said = ["problem", "why", "reason"].into_iter().find_map(|key| device[key].as_str());
    said.unwrap_or("-").to_owned()
}

fn totals(summary: &Json) -> String {
    let devices = summary["devices"].as_object().into_iter().flatten();
    let counts = devices.filter(|(_, count)| **count != 0).map(|(state, count)| format!("{count} {state}"));
    let mut counts: Vec<String> = counts.collect();
    if summary["stalled"] != 0 {
        counts.push(format!("{} stalled", summary["stalled"]));
    }
    if counts.is_empty() { "no device has said what it runs".to_owned() } else { counts.join(", ") }
}

fn by(of: &Json) -> String {
    let by = of["by"].as_object().and_then(|by| by.iter().next());
    by.map_or_else(|| "-".to_owned(), |(kind, name)| format!("{kind} {}", plain(name)))
}

fn print(device: &Json, output: &mut Output) {
    let stalled = if device["stalled"] == true { ", stalled" } else { "" };
    output.line(format_args!("device     {}", text(device, "device")));
    output.line(format_args!("running    {}", text(device, "running")));
    output.line(format_args!("state      {}{stalled}, since {}", text(device, "state"), time(device, "since_ms")));
    output.line(format_args!("heard      {}", time(device, "heard_ms")));
    for (key, head) in [("why", "why"), ("reason", "failure"), ("problem", "problem")] {
        if let Some(said) = device[key].as_str() {
            output.line(format_args!("{head:<10} {}", super::output::printable(said)));
        }
    }
    let target = &device["target"];
    if target.is_object() {
        let [name, version, from, patch] = ["name", "version", "from", "patch"].map(|key| text(target, key));
        let [attempt, blocks, restarts, percent] =
            ["attempt", "blocks", "restarts", "percent"].map(|key| text(target, key));
        output.line(format_args!("target     {name} {version} over {from}, by {}", by(target)));
        output.line(format_args!(
            "progress   {percent}%: {} of {}, {blocks} blocks with {}, patch {patch}",
            bytes(target, "offset"),
            bytes(target, "size"),
            bytes(target, "bytes"),
        ));
        output.line(format_args!("attempt    {attempt}, begun anew {restarts} times"));
    }
    output.line("\nattempts");
    let cells = |attempt: &Json| {
        let [version, made, quarantined] = ["version", "made", "quarantined"].map(|key| text(attempt, key));
        vec![version, made, time(attempt, "until_ms"), quarantined]
    };
    output.table(&["version", "made", "not before", "quarantined"], &rows(items(device, "attempts"), cells));
    output.line("\nhistory");
    history(items(device, "history"), output);
}

fn history(ended: &[Json], output: &mut Output) {
    let cells = |ended: &Json| {
        let [id, device, name, from, version] = ["id", "device", "name", "from", "version"].map(|key| text(ended, key));
        let [attempt, blocks, outcome, reason] = ["attempt", "blocks", "outcome", "reason"].map(|key| text(ended, key));
        let took = if ended["duration_ms"].is_null() { "-".to_owned() } else { millis(ended, "duration_ms") };
        let release = format!("{name} {from} to {version}");
        let (at, sent) = (time(ended, "ended_ms"), bytes(ended, "bytes"));
        vec![id, device, release, by(ended), at, took, blocks, sent, attempt, outcome, reason]
    };
    let heads = ["id", "device", "release", "by", "ended", "took", "blocks", "bytes", "attempt", "outcome", "reason"];
    output.table(&heads, &rows(ended, cells));
}
