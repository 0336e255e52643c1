//! The pure part of Shardwright: positions, shards, KPL containers and the machines that decide what happens next.
//!
//! Nothing here waits, reads a clock, draws a random number or talks to a service. Time, listings and lease rows come in
//! as arguments and decisions go out as values, so that a simulator can replay any history from a seed.
#![forbid(unsafe_code)]

#[macro_use]
mod mutants;

mod aggregate;
mod backoff;
mod batch;
mod breaker;
mod budget;
mod consumer;
mod coordinator;
mod deaggregate;
mod entropy;
mod fetch;
mod generation;
mod keeper;
mod lanes;
mod lease;
mod lease_write;
mod limits;
mod message;
pub mod pipeline;
mod position;
mod record;
mod retry;
mod run;
mod shard;
mod shard_sync;
mod time;
mod window;

pub use aggregate::{AggregateBounds, AggregateError, Aggregator, PackedRecord};
pub use backoff::Backoff;
pub use batch::Batch;
pub use breaker::{Paused, StepSet};
pub use budget::{Budget, Grant};
pub use consumer::{
    Consumer, ConsumerEffect, ConsumerEvent, ConsumerSettings, ConsumerStatus, DeadMessage, Ran,
};
pub use coordinator::{
    ConsumerStart, Coordinator, CoordinatorEffect, CoordinatorEvent, Happening, LeaseSettings,
    LeaseSnapshot, LeaseState, LeaseView, ShardListing, StopReason,
};
pub use deaggregate::{Contents, Deaggregator, Malformed, OutsideRange, Span, UserRecordSpan};
pub use entropy::Entropy;
pub use fetch::{ReadFailure, ReadResult, ReadSettings, ReadStep, Reader};
pub use generation::{GenerationEffect, GenerationEvent, Generations};
pub use keeper::{KeeperEffect, KeeperEvent, LeaseKeeper, LeaseTiming};
pub use lanes::{BatchBounds, Cause, Dead, Lanes, RunResult, Settled, Verdict};
pub use lease::{HeldLease, Incarnation, Lease, NewLease, WorkerId};
pub use lease_write::{
    CheckpointDelta, CheckpointRefused, FencedWrite, LeaseChange, LostReason, RowAfter, Tenure,
    Trouble, TroubleKind, WriteFailure,
};
pub use limits::{CHECKPOINTS_PER_SPAN, READ_ANSWER_BYTES_MAX};
pub use message::{
    Column, ColumnsWanted, Emissions, Failure, FlushReason, Hold, InvalidColumn, InvalidReply,
    Messages, Release, Reply, SOURCE_CALL,
};
#[cfg(feature = "mutants")]
pub use mutants::{Mutant, with_mutant};
pub use position::{
    Checkpoint, InitialPosition, InvalidCheckpoint, InvalidSequenceNumber, NoStart, Position,
    SequenceNumber, StartAt,
};
pub use record::Record;
pub use retry::{Next, RetryPolicy, Tried};
pub use run::{Delivery, Destination, LaneState, Outcome, Routes, Run};
pub use shard::{
    ChildShard, HashRange, InvalidHashKey, InvalidHashRange, Shard, ShardId, effective_hash,
    parents_are_done,
};
pub use shard_sync::{
    AtShardEnd, Cover, ShardSyncError, children_in_listing, cover, first_leases, gone_shards,
    leases_at_shard_end, missing_leases,
};
pub use time::Instant;
pub use window::{Admitted, Intake, MessageRef, Opening, RawMessage, Slot, Usage, Window};
