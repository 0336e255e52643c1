//! When the consumer of a held shard begins, and where.

use std::collections::BTreeSet;

use crate::lease::Lease;
use crate::limits::RELIST_AFTER;
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::time::Instant;

use super::handover::Leaving;
use super::holding::{Consumer, Holding};
use super::{ConsumerStart, Coordinator, CoordinatorEffect, Happening, Phase};

/// What is to be done about a shard whose consumer has not begun.
enum Verdict {
    /// It may begin.
    Begin,
    /// These are read first.
    After(Vec<ShardId>),
    /// The rows have to be read again, by then at the latest.
    LookAtRows(Instant),
    /// The shards have to be listed again.
    LookAtShards,
    /// What follows it has begun without it.
    TooLate,
}

impl Coordinator {
    /// Starts the consumer of a held shard if its parents are done (SH-1).
    pub(super) fn start_consumer(
        &mut self,
        now: Instant,
        shard: &ShardId,
        is_new: bool,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(holding) = self.held.get(shard) else {
            return;
        };
        let is_wanted = self.phase == Phase::Running
            && !holding.is_over()
            && !holding.is_completed()
            && holding.leaving.is_none();
        if !is_wanted || holding.consumer != Consumer::Waiting {
            return;
        }
        match self.verdict(now, shard, holding) {
            Verdict::Begin => self.begin(shard, effects),
            Verdict::After(parents) if is_new => {
                effects.push(CoordinatorEffect::Happened(Happening::WaitingForParents {
                    shard: shard.clone(),
                    parents,
                }));
            }
            Verdict::After(_) => {}
            Verdict::LookAtRows(at) => self.listing.hurry(at),
            Verdict::LookAtShards => self.sync.hurry(now),
            Verdict::TooLate => {
                let late = Happening::CameTooLate(shard.clone());
                effects.push(CoordinatorEffect::Happened(late));
                self.leave(now, shard, Leaving::TooLate, effects);
            }
        }
    }

    /// Starts whatever need not wait any longer.
    pub(super) fn start_consumers(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        let waiting = |holding: &Holding| holding.consumer == Consumer::Waiting;
        let shards: Vec<ShardId> = self
            .held
            .iter()
            .filter(|(_, holding)| waiting(holding))
            .map(|(shard, _)| shard.clone())
            .collect();
        for shard in shards {
            self.start_consumer(now, &shard, false, effects);
        }
    }

    fn verdict(&self, now: Instant, shard: &ShardId, holding: &Holding) -> Verdict {
        let is_unfinished = |parent: &&ShardId| {
            self.rows.is_unfinished(parent) || self.creating.contains_key(*parent)
        };
        let parents = &holding.seen.parents;
        let mut unfinished: Vec<ShardId> = parents.iter().filter(is_unfinished).cloned().collect();
        if mutant!(ParentsIgnored) {
            unfinished.clear();
        }
        if mutant!(OneParentOnly) && unfinished.len() < parents.len() {
            unfinished.clear();
        }
        let is_doubtful = |parent: &ShardId| {
            !self.rows.contains(parent) && !self.rows.is_surely_absent(parent, shard)
        };
        if !unfinished.is_empty() {
            Verdict::After(unfinished)
        } else if parents.iter().any(is_doubtful) {
            Verdict::LookAtRows(now)
        } else if self.follows(&holding.seen) || holding.seen.checkpoint != Checkpoint::Latest {
            Verdict::Begin
        } else {
            self.verdict_at_latest(now, shard, holding)
        }
    }

    /// Whether a parent has a row, after which everything is due.
    fn follows(&self, row: &Lease) -> bool {
        row.parents.iter().any(|parent| self.rows.contains(parent))
    }

    /// The rows of an empty table are made one by one, by whoever finds it empty, and any of them may arrive late: when the
    /// shard has been closed, and others have made the rows of what follows it from what they saw.
    ///
    /// So two that stand in one line must not both begin with what comes next. Each owner notes its moment in the row with
    /// the take, and looks at the others only after that: at least one of two sees the other. What follows waits for what it
    /// sees before it; what comes before, and sees that something after it has begun, has come too late.
    fn verdict_at_latest(&self, now: Instant, shard: &ShardId, holding: &Holding) -> Verdict {
        if self.rows.asked_at() < holding.since && !mutant!(NoLookAfterTake) {
            return Verdict::LookAtRows(now);
        }
        if (self.shards.is_none() || self.shards_asked < holding.since) && !mutant!(NoLookAfterTake)
        {
            return Verdict::LookAtShards;
        }
        let before = self.nearest_rows_before(&holding.seen);
        if before.iter().any(|id| self.rows.is_unfinished(id)) {
            Verdict::After(before)
        } else if !before.is_empty() {
            // It made the rows of its children before it was finished (SH-2), and one of them comes before this shard.
            Verdict::LookAtRows(now + RELIST_AFTER)
        } else if self.goes_on_after(shard, holding) && !mutant!(LateRowsRead) {
            Verdict::TooLate
        } else {
            Verdict::Begin
        }
    }

    /// Of every line that leads to a shard, the last one with a row.
    fn nearest_rows_before(&self, row: &Lease) -> Vec<ShardId> {
        let listed = self.shards.as_deref().unwrap_or_default();
        let mut seen: BTreeSet<&ShardId> = BTreeSet::new();
        let mut line: Vec<&ShardId> = row.parents.iter().collect();
        let mut nearest = Vec::new();
        while let Some(id) = line.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.rows.contains(id) {
                nearest.push(id.clone());
            } else if let Some(shard) = listed.iter().find(|shard| shard.id == *id) {
                line.extend(&shard.parents);
            }
        }
        nearest
    }

    /// Whether anything that descends from a shard has been begun without it.
    ///
    /// What has only been taken may be waiting for it. That is nobody's fault but the shard's if this is its first owner, and
    /// later, if the other was taken before its first owner came.
    fn goes_on_after(&self, shard: &ShardId, holding: &Holding) -> bool {
        let listed = self.shards.as_deref().unwrap_or_default();
        let goes_on = |row: &Lease| {
            let mine = holding.seen.latest_ms.filter(|_| !holding.is_first);
            let was_first = |theirs: i64| mine.is_none_or(|mine| theirs < mine);
            row.latest_ms.is_some_and(was_first)
                || matches!(row.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd)
        };
        let mut seen: BTreeSet<&ShardId> = BTreeSet::new();
        let mut line = vec![shard];
        while let Some(id) = line.pop() {
            for child in listed.iter().filter(|child| child.parents.contains(id)) {
                if self.rows.get(&child.id).is_some_and(goes_on) {
                    return true;
                }
                if seen.insert(&child.id) {
                    line.push(&child.id);
                }
            }
        }
        false
    }

    fn begin(&mut self, shard: &ShardId, effects: &mut Vec<CoordinatorEffect>) {
        let follows = self
            .held
            .get(shard)
            .is_some_and(|holding| self.follows(&holding.seen));
        let Some(holding) = self.held.get_mut(shard) else {
            return;
        };
        holding.consumer = Consumer::Running;
        let is_latest = holding.seen.checkpoint == Checkpoint::Latest;
        if is_latest && follows && !mutant!(FollowedFromLatest) {
            // Whoever made the row had not seen that of the parent, after which everything is due.
            holding.keeper.begin_at(Checkpoint::TrimHorizon);
            holding.seen.checkpoint = Checkpoint::TrimHorizon;
        }
        effects.push(CoordinatorEffect::StartConsumer(ConsumerStart {
            tenure: holding.tenure(),
            checkpoint: holding.seen.checkpoint.clone(),
            latest_ms: holding.seen.latest_ms,
            parents: holding.seen.parents.clone(),
            hash_range: holding.seen.hash_range,
            previous_owner: match &holding.seen {
                seen if seen.is_handed_over() => None,
                seen => seen.actual_owner().cloned(),
            },
            dispatch_until: holding.keeper.dispatch_until(),
        }));
    }
}
