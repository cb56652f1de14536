//! `causeway plugin diff`: where two versions of a plugin make different things, with live messages or with a recording.

use std::path::Path;

use clap::Args;
use serde_json::Value as Json;

use super::replay;
use crate::cli::client::Client;
use crate::cli::show::{bytes, items, text, time};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, Args)]
#[command(
    override_usage = "causeway plugin diff [OPTIONS] <BINDING>\n       causeway plugin diff <RECORDING> <ONE> <OTHER>"
)]
pub(super) struct Diff {
    /// A binding that has a canary; with two plugins behind it, the file of a recording.
    #[arg(value_name = "BINDING|RECORDING")]
    of: String,
    /// A plugin to run with the recording: a component file, or `builtin:telemetry`.
    #[arg(requires = "other")]
    one: Option<String>,
    /// The other one.
    other: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Diff {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match (&self.one, &self.other) {
            (Some(one), Some(other)) => replay::diff(Path::new(&self.of), one, other, output),
            _ => canary(&self.of, &self.client, output),
        }
    }
}

/// Shows how the canary of a binding did so far.
fn canary(binding: &str, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let canary = client.get(&["v1", "bindings", binding, "canary"], &[])?;
    if output.is_json() {
        output.json(&canary);
    } else {
        print(binding, &canary, output);
    }
    let reason = canary.get("reason").and_then(Json::as_str);
    let differ: u64 = ["different", "trapped"].iter().filter_map(|count| canary.get(count)?.as_u64()).sum();
    match (reason, differ) {
        (Some(reason), _) => Err(Failure::new(Exit::No, format!("the canary {}: {reason}", text(&canary, "state")))),
        (None, 0) => Ok(()),
        (None, count) => Err(Failure::new(Exit::No, format!("{count} of {} inputs differ", text(&canary, "inputs")))),
    }
}

fn print(binding: &str, canary: &Json, output: &mut Output) {
    let told = |key: &str| text(canary, key);
    let chosen = if canary["chosen"] == true { ", chosen over the configuration" } else { "" };
    output.line(format_args!("{binding}: {} {}, {}{chosen}", told("plugin"), told("digest"), told("state")));
    if canary.get("against").is_some_and(Json::is_string) {
        output.line(format_args!("against {} since {}", told("against"), time(canary, "since_ms")));
    }
    let [inputs, equal, different, not_comparable, trapped, dropped, waiting] =
        ["inputs", "equal", "different", "not_comparable", "trapped", "dropped", "waiting"].map(told);
    output.line(format_args!(
        "{inputs} inputs: {equal} equal, {different} different, {not_comparable} not comparable, {trapped} trapped; {dropped} dropped, {waiting} waiting"
    ));
    if canary.get("state_bytes").is_some_and(|bytes| *bytes != 0) {
        output.line(format_args!("it remembers {} otherwise", bytes(canary, "state_bytes")));
    }
    for difference in items(canary, "differences") {
        let [number, topic, sender] =
            ["input", "topic", "sender"].map(|key| text(difference, key).escape_debug().to_string());
        output.line(format_args!("{number:>6}  {topic}  {sender}  {}", time(difference, "received_ms")));
        for what in items(difference, "what").iter().filter_map(Json::as_str) {
            output.line(format_args!("        {}", what.escape_debug()));
        }
        for (sign, of) in [('-', "binding"), ('+', "canary")] {
            if let Some(outcome) = difference.get(of) {
                output.line(format_args!("        {sign} {outcome}"));
            }
        }
    }
}
