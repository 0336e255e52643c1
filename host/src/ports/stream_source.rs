//! Reading a stream.

use shardwright_core::{
    ChildShard, READ_ANSWER_BYTES_MAX, Record, Shard, ShardId, ShardListing, StartAt,
};

use super::{PortError, PortFuture};

/// A token that says where the next read of a shard begins. It expires after five minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIterator(pub String);

/// What a stream says of itself.
#[derive(Clone, Debug)]
pub struct StreamSummary {
    /// Its ARN.
    pub arn: String,
    /// When it was created, milliseconds since the Unix epoch; a stream that was deleted and made anew has another.
    pub created_ms: i64,
    /// How many shards are open.
    pub open_shards: u32,
    /// Whether it can be read.
    pub is_active: bool,
}

/// What one read brought.
#[derive(Debug)]
pub struct ReadAnswer {
    /// Records, in sequence order; it may be empty anywhere in a shard.
    pub records: Vec<Record>,
    /// Where to go on; none at the end of a closed shard.
    pub next: Option<ShardIterator>,
    /// With `next` absent, the shards that follow this one, if the service says.
    pub children: Vec<ChildShard>,
    /// How far behind the tip the read ended, in milliseconds.
    pub millis_behind_latest: u64,
}

/// A stream that can be read shard by shard.
///
/// Calls may be dropped at any time. Nothing here waits or tries again: pacing and back-off are decided by the caller,
/// by the [`kind`](PortError::kind) of the error.
pub trait StreamSource: Send + Sync {
    /// The most bytes that one read may bring: what is reserved for it.
    fn answer_bytes_max(&self) -> u64 {
        READ_ANSWER_BYTES_MAX
    }

    /// The stream's summary.
    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>>;

    /// Lists shards, through all pages.
    fn list_shards(&self, which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>>;

    /// An iterator for a shard. `InvalidPosition` if the sequence number cannot be found.
    fn iterator<'a>(
        &'a self,
        shard: &'a ShardId,
        start: &'a StartAt,
    ) -> PortFuture<'a, Result<ShardIterator, PortError>>;

    /// Reads at most `limit` records.
    fn read<'a>(
        &'a self,
        iterator: &'a ShardIterator,
        limit: u32,
    ) -> PortFuture<'a, Result<ReadAnswer, PortError>>;
}
