//! The pure part of Shardwright: positions, shards, KPL containers and the machines that decide what happens next.
//!
//! Nothing here waits, reads a clock, draws a random number or talks to a service. Time, listings and lease rows come in
//! as arguments and decisions go out as values, so that a simulator can replay any history from a seed.
#![forbid(unsafe_code)]

mod aggregate;
mod deaggregate;
mod lease;
mod message;
pub mod pipeline;
mod position;
mod record;
mod shard;
mod shard_sync;
mod time;

pub use aggregate::{AggregateBounds, AggregateError, Aggregator, PackedRecord};
pub use deaggregate::{Contents, Deaggregator, Malformed, OutsideRange, Span, UserRecordSpan};
pub use lease::{HeldLease, Incarnation, Lease, NewLease, WorkerId};
pub use message::{
    Column, ColumnsWanted, Emissions, Failure, FlushReason, Hold, InvalidColumn, InvalidReply,
    Messages, Release, Reply, SOURCE_CALL,
};
pub use position::{
    Checkpoint, InitialPosition, InvalidCheckpoint, InvalidSequenceNumber, NoStart, Position,
    SequenceNumber, StartAt,
};
pub use record::Record;
pub use shard::{
    ChildShard, HashRange, InvalidHashKey, InvalidHashRange, Shard, ShardId, effective_hash,
    parents_are_done,
};
pub use shard_sync::{
    AtShardEnd, ShardSyncError, children_in_listing, first_leases, leases_at_shard_end,
    missing_leases,
};
pub use time::Instant;
