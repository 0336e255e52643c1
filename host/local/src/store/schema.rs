//! The database's tables, and how connections to it are opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use crate::endpoint::SyncMode;
use crate::limits;

/// Raised with every change of the tables.
const VERSION: u32 = 2;

/// Makes a version's tables those of the next one. A column's place is its last, so that a database is the same
/// whichever version made it.
const FROM_1: &str = "ALTER TABLE streams ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';";

/// Positions are indices from 1 within a shard. A block's rowid rises with time, so appends go to the end of the table.
const TABLES: &str = "
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created_ms INTEGER NOT NULL,
        retention_hours INTEGER NOT NULL,
        on_demand INTEGER NOT NULL,
        settings TEXT NOT NULL DEFAULT '{}'
    ) STRICT;
    CREATE TABLE shards (
        stream INTEGER NOT NULL,
        number INTEGER NOT NULL,
        parent INTEGER,
        adjacent_parent INTEGER,
        hash_start BLOB NOT NULL,
        hash_end BLOB NOT NULL,
        created_ms INTEGER NOT NULL,
        made_s INTEGER NOT NULL,
        closed_ms INTEGER,
        first_index INTEGER NOT NULL,
        next_index INTEGER NOT NULL,
        PRIMARY KEY (stream, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE blocks (
        id INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL,
        shard INTEGER NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        arrival_ms INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX blocks_by_position ON blocks (stream, shard, first);
    CREATE TABLE garbage (
        stream INTEGER NOT NULL,
        shard INTEGER NOT NULL,
        below INTEGER NOT NULL,
        PRIMARY KEY (stream, shard)
    ) STRICT, WITHOUT ROWID;
";

/// The one connection that writes. Makes the tables in an empty database.
pub(super) fn open_writer(path: &Path, sync: SyncMode) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Of a database that is made now; one that is there keeps its own.
    connection.pragma_update(None, "page_size", limits::PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    connection.pragma_update(
        None,
        "synchronous",
        match sync {
            SyncMode::Process => "NORMAL",
            SyncMode::Full => "FULL",
        },
    )?;
    let pages = limits::WAL_BYTES / page_bytes.max(1);
    connection.pragma_update(None, "wal_autocheckpoint", pages)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            connection.execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;
        }
        1 => {
            connection.execute_batch(&format!(
                "BEGIN; {FROM_1} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;
        }
        VERSION => {}
        found => {
            return Err(StoreError::SchemaVersion {
                path: path.into(),
                found,
                known: VERSION,
            });
        }
    }
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Only recovery of the log ever makes a connection wait.
const BUSY: Duration = Duration::from_secs(10);
/// More than the statements of this module, so that none is prepared twice.
const STATEMENTS: usize = 32;
