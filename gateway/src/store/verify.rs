//! Looks through the store of a stopped gateway, from its pages to what its tables say of one another.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::collections::{self, Collection};
use super::directory::Directory;
use super::{FILE, OpenError, connection, cursors};

/// Problems that are reported at most; behind them more of the same follows.
const MOST: usize = 100;

const RESTORE: &str = "restore the data directory from a backup; without one, move store.sqlite* away and start: \
                       the gateway makes a new store, and what is still in the journal is handled again";
const REPAIR: &str = "run `causeway store verify --repair`";
const START: &str = "start the gateway: it makes what is missing";

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Collections that were looked through.
    pub collections: usize,
    /// How far each consumer of the journal is.
    pub cursors: Vec<(String, u64)>,
}

/// Looks through the store of a data directory that no gateway uses; `repair` makes indexes and counts anew before.
/// Blocks for as long as reading the whole file takes.
///
/// # Errors
/// The directory is in use, of a newer version or not there; or the file cannot be read.
pub fn verify(data_dir: &Path, repair: bool) -> Result<Verified, OpenError> {
    let path = data_dir.join(FILE);
    std::fs::metadata(&path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
    let directory = Directory::claim(data_dir)?;
    let verified = look(&path, repair).or_else(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            let finding = Finding { problem: error.to_string(), remedy: RESTORE };
            Ok(Verified { findings: vec![finding], ..Verified::default() })
        }
        _ => Err(connection::explain(error.into(), &path)),
    })?;
    if verified.findings.is_empty() {
        directory.release();
    }
    Ok(verified)
}

fn look(path: &Path, repair: bool) -> rusqlite::Result<Verified> {
    let mut connection = connection::existing(path)?;
    if repair {
        let tx = connection.transaction()?;
        tx.execute_batch("reindex")?;
        recount(&tx)?;
        tx.commit()?;
    }
    let mut verified = Verified::default();
    pages(&connection, &mut verified)?;
    // Behind damaged pages every other answer may be wrong.
    if verified.findings.is_empty() {
        tables(&connection, &mut verified)?;
        parts(&connection, &mut verified)?;
        verified.cursors = cursors::all(&connection)?;
    }
    Ok(verified)
}

impl Verified {
    fn note(&mut self, problem: String, remedy: &'static str) {
        self.findings.push(Finding { problem, remedy });
    }
}

fn pages(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let found: Vec<String> = connection
        .prepare(&format!("pragma integrity_check({MOST})"))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for line in found.iter().flat_map(|text| text.lines()).filter(|line| *line != "ok") {
        let only_index = line.contains("missing from index") || line.contains("entries in index");
        verified.note(line.to_owned(), if only_index { REPAIR } else { RESTORE });
    }
    let orphans: u64 = connection.query_row("select count(*) from pragma_foreign_key_check()", [], |row| row.get(0))?;
    if orphans > 0 {
        verified.note(format!("{orphans} rows refer to others that are not there"), RESTORE);
    }
    Ok(())
}

/// The tables of collections against their declarations and totals.
fn tables(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    let names: Vec<String> = connection
        .prepare("select name from collections order by name")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in &names {
        verified.collections += 1;
        match collections::load(connection, name) {
            Ok(Some(collection)) => table(connection, &collection, verified)?,
            Ok(None) => {}
            Err(error) => verified.note(error.to_string(), RESTORE),
        }
    }
    let undeclared: Vec<String> = connection
        .prepare(
            "select name from sqlite_schema where type = 'table' and name glob 'collection_*'
             and substr(name, 12) not in (select name from collections)",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in undeclared {
        verified.note(format!("table {name} belongs to no collection"), "drop it with `sqlite3` when nobody misses it");
    }
    Ok(())
}

fn table(connection: &Connection, collection: &Collection, verified: &mut Verified) -> rusqlite::Result<()> {
    let name = collection.name();
    if let Err(error) = collections::probe(connection, collection) {
        verified.note(format!("the table of collection `{name}` is not as declared: {error}"), RESTORE);
        return Ok(());
    }
    for columns in collections::missing_indexes(connection, collection)? {
        verified.note(format!("collection `{name}` has no index on {columns}"), START);
    }
    let counted: (u64, u64) = connection.query_row(&collections::count_sql(collection), [], pair)?;
    let noted = connection.query_row("select row_count, bytes from collections where name = ?1", [name], pair)?;
    if counted != noted {
        let problem = format!("collection `{name}` has {counted:?} rows and bytes and says {noted:?}");
        verified.note(problem, REPAIR);
    }
    Ok(())
}

fn pair(row: &rusqlite::Row<'_>) -> rusqlite::Result<(u64, u64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// What the rows of each other part add up to.
const PARTS: [(&str, &str); 3] = [
    (
        "dead_letters",
        "select count(*), coalesce(sum(octet_length(message) + octet_length(reason)), 0) from dead_letters",
    ),
    ("outbox", "select count(*), coalesce(sum(octet_length(message)), 0) from outbox"),
    ("state", "select count(*), coalesce(sum(octet_length(name) + octet_length(value)), 0) from state"),
];

fn parts(connection: &Connection, verified: &mut Verified) -> rusqlite::Result<()> {
    for (part, sql) in PARTS {
        let counted = connection.query_row(sql, [], pair)?;
        let noted = connection.query_row("select row_count, bytes from usage where part = ?1", [part], pair)?;
        if counted != noted {
            verified.note(format!("{part} has {counted:?} rows and bytes and says {noted:?}"), REPAIR);
        }
    }
    Ok(())
}

fn recount(connection: &Connection) -> rusqlite::Result<()> {
    for totals in collections::list(connection).unwrap_or_default() {
        let collection = totals.collection;
        let (rows, bytes) = connection.query_row(&collections::count_sql(&collection), [], pair)?;
        let sql = "update collections set row_count = ?2, bytes = ?3 where name = ?1";
        connection.execute(sql, (collection.name(), rows, bytes))?;
    }
    for (part, sql) in PARTS {
        let (rows, bytes) = connection.query_row(sql, [], pair)?;
        connection.execute("update usage set row_count = ?2, bytes = ?3 where part = ?1", (part, rows, bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Home, damaged, store};
    use super::*;

    /// The store of a gateway that ended well, changed by a statement.
    async fn after(sql: &str) -> Home {
        let home = Home::new().unwrap();
        let store = store(&home);
        store.declare(crate::telemetry::collections().unwrap()).await.unwrap();
        store.shutdown().await;
        drop(store);
        Connection::open(home.path().join(FILE)).unwrap().execute_batch(sql).unwrap();
        home
    }

    async fn check(sql: &str, problem: &str, remedy: &str) {
        let home = after(sql).await;
        let verified = verify(home.path(), false).unwrap();
        let [finding] = verified.findings.as_slice() else { panic!("{verified:?}") };
        assert!(finding.problem.contains(problem) && finding.remedy == remedy, "{finding:?}");
    }

    #[tokio::test]
    async fn a_good_store_has_no_findings_and_stays_as_it_is() {
        let home = after("").await;
        let verified = verify(home.path(), false).unwrap();
        assert_eq!(verified.findings, []);
        assert_eq!(verified.collections, crate::telemetry::collections().unwrap().len());
        drop(store(&home));
    }

    #[tokio::test]
    async fn what_does_not_fit_together_is_found_with_its_remedy() {
        check("drop index collection_trip_time", "`trip` has no index on `sent`", START).await;
        check("alter table collection_trip rename column _item to gone", "`trip` is not as declared", RESTORE).await;
        check(
            "create table collection_old (x)",
            "collection_old belongs to no collection",
            "drop it with `sqlite3` when nobody misses it",
        )
        .await;
        check("update usage set bytes = 7 where part = 'state'", "state has (0, 0)", REPAIR).await;
        check("update collections set row_count = 5 where name = 'trip'", "`trip` has (0, 0)", REPAIR).await;
    }

    #[tokio::test]
    async fn a_repair_counts_again() {
        let home = after("update collections set row_count = 5; update usage set bytes = 7").await;
        assert!(!verify(home.path(), false).unwrap().findings.is_empty());
        assert_eq!(verify(home.path(), true).unwrap().findings, []);
    }

    #[test]
    fn damaged_pages_are_found_and_a_backup_is_asked_for() {
        let home = Home::new().unwrap();
        damaged(&home);
        let verified = verify(home.path(), false).unwrap();
        assert!(verified.findings.iter().any(|finding| finding.remedy == RESTORE), "{verified:?}");
    }

    #[test]
    fn a_file_that_is_no_database_is_a_finding_too() {
        let home = Home::new().unwrap();
        std::fs::write(home.path().join(FILE), [7; 8192]).unwrap();
        assert_eq!(verify(home.path(), false).unwrap().findings[0].remedy, RESTORE);
    }

    #[test]
    fn a_store_in_use_or_not_there_is_left_alone() {
        let home = Home::new().unwrap();
        let nowhere = home.path().join("nowhere");
        assert!(matches!(verify(&nowhere, false).unwrap_err(), OpenError::Directory { .. }));
        assert!(!nowhere.exists());
        let _store = store(&home);
        assert!(matches!(verify(home.path(), false).unwrap_err(), OpenError::InUse { .. }));
    }
}
