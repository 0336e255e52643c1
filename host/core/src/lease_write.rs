//! Fenced writes to the lease table, and how they fail.

use std::fmt;

use crate::lease::{HeldLease, Incarnation, WorkerId};
use crate::position::Checkpoint;
use crate::shard::ShardId;

/// One acquisition of one lease by this process.
///
/// Whatever concerns a lease in this process's hands names its tenure, so that a consumer of an earlier acquisition
/// cannot speak for a later one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenure {
    /// The shard.
    pub shard: ShardId,
    /// Drawn when the lease was acquired.
    pub incarnation: Incarnation,
}

impl HeldLease {
    /// Which acquisition this is.
    pub fn tenure(&self) -> Tenure {
        Tenure {
            shard: self.shard.clone(),
            incarnation: self.incarnation,
        }
    }
}

impl fmt::Display for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.shard, self.incarnation)
    }
}

/// A move of the checkpoint: everything after `from` up to and including `to` is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointDelta {
    /// Where the move before this one led, or the checkpoint the lease was taken with (CP-3).
    pub from: Checkpoint,
    /// Where this one leads, above `from` (CP-2).
    pub to: Checkpoint,
}

/// What a fenced write changes, beside adding one to the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// Nothing: the owner is alive.
    Renew,
    /// The checkpoint.
    Checkpoint {
        /// The new one.
        to: Checkpoint,
        /// Stored with `SHARD_END`, otherwise empty.
        children: Vec<ShardId>,
    },
    /// The owner.
    Release {
        /// Whom it is passed on to; none: from now on it is nobody's.
        to: Option<WorkerId>,
    },
}

/// A write that happens only if the row is at the held lease's counter (LE-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedWrite {
    /// The lease, with the counter that the row must have.
    pub held: HeldLease,
    /// What to change.
    pub change: LeaseChange,
}

/// What a fenced write left in the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowAfter {
    /// The new counter.
    pub counter: u64,
    /// To whom the lease is to be [passed on](crate::Lease::passes_to): an owner learns of it by its own writes.
    pub successor: Option<WorkerId>,
}

/// What kind of trouble a call to a table or stream ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// It may work when tried again.
    Transient,
    /// The other side asks for fewer calls.
    Throttled,
    /// It is not expected to work again without somebody's help.
    Fatal,
}

/// A call to a table or stream that came back without an answer. What it asked for may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Trouble {
    /// What it means for trying again.
    pub kind: TroubleKind,
    /// One line for a person.
    pub what: String,
}

/// Why a fenced write did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFailure {
    /// The row is not at the expected counter, and not because of an earlier try of this very write.
    #[error("the row is at counter {counter:?}, owned by {owner:?}")]
    Lost {
        /// The owner found, if there is a row.
        owner: Option<WorkerId>,
        /// The counter found, if there is a row.
        counter: Option<u64>,
    },
    /// No answer.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// Why a lease is no longer this process's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// Another's write came first.
    Taken {
        /// The owner found, if there is a row.
        owner: Option<WorkerId>,
        /// The counter found, if there is a row.
        counter: Option<u64>,
    },
    /// It could not be renewed in time. Nobody may have taken it.
    Expired,
}

/// Why a requested move of the checkpoint is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointRefused {
    /// The lease is not held, has ended, or is being released.
    #[error("the lease of {0} is not held any more")]
    NotHeld(Tenure),
    /// CP-3: the move does not begin where the one before it ended.
    #[error("the checkpoint was led to {expected}, but the move begins at {from}")]
    Unchained {
        /// Where it should begin.
        expected: Checkpoint,
        /// Where it begins.
        from: Checkpoint,
    },
    /// CP-2: the move does not lead forward.
    #[error("the checkpoint was led to {from}, and {to} is not above it")]
    Backwards {
        /// Where it begins.
        from: Checkpoint,
        /// Where it leads.
        to: Checkpoint,
    },
    /// SH-2: `SHARD_END` is written when the shard is said to have ended, not as a checkpoint among others.
    #[error("a checkpoint cannot be SHARD_END before the shard is said to have ended")]
    EndUnproven,
}
