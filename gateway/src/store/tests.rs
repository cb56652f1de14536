use super::*;

/// Runs `work` in a transaction of an empty, migrated database.
pub(super) fn scratch(work: impl FnOnce(&Transaction<'_>) -> Result<(), Box<dyn std::error::Error>>) {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    migrations::apply(&mut connection).unwrap();
    let tx = connection.transaction().unwrap();
    work(&tx).unwrap();
}
