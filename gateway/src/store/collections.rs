//! Collections: the tables that plugins write rows into and operators query.
//!
//! A plugin declares a collection; the declaration is checked once ([`Collection`]) and its names, which
//! become part of statements, come from that checked set only. A row is the plugin's JSON document with some
//! columns picked out of it. Rows are keyed by the journal position and output index they came from, so that a
//! replay changes nothing.

mod collection;
mod declaration;
mod get;
mod insert;
mod meet;
mod merge;
mod query;
mod row;
mod time;
mod trim;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use thiserror::Error;

pub use collection::Collection;
pub use declaration::{Column, ColumnKind, Declaration, DeclarationError, Kind, Retention};
pub use get::{get, get_after};
pub use insert::{Inserted, insert};
pub use merge::merge;
pub use query::{Query, QueryError, Record, query};
pub use row::{Row, RowError, Source};
pub use trim::{Keep, Trimmed, trim};

/// Why a collection cannot be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// There is a collection of that name with other columns or keys.
    #[error("collection `{0}` exists with other columns, keys or kind: give the new one another name")]
    Changed(String),
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
}

/// Makes the collection's table if it is new. Indexes and retention follow the declaration; columns, keys and kind
/// of an existing collection stay as they are.
pub fn install(tx: &Transaction<'_>, collection: &Collection) -> Result<(), InstallError> {
    let declaration = collection.declaration();
    match load(tx, &declaration.name)? {
        Some(stored) if stored.declaration() == declaration => return Ok(()),
        Some(stored) if !stored.declaration().same_rows(declaration) => {
            return Err(InstallError::Changed(declaration.name.clone()));
        }
        Some(stored) => {
            for name in stored.index_names() {
                tx.execute(&format!("drop index if exists {name}"), [])?;
            }
        }
        None => {}
    }
    tx.execute_batch(&collection.create_sql())?;
    tx.execute(
        "insert into collections (name, declaration) values (?1, ?2)
         on conflict (name) do update set declaration = excluded.declaration",
        params![declaration.name, declaration.encode()],
    )?;
    Ok(())
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
    let mut statement =
        connection.prepare_cached("select name, declaration, row_count, bytes from collections order by name")?;
    let mut rows = statement.query([])?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
        totals.push(Totals { collection: decode(&name, &text)?, rows: row.get(2)?, bytes: row.get(3)? });
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
