//! What can be wrong with a declaration, and where: all of it, so that an operator mends it at once.

use std::collections::HashSet;

use thiserror::Error;

use super::{Column, ColumnKind, Declaration, Kind};

/// Columns of one collection at most: each is read at each row.
const MAX_COLUMNS: usize = 32;

/// Indexes of one collection at most: each is written at each row.
const MAX_INDEXES: usize = 8;

const MAX_NAME_BYTES: usize = 48;

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
    /// A column that a patch need not carry.
    #[error("column `{0}` cannot be required: rows of a `merge` collection carry only what changes")]
    Partial(String),
    /// No key, or an index without columns.
    #[error("a key or an index needs at least one column")]
    Empty,
    /// Stored in a format of another version.
    #[error("unknown format of a stored declaration")]
    Format,
    /// Not JSON, or not these fields.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A step on the way to what is wrong, by the names of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The value of a key.
    Key(&'static str),
    /// An item of a list.
    Item(usize),
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub at: Vec<Step>,
    /// What.
    pub error: DeclarationError,
}

impl DeclarationError {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Name(_) => "write a name like `door_events`",
            Self::Twice(_) => "give each column its own name",
            Self::Unknown(_) => "add it to `columns`, or name a column that is there",
            Self::NotTime(_) => "set `kind: time` on that column, or name another",
            Self::Pointer(_) => "write a pointer like `/vehicle/vin`",
            Self::TooMany { .. } => "leave some out",
            Self::Partial(_) => "remove `required` from it, or add it to `key`",
            Self::Empty => "name a column",
            Self::Format | Self::Json(_) => "start the version that wrote it",
        }
    }
}

impl Declaration {
    /// Everything that is wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults(Vec::new());
        faults.note(&[Step::Key("name")], check_name(&self.name));
        faults.note(&[Step::Key("columns")], check_count("columns", self.columns.len(), MAX_COLUMNS));
        faults.note(&[Step::Key("indexes")], check_count("indexes", self.indexes.len(), MAX_INDEXES));
        let mut names = HashSet::new();
        for (number, column) in self.columns.iter().enumerate() {
            let at = |key| [Step::Key("columns"), Step::Item(number), Step::Key(key)];
            let twice = || Err(DeclarationError::Twice(column.name.clone()));
            let new = if names.insert(&column.name) { Ok(()) } else { twice() };
            faults.note(&at("name"), check_name(&column.name).and(new));
            faults.note(&at("pointer"), check_pointer(&column.pointer));
            faults.note(&at("required"), self.check_required(column));
        }
        for (number, columns) in self.indexes.iter().enumerate() {
            faults.list(self, &[Step::Key("indexes"), Step::Item(number)], columns);
        }
        match &self.kind {
            Kind::Append { unique } if unique.is_empty() => {}
            Kind::Append { unique } => faults.list(self, &[Step::Key("unique")], unique),
            Kind::Upsert { key, newest_by } => {
                faults.list(self, &[Step::Key("key")], key);
                faults.note(&[Step::Key("newest_by")], self.check_time(newest_by));
            }
            Kind::Merge { key } => faults.list(self, &[Step::Key("key")], key),
        }
        if let Some(time) = &self.time {
            faults.note(&[Step::Key("time")], self.check_time(time));
        }
        faults.0
    }

    pub(super) fn check(&self) -> Result<(), DeclarationError> {
        self.faults().into_iter().next().map_or(Ok(()), |fault| Err(fault.error))
    }

    fn check_time(&self, name: &str) -> Result<(), DeclarationError> {
        match self.columns.get(self.column(name)?) {
            Some(column) if column.kind == ColumnKind::Time => Ok(()),
            _ => Err(DeclarationError::NotTime(name.to_owned())),
        }
    }

    fn check_required(&self, column: &Column) -> Result<(), DeclarationError> {
        let partial = matches!(&self.kind, Kind::Merge { key } if column.required && !key.contains(&column.name));
        if partial { Err(DeclarationError::Partial(column.name.clone())) } else { Ok(()) }
    }
}

struct Faults(Vec<Fault>);

impl Faults {
    fn note(&mut self, at: &[Step], checked: Result<(), DeclarationError>) {
        self.0.extend(checked.err().map(|error| Fault { at: at.to_vec(), error }));
    }

    /// A list of columns, of which there must be one at least.
    fn list(&mut self, declaration: &Declaration, at: &[Step], columns: &[String]) {
        if columns.is_empty() {
            self.note(at, Err(DeclarationError::Empty));
        }
        for (number, name) in columns.iter().enumerate() {
            let item = [at, &[Step::Item(number)]].concat();
            self.note(&item, declaration.column(name).map(drop));
        }
    }
}

fn check_name(name: &str) -> Result<(), DeclarationError> {
    let grammar = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if grammar && start && name.len() <= MAX_NAME_BYTES { Ok(()) } else { Err(DeclarationError::Name(name.to_owned())) }
}

fn check_pointer(pointer: &str) -> Result<(), DeclarationError> {
    let good = pointer.is_empty() || pointer.starts_with('/');
    if good { Ok(()) } else { Err(DeclarationError::Pointer(pointer.to_owned())) }
}

const fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), DeclarationError> {
    if count <= limit { Ok(()) } else { Err(DeclarationError::TooMany { what, limit }) }
}
