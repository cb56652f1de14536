//! How connections to the file are opened and tuned; nothing else opens it.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{OpenError, vacuum};
use crate::config::Synchronous;

/// How long a statement waits for a lock that another process holds, a `sqlite3` shell for instance.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the start waits for it before it says so.
const OPEN_TIMEOUT: Duration = Duration::from_millis(500);

/// Statements kept parsed on a connection; more than the distinct statements of the gateway.
const CACHED_STATEMENTS: usize = 256;

/// Opens the one connection that writes, and makes the file if need be.
pub(super) fn writer(path: &Path, synchronous: Synchronous) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(OPEN_TIMEOUT)?;
    // 4 KiB pages write the least for random keys; larger ones were slower (measured).
    connection.pragma_update(None, "page_size", 4096)?;
    vacuum::prepare(&connection)?;
    let mode: String = connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal { mode });
    }
    connection.pragma_update(None, "synchronous", pragma(synchronous))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    // A burst may grow the write-ahead log; afterwards it gives the space back.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Reads the whole schema, so that a file that is no database fails here and not at the first message.
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens a file that is there as it is, for a look into it.
pub(super) fn existing(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(OPEN_TIMEOUT)?;
    Ok(connection)
}

/// Opens a connection that can only read.
pub(super) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -4096)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Looks for damage for so long at most; what was not reached by then is taken for good.
pub(super) fn check(connection: &Connection, path: &Path, time: Duration) -> Result<(), OpenError> {
    if time.is_zero() {
        return Ok(());
    }
    let interrupt = connection.get_interrupt_handle();
    let (done, finished) = mpsc::channel::<()>();
    let found = thread::scope(|scope| {
        scope.spawn(move || {
            if finished.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let found = connection.query_row("pragma quick_check(1)", [], |row| row.get::<_, String>(0));
        drop(done);
        found
    });
    match found {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => {
            Err(OpenError::Damaged { path: path.to_path_buf(), finding: text.lines().collect::<Vec<_>>().join(" ") })
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::info!(?time, "the store was not looked through to its end: `causeway store verify` does that");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The word of `pragma synchronous`.
pub(super) const fn pragma(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
    }
}

/// Turns what SQLite says about a file into what the operator can do about it.
pub(super) fn explain(error: OpenError, path: &Path) -> OpenError {
    let OpenError::Sqlite(source) = error else {
        return error;
    };
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Corrupt { path, source },
        _ => OpenError::Sqlite(source),
    }
}
