//! The one place that writes: applies what it is told, one transaction at a time.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::StoreError;
use super::block::Batch;
use super::load;
use super::read::{Span, first_since};
use super::settings::{Edit, Settings, SettingsError};
use super::state::{Routes, Shard, Stream};
use super::streams::Streams;
use super::sweep::Sweep;
use crate::clock::{Clock, Millis};
use crate::hash_key::HashKey;
use crate::limits;
use crate::sequence::SequenceNumber;

/// Records for one stream.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) stream: String,
    pub(crate) batch: Batch,
}

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) shard: u32,
    pub(crate) sequence: SequenceNumber,
}

/// A change of a stream itself.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create {
        name: String,
        shards: u32,
        on_demand: bool,
        /// What is set on it from the start.
        edits: Vec<Edit>,
    },
    Delete {
        name: String,
        /// Also one that has consumers.
        forced: bool,
    },
    Split {
        stream: String,
        shard: u32,
        key: HashKey,
    },
    Merge {
        stream: String,
        left: u32,
        right: u32,
    },
    Rescale {
        stream: String,
        target: u32,
    },
    Retain {
        stream: String,
        hours: u32,
    },
    Mode {
        stream: String,
        on_demand: bool,
    },
    Edit {
        stream: String,
        edit: Edit,
    },
}

/// Owns the writing connection. Memory changes only after the commit that says the same.
#[derive(Debug)]
pub(super) struct Engine {
    connection: Connection,
    streams: Arc<Streams>,
    clock: Clock,
    sweep: Sweep,
    /// Rows written since `sweep_as_written` last looked.
    written: u32,
}

impl Engine {
    pub(super) fn new(connection: Connection, clock: Clock) -> Result<Self, StoreError> {
        let streams = Arc::new(Streams::new(load::load(&connection)?));
        Ok(Self {
            connection,
            streams,
            clock,
            sweep: Sweep::new(),
            written: 0,
        })
    }

    pub(super) fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Appends all of `appends` in one transaction; the answers are in their order. A stream that is not there fails
    /// its own request only, a failing database all of them.
    pub(super) fn append(&mut self, appends: &[Append]) -> Vec<Result<Vec<Placed>, StoreError>> {
        match self.try_append(appends) {
            Ok(answers) => answers,
            Err(error) => {
                tracing::error!(%error, requests = appends.len(), "records not committed");
                let error = Arc::new(error);
                appends
                    .iter()
                    .map(|_| Err(StoreError::NotCommitted(Arc::clone(&error))))
                    .collect()
            }
        }
    }

    fn try_append(
        &mut self,
        appends: &[Append],
    ) -> Result<Vec<Result<Vec<Placed>, StoreError>>, StoreError> {
        let now = self.clock.now();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writers: HashMap<&str, StreamWriter> = HashMap::new();
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let Some(stream) = self.streams.get(&append.stream) else {
                answers.push(Err(StoreError::NoStream {
                    name: append.stream.clone(),
                }));
                continue;
            };
            let writer = writers
                .entry(&append.stream)
                .or_insert_with(|| StreamWriter::new(&stream));
            answers.push(Ok(writer.append(&transaction, &append.batch, now)?));
        }
        for writer in writers.values_mut() {
            writer.flush(&transaction, now)?;
        }
        transaction.commit()?;
        for writer in writers.values() {
            writer.publish();
            self.written = self.written.saturating_add(writer.rows);
        }
        Ok(answers)
    }

    /// Makes one change in a transaction of its own.
    pub(super) fn change(&mut self, change: Change) -> Result<(), StoreError> {
        let now = self.clock.now();
        match change {
            Change::Create {
                name,
                shards,
                on_demand,
                edits,
            } => self.create(name, shards, on_demand, edits, now),
            Change::Delete { name, forced } => self.delete(&name, forced),
            Change::Split { stream, shard, key } => {
                self.reshape(&stream, |s| Ok(s.split(shard, key, now)?))
            }
            Change::Merge {
                stream,
                left,
                right,
            } => self.reshape(&stream, |s| Ok(s.merge(left, right, now)?)),
            Change::Rescale { stream, target } => {
                self.reshape(&stream, |s| Ok(s.rescale(target, now)?))
            }
            Change::Retain { stream, hours } => {
                // What the old retention has trimmed stays trimmed under a longer one.
                self.trim()?;
                self.reshape(&stream, |s| {
                    Ok(Stream {
                        retention_hours: hours,
                        ..s.clone()
                    })
                })?;
                self.trim()
            }
            Change::Mode { stream, on_demand } => self.reshape(&stream, |s| {
                Ok(Stream {
                    on_demand,
                    ..s.clone()
                })
            }),
            Change::Edit { stream, edit } => self.reshape(&stream, |s| {
                Ok(Stream {
                    settings: Arc::new(s.settings.edited(edit, now)?),
                    ..s.clone()
                })
            }),
        }
    }

    fn create(
        &mut self,
        name: String,
        shards: u32,
        on_demand: bool,
        edits: Vec<Edit>,
        now: Millis,
    ) -> Result<(), StoreError> {
        if self.streams.get(&name).is_some() {
            return Err(StoreError::StreamExists { name });
        }
        if self.streams.len() >= limits::STREAMS || shards as usize > limits::SHARDS {
            return Err(StoreError::TooManyShardsOrStreams);
        }
        let retention_hours = *limits::RETENTION_HOURS.start();
        let mut settings = Settings::default();
        for edit in edits {
            settings = settings.edited(edit, now)?;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO streams (name, created_ms, retention_hours, on_demand, settings)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                name,
                now,
                retention_hours,
                on_demand,
                load::settings_text(&settings)?
            ],
        )?;
        let id = transaction.last_insert_rowid();
        let shards = Stream::first_shards(shards, now);
        let stream = Stream {
            id,
            name,
            created_ms: now,
            retention_hours,
            on_demand,
            settings: Arc::new(settings),
            shards,
        };
        load::save_shards(&transaction, &[], &stream)?;
        transaction.commit()?;
        self.streams.put(stream);
        Ok(())
    }

    fn delete(&mut self, name: &str, forced: bool) -> Result<(), StoreError> {
        let stream = self.stream(name)?;
        if !forced && !stream.settings.consumers.is_empty() {
            return Err(SettingsError::HasConsumers.into());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for shard in &stream.shards {
            load::drop_shard(&transaction, stream.id, shard)?;
        }
        transaction.execute("DELETE FROM streams WHERE id = ?1", [stream.id])?;
        transaction.commit()?;
        self.streams.remove(name);
        Ok(())
    }

    fn reshape(
        &mut self,
        name: &str,
        make: impl FnOnce(&Stream) -> Result<Stream, StoreError>,
    ) -> Result<(), StoreError> {
        let old = self.stream(name)?;
        let new = make(&old)?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        load::save_stream(&transaction, &new)?;
        load::save_shards(&transaction, &old.shards, &new)?;
        transaction.commit()?;
        self.streams.put(new);
        Ok(())
    }

    /// Moves every shard's oldest record to the first one within the retention, and forgets shards that were closed
    /// before it. What a record takes on disk is given back by `sweep`.
    pub(super) fn trim(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.sweep.is_due_again();
        for stream in self.streams.all() {
            let Some(cutoff) = now.checked_sub(stream.retention_ms()) else {
                continue;
            };
            if stream.created_ms <= cutoff {
                self.trim_stream(&stream, cutoff)?;
            }
        }
        Ok(())
    }

    fn trim_stream(&mut self, stream: &Stream, cutoff: Millis) -> Result<(), StoreError> {
        let mut moved: Vec<(&Shard, u64)> = Vec::new();
        let is_gone = |shard: &Shard| shard.closed_ms.is_some_and(|at| at <= cutoff);
        for shard in stream.shards.iter().filter(|s| !is_gone(s)) {
            let (first, next) = (shard.tail.first(), shard.tail.next());
            let span = Span {
                stream: stream.id,
                shard: shard.number,
                from: first,
                end: next,
            };
            if first < next {
                let live = first_since(&self.connection, span, cutoff + 1)?.unwrap_or(next);
                if live > first {
                    moved.push((shard, live));
                }
            }
        }
        let gone: Vec<_> = stream.shards.iter().filter(|s| is_gone(s)).collect();
        if moved.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (shard, live) in &moved {
            load::save_first(
                &transaction,
                stream.id,
                shard.number,
                *live,
                shard.tail.next(),
            )?;
        }
        for shard in &gone {
            load::drop_shard(&transaction, stream.id, shard)?;
        }
        transaction.commit()?;
        for (shard, live) in moved {
            shard.tail.move_first(live);
        }
        if !gone.is_empty() {
            let shards = stream
                .shards
                .iter()
                .filter(|s| !is_gone(s))
                .cloned()
                .collect();
            self.streams.put(Stream {
                shards,
                ..stream.clone()
            });
        }
        Ok(())
    }

    /// Removes up to `rows` rows of what was trimmed or dropped; whether there may be more.
    pub(super) fn sweep(&mut self, rows: u32) -> Result<bool, StoreError> {
        self.sweep.run(&mut self.connection, rows)
    }

    /// Removes twice as many rows as were written since the last time, if there are any to remove: so the file stays
    /// within bounds even while puts leave the writer no rest.
    pub(super) fn sweep_as_written(&mut self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut self.written);
        self.sweep(written.saturating_mul(2))?;
        Ok(())
    }

    fn stream(&self, name: &str) -> Result<Arc<Stream>, StoreError> {
        self.streams
            .get(name)
            .ok_or_else(|| StoreError::NoStream { name: name.into() })
    }
}

/// The open shards of one stream during a transaction.
struct StreamWriter {
    stream: i64,
    routes: Routes,
    shards: Vec<ShardWriter>,
    /// Rows written.
    rows: u32,
}

/// One shard's records that are not yet in a row, from index `first`, below `next`.
struct ShardWriter {
    block: Vec<u8>,
    first: u64,
    next: u64,
}

impl StreamWriter {
    fn new(stream: &Stream) -> Self {
        let routes = stream.routes();
        let tail = |at| routes.shard(at).map_or(0, |shard| shard.tail.next());
        let shard = |at| ShardWriter {
            block: Vec::new(),
            first: tail(at),
            next: tail(at),
        };
        Self {
            stream: stream.id,
            shards: (0..routes.len()).map(shard).collect(),
            routes,
            rows: 0,
        }
    }

    fn append(
        &mut self,
        transaction: &Transaction<'_>,
        batch: &Batch,
        now: Millis,
    ) -> Result<Vec<Placed>, StoreError> {
        let mut placed = Vec::with_capacity(batch.len());
        for (hash, packed) in batch.entries() {
            let at = self.routes.find(hash).ok_or(StoreError::NoRoute { hash })?;
            let shard = self.routes.shard(at).ok_or(StoreError::NoRoute { hash })?;
            let writer = &mut self.shards[at];
            if !writer.block.is_empty() && writer.block.len() + packed.len() > limits::BLOCK_BYTES {
                self.rows += writer.flush(transaction, self.stream, shard, now)?;
            }
            writer.block.extend_from_slice(packed);
            placed.push(Placed {
                shard: shard.number,
                sequence: shard.sequence(writer.next, now),
            });
            writer.next += 1;
        }
        Ok(placed)
    }

    fn flush(&mut self, transaction: &Transaction<'_>, now: Millis) -> Result<(), StoreError> {
        for (at, writer) in self.shards.iter_mut().enumerate() {
            if let Some(shard) = self.routes.shard(at) {
                self.rows += writer.flush(transaction, self.stream, shard, now)?;
            }
        }
        Ok(())
    }

    fn publish(&self) {
        for (at, writer) in self.shards.iter().enumerate() {
            if let Some(shard) = self.routes.shard(at) {
                shard.tail.move_next(writer.next);
            }
        }
    }
}

impl ShardWriter {
    /// Writes what is not yet in a row; gives how many rows that took.
    fn flush(
        &mut self,
        transaction: &Transaction<'_>,
        stream: i64,
        shard: &Shard,
        now: Millis,
    ) -> Result<u32, StoreError> {
        if self.first == self.next {
            return Ok(0);
        }
        transaction
            .prepare_cached("INSERT INTO blocks (stream, shard, first, count, arrival_ms, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![stream, shard.number, self.first, self.next - self.first, now, self.block])?;
        self.first = self.next;
        self.block.clear();
        Ok(1)
    }
}
