//! A row of the lease table, in our words. The table itself, its attributes and its conditions are the adapter's.

use std::fmt;
use std::sync::Arc;

use crate::limits::LATEST_MARGIN_MS;
use crate::position::Checkpoint;
use crate::shard::{HashRange, ShardId};

/// The name of a worker: one host process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// Names a worker.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random number drawn at every acquisition of a lease.
///
/// A write whose reply was lost is recognised by reading the row again: the counter must be the one I wrote *and* the
/// incarnation mine. The owner's name alone is not enough, since two processes can carry one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard, which is the row's key.
    pub shard: ShardId,
    /// Who owns it; none: nobody.
    pub owner: Option<WorkerId>,
    /// The fence: every write of an owner adds one.
    pub counter: u64,
    /// Where the next owner starts.
    pub checkpoint: Checkpoint,
    /// The shards that this one came from.
    pub parents: Vec<ShardId>,
    /// The shards that came from this one, known once it has ended.
    pub children: Vec<ShardId>,
    /// The keys that fall to the shard; older rows lack it.
    pub hash_range: Option<HashRange>,
    /// How often the owner changed since the last checkpoint.
    pub owner_switches: u64,
    /// During a KCL 3 handoff, the old owner, who still processes and checkpoints.
    pub checkpoint_owner: Option<WorkerId>,
    /// Written by our workers at every acquisition. KCL leaves it as it is, so it tells of the owner only while
    /// `incarnation_owner` names the owner too.
    pub incarnation: Option<Incarnation>,
    /// The worker that drew the incarnation.
    pub incarnation_owner: Option<WorkerId>,
    /// The one of our workers that asked the owner to hand the lease over, and once that is done, that it was handed to.
    pub successor: Option<WorkerId>,
    /// Of a row whose checkpoint is `LATEST`: the instant that this means, milliseconds since the Unix epoch. The first of
    /// our workers to take it notes it, so that what arrives from then on is due, though no owner lives to checkpoint any
    /// of it.
    pub latest_ms: Option<i64>,
}

impl Lease {
    /// A row that has just been created.
    pub fn created(new: NewLease) -> Self {
        Self {
            shard: new.shard,
            owner: None,
            counter: 0,
            checkpoint: new.checkpoint,
            parents: new.parents,
            children: Vec::new(),
            hash_range: new.hash_range,
            owner_switches: 0,
            checkpoint_owner: None,
            incarnation: None,
            incarnation_owner: None,
            successor: None,
            latest_ms: None,
        }
    }

    /// The row as a take at this wall clock is to see it: at `LATEST` an instant belongs to it.
    #[must_use]
    pub fn seen_at(mut self, wall_ms: i64) -> Self {
        if self.checkpoint == Checkpoint::Latest {
            self.latest_ms.get_or_insert(wall_ms - LATEST_MARGIN_MS);
        }
        self
    }

    /// Who processes the shard now: the old owner during a handoff.
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// Whether the owner is one of our workers, and not in a KCL 3 handoff: it hands over when it is asked to.
    pub fn is_ours(&self) -> bool {
        self.owner.is_some()
            && self.checkpoint_owner.is_none()
            && self.incarnation.is_some()
            && self.incarnation_owner == self.owner
    }

    /// To whom the owner is to pass the lease on once it has drained: the one of our workers that has asked for it, or
    /// whom KCL 3 has made the owner in a handoff.
    pub fn passes_to(&self) -> Option<&WorkerId> {
        if self.checkpoint_owner.is_some() {
            self.owner.as_ref()
        } else {
            self.successor.as_ref()
        }
    }

    /// Who has asked one of our workers for the lease and does not have it yet.
    pub fn heir(&self) -> Option<&WorkerId> {
        let heir = self.successor.as_ref();
        heir.filter(|_| self.is_ours())
    }

    /// Whether one of our workers has handed the lease to its owner, who has not taken it yet.
    pub fn is_handed_over(&self) -> bool {
        self.owner.is_some()
            && self.checkpoint_owner.is_none()
            && self.successor == self.owner
            && !self.is_ours()
    }

    /// Whether the shard has been read to its end.
    pub fn is_completed(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }
}

/// A row that is to be created, unless it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// The shard.
    pub shard: ShardId,
    /// Where its first owner starts.
    pub checkpoint: Checkpoint,
    /// The shards that it came from.
    pub parents: Vec<ShardId>,
    /// The keys that fall to it.
    pub hash_range: Option<HashRange>,
}

/// A lease in this process's hands: what every fenced write needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The shard.
    pub shard: ShardId,
    /// This worker.
    pub owner: WorkerId,
    /// The counter that the next write must find.
    pub counter: u64,
    /// Drawn when the lease was acquired.
    pub incarnation: Incarnation,
}
