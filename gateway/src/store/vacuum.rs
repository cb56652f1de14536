//! Gives free pages back to the file system, a few at a time. Only a file that was made so can do that; an older one
//! keeps its size, and what is deleted makes room for what comes.

use rusqlite::Connection;

use super::Slice;

/// Free pages that are kept for what comes next.
const SPARE: u64 = 4096;

/// `pragma auto_vacuum` of a file that can give pages back when asked.
const INCREMENTAL: i64 = 2;

/// Has a new file keep what it needs to give pages back; without effect on one that has tables.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)
}

/// Gives back as many pages as the slice allows; says whether there are more than are worth keeping. The file becomes
/// smaller with the next checkpoint.
pub(super) fn step(connection: &Connection, slice: &mut Slice) -> rusqlite::Result<bool> {
    let mode: i64 = connection.query_row("pragma auto_vacuum", [], |row| row.get(0))?;
    let free: u64 = connection.query_row("pragma freelist_count", [], |row| row.get(0))?;
    let pages: u64 = connection.query_row("pragma page_count", [], |row| row.get(0))?;
    let excess = free.saturating_sub(SPARE.max((pages - free) / 8));
    if mode != INCREMENTAL || excess == 0 {
        return Ok(false);
    }
    let mut given = 0;
    // Each step of the statement moves one page.
    let mut statement = connection.prepare(&format!("pragma incremental_vacuum({excess})"))?;
    let mut moved = statement.query([])?;
    while slice.take(1) > 0 && moved.next()?.is_some() {
        given += 1;
    }
    Ok(given < excess && given > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_are_given_back_in_slices() {
        let connection = Connection::open_in_memory().unwrap();
        prepare(&connection).unwrap();
        connection.execute_batch("create table t (x blob)").unwrap();
        for _ in 0..60 {
            connection.execute("insert into t values (zeroblob(400000))", []).unwrap();
        }
        let count = |pragma: &str| -> u64 { connection.query_row(pragma, [], |row| row.get(0)).unwrap() };
        assert!(!step(&connection, &mut Slice::rows(1000)).unwrap(), "nothing is free");
        connection.execute("delete from t", []).unwrap();
        let before = count("pragma page_count");
        assert!(step(&connection, &mut Slice::rows(100)).unwrap());
        let after = count("pragma page_count");
        assert!((90..=110).contains(&(before - after)), "{before} {after}");
        while step(&connection, &mut Slice::rows(100)).unwrap() {}
        assert!(count("pragma freelist_count") <= SPARE);
        assert!(count("pragma page_count") < before);
    }

    #[test]
    fn a_file_that_was_made_without_it_is_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("create table t (x blob); insert into t values (zeroblob(40000000))").unwrap();
        prepare(&connection).unwrap();
        connection.execute("delete from t", []).unwrap();
        assert!(!step(&connection, &mut Slice::rows(100)).unwrap());
    }
}
