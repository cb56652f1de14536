//! `causeway binding`: the bindings of a running gateway.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::client::Client;
use super::show::{bytes, canary, millis, rows, text};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Binding {
    #[command(flatten)]
    client: Client,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the bindings: their plugins, their states and how far behind they are.
    List,
    /// Look the plugin of a binding up anew and call it again, also a version that trapped or failed too often.
    Resume { name: String },
}

impl Binding {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match self.verb {
            Verb::List => {
                let bindings = self.client.get(&["v1", "bindings"], &[])?;
                if output.is_json() {
                    output.json(&bindings);
                } else {
                    let bindings = bindings.as_array().map_or(&[][..], Vec::as_slice);
                    print(bindings, output);
                    for binding in bindings {
                        if let Some(problem) = binding["problem"].as_str() {
                            output.line(format_args!("{}: {problem}", text(binding, "name")));
                        }
                    }
                }
            }
            Verb::Resume { name } => {
                let binding = self.client.change("POST", &["v1", "bindings", &name, "resume"], None)?;
                if output.is_json() {
                    output.json(&binding);
                } else {
                    show_swap(&name, &binding, output);
                }
            }
        }
        Ok(())
    }
}

/// What came of an order to run a version.
pub(super) fn show_swap(name: &str, binding: &Json, output: &mut Output) {
    let [state, plugin, outcome] = ["state", "plugin", "outcome"].map(|key| text(binding, key));
    match outcome.as_str() {
        "preparing" => {
            output.line(format_args!("{name}: being prepared; `causeway binding list` shows what comes of it"))
        }
        "swapping" => {
            output.line(format_args!("{name}: being swapped; `causeway binding list` shows what comes of it"))
        }
        _ => output.line(format_args!("{name}: {state}, {outcome} {plugin}")),
    }
    if let Some(problem) = binding["problem"].as_str() {
        output.line(format_args!("{name}: {problem}"));
    }
}

fn print(bindings: &[Json], output: &mut Output) {
    let cells = |item: &Json| {
        let [name, kind, delivery, plugin, state] =
            ["name", "kind", "delivery", "plugin", "state"].map(|key| text(item, key));
        let [dead, traps] = ["dead_letters", "traps"].map(|key| text(item, key));
        let lag = format!("{} / {}", bytes(item, "lag_bytes"), millis(item, "lag_ms"));
        vec![name, kind, delivery, lag, dead, traps, state, plugin, canary(item)]
    };
    let heads = ["name", "kind", "delivery", "lag", "dead letters", "traps", "state", "plugin", "canary"];
    output.table(&heads, &rows(bindings, cells));
}
