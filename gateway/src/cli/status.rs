//! `causeway status`: one page that says how a running gateway is.

use clap::Args;
use serde_json::Value as Json;

use super::client::Client;
use super::show::{bytes, canary, items, millis, rows, text, time};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    client: Client,
}

impl Status {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let status = self.client.get(&["v1", "status"], &[])?;
        if output.is_json() {
            output.json(&status)
        } else {
            print(&status, output)
        }
        Ok(())
    }
}

fn print(status: &Json, output: &mut Output) {
    let part = |name: &str| status.get(name).cloned().unwrap_or_default();
    let (clock, sessions, journal, store) = (part("clock"), part("sessions"), part("journal"), part("store"));
    let confirmed = if clock.get("confirmed") == Some(&true.into()) { "confirmed" } else { "unconfirmed" };
    output.line(format_args!("gateway   {} ({})", text(status, "gateway"), text(status, "version")));
    output.line(format_args!("started   {}", time(status, "started_ms")));
    output.line(format_args!("clock     {} ({confirmed})", time(&clock, "now_ms")));
    output.line(format_args!(
        "sessions  {} connected, {} in all",
        text(&sessions, "connected"),
        text(&sessions, "all")
    ));
    output.line(format_args!(
        "journal   {}: {} in {} segments, oldest {}, on disk up to {}",
        text(&journal, "state"),
        bytes(&journal, "bytes"),
        text(&journal, "segments"),
        time(&journal, "oldest_ms"),
        text(&journal, "durable"),
    ));
    for (count, what) in [("damaged", "damaged records were skipped"), ("vanished", "records are gone")] {
        if journal.get(count).is_some_and(|count| *count != 0) {
            output.line(format_args!("          {} {what}", text(&journal, count)));
        }
    }
    output.line(format_args!("store     {}", bytes(&store, "bytes")));
    output.line(format_args!("reload    {}", last_reload(&part("last_reload"))));
    heading("listeners", output);
    let cells = |item: &Json| ["name", "address", "security", "connections"].map(|key| text(item, key)).to_vec();
    output.table(&["name", "address", "security", "connections"], &rows(items(status, "listeners"), cells));
    heading("bindings", output);
    let cells = |item: &Json| {
        let [name, kind, state, handled] = ["name", "kind", "state", "handled"].map(|key| text(item, key));
        let [dead, traps] = ["dead_letters", "traps"].map(|key| text(item, key));
        let lag = format!("{} / {}", bytes(item, "lag_bytes"), millis(item, "lag_ms"));
        vec![name, kind, state, lag, handled, dead, traps, canary(item)]
    };
    let heads = ["name", "kind", "state", "lag", "handled", "dead letters", "traps", "canary"];
    output.table(&heads, &rows(items(status, "bindings"), cells));
    heading("collections", output);
    let cells = |item: &Json| vec![text(item, "name"), text(item, "rows"), bytes(item, "bytes")];
    output.table(&["name", "rows", "bytes"], &rows(items(&store, "collections"), cells));
}

fn heading(title: &str, output: &mut Output) {
    output.line(format_args!("\n{title}"));
}

fn last_reload(last: &Json) -> String {
    if last.is_null() {
        return "none since the start".to_owned();
    }
    let outcome = match items(last, "problems").len() {
        0 => "good".to_owned(),
        count => format!("refused with {count} problems, see the log"),
    };
    format!("{} of {}: {outcome}", time(last, "at_ms"), text(last, "what"))
}
