//! What a plugin declares about a collection, and the checked form of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Format of a stored declaration; its first character.
const FORMAT: char = '1';

/// Columns of one collection at most: each is read at each row.
const MAX_COLUMNS: usize = 32;

/// Indexes of one collection at most: each is written at each row.
const MAX_INDEXES: usize = 8;

const MAX_NAME_BYTES: usize = 48;

/// A collection as a plugin declares it; also the stored form.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// How rows meet earlier rows.
    pub kind: Kind,
    /// What is picked out of each document.
    pub columns: Vec<Column>,
    /// The column of kind [`ColumnKind::Time`] that `since` and the order of queries go by; without it the time of reception.
    #[serde(default)]
    pub time: Option<String>,
    /// Further indexes, each a list of columns.
    #[serde(default)]
    pub indexes: Vec<Vec<String>>,
    /// How long and how many rows are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// How rows meet earlier rows.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each row stands for itself. A second row of the same sender with equal, present unique columns is dropped;
    /// without unique columns none is.
    Append {
        /// The unique columns; may be empty.
        unique: Vec<String>,
    },
    /// One row per key: the newest. Keys are not scoped to the sender, so the plugin or its host must have checked
    /// that the sender may speak for the key.
    Upsert {
        /// The key columns.
        key: Vec<String>,
        /// The column that says which of two rows is newer; of equal ones the later message wins.
        newest_by: String,
    },
}

/// A column: a value that is picked out of the document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// As a collection's name.
    pub name: String,
    /// JSON pointer (RFC 6901) into the document.
    pub pointer: String,
    /// Its type.
    pub kind: ColumnKind,
    /// A document without it is refused.
    #[serde(default)]
    pub required: bool,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// An ISO 8601 text or Unix milliseconds; kept as Unix milliseconds.
    Time,
}

/// What is kept; the oldest rows beyond it are deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Rows.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// Time since reception, ms; without it `storage.retention`.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// Bytes of documents.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// What is wrong with a declaration.
#[derive(Debug, Error)]
pub enum DeclarationError {
    /// A name outside the grammar.
    #[error("`{0}` is no name: lower-case letters, digits and `_`, beginning with a letter, at most 48 bytes")]
    Name(String),
    /// Two columns of one name.
    #[error("column `{0}` is declared twice")]
    Twice(String),
    /// A key, index, time or newest-by column that is not declared.
    #[error("`{0}` is not a declared column")]
    Unknown(String),
    /// A column that must be a time.
    #[error("column `{0}` must be of kind `time`")]
    NotTime(String),
    /// Not an RFC 6901 pointer.
    #[error("`{0}` is no JSON pointer")]
    Pointer(String),
    /// A bound of this module.
    #[error("a collection has at most {limit} {what}")]
    TooMany {
        /// Columns or indexes.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
    /// An upsert without a key, or an index without columns.
    #[error("a key or an index needs at least one column")]
    Empty,
    /// Stored in a format of another version.
    #[error("unknown format of a stored declaration")]
    Format,
    /// Not JSON, or not these fields.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A checked declaration; clones share it.
#[derive(Clone, Debug)]
pub struct Collection {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    declaration: Declaration,
    /// The table's name, quoted.
    table: String,
    insert: String,
    find: String,
    update: String,
    key: Vec<usize>,
    newest_by: Option<usize>,
}

impl Declaration {
    /// Whether rows of both declarations have the same shape and meet in the same way.
    pub(super) fn same_rows(&self, other: &Self) -> bool {
        (&self.name, &self.kind, &self.columns) == (&other.name, &other.kind, &other.columns)
    }

    pub(super) fn encode(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        format!("{FORMAT}{}", serde_json::to_string(self).unwrap_or_default())
    }

    pub(super) fn decode(text: &str) -> Result<Self, DeclarationError> {
        let json = text.strip_prefix(FORMAT).ok_or(DeclarationError::Format)?;
        Ok(serde_json::from_str(json)?)
    }

    fn check(&self) -> Result<(), DeclarationError> {
        check_name(&self.name)?;
        if self.columns.len() > MAX_COLUMNS {
            return Err(DeclarationError::TooMany { what: "columns", limit: MAX_COLUMNS });
        }
        if self.indexes.len() > MAX_INDEXES {
            return Err(DeclarationError::TooMany { what: "indexes", limit: MAX_INDEXES });
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            check_name(&column.name)?;
            if !names.insert(&column.name) {
                return Err(DeclarationError::Twice(column.name.clone()));
            }
            if !column.pointer.is_empty() && !column.pointer.starts_with('/') {
                return Err(DeclarationError::Pointer(column.pointer.clone()));
            }
        }
        self.check_references()
    }

    fn check_references(&self) -> Result<(), DeclarationError> {
        let mut lists: Vec<&Vec<String>> = self.indexes.iter().collect();
        let mut times: Vec<&String> = self.time.iter().collect();
        match &self.kind {
            Kind::Append { unique } if unique.is_empty() => {}
            Kind::Append { unique } => lists.push(unique),
            Kind::Upsert { key, newest_by } => {
                lists.push(key);
                times.push(newest_by);
            }
        }
        for list in lists {
            if list.is_empty() {
                return Err(DeclarationError::Empty);
            }
            for name in list {
                self.column(name)?;
            }
        }
        for name in times {
            if self.columns[self.column(name)?].kind != ColumnKind::Time {
                return Err(DeclarationError::NotTime(name.clone()));
            }
        }
        Ok(())
    }

    fn column(&self, name: &str) -> Result<usize, DeclarationError> {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| DeclarationError::Unknown(name.to_owned()))
    }
}

impl Collection {
    /// Checks a declaration.
    pub fn new(declaration: Declaration) -> Result<Self, DeclarationError> {
        declaration.check()?;
        let (key, newest_by) = match &declaration.kind {
            Kind::Append { .. } => (Vec::new(), None),
            Kind::Upsert { key, newest_by } => {
                let key = key.iter().map(|name| declaration.column(name)).collect::<Result<_, _>>()?;
                (key, Some(declaration.column(newest_by)?))
            }
        };
        let table = format!("\"collection_{}\"", declaration.name);
        let parts = Parts {
            insert: insert_sql(&table, &declaration),
            find: find_sql(&table, &declaration),
            update: update_sql(&table, &declaration),
            table,
            key,
            newest_by,
            declaration,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The declaration.
    #[must_use]
    pub fn declaration(&self) -> &Declaration {
        &self.parts.declaration
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.declaration.name
    }

    /// Places of the key columns; empty for an append collection.
    pub(super) fn key(&self) -> &[usize] {
        &self.parts.key
    }

    /// Place of the newest-by column; `None` for an append collection.
    pub(super) fn newest_by(&self) -> Option<usize> {
        self.parts.newest_by
    }

    pub(super) fn table(&self) -> &str {
        &self.parts.table
    }

    pub(super) fn insert_sql(&self) -> &str {
        &self.parts.insert
    }

    pub(super) fn find_sql(&self) -> &str {
        &self.parts.find
    }

    pub(super) fn update_sql(&self) -> &str {
        &self.parts.update
    }

    /// The column by which rows are ordered in time.
    pub(super) fn time_column(&self) -> &str {
        self.declaration().time.as_deref().unwrap_or("_received")
    }

    /// The table and its indexes, each made unless it is there.
    pub(super) fn create_sql(&self) -> String {
        let mut sql = format!(
            "create table if not exists {} (_id integer primary key, _origin integer not null, _position integer, \
             _item integer not null, _sender text not null, _received integer not null",
            self.table()
        );
        for column in &self.declaration().columns {
            let kind = match column.kind {
                ColumnKind::Text => "text",
                ColumnKind::Real => "real",
                ColumnKind::Integer | ColumnKind::Time => "integer",
            };
            let _ = write!(sql, ", \"{}\" {kind}", column.name);
        }
        sql.push_str(", _document text not null) strict;\n");
        for (name, unique, columns) in self.indexes() {
            let _ = writeln!(sql, "create {unique}index if not exists {name} on {} ({columns});", self.table());
        }
        sql
    }

    pub(super) fn index_names(&self) -> Vec<String> {
        self.indexes().into_iter().map(|(name, ..)| name).collect()
    }

    /// Name, `unique ` or nothing, and columns of each index.
    fn indexes(&self) -> Vec<(String, &'static str, String)> {
        let declaration = self.declaration();
        let name = |suffix: &str| format!("\"collection_{}_{suffix}\"", declaration.name);
        // The position comes first: replays and inserts touch the right edge only.
        let mut indexes = vec![(name("source"), "unique ", "_position, _item, _origin".to_owned())];
        match &declaration.kind {
            Kind::Append { unique } if unique.is_empty() => {}
            Kind::Append { unique } => {
                indexes.push((name("unique"), "unique ", format!("_sender, {}", quoted(unique))));
            }
            Kind::Upsert { key, .. } => {
                indexes.push((name("key"), "unique ", quoted(key)));
                // Retention deletes in the order of reception, which is not the order of the rows here.
                indexes.push((name("received"), "", "_received".to_owned()));
            }
        }
        if let Some(time) = &declaration.time {
            indexes.push((name("time"), "", quoted(std::slice::from_ref(time))));
        }
        for (number, columns) in declaration.indexes.iter().enumerate() {
            indexes.push((name(&number.to_string()), "", quoted(columns)));
        }
        indexes
    }
}

fn check_name(name: &str) -> Result<(), DeclarationError> {
    let grammar = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if grammar && start && name.len() <= MAX_NAME_BYTES { Ok(()) } else { Err(DeclarationError::Name(name.to_owned())) }
}

fn quoted(columns: &[String]) -> String {
    let names: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    names.join(", ")
}

/// Columns of a table in the order of the values of a row.
fn all_columns(declaration: &Declaration) -> Vec<String> {
    let system = ["_origin", "_position", "_item", "_sender", "_received", "_document"];
    let declared = declaration.columns.iter().map(|column| format!("\"{}\"", column.name));
    system.into_iter().map(str::to_owned).chain(declared).collect()
}

fn insert_sql(table: &str, declaration: &Declaration) -> String {
    let columns = all_columns(declaration);
    let values: Vec<_> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    format!("insert into {table} ({}) values ({}) on conflict do nothing", columns.join(", "), values.join(", "))
}

fn update_sql(table: &str, declaration: &Declaration) -> String {
    let columns = all_columns(declaration);
    let sets: Vec<_> = (1..).zip(&columns).map(|(n, column)| format!("{column} = ?{n}")).collect();
    format!("update {table} set {} where _id = ?{}", sets.join(", "), columns.len() + 1)
}

/// Finds the row of a key: id, newest-by value, position and bytes.
fn find_sql(table: &str, declaration: &Declaration) -> String {
    let Kind::Upsert { key, newest_by } = &declaration.kind else {
        return String::new();
    };
    let matches: Vec<_> = (1..).zip(key).map(|(n, column)| format!("\"{column}\" = ?{n}")).collect();
    format!(
        "select _id, \"{newest_by}\", _position, octet_length(_document) from {table} where {}",
        matches.join(" and ")
    )
}
