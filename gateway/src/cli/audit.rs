//! `causeway audit`: who changed what.

use clap::Args;
use serde_json::Value as Json;

use super::client::Client;
use super::show::{rows, text, time};
use super::{Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// How many entries at most, newest first.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    client: Client,
}

impl Audit {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let entries = self.client.get(&["v1", "audit"], &[("limit", self.limit.to_string())])?;
        if output.is_json() {
            output.json(&entries);
            return Ok(());
        }
        let cells = |entry: &Json| {
            let [id, operator, subject, outcome] = ["id", "operator", "subject", "outcome"].map(|key| text(entry, key));
            let route = entry.get("detail").map(|detail| text(detail, "route")).unwrap_or_default();
            vec![id, time(entry, "at_ms"), operator, route, subject, outcome]
        };
        let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
        output.table(&["id", "at", "operator", "route", "subject", "outcome"], &rows(entries, cells));
        Ok(())
    }
}
