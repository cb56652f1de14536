//! How the rows of one key meet: the newest wins, or all are merged into one document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::types::Value as SqlValue;
use serde_json::Value;

use super::{Collection, Row, merge};

/// The row that was found under a key.
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) newness: i64,
    pub(super) position: Option<u64>,
    pub(super) bytes: i64,
    /// Of a merge collection only.
    pub(super) document: Option<String>,
}

impl Found {
    /// Whether a row of the same key replaces it.
    pub(super) fn yields_to(&self, row: &Row, collection: &Collection) -> bool {
        let newness = row.newness(collection);
        // A row of a live binding has no position, and is always the later one.
        let replayed = row.position.is_some() && row.position <= self.position;
        newness > self.newness || (newness == self.newness && !replayed)
    }
}

/// Of each key the newest row of the batch: the others would be written only to be overwritten.
pub(super) fn newest<'a>(
    collection: &Collection,
    rows: impl IntoIterator<Item = &'a Row>,
    max_skew_ms: u64,
) -> Vec<&'a Row> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut winners: Vec<&Row> = Vec::new();
    for row in rows {
        let newness = row.newness(collection);
        let latest = row.received_ms.saturating_add(max_skew_ms);
        if i64::try_from(latest).is_ok_and(|latest| newness > latest) {
            continue;
        }
        match places.entry(key_text(collection, row)) {
            Entry::Vacant(place) => {
                place.insert(winners.len());
                winners.push(row);
            }
            Entry::Occupied(place) => {
                if let Some(winner) = winners.get_mut(*place.get())
                    && newness >= winner.newness(collection)
                {
                    *winner = row;
                }
            }
        }
    }
    winners
}

/// The rows of each key, in their order.
pub(super) fn by_key<'a>(collection: &Collection, rows: &'a [Row]) -> Vec<Vec<&'a Row>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut keys: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let place = *places.entry(key_text(collection, row)).or_insert(keys.len());
        match keys.get_mut(place) {
            Some(rows) => rows.push(row),
            None => keys.push(vec![row]),
        }
    }
    keys
}

/// The document `before`, or an empty one, with all patches but those that make it larger than it may be; and how many
/// those are.
pub(super) fn patched(collection: &Collection, before: Option<&str>, patches: &[&Row]) -> (Value, u64) {
    // Documents were checked when their rows were made.
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_default();
    let fits = |document: &Value| document.to_string().len() as u64 <= collection.max_document_bytes();
    let start = before.map_or(Value::Null, parse);
    let all = patches.iter().map(|row| parse(&row.document)).fold(start.clone(), merge);
    if fits(&all) {
        return (all, 0);
    }
    let mut refused = 0;
    let document = patches.iter().fold(start, |document, row| {
        let next = merge(document.clone(), parse(&row.document));
        // What makes a document smaller is always taken, that of a lowered bound too.
        let fits = fits(&next) || next.to_string().len() < document.to_string().len();
        refused += u64::from(!fits);
        if fits { next } else { document }
    });
    (document, refused)
}

pub(super) fn key_of<'r>(collection: &Collection, row: &'r Row) -> Vec<&'r SqlValue> {
    collection.key().iter().filter_map(|place| row.values.get(*place)).collect()
}

fn key_text(collection: &Collection, row: &Row) -> String {
    format!("{:?}", key_of(collection, row))
}
