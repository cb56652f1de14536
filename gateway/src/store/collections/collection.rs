//! A collection: a declaration that was checked, with the statements that its table is used by.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Declaration, DeclarationError, Kind};

/// Bytes of one document where the declaration says nothing.
const MAX_DOCUMENT_BYTES: u64 = 1 << 20;

/// An index of a collection's table.
pub(super) struct Index {
    /// The statement that makes it.
    pub(super) sql: String,
    /// Its columns, for a reader.
    pub(super) columns: String,
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
    get: String,
    key: Vec<usize>,
    newest_by: Option<usize>,
}

impl Collection {
    /// Checks a declaration.
    pub fn new(declaration: Declaration) -> Result<Self, DeclarationError> {
        declaration.check()?;
        let newest_by = match &declaration.kind {
            Kind::Upsert { newest_by, .. } => Some(declaration.column(newest_by)?),
            Kind::Append { .. } | Kind::Merge { .. } => None,
        };
        let key = declaration.key().iter().map(|name| declaration.column(name)).collect::<Result<_, _>>()?;
        let table = format!("\"collection_{}\"", declaration.name);
        let parts = Parts {
            insert: insert_sql(&table, &declaration),
            find: find_sql(&table, &declaration),
            update: update_sql(&table, &declaration),
            get: by_key_sql(&table, &declaration, "_document"),
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

    /// The columns of its key; empty for an append collection, of which no single document can be asked for.
    #[must_use]
    pub fn key_columns(&self) -> &[String] {
        self.declaration().key()
    }

    /// Places of the key columns.
    pub(super) fn key(&self) -> &[usize] {
        &self.parts.key
    }

    /// Whether it has one row for each key.
    pub(super) fn keyed(&self) -> bool {
        !self.parts.key.is_empty()
    }

    /// Whether rows are merged into the document of their key.
    pub(super) fn merges(&self) -> bool {
        matches!(self.declaration().kind, Kind::Merge { .. })
    }

    /// Place of the newest-by column; `None` unless rows replace one another by it.
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

    pub(super) fn get_sql(&self) -> &str {
        &self.parts.get
    }

    /// The column by which rows are ordered in time.
    pub(super) fn time_column(&self) -> &str {
        self.declaration().time.as_deref().unwrap_or("_received")
    }

    /// Bytes of one document at most.
    pub(super) fn max_document_bytes(&self) -> u64 {
        self.declaration().retention.max_document_bytes.unwrap_or(MAX_DOCUMENT_BYTES)
    }

    /// The table without its indexes.
    pub(super) fn create_sql(&self) -> String {
        let mut sql = format!(
            "create table {} (_id integer primary key, _origin integer not null, _position integer, \
             _item integer not null, _sender text not null, _received integer not null",
            self.table()
        );
        for column in &self.declaration().columns {
            let _ = write!(sql, ", \"{}\" {}", column.name, column.kind.sql());
        }
        sql.push_str(", _document text not null) strict;\n");
        sql
    }

    /// The indexes that its table has.
    pub(super) fn index_sql(&self) -> Vec<Index> {
        let table = self.table();
        let sql = |(name, unique, columns): (String, &str, String)| Index {
            // As SQLite keeps it, so that what is there can be compared with what is wanted.
            sql: format!("CREATE {unique}INDEX {name} on {table} ({columns})"),
            columns: columns.replace('"', "`"),
        };
        self.indexes().into_iter().map(sql).collect()
    }

    /// Name, `UNIQUE ` or nothing, and columns of each index.
    fn indexes(&self) -> Vec<(String, &'static str, String)> {
        let declaration = self.declaration();
        let name = |suffix: &str| format!("\"collection_{}_{suffix}\"", declaration.name);
        let mut indexes = Vec::new();
        if let Kind::Append { unique } = &declaration.kind {
            // The position comes first: replays and inserts touch the right edge only.
            indexes.push((name("source"), "UNIQUE ", "_position, _item, _origin".to_owned()));
            if !unique.is_empty() {
                indexes.push((name("unique"), "UNIQUE ", format!("_sender, {}", quoted(unique))));
            }
        } else {
            indexes.push((name("key"), "UNIQUE ", quoted(declaration.key())));
            // Retention deletes in the order of reception, which is not the order of the rows here.
            indexes.push((name("received"), "", "_received".to_owned()));
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

/// Finds the row of a key: id, newness, position, bytes, and the document where it is needed.
fn find_sql(table: &str, declaration: &Declaration) -> String {
    let newness = match &declaration.kind {
        Kind::Upsert { newest_by, .. } => format!("\"{newest_by}\", _position, octet_length(_document), null"),
        Kind::Append { .. } | Kind::Merge { .. } => "0, _position, octet_length(_document), _document".to_owned(),
    };
    by_key_sql(table, declaration, &format!("_id, {newness}"))
}

/// Reads `wanted` of the row of a key; nothing for an append collection.
fn by_key_sql(table: &str, declaration: &Declaration, wanted: &str) -> String {
    let matches: Vec<_> = (1..).zip(declaration.key()).map(|(n, column)| format!("\"{column}\" = ?{n}")).collect();
    if matches.is_empty() {
        String::new()
    } else {
        format!("select {wanted} from {table} where {}", matches.join(" and "))
    }
}
