//! Shows rows as they arrive in the store, one line each.

use serde_json::Value;

use crate::cli::{Exit, Failure, Output};
use crate::store::Store;
use crate::store::collections::{Query, QueryError, Record, query};

/// A collection, and the fields of its documents that a line shows.
const SHOWN: [(&str, &[&str]); 5] = [
    (
        "cardata",
        &[
            "/attributes/model",
            "/devices/0/softwareversion",
            "/speed/average",
            "/oiltemp",
            "/fuel",
            "/geolocation/location",
            "/trouble_codes/0/code",
            "/anomalies/0/anomaly_type",
        ],
    ),
    ("dtc", &["/dtc/code", "/dtc/changed"]),
    ("anomaly", &["/anomaly_type", "/value", "/anomaly_score"]),
    ("trip", &["/tripid", "/tripsummary/distance"]),
    ("event", &["/alert/videoevent/event_name"]),
];

/// Rows of one look at a collection; more than arrive in one step.
const LIMIT: usize = 1000;

/// What has been shown.
pub(super) struct Watch {
    store: Store,
    /// The journal position of the last row that was shown of each collection.
    seen: [u64; SHOWN.len()],
    rows: u64,
    titled: bool,
}

impl Watch {
    pub(super) fn new(store: Store) -> Self {
        Self { store, seen: [0; SHOWN.len()], rows: 0, titled: false }
    }

    /// Rows shown so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Prints the rows that are new, in the order in which their messages came.
    pub(super) async fn show(&mut self, output: &mut Output) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for ((collection, fields), seen) in SHOWN.iter().zip(&mut self.seen) {
            let before = *seen;
            for record in newest(&self.store, collection).await? {
                let position = record.position.unwrap_or_default();
                if position > before {
                    lines.push((position, line(collection, fields, &record)));
                    *seen = position.max(*seen);
                }
            }
        }
        lines.sort_unstable();
        if !self.titled && !lines.is_empty() {
            self.titled = true;
            output.line(format_args!("{:>8}  {:<8}  {:<10}  {}", "position", "rows of", "device", "fields"));
        }
        self.rows += u64::try_from(lines.len()).unwrap_or(0);
        for (_, line) in lines {
            output.line(line);
        }
        Ok(())
    }
}

/// The newest rows of a collection; none before the plugin has declared it.
async fn newest(store: &Store, collection: &'static str) -> Result<Vec<Record>, Failure> {
    let question = Query { collection: collection.to_owned(), limit: LIMIT, ..Query::default() };
    let read = move |connection: &rusqlite::Connection| match query(connection, &question) {
        Err(QueryError::UnknownCollection(_)) => Ok(Vec::new()),
        answer => answer,
    };
    store.read(read).await.map_err(|error| Failure::new(Exit::Internal, format!("{collection}: {error}")))
}

fn line(collection: &str, fields: &[&str], record: &Record) -> String {
    let document: Value = serde_json::from_str(&record.document).unwrap_or_default();
    let shown = fields.iter().filter_map(|path| {
        let value = document.pointer(path)?;
        let name = path.rsplit('/').next().unwrap_or(path);
        Some(value.as_str().map_or_else(|| format!("{name} {value}"), str::to_owned))
    });
    let shown: Vec<_> = shown.collect();
    let position = record.position.unwrap_or_default();
    format!("{position:>8}  {collection:<8}  {:<10}  {}", record.sender, shown.join("  "))
}
