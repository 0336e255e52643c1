//! What goes into the lease coordinator and what comes out of it.

use crate::lease::{HeldLease, Incarnation, Lease, NewLease, WorkerId};
use crate::lease_write::{
    CheckpointDelta, CheckpointRefused, FencedWrite, LostReason, RowAfter, Tenure, Trouble,
    WriteFailure,
};
use crate::position::Checkpoint;
use crate::shard::{ChildShard, HashRange, Shard, ShardId};
use crate::shard_sync::ShardSyncError;
use crate::time::Instant;

/// Which shards to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardListing {
    /// Every shard that retention has left.
    All,
    /// Those open now.
    AtLatest,
    /// Those open at the trim horizon.
    AtTrimHorizon,
    /// Those open at an instant, milliseconds since the Unix epoch.
    AtTimestamp(i64),
}

/// What the coordinator is told. Each effect that asks for something is answered by exactly one event.
#[derive(Clone, Debug)]
pub enum CoordinatorEvent {
    /// Begin.
    Started,
    /// Time has passed.
    Tick,
    /// Answers [`CoordinatorEffect::EnsureTable`].
    TableReady(Result<(), Trouble>),
    /// Answers [`CoordinatorEffect::List`] with every row.
    Listed(Result<Vec<Lease>, Trouble>),
    /// Answers [`CoordinatorEffect::ListShards`].
    ShardsListed {
        /// As it was asked.
        which: ShardListing,
        /// The shards.
        outcome: Result<Vec<Shard>, Trouble>,
    },
    /// Answers [`CoordinatorEffect::Create`]: whether the row is new.
    Created {
        /// The row's shard.
        shard: ShardId,
        /// True: created. False: somebody was quicker.
        outcome: Result<bool, Trouble>,
    },
    /// Answers [`CoordinatorEffect::Take`].
    Taken {
        /// The shard and incarnation of the take.
        tenure: Tenure,
        /// The instant of `LATEST` that went with it ([`Lease::seen_at`]).
        latest_ms: Option<i64>,
        /// The lease, or why not.
        outcome: Result<HeldLease, WriteFailure>,
    },
    /// Answers [`CoordinatorEffect::Write`].
    Written {
        /// Whose write.
        tenure: Tenure,
        /// The row after it, or why it did not succeed.
        outcome: Result<RowAfter, WriteFailure>,
    },
    /// Answers [`CoordinatorEffect::Announce`].
    Announced {
        /// The row's shard.
        shard: ShardId,
        /// Whether the row names this worker as the successor now. False: the row has changed.
        outcome: Result<bool, Trouble>,
    },
    /// Answers [`CoordinatorEffect::Delete`].
    Deleted {
        /// The row's shard.
        shard: ShardId,
        /// Whether it is gone.
        outcome: Result<(), Trouble>,
    },
    /// A consumer's watermark moved.
    Checkpoint {
        /// The consumer's lease.
        tenure: Tenure,
        /// The move.
        delta: CheckpointDelta,
    },
    /// A consumer has read a closed shard to its end and everything in it is done (SH-2).
    ShardEnded {
        /// The consumer's lease.
        tenure: Tenure,
        /// Where its last move led.
        from: Checkpoint,
        /// What the last read said follows; may be empty, then the shard listing tells.
        children: Vec<ChildShard>,
    },
    /// A consumer has ended: it holds nothing, calls nothing and will ask for nothing. Every consumer says so once,
    /// whether it was told to stop or not.
    ConsumerStopped(Tenure),
    /// Give everything up in good order: consumers drain, their last checkpoints are written, leases are released.
    Drain,
}

/// Begin to consume a shard. Its parents are done (SH-1), and no earlier consumer of it is left in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerStart {
    /// The acquisition, to be named in whatever the consumer asks for.
    pub tenure: Tenure,
    /// Where the row says that reading begins.
    ///
    /// `Latest` means that nothing was ever checkpointed. The consumer should fix the instant of this start and read from
    /// it, so that its own reconnects skip nothing.
    pub checkpoint: Checkpoint,
    /// The instant that an earlier owner noted for `Latest`, milliseconds since the Unix epoch.
    pub latest_ms: Option<i64>,
    /// The shards it came from.
    pub parents: Vec<ShardId>,
    /// The keys that fall to it, if the row says.
    pub hash_range: Option<HashRange>,
    /// Who owned it before and did not let go of it, if anybody: records after the checkpoint may be delivered again.
    pub previous_owner: Option<WorkerId>,
    /// Until when batches may be dispatched, unless more is heard.
    pub dispatch_until: Instant,
}

/// Why a consumer must stop, in rising order: a later, higher reason replaces a lower one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Stop reading, resolve what is in flight, ask for the last checkpoint, then stop.
    Drain,
    /// `SHARD_END` is stored: there is nothing left to do.
    ShardEnd,
    /// The lease is another's or was not renewed in time: begin nothing, drop everything, checkpoint nothing.
    Lost(LostReason),
}

/// What the coordinator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorEffect {
    /// Create the lease table if it is absent.
    EnsureTable,
    /// Read every row; consistently, if that can be had.
    List,
    /// List shards.
    ListShards(ShardListing),
    /// Create a row unless it is there.
    Create(NewLease),
    /// Take a lease whose row was seen like this.
    Take {
        /// The row, whose counter is the condition.
        seen: Lease,
        /// To be written with it.
        incarnation: Incarnation,
    },
    /// Make a fenced write.
    Write(FencedWrite),
    /// Name this worker as the successor in a row, unless it is in other hands or names another one than was seen.
    Announce {
        /// The row, whose owner, incarnation and successor are the condition.
        seen: Lease,
    },
    /// Delete the row of a shard that is finished or gone.
    Delete(ShardId),
    /// Start a consumer.
    StartConsumer(ConsumerStart),
    /// A consumer may dispatch batches until then; replaces what was said before, and lifts `StopDispatch`.
    DispatchUntil {
        /// The consumer's lease.
        tenure: Tenure,
        /// The moment after which no batch begins.
        until: Instant,
    },
    /// A consumer must begin no batch until `DispatchUntil` comes again.
    StopDispatch(Tenure),
    /// A consumer must stop. It answers with [`CoordinatorEvent::ConsumerStopped`], and a higher reason may follow before.
    StopConsumer {
        /// The consumer's lease.
        tenure: Tenure,
        /// Why.
        why: StopReason,
    },
    /// A consumer's checkpoint is durable.
    Stored {
        /// The consumer's lease.
        tenure: Tenure,
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// Worth a line in a log.
    Happened(Happening),
    /// Leases cannot be had at all: the table or the stream refuses the very first question for good.
    GiveUp(Trouble),
    /// After a drain: no lease is left and nothing is out. The last effect.
    Finished,
}

/// What a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A row was made.
    Created(NewLease),
    /// A lease is this process's.
    Taken {
        /// The acquisition.
        tenure: Tenure,
        /// The row before.
        seen: Lease,
    },
    /// Somebody was quicker, or the owner is alive after all.
    TakeLost(ShardId),
    /// The shard waits for these parents to be read to their ends.
    WaitingForParents {
        /// The child.
        shard: ShardId,
        /// The parents with unfinished leases.
        parents: Vec<ShardId>,
    },
    /// A lease is gone.
    Lost {
        /// The acquisition.
        tenure: Tenure,
        /// Why.
        why: LostReason,
    },
    /// Another of our workers was asked to hand a lease over to this one.
    Asked {
        /// The shard.
        shard: ShardId,
        /// Its owner.
        owner: WorkerId,
    },
    /// Another of our workers asks for a lease of this one; it is handed over once the consumer has drained.
    HandingOver {
        /// The acquisition.
        tenure: Tenure,
        /// Who asks.
        to: WorkerId,
    },
    /// A lease was given up.
    Released {
        /// The acquisition.
        tenure: Tenure,
        /// Whom it was handed to.
        to: Option<WorkerId>,
    },
    /// Retention took the rest of a shard before it was read. Its consumer stops, and its row goes.
    OutrunByRetention {
        /// The shard.
        shard: ShardId,
        /// How far it was read.
        checkpoint: Checkpoint,
    },
    /// The row of a closed shard came after what follows the shard had begun with what came next. It goes, and is not read.
    CameTooLate(ShardId),
    /// A shard was read to its end.
    Ended(Tenure),
    /// A finished shard's row was deleted.
    Deleted(ShardId),
    /// A consumer asked for a checkpoint that must not be written: a fault in the consumer.
    Refused {
        /// The consumer's lease.
        tenure: Tenure,
        /// Which rule it breaks.
        why: CheckpointRefused,
    },
    /// The leases of a shard's children cannot be made yet.
    EndBlocked {
        /// The shard that ended.
        shard: ShardId,
        /// What stands in the way.
        why: String,
    },
    /// No leases can be made from a listing of the shards.
    SyncRefused(ShardSyncError),
    /// A call came back without an answer and will be made again.
    Retrying {
        /// The call.
        call: &'static str,
        /// What came back.
        trouble: Trouble,
    },
}
