//! The lease table: who owns which shard, and how far it has been processed.

use shardwright_core::{
    Checkpoint, HeldLease, Incarnation, Lease, NewLease, RowAfter, ShardId, WorkerId,
};

use super::{PortError, PortFuture};

/// What a conditional create found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The row is ours.
    Created,
    /// Somebody was quicker, which is not an error.
    AlreadyThere,
}

/// Why a fenced write did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseWriteError {
    /// The condition did not hold, and it was not an earlier try of this very write: the lease is another's.
    #[error("the lease of {shard} is lost: the row is at counter {counter:?}, owned by {owner:?}")]
    Lost {
        /// The shard.
        shard: ShardId,
        /// The owner found, if the row is there.
        owner: Option<WorkerId>,
        /// The counter found, if the row is there.
        counter: Option<u64>,
    },
    /// The table could not be asked. The write may or may not have happened.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The rows and their fenced writes (LE-1, LE-2).
///
/// Every write but `create`, `announce` and `delete` is conditional on the counter; a write whose reply was lost
/// is recognised by counter, owner, incarnation and, for a checkpoint, its value. The SDK's own retries are off for
/// fenced writes, so that one call is one request; whoever calls tries again. One fenced write per lease at a time is
/// the caller's duty.
pub trait LeaseTable: Send + Sync {
    /// Creates the table if it is absent and waits until it can be used. Bounded.
    fn ensure(&self) -> PortFuture<'_, Result<(), PortError>>;

    /// Every lease, through all pages. Rows that are not leases are left out.
    fn list(&self) -> PortFuture<'_, Result<Vec<Lease>, PortError>>;

    /// One lease, read consistently.
    fn get<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<Option<Lease>, PortError>>;

    /// Creates a row unless it is there.
    fn create<'a>(
        &'a self,
        lease: &'a NewLease,
    ) -> PortFuture<'a, Result<CreateOutcome, PortError>>;

    /// Takes a lease whose row was seen as `seen`. Removes a handoff's `checkpointOwner`, and a successor; writes the
    /// instant of `LATEST`, if `seen` has one.
    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
        incarnation: Incarnation,
    ) -> PortFuture<'a, Result<HeldLease, LeaseWriteError>>;

    /// Names `me` as the successor, if the row is still in the hands it was seen in and names no other successor than was
    /// seen. Moves no counter: the owner's writes go on. Answers whether the row names `me` now.
    fn announce<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
    ) -> PortFuture<'a, Result<bool, PortError>>;

    /// Renews; answers what the row is after it.
    fn renew<'a>(
        &'a self,
        held: &'a HeldLease,
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>>;

    /// Moves the checkpoint, which counts as a renewal; answers what the row is after it. `children` are stored with
    /// SHARD_END.
    fn checkpoint<'a>(
        &'a self,
        held: &'a HeldLease,
        checkpoint: &'a Checkpoint,
        children: &'a [ShardId],
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>>;

    /// Gives the lease up, to the successor `to`, or so that anybody may take it at once.
    fn release<'a>(
        &'a self,
        held: &'a HeldLease,
        to: Option<&'a WorkerId>,
    ) -> PortFuture<'a, Result<(), LeaseWriteError>>;

    /// Deletes a row.
    fn delete<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<(), PortError>>;
}
