//! The leases as a person, or a worker that wants to know whether it is done, sees them.

use crate::lease::WorkerId;
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::time::Instant;

/// The whole table as this worker sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseSnapshot {
    /// The rows are read, every needed row has been made, and whatever could be taken has been: from now on a shard that
    /// is not here does not wait for this worker.
    pub is_settled: bool,
    /// By shard.
    pub leases: Vec<LeaseView>,
}

/// One row, and what it is to this worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The shard.
    pub shard: ShardId,
    /// Who processes it, by the table.
    pub owner: Option<WorkerId>,
    /// The counter.
    pub counter: u64,
    /// The durable checkpoint.
    pub checkpoint: Checkpoint,
    /// The shards it came from.
    pub parents: Vec<ShardId>,
    /// What it is to this worker.
    pub state: LeaseState,
}

/// What a lease is to this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Held, and consumed.
    Mine,
    /// Held, and waiting for its parents' ends.
    WaitingForParents,
    /// Nobody's, or being taken now.
    Free,
    /// Another's who has renewed it before this worker's eyes.
    Alive,
    /// Another's who has not been seen to renew it; it is taken if that stays so until then.
    Unproven {
        /// The moment.
        until: Instant,
    },
    /// Read to its end.
    Ended,
}
