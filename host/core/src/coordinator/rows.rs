//! The rows of the lease table as this worker has seen them, and which of them it may take.

use crate::keeper::LeaseTiming;
use crate::lease::{Incarnation, Lease, WorkerId};
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// One row and what was observed of it.
#[derive(Clone, Debug)]
struct Row {
    lease: Lease,
    /// When this worker heard of the row.
    known_since: Instant,
    /// When the counter was last seen to differ from what it was: at the end of the listing that showed it.
    moved_at: Instant,
    /// Whether the counter has been seen to move at all.
    has_moved: bool,
    /// When a write of this worker last told what the row is.
    written_at: Option<Instant>,
    /// A take has found the row to be another than it was read, and it has not been read since.
    is_doubtful: bool,
    /// This worker made the row.
    is_made_here: bool,
    /// Which acquisition has been asked for by whom, and when that was first seen.
    asked: Option<(Incarnation, WorkerId, Instant)>,
}

/// What a row that this worker does not hold is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// To be taken whatever the others have: this process's own; one that it has just made; one that was handed to it, or
    /// was not within the time for that.
    Due,
    /// Nobody's, or its owner has had its time; the counter stands still since then.
    Available {
        /// Since when.
        since: Instant,
    },
    /// Its owner counts as alive until then, unless it is seen to move again.
    Owned {
        /// The moment.
        until: Instant,
    },
    /// Nobody's, and kept away from until then.
    Resting {
        /// The moment.
        until: Instant,
    },
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
    timing: LeaseTiming,
    /// When the newest listing arrived. Rows are judged as of then: later, no news is no evidence.
    listed_at: Option<Instant>,
    /// When that listing was asked for.
    asked_at: Instant,
}

impl Rows {
    pub(super) fn new(worker: WorkerId, timing: LeaseTiming) -> Self {
        Self {
            by_shard: BTreeMap::new(),
            unread: BTreeSet::new(),
            drawn: BTreeMap::new(),
            inherited: BTreeMap::new(),
            resting: BTreeMap::new(),
            worker,
            timing,
            listed_at: None,
            asked_at: Instant::default(),
        }
    }

    /// Whether the table has been read at all.
    pub(super) fn has_listed(&self) -> bool {
        self.listed_at.is_some()
    }

    /// When the newest listing arrived.
    pub(super) fn asked_at(&self) -> Instant {
        self.asked_at
    }

    /// When the newest listing arrived.
    pub(super) fn listed_at(&self) -> Instant {
        self.listed_at.unwrap_or_default()
    }

    /// Whether no row is known.
    pub(super) fn is_empty(&self) -> bool {
        self.by_shard.is_empty() && self.unread.is_empty()
    }

    /// Takes in a listing that was asked for at `asked` and arrived `now`.
    pub(super) fn listed(&mut self, asked: Instant, now: Instant, listing: Vec<Lease>) {
        let mut before = std::mem::take(&mut self.by_shard);
        for lease in listing {
            let mut row = match before.remove(&lease.shard) {
                None => Row::new(now, lease),
                Some(known) => known.read_again(asked, now, lease),
            };
            row.watch_handover(now);
            self.by_shard.insert(row.lease.shard.clone(), row);
        }
        // A row that this worker wrote while the listing was under way may be missing from it.
        before.retain(|_, row| row.written_at.is_some_and(|at| at > asked));
        self.by_shard.append(&mut before);
        self.unread.clear();
        self.asked_at = asked;
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

    /// This worker made the row.
    pub(super) fn made(&mut self, now: Instant, lease: Lease) {
        self.unread.remove(&lease.shard);
        let row = Row {
            written_at: Some(now),
            is_made_here: true,
            ..Row::new(now, lease)
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
            row.watch_handover(now);
        }
    }

    /// The row names this worker as the successor now.
    pub(super) fn announced(&mut self, now: Instant, shard: &ShardId) {
        if let Some(row) = self.by_shard.get_mut(shard) {
            row.lease.successor = Some(self.worker.clone());
            row.watch_handover(now);
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

    /// A take has found that the row is not what it was read as.
    pub(super) fn doubt(&mut self, shard: &ShardId) {
        if let Some(row) = self.by_shard.get_mut(shard) {
            row.is_doubtful = true;
        }
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

    /// Whether a parent has no row, by a listing that was asked for after the child's row was known.
    ///
    /// A parent's row is made before its child's. An older listing may have passed the parent's place before it was made,
    /// and the child's after.
    pub(super) fn is_surely_absent(&self, parent: &ShardId, child: &ShardId) -> bool {
        let known_since = self.by_shard.get(child).map(|row| row.known_since);
        !self.contains(parent) && known_since.is_none_or(|since| since <= self.asked_at)
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
        row.is_some_and(|row| row.has_moved && judged_at <= row.moved_at + self.timing.failover)
    }

    /// What the row is to this worker, judged as of the newest listing; a take's own condition on the counter makes sure
    /// that it has not moved since.
    pub(super) fn standing(&self, row: &Lease) -> Standing {
        let judged_at = self.listed_at.unwrap_or_default();
        let Some(seen) = self.by_shard.get(&row.shard) else {
            return Standing::Owned { until: judged_at };
        };
        if let Some(until) = self.resting.get(&row.shard)
            && judged_at < *until
        {
            return Standing::Resting { until: *until };
        }
        if seen.is_doubtful {
            let until = judged_at + self.timing.failover;
            return Standing::Owned { until };
        }
        let is_mine_by_name = row.owner.as_ref() == Some(&self.worker);
        let is_fresh = seen.is_made_here && row.owner.is_none() && row.counter == 0;
        let is_handed_to_me = row.is_handed_over() && is_mine_by_name;
        let has_had_its_time = self.asked_for(row).is_some_and(|(heir, at)| {
            *heir == self.worker && judged_at > at + self.timing.hand_over_within()
        });
        let is_in_kcl_handoff = row.checkpoint_owner.is_some();
        let is_own = !is_in_kcl_handoff && self.is_own(row);
        if is_fresh || is_handed_to_me || has_had_its_time || is_own {
            return Standing::Due;
        }
        let is_nobodys = row.owner.is_none() && !is_in_kcl_handoff;
        let expiry = seen.moved_at + self.timing.failover;
        let expiry = if mutant!(ExpiryEarly) {
            seen.moved_at + self.timing.failover / 2
        } else {
            expiry
        };
        if is_nobodys || judged_at > expiry {
            Standing::Available {
                since: seen.moved_at,
            }
        } else {
            Standing::Owned { until: expiry }
        }
    }

    /// Who is about to get the row from the one of our workers that has it. A successor that has not taken it long after
    /// it should have is gone.
    pub(super) fn heir<'a>(&'a self, row: &'a Lease) -> Option<&'a WorkerId> {
        let judged_at = self.listed_at.unwrap_or_default();
        let patience = self.timing.hand_over_within() + self.timing.failover;
        let asked = self.asked_for(row);
        asked
            .filter(|(_, at)| judged_at <= *at + patience)
            .map(|(heir, _)| heir)
    }

    /// Whether a row is about to be handed to this worker.
    pub(super) fn awaits_handover(&self) -> bool {
        let mut rows = self.by_shard.values();
        rows.any(|row| self.heir(&row.lease) == Some(&self.worker))
    }

    /// The successor that the row names, and when that was first seen.
    fn asked_for(&self, row: &Lease) -> Option<(&WorkerId, Instant)> {
        let seen = self.by_shard.get(&row.shard)?;
        let (incarnation, heir, at) = seen.asked.as_ref()?;
        let is_current = row.incarnation == Some(*incarnation) && row.heir() == Some(heir);
        is_current.then_some((heir, *at))
    }

    /// When to look again at owners who have never been seen alive: once they should have renewed, and once they have had
    /// their time.
    pub(super) fn next_proof(&self) -> Option<Instant> {
        let judged_at = self.listed_at.unwrap_or_default();
        let unproven = self.by_shard.values().filter(|row| !row.has_moved);
        let looks = unproven.filter_map(|row| match self.standing(&row.lease) {
            Standing::Owned { until } => {
                let probe = row.moved_at + self.timing.probe_after();
                Some(if probe > judged_at {
                    probe.min(until)
                } else {
                    until
                })
            }
            Standing::Resting { until } => Some(until),
            Standing::Due | Standing::Available { .. } => None,
        });
        looks.min()
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
    fn new(now: Instant, lease: Lease) -> Self {
        Self {
            known_since: now,
            moved_at: now,
            has_moved: false,
            written_at: None,
            is_doubtful: false,
            is_made_here: false,
            asked: None,
            lease,
        }
    }

    fn read_again(self, asked: Instant, now: Instant, lease: Lease) -> Self {
        // The listing may have passed the row before this worker's newest write to it.
        let is_older = self.written_at.is_some_and(|at| at > asked);
        if is_older && lease.counter < self.lease.counter {
            return self;
        }
        let has_moved = lease.counter != self.lease.counter && !mutant!(RenewalIgnored);
        let now = if mutant!(ExpiryFromRequest) {
            asked
        } else {
            now
        };
        Self {
            moved_at: if has_moved { now } else { self.moved_at },
            has_moved: has_moved || self.has_moved,
            is_doubtful: false,
            lease,
            ..self
        }
    }

    /// Notes since when the row has named this successor for this acquisition.
    fn watch_handover(&mut self, now: Instant) {
        let heir = self.lease.heir().cloned();
        let named = self.lease.incarnation.zip(heir);
        let known = self.asked.take();
        self.asked = named.map(|(incarnation, heir)| match known {
            Some(known) if known.0 == incarnation && known.1 == heir => known,
            _ => (incarnation, heir, now),
        });
    }
}
