//! The rows of the lease table as this worker has seen them, and which of them it may take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::lease::{Incarnation, Lease, WorkerId};
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::time::Instant;

/// One row and what was observed of it.
#[derive(Clone, Debug)]
struct Row {
    lease: Lease,
    /// When the counter was last seen to differ from what it was: at the end of the listing that showed it.
    moved_at: Instant,
    /// Whether the counter has been seen to move at all.
    has_moved: bool,
    /// When a write of this worker last told what the row is.
    written_at: Option<Instant>,
}

/// What to do about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be taken now.
    Take,
    /// Its owner counts as alive until then, unless it is seen to move again.
    Wait(Instant),
    /// There is nothing to take.
    Leave,
}

/// All rows.
///
/// Expiry is judged by observation alone (kcl: local observation): no clock is compared with another's. A row is expired
/// when its counter has not moved for longer than the lease's duration *since this worker first saw it there*, so a fresh
/// process needs a whole duration before it may take what has an owner.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    by_shard: BTreeMap<ShardId, Row>,
    /// Rows that exist by the table's word but were not read yet.
    unread: BTreeSet<ShardId>,
    /// The last incarnation that this process drew for each shard.
    drawn: BTreeMap<ShardId, Incarnation>,
    /// Rows that carried this worker's name when the process first looked.
    inherited: BTreeMap<ShardId, u64>,
    /// Shards to keep away from for a while.
    resting: BTreeMap<ShardId, Instant>,
    worker: WorkerId,
    failover: Duration,
    /// When the newest listing arrived. Rows are judged as of then: later, no news is no evidence.
    listed_at: Option<Instant>,
}

impl Rows {
    pub(super) fn new(worker: WorkerId, failover: Duration) -> Self {
        Self {
            by_shard: BTreeMap::new(),
            unread: BTreeSet::new(),
            drawn: BTreeMap::new(),
            inherited: BTreeMap::new(),
            resting: BTreeMap::new(),
            worker,
            failover,
            listed_at: None,
        }
    }

    /// Whether the table has been read at all.
    pub(super) fn has_listed(&self) -> bool {
        self.listed_at.is_some()
    }

    /// Whether no row is known.
    pub(super) fn is_empty(&self) -> bool {
        self.by_shard.is_empty() && self.unread.is_empty()
    }

    /// Takes in a listing that was asked for at `asked` and arrived `now`.
    pub(super) fn listed(&mut self, asked: Instant, now: Instant, listing: Vec<Lease>) {
        let mut before = std::mem::take(&mut self.by_shard);
        for lease in listing {
            let row = match before.remove(&lease.shard) {
                None => Row {
                    moved_at: now,
                    has_moved: false,
                    written_at: None,
                    lease,
                },
                Some(known) => known.read_again(asked, now, lease),
            };
            self.by_shard.insert(row.lease.shard.clone(), row);
        }
        // A row that this worker wrote while the listing was under way may be missing from it.
        before.retain(|_, row| row.written_at.is_some_and(|at| at > asked));
        self.by_shard.append(&mut before);
        self.unread.clear();
        if self.listed_at.replace(now).is_none() {
            let mine = self
                .by_shard
                .values()
                .filter(|row| row.lease.owner.as_ref() == Some(&self.worker));
            self.inherited = mine
                .map(|row| (row.lease.shard.clone(), row.lease.counter))
                .collect();
        }
        let rows = &self.by_shard;
        self.drawn.retain(|shard, _| rows.contains_key(shard));
        self.resting.retain(|_, until| *until > now);
    }

    /// A row is known to exist, but not what is in it.
    pub(super) fn exists(&mut self, shard: &ShardId) {
        if !self.by_shard.contains_key(shard) {
            self.unread.insert(shard.clone());
        }
    }

    /// A write of this worker made the row what `lease` says.
    pub(super) fn wrote(&mut self, now: Instant, lease: Lease) {
        self.unread.remove(&lease.shard);
        let has_moved = self
            .by_shard
            .get(&lease.shard)
            .is_some_and(|row| row.has_moved);
        let row = Row {
            moved_at: now,
            has_moved,
            written_at: Some(now),
            lease,
        };
        self.by_shard.insert(row.lease.shard.clone(), row);
    }

    /// Changes what is known of a row after a write of this worker.
    pub(super) fn update(
        &mut self,
        now: Instant,
        shard: &ShardId,
        change: impl FnOnce(&mut Lease),
    ) {
        if let Some(row) = self.by_shard.get_mut(shard) {
            change(&mut row.lease);
            row.moved_at = now;
            row.written_at = Some(now);
        }
    }

    /// The row is gone.
    pub(super) fn forget(&mut self, shard: &ShardId) {
        self.by_shard.remove(shard);
    }

    /// Remembers an incarnation drawn for a take, so that the row is known for this process's own if the answer is lost.
    pub(super) fn drew(&mut self, shard: &ShardId, incarnation: Incarnation) {
        self.drawn.insert(shard.clone(), incarnation);
    }

    /// Keeps away from a shard until then.
    pub(super) fn rest(&mut self, shard: &ShardId, until: Instant) {
        self.resting.insert(shard.clone(), until);
    }

    /// Whether a row exists.
    pub(super) fn contains(&self, shard: &ShardId) -> bool {
        self.by_shard.contains_key(shard) || self.unread.contains(shard)
    }

    /// What is known of a row.
    pub(super) fn get(&self, shard: &ShardId) -> Option<&Lease> {
        self.by_shard.get(shard).map(|row| &row.lease)
    }

    /// Every row, by shard.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.by_shard.values().map(|row| &row.lease)
    }

    /// Whether a shard's data is not all processed yet, as far as is known (SH-1).
    pub(super) fn is_unfinished(&self, shard: &ShardId) -> bool {
        let checkpoint = self.get(shard).map(|lease| &lease.checkpoint);
        checkpoint.is_some_and(|at| *at != Checkpoint::ShardEnd) || self.unread.contains(shard)
    }

    /// Whether the row is in the hands of another process that is alive.
    pub(super) fn is_anothers_seen_alive(&self, shard: &ShardId) -> bool {
        let row = self.by_shard.get(shard);
        let is_anothers =
            row.is_some_and(|row| row.lease.owner.is_some() && !self.is_own(&row.lease));
        is_anothers && self.is_seen_alive(shard)
    }

    /// Whether the row's owner is alive: its counter has been seen to move, and not too long ago.
    pub(super) fn is_seen_alive(&self, shard: &ShardId) -> bool {
        let judged_at = self.listed_at.unwrap_or_default();
        let row = self.by_shard.get(shard);
        row.is_some_and(|row| row.has_moved && judged_at <= row.moved_at + self.failover)
    }

    /// Whether this worker may take the row, judged as of the newest listing; the take's own condition on the counter makes
    /// sure that it has not moved since.
    ///
    /// Stealing from the living, when there is a fleet to balance, is one more way to say [`Verdict::Take`].
    pub(super) fn verdict(&self, shard: &ShardId) -> Verdict {
        let Some(row) = self.by_shard.get(shard) else {
            return Verdict::Leave;
        };
        if row.lease.is_completed() {
            return Verdict::Leave;
        }
        let now = self.listed_at.unwrap_or_default();
        if let Some(until) = self.resting.get(shard)
            && now < *until
        {
            return Verdict::Wait(*until);
        }
        let is_handed_over = row.lease.checkpoint_owner.is_some();
        if !is_handed_over && (row.lease.owner.is_none() || self.is_own(&row.lease)) {
            return Verdict::Take;
        }
        let expiry = row.moved_at + self.failover;
        if now > expiry {
            Verdict::Take
        } else {
            Verdict::Wait(expiry)
        }
    }

    /// When an owner who has never been seen alive will have had its time.
    pub(super) fn next_unproven_expiry(&self) -> Option<Instant> {
        let unproven = self.by_shard.iter().filter(|(_, row)| !row.has_moved);
        let expiries = unproven.filter_map(|(shard, _)| match self.verdict(shard) {
            Verdict::Wait(until) => Some(until),
            Verdict::Take | Verdict::Leave => None,
        });
        expiries.min()
    }

    /// Whether a row that names this worker is this process's to take back at once.
    ///
    /// It is if the row was so when the process first looked, since its own lock on the name says that whoever wrote it is
    /// gone, or if this process wrote it. Otherwise a second process goes by this worker's name, and its leases are
    /// another's: without that, two such processes would take everything from each other for ever.
    fn is_own(&self, lease: &Lease) -> bool {
        if lease.owner.as_ref() != Some(&self.worker) {
            return false;
        }
        let is_drawn = lease.incarnation.is_some()
            && self.drawn.get(&lease.shard).copied() == lease.incarnation;
        is_drawn || self.inherited.get(&lease.shard) == Some(&lease.counter)
    }
}

impl Row {
    fn read_again(self, asked: Instant, now: Instant, lease: Lease) -> Self {
        // The listing may have passed the row before this worker's newest write to it.
        let is_older = self.written_at.is_some_and(|at| at > asked);
        if is_older && lease.counter < self.lease.counter {
            return self;
        }
        let has_moved = lease.counter != self.lease.counter;
        Self {
            moved_at: if has_moved { now } else { self.moved_at },
            has_moved: has_moved || self.has_moved,
            written_at: self.written_at,
            lease,
        }
    }
}
