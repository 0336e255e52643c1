//! Where records go that cannot be handled.

use bytes::Bytes;
use shardwright_core::Position;

use super::{PortError, PortFuture};

/// A record that was rejected, or whose retries are used up, with everything that a person needs to replay it.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The pipeline.
    pub pipeline: String,
    /// The step that failed, from 0; none when a sink refused what the record emitted.
    pub step: Option<usize>,
    /// The plugin's name and version, empty if a sink failed.
    pub plugin: String,
    /// The digest of the plugin's bytes, empty if a sink failed.
    pub digest: String,
    /// The stream.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// Its place in the shard.
    pub position: Position,
    /// Its partition key.
    pub key: String,
    /// Its whole payload.
    pub data: Bytes,
    /// When the stream received it, milliseconds since the Unix epoch.
    pub arrival_ms: i64,
    /// `reject`, `retries`, `age`, `trap`, `time`, `wait`, `memory`, `tables`, `held`, `reply` or `delivery`.
    pub error: &'static str,
    /// What happened, for a person.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Keeps dead letters. A record counts as done only when `put` has succeeded, which means that it is durable.
pub trait DeadLetterSink: Send + Sync {
    /// Stores letters, durably.
    fn put(&self, letters: Vec<DeadLetter>) -> PortFuture<'_, Result<(), PortError>>;
}
