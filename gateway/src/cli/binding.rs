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
    /// Look the plugin of a binding up anew and call it again, also a version that trapped too often.
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
                    print(bindings.as_array().map_or(&[], Vec::as_slice), output);
                }
            }
            Verb::Resume { name } => {
                let binding = self.client.change("POST", &["v1", "bindings", &name, "resume"], None)?;
                if output.is_json() {
                    output.json(&binding);
                } else {
                    output.line(format_args!("{name}: {}", text(&binding, "state")));
                }
            }
        }
        Ok(())
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
