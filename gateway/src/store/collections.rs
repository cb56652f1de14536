//! Collections: the tables that plugins write rows into and operators query.
//!
//! The configuration and the built-in plugins declare collections; a declaration is checked once ([`Collection`]) and its names, which
//! become part of statements, come from that checked set only. A row is the plugin's JSON document with some
//! columns picked out of it. Rows are keyed by the journal position and output index they came from, so that a
//! replay changes nothing.

mod collection;
mod declaration;
mod declared;
mod fault;
mod fill;
mod get;
mod insert;
mod install;
mod meet;
mod merge;
mod query;
mod row;
mod time;
mod trim;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use thiserror::Error;

pub use collection::Collection;
pub use declaration::{Column, ColumnKind, Declaration, Kind, Retention};
pub use declared::{all, declared};
pub use fault::{DeclarationError, Fault, Step};
pub use fill::fill;
pub use get::{get, get_after};
pub use insert::{Inserted, insert};
pub use install::install;
pub(super) use install::{count_sql, missing_indexes, probe};
pub use merge::merge;
pub use query::{Query, QueryError, Record, query};
pub use row::{Row, RowError, Source};
pub use trim::{Keep, Trimmed, trim};

/// Why a collection cannot be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// Rows of one kind cannot become rows of another.
    #[error(
        "collection `{name}` holds rows of kind `{before}` and cannot become `{wanted}`: give the new collection \
         another name"
    )]
    Kind {
        /// The collection.
        name: String,
        /// Its kind.
        before: &'static str,
        /// The declared kind.
        wanted: &'static str,
    },
    /// Rows would meet by values that are not picked out of them yet.
    #[error(
        "column `{column}` of collection `{name}` is new or changed, so that its rows cannot meet by it yet: start with \
         the column alone and let it be filled, or give the new collection another name"
    )]
    Meeting {
        /// The collection.
        name: String,
        /// The column of its key, its unique columns or its newest-by.
        column: String,
    },
    /// The columns that the new key needs are being filled.
    #[error("collection `{0}` is still being filled after its last change: start with that declaration and wait")]
    Filling(String),
    /// Rows have no value for the new key.
    #[error(
        "rows of collection `{name}` have no `{column}`, which its new key needs: keep the old key, or give the new \
         collection another name"
    )]
    Missing {
        /// The collection.
        name: String,
        /// The column.
        column: String,
    },
    /// Rows are equal in the new key.
    #[error(
        "collection `{name}` has several rows with equal {columns}: keep the old key or unique columns, or give the new \
         collection another name"
    )]
    NotUnique {
        /// The collection.
        name: String,
        /// The columns.
        columns: String,
    },
    /// The stored declaration cannot be read.
    #[error("the stored declaration of collection `{name}` is damaged: {source}")]
    Stored {
        /// The collection.
        name: String,
        /// Why not.
        source: DeclarationError,
    },
    /// SQLite's refusal.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// A collection and its totals.
#[derive(Clone, Debug)]
pub struct Totals {
    /// The collection.
    pub collection: Collection,
    /// Rows now.
    pub rows: u64,
    /// Bytes of their documents.
    pub bytes: u64,
    /// New columns are still being filled: queries by them do not find all rows yet.
    pub filling: bool,
    /// Patches that were left out because their document would have become too large.
    pub refused: u64,
}

/// The installed collection of that name.
pub fn load(connection: &Connection, name: &str) -> Result<Option<Collection>, InstallError> {
    let stored: Option<String> = connection
        .prepare_cached("select declaration from collections where name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    stored.map(|text| decode(name, &text)).transpose()
}

/// All installed collections with their totals, by name.
pub fn list(connection: &Connection) -> Result<Vec<Totals>, InstallError> {
    let sql = "select name, declaration, row_count, bytes, fill is not null, refused from collections order by name";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
        totals.push(Totals {
            collection: decode(&name, &text)?,
            rows: row.get(2)?,
            bytes: row.get(3)?,
            filling: row.get(4)?,
            refused: row.get(5)?,
        });
    }
    Ok(totals)
}

fn decode(name: &str, text: &str) -> Result<Collection, InstallError> {
    Declaration::decode(text)
        .and_then(Collection::new)
        .map_err(|source| InstallError::Stored { name: name.to_owned(), source })
}

/// Adds to the totals of a collection; the transaction that changes rows changes them too.
fn add_totals(tx: &Transaction<'_>, name: &str, rows: i64, bytes: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("update collections set row_count = row_count + ?2, bytes = bytes + ?3 where name = ?1")?
        .execute(params![name, rows, bytes])
        .map(drop)
}

#[cfg(test)]
mod tests;
