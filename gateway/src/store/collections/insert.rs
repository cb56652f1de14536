//! Rows go into their collection, inside the transaction that also moves the cursor.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::types::{ToSqlOutput, Value as SqlValue};
use rusqlite::{CachedStatement, OptionalExtension, ToSql, Transaction, params, params_from_iter};

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
    };
    if collection.newest_by().is_some() {
        for row in newest(collection, rows, max_skew_ms) {
            writing.upsert(row)?;
        }
    } else {
        for row in rows {
            writing.append(row)?;
        }
    }
    let mut done = writing.done;
    let bytes = writing.bytes;
    done.dropped = (rows.len() as u64).saturating_sub(done.inserted + done.replaced);
    if done.inserted + done.replaced > 0 {
        let added = i64::try_from(done.inserted).unwrap_or(i64::MAX);
        add_totals(tx, collection.name(), added, bytes)?;
    }
    Ok(done)
}

struct Writing<'a> {
    tx: &'a Transaction<'a>,
    collection: &'a Collection,
    insert: CachedStatement<'a>,
    origins: HashMap<&'a str, i64>,
    done: Inserted,
    bytes: i64,
}

/// The row that an upsert found under its key.
struct Found {
    id: i64,
    newness: i64,
    position: Option<u64>,
    bytes: i64,
}

impl<'a> Writing<'a> {
    fn append(&mut self, row: &'a Row) -> rusqlite::Result<()> {
        let origin = self.origin(&row.binding)?;
        if self.insert.execute(params_from_iter(parameters(row, origin)))? > 0 {
            self.done.inserted += 1;
            self.bytes += row.bytes();
        }
        Ok(())
    }

    fn upsert(&mut self, row: &'a Row) -> rusqlite::Result<()> {
        let Some(found) = self.find(row)? else {
            return self.append(row);
        };
        let newness = row.newness(self.collection);
        // A row of a live binding has no position, and is always the later one.
        let replayed = row.position.is_some() && row.position <= found.position;
        if newness < found.newness || (newness == found.newness && replayed) {
            return Ok(());
        }
        let origin = self.origin(&row.binding)?;
        let mut update = self.tx.prepare_cached(self.collection.update_sql())?;
        let id = [ToSqlOutput::from(found.id)];
        update.execute(params_from_iter(parameters(row, origin).into_iter().chain(id)))?;
        self.done.replaced += 1;
        self.bytes += row.bytes() - found.bytes;
        Ok(())
    }

    fn find(&self, row: &Row) -> rusqlite::Result<Option<Found>> {
        let key = self.collection.key().iter().filter_map(|place| row.values.get(*place));
        self.tx
            .prepare_cached(self.collection.find_sql())?
            .query_row(params_from_iter(key), |found| {
                Ok(Found { id: found.get(0)?, newness: found.get(1)?, position: found.get(2)?, bytes: found.get(3)? })
            })
            .optional()
    }

    /// The number of a binding; the first row of a new binding makes it.
    fn origin(&mut self, binding: &'a str) -> rusqlite::Result<i64> {
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
        self.origins.insert(binding, origin);
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

/// Of each key the newest row of the batch: the others would be written only to be overwritten.
fn newest<'a>(collection: &Collection, rows: &'a [Row], max_skew_ms: u64) -> Vec<&'a Row> {
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

fn key_text(collection: &Collection, row: &Row) -> String {
    let values: Vec<_> = collection.key().iter().map(|place| row.values.get(*place)).collect();
    format!("{values:?}")
}
