//! Streams and shards from and to the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::StoreError;
use super::settings::Settings;
use super::state::{Shard, Stream, Tail};
use crate::hash_key::{HashKey, HashRange};

/// All streams as they were last committed.
pub(super) fn load(connection: &Connection) -> Result<BTreeMap<String, Arc<Stream>>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT id, name, created_ms, retention_hours, on_demand, settings FROM streams",
    )?;
    let streams = statement.query_map([], |row| {
        Ok(Stream {
            id: row.get(0)?,
            name: row.get(1)?,
            created_ms: row.get(2)?,
            retention_hours: row.get(3)?,
            on_demand: row.get(4)?,
            settings: Arc::new(settings(row, 5)?),
            shards: Vec::new(),
        })
    })?;
    let mut loaded = BTreeMap::new();
    for stream in streams {
        let mut stream = stream?;
        stream.shards = load_shards(connection, stream.id)?;
        loaded.insert(stream.name.clone(), Arc::new(stream));
    }
    Ok(loaded)
}

/// `next_index` in the row is that of the last trim or change; the blocks know of later ones.
const SHARDS: &str = "
    SELECT number, parent, adjacent_parent, hash_start, hash_end, created_ms, made_s, closed_ms, first_index,
        max(next_index, coalesce((SELECT b.first + b.count FROM blocks b
            WHERE b.stream = s.stream AND b.shard = s.number ORDER BY b.first DESC LIMIT 1), 0))
    FROM shards s WHERE stream = ?1 ORDER BY number";

fn load_shards(connection: &Connection, stream: i64) -> Result<Vec<Arc<Shard>>, StoreError> {
    let mut statement = connection.prepare_cached(SHARDS)?;
    let shards = statement.query_map([stream], |row| {
        Ok(Arc::new(Shard {
            number: row.get(0)?,
            parent: row.get(1)?,
            adjacent_parent: row.get(2)?,
            range: HashRange {
                start: hash_key(row, 3)?,
                end: hash_key(row, 4)?,
            },
            created_ms: row.get(5)?,
            made_s: row.get(6)?,
            closed_ms: row.get(7)?,
            tail: Arc::new(Tail::new(row.get(8)?, row.get(9)?)),
        }))
    })?;
    Ok(shards.collect::<Result<_, _>>()?)
}

fn hash_key(row: &Row<'_>, column: usize) -> rusqlite::Result<HashKey> {
    row.get::<_, [u8; 16]>(column).map(HashKey::from_be_bytes)
}

fn settings(row: &Row<'_>, column: usize) -> rusqlite::Result<Settings> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}

/// A stream's settings as its row has them.
pub(super) fn settings_text(settings: &Settings) -> rusqlite::Result<String> {
    serde_json::to_string(settings)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Writes a stream's own row.
pub(super) fn save_stream(connection: &Connection, stream: &Stream) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE streams SET retention_hours = ?2, on_demand = ?3, settings = ?4 WHERE id = ?1",
        )?
        .execute(params![
            stream.id,
            stream.retention_hours,
            stream.on_demand,
            settings_text(&stream.settings)?,
        ])?;
    Ok(())
}

/// Writes those shards of `new` that `old` does not have in the same version.
pub(super) fn save_shards(
    connection: &Connection,
    old: &[Arc<Shard>],
    new: &Stream,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT DO UPDATE SET closed_ms = excluded.closed_ms, next_index = excluded.next_index",
    )?;
    for shard in &new.shards {
        if old
            .binary_search_by_key(&shard.number, |s| s.number)
            .is_ok_and(|at| Arc::ptr_eq(&old[at], shard))
        {
            continue;
        }
        statement.execute(params![
            new.id,
            shard.number,
            shard.parent,
            shard.adjacent_parent,
            shard.range.start.to_be_bytes(),
            shard.range.end.to_be_bytes(),
            shard.created_ms,
            shard.made_s,
            shard.closed_ms,
            shard.tail.first(),
            shard.tail.next(),
        ])?;
    }
    Ok(())
}

/// Moves a shard's oldest record.
pub(super) fn save_first(
    connection: &Connection,
    stream: i64,
    shard: u32,
    first: u64,
    next: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE shards SET first_index = ?3, next_index = ?4 WHERE stream = ?1 AND number = ?2",
        )?
        .execute(params![stream, shard, first, next])?;
    discard(connection, stream, shard, first)
}

/// Forgets a shard and leaves its records to the sweep.
pub(super) fn drop_shard(
    connection: &Connection,
    stream: i64,
    shard: &Shard,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM shards WHERE stream = ?1 AND number = ?2")?
        .execute(params![stream, shard.number])?;
    discard(connection, stream, shard.number, shard.tail.next())
}

/// Leaves a shard's records below `below` to the sweep.
fn discard(connection: &Connection, stream: i64, shard: u32, below: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO garbage VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET below = max(below, excluded.below)",
        )?
        .execute(params![stream, shard, below])?;
    Ok(())
}
