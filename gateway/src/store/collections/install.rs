//! Collections are made and changed at the start, all in one transaction: either every table is as it is declared, or
//! nothing was touched and one line says why.
//!
//! What is only a matter of the schema is done at once. New or changed columns are filled from the documents later, a
//! few rows at a time (see `fill.rs`). What would make rows meet in another way is done when the rows there allow it,
//! and refused otherwise.

use rusqlite::{Connection, ErrorCode, Transaction, params};

use super::collection::Index;
use super::fill;
use super::{Collection, Column, Declaration, InstallError, Kind, load};

/// Makes a collection's table, or changes it to what is declared now.
pub fn install(tx: &Transaction<'_>, collection: &Collection) -> Result<(), InstallError> {
    let wanted = collection.declaration();
    let Some(stored) = load(tx, &wanted.name)? else {
        tx.execute_batch(&collection.create_sql())?;
        tx.execute(
            "insert into collections (name, declaration) values (?1, ?2)",
            params![wanted.name, wanted.encode()],
        )?;
        return match_indexes(tx, collection);
    };
    let before = stored.declaration();
    if before != wanted {
        if is_empty(tx, &stored)? {
            // Nothing has to be kept, so nothing can be in the way.
            tx.execute_batch(&format!("drop table {}", stored.table()))?;
            tx.execute_batch(&collection.create_sql())?;
            fill::forget(tx, &wanted.name)?;
        } else {
            let change = Change::between(before, wanted)?;
            change.check_rows(tx, &stored, wanted)?;
            change.apply(tx, collection)?;
        }
        tx.execute("update collections set declaration = ?2 where name = ?1", params![wanted.name, wanted.encode()])?;
        tracing::info!(collection = wanted.name, "the collection follows its changed declaration");
    }
    match_indexes(tx, collection)
}

fn is_empty(tx: &Transaction<'_>, collection: &Collection) -> rusqlite::Result<bool> {
    tx.query_row(&format!("select not exists (select 1 from {})", collection.table()), [], |row| row.get(0))
}

/// What has to be done to a table that holds rows.
#[derive(Debug, Default, Eq, PartialEq)]
struct Change {
    /// Columns that leave, and those that come back with another type of storage.
    gone: Vec<String>,
    /// Columns that come.
    added: Vec<Column>,
    /// Columns whose values have to be picked out of the documents.
    fill: Vec<String>,
    /// Columns that now must have a value in every row.
    needed: Vec<String>,
}

impl Change {
    fn between(before: &Declaration, wanted: &Declaration) -> Result<Self, InstallError> {
        if std::mem::discriminant(&before.kind) != std::mem::discriminant(&wanted.kind) {
            return Err(InstallError::Kind {
                name: wanted.name.clone(),
                before: before.kind.word(),
                wanted: wanted.kind.word(),
            });
        }
        let mut change = Self::default();
        for column in &before.columns {
            let stays = wanted.columns.iter().any(|new| new.name == column.name && new.kind.sql() == column.kind.sql());
            if !stays {
                change.gone.push(column.name.clone());
            }
        }
        for column in &wanted.columns {
            let old = before.columns.iter().find(|old| old.name == column.name);
            if old.is_none() || change.gone.contains(&column.name) {
                change.added.push(column.clone());
            }
            if old.is_none_or(|old| (old.kind, &old.pointer) != (column.kind, &column.pointer)) {
                change.fill.push(column.name.clone());
            }
        }
        change.meet(before, wanted)?;
        Ok(change)
    }

    /// Columns by which rows meet cannot wait to be filled, and those that were not there in every row may be missing.
    fn meet(&mut self, before: &Declaration, wanted: &Declaration) -> Result<(), InstallError> {
        let meeting = match &wanted.kind {
            Kind::Append { unique } => unique.clone(),
            Kind::Upsert { key, newest_by } => key.iter().chain([newest_by]).cloned().collect(),
            Kind::Merge { key } => key.clone(),
        };
        if let Some(column) = meeting.iter().find(|name| self.fill.contains(*name)) {
            return Err(InstallError::Meeting { name: wanted.name.clone(), column: column.clone() });
        }
        if before.kind != wanted.kind && !matches!(wanted.kind, Kind::Append { .. }) {
            self.needed = meeting;
        }
        Ok(())
    }

    fn check_rows(&self, tx: &Transaction<'_>, stored: &Collection, wanted: &Declaration) -> Result<(), InstallError> {
        if self.needed.is_empty() {
            return Ok(());
        }
        if fill::pending(tx, &wanted.name)? {
            return Err(InstallError::Filling(wanted.name.clone()));
        }
        for column in &self.needed {
            let sql = format!("select exists (select 1 from {} where \"{column}\" is null)", stored.table());
            if tx.query_row(&sql, [], |row| row.get(0))? {
                return Err(InstallError::Missing { name: wanted.name.clone(), column: column.clone() });
            }
        }
        Ok(())
    }

    fn apply(&self, tx: &Transaction<'_>, collection: &Collection) -> Result<(), InstallError> {
        let table = collection.table();
        if !self.gone.is_empty() {
            // Renaming a column would rename it in its indexes too.
            for (index, _) in indexes(tx, collection)? {
                tx.execute_batch(&format!("drop index \"{index}\""))?;
            }
        }
        let mut number = 0;
        for column in &self.gone {
            // To drop it would write every row anew. So it goes when its rows go.
            while has_column(tx, table, &format!("_gone_{number}"))? {
                number += 1;
            }
            tx.execute_batch(&format!("alter table {table} rename column \"{column}\" to \"_gone_{number}\""))?;
        }
        for column in &self.added {
            tx.execute_batch(&format!("alter table {table} add column \"{}\" {}", column.name, column.kind.sql()))?;
        }
        Ok(fill::begin(tx, collection, &self.fill)?)
    }
}

fn has_column(tx: &Transaction<'_>, table: &str, column: &str) -> rusqlite::Result<bool> {
    let sql = "select exists (select 1 from pragma_table_info(?1) where name = ?2)";
    tx.query_row(sql, [table.trim_matches('"'), column], |row| row.get(0))
}

/// Name and statement of each index that a declaration gave the table.
fn indexes(tx: &Connection, collection: &Collection) -> rusqlite::Result<Vec<(String, String)>> {
    tx.prepare_cached("select name, sql from sqlite_schema where type = 'index' and tbl_name = ?1 and sql is not null")?
        .query_map([collection.table().trim_matches('"')], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Drops the indexes that are not wanted any more, and makes those that are missing. An index on many rows takes a
/// second or so for each million.
fn match_indexes(tx: &Transaction<'_>, collection: &Collection) -> Result<(), InstallError> {
    let there = indexes(tx, collection)?;
    let wanted = collection.index_sql();
    for (name, sql) in &there {
        if !wanted.iter().any(|index| index.sql.eq_ignore_ascii_case(sql)) {
            tx.execute_batch(&format!("drop index \"{name}\""))?;
        }
    }
    for index in wanted.iter().filter(|index| !there.iter().any(|(_, sql)| index.sql.eq_ignore_ascii_case(sql))) {
        tx.execute_batch(&index.sql).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => {
                InstallError::NotUnique { name: collection.name().to_owned(), columns: index.columns.clone() }
            }
            _ => error.into(),
        })?;
    }
    Ok(())
}

/// The columns of each index that is declared and not there.
pub(in crate::store) fn missing_indexes(
    connection: &Connection,
    collection: &Collection,
) -> rusqlite::Result<Vec<String>> {
    let there = indexes(connection, collection)?;
    let missing = |index: &Index| !there.iter().any(|(_, sql)| index.sql.eq_ignore_ascii_case(sql));
    Ok(collection.index_sql().into_iter().filter(missing).map(|index| index.columns).collect())
}

/// Whether the table has all that the collection's statements name.
pub(in crate::store) fn probe(connection: &Connection, collection: &Collection) -> rusqlite::Result<()> {
    connection.prepare(collection.insert_sql()).map(drop)
}

/// Counts the rows and the bytes of their documents.
pub(in crate::store) fn count_sql(collection: &Collection) -> String {
    format!("select count(*), coalesce(sum(octet_length(_document)), 0) from {}", collection.table())
}
