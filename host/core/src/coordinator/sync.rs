//! Making the rows that shards need.

use crate::backoff::Backoff;
use crate::keeper::KeeperEvent;
use crate::lease::{Lease, NewLease};
use crate::lease_write::Trouble;
use crate::limits::{
    BLOCKED_SYNC_INTERVAL, LEASE_CALLS_AT_ONCE, LEASE_RETRY_FIRST, LISTING_RETRY_MAX, RELIST_AFTER,
};
use crate::position::InitialPosition;
use crate::shard::{Shard, ShardId};
use crate::shard_sync::{
    AtShardEnd, ShardSyncError, children_in_listing, first_leases, gone_shards,
    leases_at_shard_end, missing_leases,
};
use crate::time::Instant;

use super::handover::Leaving;
use super::holding::ShardEnd;
use super::{Coordinator, CoordinatorEffect, Happening, Phase, ShardListing};

const RETRY: Backoff = Backoff {
    first: LEASE_RETRY_FIRST,
    max: LISTING_RETRY_MAX,
};

/// A row that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Creating {
    lease: NewLease,
    since: Instant,
    is_out: bool,
    failures: u32,
    /// When to ask, unless the question is out.
    again_at: Option<Instant>,
}

/// Rows that are missing, by a listing of the shards and by rows that were read before it came.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    which: ShardListing,
    /// What an empty table needs; what another does is worked out anew.
    first: Vec<NewLease>,
    /// When the shards were asked for, and when they came.
    asked: Instant,
    since: Instant,
}

impl Coordinator {
    /// An empty table begins with the shards open at the initial position; any other is completed from all shards.
    pub(super) fn wanted_shards(&self) -> ShardListing {
        match self.settings.initial {
            _ if !self.rows.is_empty() => ShardListing::All,
            InitialPosition::TrimHorizon => ShardListing::AtTrimHorizon,
            InitialPosition::Latest => ShardListing::AtLatest,
            InitialPosition::AtTimestamp(unix_ms) => ShardListing::AtTimestamp(unix_ms),
        }
    }

    pub(super) fn shards_listed(
        &mut self,
        now: Instant,
        which: ShardListing,
        outcome: Result<Vec<Shard>, Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let shards = match outcome {
            Ok(shards) => shards,
            Err(trouble) => {
                self.sync.failed(now, self.entropy.draw());
                let is_first = !self.has_synced;
                self.in_trouble("listing the shards", trouble, is_first, effects);
                return;
            }
        };
        let initial = self.settings.initial;
        let is_outdated = now.since(self.rows.asked_at()) > self.settings.timing.rows_usable_for();
        if which == ShardListing::All && is_outdated {
            self.sync.answered(now, Some(RELIST_AFTER));
            self.listing.hurry(now);
            return;
        }
        let needed = if which == ShardListing::All {
            let rows: Vec<Lease> = self.rows.leases().cloned().collect();
            missing_leases(&shards, &rows, initial)
        } else {
            first_leases(&shards, initial)
        };
        if which == ShardListing::All {
            self.leave_gone_shards(now, &shards, effects);
            self.shards = Some(shards);
        }
        match needed {
            Ok(needed) => {
                let asked = self.sync.answered(now, None);
                if which == ShardListing::All {
                    self.shards_asked = asked;
                }
                let is_all_there = which == ShardListing::All && needed.is_empty();
                self.has_synced |= is_all_there;
                self.missing = (!is_all_there).then_some(Missing {
                    which,
                    first: needed,
                    asked,
                    since: now,
                });
                if !is_all_there {
                    self.listing.hurry(now);
                }
            }
            Err(why) => {
                self.sync.failed(now, self.entropy.draw());
                effects.push(CoordinatorEffect::Happened(Happening::SyncRefused(why)));
            }
        }
        self.start_consumers(now, effects);
        self.settle_ends(now, effects);
    }

    /// Ends the consumers of shards that retention has taken before they were read to their ends: nobody can write their
    /// `SHARD_END` any more, and their children wait. Two listings must say so.
    fn leave_gone_shards(
        &mut self,
        now: Instant,
        listed: &[Shard],
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let gone = gone_shards(listed, self.rows.leases());
        let was_gone = std::mem::replace(&mut self.unlisted, gone);
        let confirmed: Vec<ShardId> = was_gone.intersection(&self.unlisted).cloned().collect();
        for shard in confirmed {
            if mutant!(GoneShardsKept) {
                break;
            }
            let (Some(holding), Some(row)) = (self.held.get(&shard), self.rows.get(&shard)) else {
                continue;
            };
            if holding.is_over() || holding.leaving.is_some() || row.is_completed() {
                continue;
            }
            let checkpoint = row.checkpoint.clone();
            let outrun = Happening::OutrunByRetention {
                shard: shard.clone(),
                checkpoint,
            };
            effects.push(CoordinatorEffect::Happened(outrun));
            self.leave(now, &shard, Leaving::Gone, effects);
        }
    }

    /// Makes the rows that are still missing at a look that was asked for after the shards had been listed.
    ///
    /// An older look may be from before somebody else's rows, or may have passed the place of some of them before they
    /// were made. Their shards may have been resharded since: then the listed ones are children, which begin at the trim
    /// horizon, and not before their parents' ends (SH-1).
    pub(super) fn make_missing_leases(
        &mut self,
        now: Instant,
        asked: Instant,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(missing) = self.missing.take_if(|missing| missing.since <= asked) else {
            return;
        };
        let is_first = missing.which != ShardListing::All;
        let is_outdated = now.since(missing.asked) > self.settings.timing.rows_usable_for();
        if is_outdated || (is_first && !self.rows.is_empty()) {
            self.sync.hurry(now);
            return;
        }
        let rows: Vec<Lease> = self.rows.leases().cloned().collect();
        let shards = self.shards.as_deref().unwrap_or_default();
        let needed = if is_first {
            Ok(missing.first)
        } else {
            missing_leases(shards, &rows, self.settings.initial)
        };
        match needed {
            Ok(needed) => {
                self.has_synced = true;
                for lease in needed {
                    self.create(now, lease);
                }
            }
            Err(why) => {
                self.sync.hurry(now + RELIST_AFTER);
                effects.push(CoordinatorEffect::Happened(Happening::SyncRefused(why)));
            }
        }
    }

    /// Lines a row up to be made.
    fn create(&mut self, now: Instant, lease: NewLease) {
        if self.rows.contains(&lease.shard) || self.phase == Phase::Over {
            return;
        }
        self.creating
            .entry(lease.shard.clone())
            .or_insert(Creating {
                lease,
                since: now,
                is_out: false,
                failures: 0,
                again_at: Some(now),
            });
    }

    /// The rows that can be asked for, in whatever time: a parent's before its children's, since a crash in between must
    /// not leave a child whose parents look as if they had been finished long ago. None, as long as too many are out.
    fn creatable(&self) -> impl Iterator<Item = &Creating> {
        let is_full = self.room_for_creates() == 0;
        let waits_for_parent = |row: &Creating| {
            let mut parents = row.lease.parents.iter();
            parents.any(|parent| self.creating.contains_key(parent))
        };
        self.creating
            .values()
            .filter(move |row| !is_full && !row.is_out && !waits_for_parent(row))
    }

    fn room_for_creates(&self) -> usize {
        let out = self.creating.values().filter(|row| row.is_out).count();
        LEASE_CALLS_AT_ONCE.saturating_sub(out)
    }

    /// When the next row is to be asked for.
    pub(super) fn next_create(&self) -> Option<Instant> {
        self.creatable().filter_map(|row| row.again_at).min()
    }

    /// Asks for the rows that are due.
    pub(super) fn send_creates(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        let is_due = |row: &&Creating| row.again_at.is_some_and(|at| at <= now);
        let due = self
            .creatable()
            .filter(is_due)
            .take(self.room_for_creates());
        let due: Vec<ShardId> = due.map(|row| row.lease.shard.clone()).collect();
        for shard in due {
            if let Some(row) = self.creating.get_mut(&shard) {
                row.is_out = true;
                row.again_at = None;
                effects.push(CoordinatorEffect::Create(row.lease.clone()));
            }
        }
    }

    pub(super) fn created(
        &mut self,
        now: Instant,
        shard: &ShardId,
        outcome: Result<bool, Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(mut row) = self.creating.remove(shard) else {
            return;
        };
        match outcome {
            Ok(true) => {
                effects.push(CoordinatorEffect::Happened(Happening::Created(
                    row.lease.clone(),
                )));
                self.rows.made(now, Lease::created(row.lease));
                self.must_review = self.phase == Phase::Running;
            }
            Ok(false) => {
                // Somebody's row may differ from what this worker would have written: read it before taking it.
                self.rows.exists(shard);
                self.listing.hurry(now);
            }
            Err(trouble) if self.phase == Phase::Running => {
                row.failures += 1;
                row.is_out = false;
                row.again_at = Some(now + RETRY.pause(row.failures, self.entropy.draw()));
                if now.since(row.since) <= self.settings.timing.rows_usable_for() {
                    self.creating.insert(shard.clone(), row);
                } else {
                    // Whether it is still needed is for another look to tell.
                    self.sync.hurry(now);
                }
                self.in_trouble("creating a lease", trouble, false, effects);
            }
            Err(trouble) => {
                self.block_ends(&trouble);
                self.drain_holdings(now, effects);
                return;
            }
        }
        self.settle_ends(now, effects);
        if self.phase == Phase::Draining {
            self.drain_holdings(now, effects);
        }
    }

    /// Goes on with the shard ends whose `SHARD_END` is not on its way: makes the children's rows that are missing, and
    /// has it written when none is (SH-2).
    pub(super) fn settle_ends(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        let is_open = |end: &ShardEnd| !end.is_told;
        let shards: Vec<ShardId> = self
            .held
            .iter()
            .filter(|(_, holding)| holding.end.as_ref().is_some_and(is_open))
            .map(|(shard, _)| shard.clone())
            .collect();
        for shard in shards {
            self.settle_end(now, &shard, effects);
        }
    }

    fn settle_end(&mut self, now: Instant, shard: &ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let listed = self.shards.as_deref();
        let Some(end) = self.held.get_mut(shard).and_then(|held| held.end.as_mut()) else {
            return;
        };
        if end.children.is_empty() {
            end.children = children_in_listing(shard, listed.unwrap_or_default());
        }
        let rows = &self.rows;
        let has_lease = |id: &ShardId| rows.contains(id);
        let needed = leases_at_shard_end(shard, &end.children, has_lease, listed);
        match needed {
            Ok(AtShardEnd::Create(needed)) if needed.is_empty() || mutant!(EndBeforeChildren) => {
                end.blocked = None;
                end.is_told = true;
                let event = KeeperEvent::Ended {
                    from: end.from.clone(),
                    children: end.children.iter().map(|child| child.id.clone()).collect(),
                };
                self.keep(now, shard, event, effects);
            }
            Ok(AtShardEnd::Create(needed)) => {
                end.blocked = None;
                for lease in needed {
                    self.create(now, lease);
                }
            }
            Ok(AtShardEnd::Blocked { child, missing }) => {
                let why = format!("{child} also descends from {missing}, which has no lease yet");
                self.block_end(now, shard, why, effects);
            }
            Err(why) => {
                if matches!(why, ShardSyncError::NotAChild { .. }) {
                    // What the read said makes no sense: the listing has the last word.
                    end.children.clear();
                }
                self.block_end(now, shard, why.to_string(), effects);
            }
        }
    }

    fn block_end(
        &mut self,
        now: Instant,
        shard: &ShardId,
        why: String,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        self.sync.hurry(now + BLOCKED_SYNC_INTERVAL);
        self.listing.hurry(now + BLOCKED_SYNC_INTERVAL);
        let end = self.held.get_mut(shard).and_then(|held| held.end.as_mut());
        if let Some(end) = end
            && end.blocked.as_ref() != Some(&why)
        {
            end.blocked = Some(why.clone());
            let shard = shard.clone();
            effects.push(CoordinatorEffect::Happened(Happening::EndBlocked {
                shard,
                why,
            }));
        }
    }

    /// A draining worker does not wait for a table in trouble.
    fn block_ends(&mut self, trouble: &Trouble) {
        let ends = self.held.values_mut().filter_map(|held| held.end.as_mut());
        for end in ends.filter(|end| !end.is_told) {
            end.blocked = Some(trouble.to_string());
        }
    }
}
