//! `collections:` the tables that plugins write rows into.

use std::time::Duration;

use super::check::{below, item, twice, written};
use super::locate::Segment;
use super::section::section;
use super::setting::{Notes, choice};
use super::units::Size;
use crate::store::collections::{Declaration, Fault, Step, declared};

section! {
    /// A collection: a table that plugins write rows into and operators query. With `kind` it is a new one. Without, it is a built-in one, of which `retention`, `share` and `max_document` can be set.
    CollectionConfig {
        /// Names the collection in plugins, policies and queries: lower-case letters, digits and `_`.
        name: String = String::new() => restart, required "door_events";
        /// How rows meet earlier rows: `append` keeps all, `upsert` the newest of each key, `merge` patches one document per key (RFC 7396).
        kind: Option<CollectionKind> = None => restart;
        /// Columns by which a second row of the same sender is a copy and dropped; for `append`.
        unique: Vec<String> = Vec::new() => restart;
        /// Columns of the key; for `upsert` and `merge`.
        key: Vec<String> = Vec::new() => restart;
        /// The column of kind `time` that says which of two rows is newer; for `upsert`.
        newest_by: Option<String> = None => restart;
        /// The column of kind `time` that queries go by; without it the time of reception.
        time: Option<String> = None => restart;
        /// What is picked out of each document.
        columns: Vec<ColumnConfig> = Vec::new() => restart;
        /// Further indexes, each a list of columns.
        indexes: Vec<Vec<String>> = Vec::new() => restart;
        /// What is kept.
        retention: RetentionConfig = RetentionConfig::default() => restart;
        /// Percent of the room of all collections that its documents may fill; the oldest beyond it are deleted. Room that is given away so is kept for this one when the store is full.
        share: Option<u16> = None => restart, in Some(1)..=Some(100), hit "causeway_store_rows_deleted_total";
        /// Largest document; a larger row is refused, and a patch that would make its document larger is left out.
        max_document: Size = Size::mib(1) => restart, in Size::kib(1)..=Size::mib(64), hit "causeway_store_documents_refused_total";
    }
}

section! {
    /// A value that is picked out of each document.
    ColumnConfig {
        /// As a collection's name.
        name: String = String::new() => restart, required "vin";
        /// JSON pointer (RFC 6901) into the document.
        pointer: String = String::new() => restart, required "/vin";
        /// Its type: `time` is an ISO 8601 text or Unix milliseconds.
        kind: ColumnType = ColumnType::Text => restart;
        /// A document without it is refused.
        required: bool = false => restart;
    }
}

section! {
    /// What a collection keeps; the oldest rows beyond any of these are deleted.
    RetentionConfig {
        /// Time since reception; without it `storage.retention`.
        max_age: Option<Duration> = None => restart, in Some(Duration::from_secs(1))..=Some(Duration::from_secs(36_500 * 86_400)), hit "causeway_store_rows_deleted_total";
        /// Rows.
        max_rows: Option<u64> = None => restart, in Some(1)..=Some(1 << 40), hit "causeway_store_rows_deleted_total";
        /// Bytes of documents.
        max_bytes: Option<Size> = None => restart, in Some(Size::kib(1))..=Some(Size::gib(1 << 14)), hit "causeway_store_rows_deleted_total";
    }
}

choice! {
    /// How rows meet earlier rows.
    CollectionKind {
        /// All are kept.
        Append = "append",
        /// The newest of each key is kept.
        Upsert = "upsert",
        /// Each is merged into the document of its key.
        Merge = "merge",
    }
}

choice! {
    /// Type of a column.
    ColumnType {
        /// A string.
        Text = "text",
        /// A whole number.
        Integer = "integer",
        /// A number.
        Real = "real",
        /// A moment.
        Time = "time",
    }
}

/// Checks what concerns more than one key: each collection as a whole, and all of them together.
pub(super) fn check(collections: &[CollectionConfig], notes: &mut Notes) {
    let builtin: Vec<String> = crate::telemetry::collections()
        .map(|found| found.iter().map(|collection| collection.name().to_owned()).collect())
        .unwrap_or_default();
    let mut shared = 0;
    for (index, collection) in collections.iter().enumerate() {
        let at = item("collections", index);
        // A missing name was noted when the section was read.
        if collection.name.is_empty() {
            continue;
        }
        match (collection.kind, builtin.contains(&collection.name)) {
            (None, true) => retention_only(collection, &at, notes),
            (Some(_), false) => declaration(collection, &at, notes),
            // A wrong word was noted when the section was read.
            (None, false) if notes.0.iter().any(|note| note.path == below(&at, "kind")) => {}
            (None, false) => {
                let remedy = format!("add `kind: append`, `upsert` or `merge`; built in are {}", builtin.join(", "));
                notes.at(below(&at, "kind"), format!("is missing, and `{}` is not built in", collection.name), remedy);
            }
            (Some(_), true) => {
                let remedy = "remove `kind` to set its retention, or choose another name";
                notes.at(below(&at, "name"), format!("`{}` is built in", collection.name), remedy);
            }
        }
        shared += collection.share.unwrap_or_default();
        if shared > 100 {
            notes.at(below(&at, "share"), format!("makes the shares {shared} percent together"), "lower one of them");
        }
    }
    twice("collections", "name", collections.iter().map(|collection| written(&collection.name)), notes);
}

fn retention_only(collection: &CollectionConfig, at: &[Segment], notes: &mut Notes) {
    for (key, set) in shape(collection) {
        if set {
            let remedy = "remove it: `retention`, `share` and `max_document` can be set";
            notes.at(below(at, key), format!("`{}` is built in and keeps its shape", collection.name), remedy);
        }
    }
}

/// The keys that shape a collection, and whether each is set.
fn shape(collection: &CollectionConfig) -> [(&'static str, bool); 6] {
    [
        ("unique", !collection.unique.is_empty()),
        ("key", !collection.key.is_empty()),
        ("newest_by", collection.newest_by.is_some()),
        ("time", collection.time.is_some()),
        ("columns", !collection.columns.is_empty()),
        ("indexes", !collection.indexes.is_empty()),
    ]
}

fn declaration(collection: &CollectionConfig, at: &[Segment], notes: &mut Notes) {
    let Some(kind) = collection.kind else { return };
    let misplaced: &[&str] = match kind {
        CollectionKind::Append => &["key", "newest_by"],
        CollectionKind::Upsert => &["unique"],
        CollectionKind::Merge => &["unique", "newest_by"],
    };
    for (key, _) in shape(collection).into_iter().filter(|(key, set)| *set && misplaced.contains(key)) {
        notes.at(below(at, key), format!("is not for `{}`", kind.word()), "remove it, or choose another `kind`");
    }
    if kind == CollectionKind::Upsert && collection.newest_by.is_none() {
        notes.at(below(at, "newest_by"), "is missing", "name the column of kind `time` that says which row is newer");
        return;
    }
    for Fault { at: steps, error } in declared(collection).iter().flat_map(Declaration::faults) {
        let mut path = at.to_vec();
        path.extend(steps.into_iter().map(|step| match step {
            Step::Key(key) => Segment::Key(key.to_owned()),
            Step::Item(index) => Segment::Index(index),
        }));
        notes.at(path, error.to_string(), error.remedy());
    }
}
