//! What the runtime needs of the world, in core's words.
//!
//! Each port is a trait object: a call is a network hop, a disk write or a whole batch, so that a virtual call costs
//! nothing beside it. Vendor types stay behind these traits, in `adapters`.

mod clock;
mod dead_letter;
mod lease_table;
mod plugin_runtime;
mod sink;
mod stream_source;

pub use clock::Clock;
pub use dead_letter::{DeadLetter, DeadLetterSink};
pub use lease_table::{CreateOutcome, LeaseTable, LeaseWriteError};
pub use plugin_runtime::{
    CallError, Description, PluginInstance, PluginLimits, PluginRuntime, PluginSpec, PrepareError,
    PreparedPlugin,
};
pub use shardwright_core::{Record, ShardListing};
pub use sink::{DeliveryError, EmissionId, Outgoing, Sink};
pub use stream_source::{ReadAnswer, ShardIterator, StreamSource, StreamSummary};

use std::future::Future;
use std::pin::Pin;

/// A future behind a port.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a failure means for whoever called; policy looks at nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It may work when tried again: time-outs, resets, 5xx.
    Transient,
    /// The other side asks for fewer calls.
    Throttled,
    /// A shard iterator has outlived its five minutes.
    ExpiredIterator,
    /// The position does not exist in the shard: trimmed, or of another stream of that name.
    InvalidPosition,
    /// The stream, shard or table is not there.
    NotFound,
    /// Trying again cannot help until somebody mends something: bad credentials, a request that is refused.
    Fatal,
    /// The one thing that it is about can never be taken, and others can: a record that is too large, a key that is too long.
    Unfit,
}

/// A failed call to the world.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct PortError {
    /// What it means.
    pub kind: ErrorKind,
    /// What was asked, of whom, and what came back: one line for a person.
    pub what: String,
}

impl PortError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}
