//! The steps from an empty file to the tables of this version, one SQL file each, applied in order.
//!
//! `pragma user_version` counts the steps that a file has behind it. Each step is one transaction, so a
//! process that dies between two steps goes on with the next one.

use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;

const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
];

/// The data version that this build writes, and the newest that it reads.
pub(super) const CURRENT: u32 = STEPS.len() as u32;

/// Applies the steps that the file does not have yet.
pub(super) fn apply(connection: &mut Connection) -> Result<(), OpenError> {
    apply_steps(connection, STEPS)
}

fn apply_steps(connection: &mut Connection, steps: &[&str]) -> Result<(), OpenError> {
    let done: u32 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if done > known {
        return Err(OpenError::Newer { found: done, known });
    }
    for (number, step) in (1u32..).zip(steps).skip(done as usize) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", number)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> u32 {
        connection.query_row("pragma user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_empty_file_gets_all_steps_and_a_current_file_none() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply(&mut connection).unwrap();
        assert_eq!(version(&connection), CURRENT);
        apply(&mut connection).unwrap();
        assert_eq!(version(&connection), CURRENT);
    }

    #[test]
    fn a_file_of_an_older_version_gets_the_missing_steps_only() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply_steps(&mut connection, &["create table a (x)"]).unwrap();
        apply_steps(&mut connection, &["not even SQL", "create table b (x)"]).unwrap();
        assert_eq!(version(&connection), 2);
        connection.execute("insert into b values (1)", []).unwrap();
    }

    #[test]
    fn a_failing_step_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["create table a (x)", "create table b (x); nonsense"];
        apply_steps(&mut connection, &steps).unwrap_err();
        assert_eq!(version(&connection), 1);
        connection.execute("insert into b values (1)", []).unwrap_err();
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", CURRENT + 1).unwrap();
        let error = apply(&mut connection).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found, .. } if found == CURRENT + 1));
    }
}
