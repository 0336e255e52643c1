//! Streams, shards and records on `SQLite`. Knows nothing of the wire.
//!
//! One thread writes: it takes every request that waits, puts them into one transaction, and answers after the commit.
//! So a put is acknowledged when it is durable, and a commit's cost is shared. Records of a shard that are committed
//! together lie in one row, a block. Reads run beside the writer on connections of their own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::{Clock, Millis};
use crate::endpoint::SyncMode;
use crate::hash_key::HashKey;
use crate::limits;

mod block;
mod engine;
mod lineage;
mod load;
mod read;
mod schema;
mod settings;
mod state;
mod streams;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use block::{Batch, DamagedBlock};
pub(crate) use engine::{Append, Change, Placed};
pub(crate) use lineage::LineageError;
pub(crate) use read::{Page, PageLimit, Span};
pub(crate) use settings::{Consumer, Edit, SettingsError, Tagged, Tags};
pub(crate) use state::{Shard, Stream, Tail};
pub(crate) use streams::Streams;

use engine::Engine;
use writer::Command;

/// What the store cannot do.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error("no stream {name}")]
    NoStream { name: String },
    #[error("stream {name} exists")]
    StreamExists { name: String },
    #[error("more than {} streams, or {} shards", limits::STREAMS, limits::SHARDS)]
    TooManyShardsOrStreams,
    #[error(transparent)]
    Lineage(#[from] LineageError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no open shard owns hash key {hash}")]
    NoRoute { hash: HashKey },
    #[error("{path} has tables of version {found}, this program knows {known}")]
    SchemaVersion {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("not committed: {0}")]
    NotCommitted(Arc<StoreError>),
    #[error(transparent)]
    Damaged(#[from] DamagedBlock),
    #[error("the store is closing")]
    Closing,
    #[error("thread not started: {0}")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// A store that is open. Closed by its drop, which waits for the writer to finish what it was given.
#[derive(Debug)]
pub(crate) struct Store {
    streams: Arc<Streams>,
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<thread::JoinHandle<()>>,
    readers: Arc<Readers>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Store {
    /// Opens the database at `path`, or makes it.
    pub(crate) fn open(path: &Path, sync: SyncMode, clock: Clock) -> Result<Self, StoreError> {
        let mut engine = Engine::new(schema::open_writer(path, sync)?, clock)?;
        engine.trim()?;
        let streams = Arc::clone(engine.streams());
        let (commands, queue) = mpsc::channel(limits::WRITER_QUEUE);
        let writer = thread::Builder::new()
            .name("local-writer".into())
            .spawn(move || writer::run(engine, queue))?;
        let readers = Readers {
            path: path.into(),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(limits::READERS)),
        };
        Ok(Self {
            streams,
            commands: Some(commands),
            writer: Some(writer),
            readers: Arc::new(readers),
        })
    }

    /// The streams as of the last commit.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Appends records and gives each one's place, in their order, when they are durable.
    pub(crate) async fn append(&self, append: Append) -> Result<Vec<Placed>, StoreError> {
        self.ask(|reply| Command::Append { append, reply }).await
    }

    /// Changes a stream.
    pub(crate) async fn change(&self, change: Change) -> Result<(), StoreError> {
        self.ask(|reply| Command::Change { change, reply }).await
    }

    /// Applies the retention as of now, and gives disk space back.
    pub(crate) async fn maintain(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Maintain { reply }).await
    }

    /// Reads records of a shard.
    pub(crate) async fn read(&self, span: Span, limit: PageLimit) -> Result<Page, StoreError> {
        if span.from >= span.end {
            return Ok(Page::empty(span.from));
        }
        self.with_reader(move |connection| read::read_page(connection, span, limit))
            .await
    }

    /// The index of the first record in `span` that arrived at `at` or later; its end if there is none.
    pub(crate) async fn first_since(&self, span: Span, at: Millis) -> Result<u64, StoreError> {
        if span.from >= span.end {
            return Ok(span.end);
        }
        let first = self
            .with_reader(move |connection| read::first_since(connection, span, at))
            .await?;
        Ok(first.unwrap_or(span.end))
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StoreError::Closing)?;
        commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closing)?;
        answer.await.map_err(|_| StoreError::Closing)?
    }

    async fn with_reader<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closing)?;
        let read = tokio::task::spawn_blocking(move || {
            let idle = readers.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => schema::open_reader(&readers.path)?,
            };
            let result = work(&connection);
            readers.idle().push(connection);
            drop(permit);
            result
        });
        read.await.map_err(|_| StoreError::Closing)?
    }
}

impl Readers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer panicked");
        }
    }
}
