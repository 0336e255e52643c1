//! Deleting the rows that nobody needs any more.

use std::collections::BTreeSet;

use crate::lease::Lease;
use crate::lease_write::Trouble;
use crate::limits::LEASE_CALLS_AT_ONCE;
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::shard_sync::children_in_listing;
use crate::time::Instant;

use super::handover::Leaving;
use super::holding::Holding;
use super::{Coordinator, CoordinatorEffect, Happening, Phase};

impl Coordinator {
    /// Deletes finished rows when all their children have got on, so that nobody will ask for them (SH-1), and their
    /// parents' rows are gone, so that lineages go from the oldest end. Rows of shards that retention took go once what
    /// follows them has rows.
    ///
    /// They stay for a while after their children have got on: somebody may be about to act on rows that were read before.
    /// A lineage waits for that once, and not once a generation, nor once an owner: what counts is since when this worker has
    /// seen it so, whoever had the rows.
    pub(super) fn clean_up(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        if self.phase != Phase::Running {
            return;
        }
        let is_unneeded = |lease: &&Lease| self.is_followed(lease) || self.is_let_go(lease);
        let unneeded = self.rows.leases().filter(is_unneeded);
        let unneeded: BTreeSet<ShardId> = unneeded.map(|lease| lease.shard.clone()).collect();
        self.unneeded_since
            .retain(|shard, _| unneeded.contains(shard));
        for shard in unneeded {
            self.unneeded_since.entry(shard).or_insert(now);
        }
        let room = LEASE_CALLS_AT_ONCE.saturating_sub(self.deleting.len());
        let deletable: Vec<ShardId> = self
            .held
            .iter()
            .filter(|(shard, holding)| self.is_deletable(now, shard, holding))
            .map(|(shard, _)| shard.clone())
            .take(room)
            .collect();
        for shard in deletable {
            self.deleting.insert(shard.clone());
            effects.push(CoordinatorEffect::Delete(shard));
        }
    }

    fn is_deletable(&self, now: Instant, shard: &ShardId, holding: &Holding) -> bool {
        let Some(since) = self.unneeded_since.get(shard) else {
            return false;
        };
        if !holding.is_at_rest() || self.deleting.contains(shard) {
            return false;
        }
        let has_parents = || {
            self.rows.get(shard).is_some_and(|lease| {
                let mut parents = lease.parents.iter();
                parents.any(|parent| self.rows.contains(parent))
            })
        };
        let kept_for = self.settings.timing.finished_row_kept_for();
        let is_old = *since + kept_for <= now || mutant!(FinishedRowsDeletedAtOnce);
        match holding.leaving {
            // Nobody makes the row of a shard anew that is not there.
            Some(Leaving::Gone) => true,
            // One that came too late may be asked for once more.
            None | Some(Leaving::TooLate) => is_old && !has_parents(),
            Some(_) => false,
        }
    }

    /// Whether a row is this worker's, and to go though its shard was not read to its end.
    fn is_let_go(&self, lease: &Lease) -> bool {
        let leaving = self
            .held
            .get(&lease.shard)
            .and_then(|held| held.leaving.as_ref());
        matches!(leaving, Some(Leaving::Gone | Leaving::TooLate)) && self.creating.is_empty()
    }

    /// Whether a shard is finished, and all that follows it has been begun.
    fn is_followed(&self, lease: &Lease) -> bool {
        if !lease.is_completed() {
            return false;
        }
        let has_got_on = |child: &ShardId| {
            let checkpoint = self.rows.get(child).map(|lease| &lease.checkpoint);
            matches!(
                checkpoint,
                Some(Checkpoint::At(_) | Checkpoint::ShardEnd | Checkpoint::Latest)
            )
        };
        let listed = self.shards.as_deref().unwrap_or_default();
        // KCL notes the children only after the end.
        let children = match &lease.children[..] {
            [] => children_in_listing(&lease.shard, listed)
                .into_iter()
                .map(|child| child.id)
                .collect(),
            known => known.to_vec(),
        };
        // With its children's rows unknown, and the shard itself gone, nothing will ever tell.
        let are_known = !children.is_empty() || self.unlisted.contains(&lease.shard);
        are_known && children.iter().all(has_got_on)
    }

    pub(super) fn deleted(
        &mut self,
        now: Instant,
        shard: &ShardId,
        outcome: Result<(), Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        self.deleting.remove(shard);
        match outcome {
            Ok(()) => {
                self.rows.forget(shard);
                self.held.remove(shard);
                self.start_consumers(now, effects);
                effects.push(CoordinatorEffect::Happened(Happening::Deleted(
                    shard.clone(),
                )));
            }
            Err(trouble) => self.in_trouble("deleting a finished lease", trouble, false, effects),
        }
        if self.phase == Phase::Draining {
            self.drain_holdings(now, effects);
        }
    }
}
