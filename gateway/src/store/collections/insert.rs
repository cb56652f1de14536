//! Rows go into their collection, inside the transaction that also moves the cursor.

use std::collections::HashMap;

use rusqlite::types::{ToSqlOutput, Value as SqlValue};
use rusqlite::{CachedStatement, OptionalExtension, ToSql, Transaction, params, params_from_iter};

use super::get::find;
use super::meet::{Found, by_key, key_of, newest, patched};
use super::{Collection, Row, add_totals};

/// What became of the rows of one call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Inserted {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that replaced an older one of their key.
    pub replaced: u64,
    /// Rows that changed nothing: replayed, a copy by their unique key, or older than what is kept.
    pub dropped: u64,
}

/// Puts rows, in their order, into an installed collection. Of an upsert collection a row whose time lies more than
/// `max_skew_ms` beyond its reception never wins: it would shut out every honest row after it.
pub fn insert(
    tx: &Transaction<'_>,
    collection: &Collection,
    rows: &[Row],
    max_skew_ms: u64,
) -> rusqlite::Result<Inserted> {
    let mut writing = Writing {
        tx,
        collection,
        insert: tx.prepare_cached(collection.insert_sql())?,
        origins: HashMap::new(),
        done: Inserted::default(),
        bytes: 0,
        refused: 0,
    };
    if collection.merges() {
        for patches in by_key(collection, rows) {
            writing.merge(&patches)?;
        }
    } else if collection.keyed() {
        for row in newest(collection, rows, max_skew_ms) {
            writing.upsert(row)?;
        }
    } else {
        for row in rows {
            writing.append(row)?;
        }
    }
    let mut done = writing.done;
    let (bytes, refused) = (writing.bytes, writing.refused);
    done.dropped = (rows.len() as u64).saturating_sub(done.inserted + done.replaced);
    if done.inserted + done.replaced > 0 {
        let added = i64::try_from(done.inserted).unwrap_or(i64::MAX);
        add_totals(tx, collection.name(), added, bytes)?;
    }
    if refused > 0 {
        tx.execute(
            "update collections set refused = refused + ?2 where name = ?1",
            params![collection.name(), refused],
        )?;
        tracing::warn!(collection = collection.name(), patches = refused, "patches were left out: see max_document");
    }
    Ok(done)
}

struct Writing<'a> {
    tx: &'a Transaction<'a>,
    collection: &'a Collection,
    insert: CachedStatement<'a>,
    origins: HashMap<String, i64>,
    done: Inserted,
    bytes: i64,
    /// Patches that would have made their document too large.
    refused: u64,
}

impl<'a> Writing<'a> {
    fn append(&mut self, row: &Row) -> rusqlite::Result<()> {
        let origin = self.origin(&row.binding)?;
        if self.insert.execute(params_from_iter(parameters(row, origin)))? > 0 {
            self.done.inserted += 1;
            self.bytes += row.bytes();
        }
        Ok(())
    }

    fn upsert(&mut self, row: &Row) -> rusqlite::Result<()> {
        match find(self.tx, self.collection, key_of(self.collection, row))? {
            None => self.append(row),
            Some(found) if found.yields_to(row, self.collection) => self.replace(&found, row),
            Some(_) => Ok(()),
        }
    }

    /// Merges the patches of one key, in their order.
    fn merge(&mut self, patches: &[&Row]) -> rusqlite::Result<()> {
        let Some(last) = patches.last() else { return Ok(()) };
        let found = find(self.tx, self.collection, key_of(self.collection, last))?;
        let before = found.as_ref().and_then(|found| found.document.as_deref());
        let (document, refused) = patched(self.collection, before, patches);
        self.refused += refused;
        if document.is_null() {
            return Ok(());
        }
        let row = last.merged(self.collection, &document);
        match found {
            None => self.append(&row)?,
            Some(found) => self.replace(&found, &row)?,
        }
        // All but the refused are in the document, although only the last is the row's source.
        self.done.replaced += (patches.len() as u64 - 1).saturating_sub(refused);
        Ok(())
    }

    fn replace(&mut self, found: &Found, row: &Row) -> rusqlite::Result<()> {
        let origin = self.origin(&row.binding)?;
        let mut update = self.tx.prepare_cached(self.collection.update_sql())?;
        let id = [ToSqlOutput::from(found.id)];
        update.execute(params_from_iter(parameters(row, origin).into_iter().chain(id)))?;
        self.done.replaced += 1;
        self.bytes += row.bytes() - found.bytes;
        Ok(())
    }

    /// The number of a binding; the first row of a new binding makes it.
    fn origin(&mut self, binding: &str) -> rusqlite::Result<i64> {
        if let Some(origin) = self.origins.get(binding) {
            return Ok(*origin);
        }
        let known = self
            .tx
            .prepare_cached("select id from origins where name = ?1")?
            .query_row([binding], |row| row.get(0))
            .optional()?;
        let origin = match known {
            Some(origin) => origin,
            None => {
                self.tx.execute("insert into origins (name) values (?1)", params![binding])?;
                self.tx.last_insert_rowid()
            }
        };
        self.origins.insert(binding.to_owned(), origin);
        Ok(origin)
    }
}

/// Values in the order of the table's columns, borrowed from the row.
fn parameters(row: &Row, origin: i64) -> Vec<ToSqlOutput<'_>> {
    let mut values = Vec::with_capacity(row.values.len() + 7);
    let position = row.position.and_then(|position| i64::try_from(position).ok());
    values.push(ToSqlOutput::from(origin));
    values.push(position.map_or(ToSqlOutput::Owned(SqlValue::Null), ToSqlOutput::from));
    values.push(ToSqlOutput::from(row.item));
    values.push(ToSqlOutput::from(row.sender.as_str()));
    values.push(ToSqlOutput::from(i64::try_from(row.received_ms).unwrap_or(i64::MAX)));
    values.push(ToSqlOutput::from(row.document.as_str()));
    // `to_sql` of a value only borrows it and cannot fail.
    values.extend(row.values.iter().filter_map(|value| value.to_sql().ok()));
    values
}
