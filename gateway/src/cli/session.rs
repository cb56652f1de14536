//! `causeway session`: the sessions of a running gateway.

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::client::Client;
use super::show::{rows, text, time};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Session {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the sessions, those without a connection too.
    List {
        /// Only those of this device.
        #[arg(long)]
        device: Option<String>,
        #[command(flatten)]
        client: Client,
    },
}

impl Session {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let Verb::List { device, client } = self.verb;
        let query: Vec<_> = device.map(|device| ("device", device)).into_iter().collect();
        let sessions = client.get(&["v1", "sessions"], &query)?;
        if output.is_json() {
            output.json(&sessions);
        } else {
            print(sessions.as_array().map_or(&[], Vec::as_slice), output);
        }
        Ok(())
    }
}

/// Prints sessions as a table; `causeway device show` does so too.
pub(super) fn print(sessions: &[Json], output: &mut Output) {
    let cells = |session: &Json| {
        let connection = session.get("connection").cloned().unwrap_or_default();
        let state = match connection.is_null() {
            true => format!("offline since {}", time(session, "offline_since_ms")),
            false => format!("since {}", time(&connection, "since_ms")),
        };
        let [device, client, inflight, queued] =
            ["device", "client", "inflight", "queued"].map(|key| text(session, key));
        let [listener, address, version] = ["listener", "address", "version"].map(|key| text(&connection, key));
        vec![device, client, listener, address, version, state, inflight, queued, text(session, "subscriptions")]
    };
    let heads = ["device", "client", "listener", "address", "mqtt", "state", "inflight", "queued", "subscriptions"];
    output.table(&heads, &rows(sessions, cells));
}
