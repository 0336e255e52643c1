//! Giving leases up: when the worker stops, when another of our workers asks for one, when a shard is gone.

use crate::keeper::KeeperEvent;
use crate::lease::WorkerId;
use crate::lease_write::Trouble;
use crate::limits::{HANDOVER_LOOK, RELIST_AFTER};
use crate::shard::ShardId;
use crate::time::Instant;

use super::{Coordinator, CoordinatorEffect, Happening, Phase, StopReason};

/// Why a lease is to be given up, once its consumer has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The worker stops.
    Drain,
    /// The consumer stopped and nobody had asked it to.
    ByItself,
    /// Another worker is to have it, and waits until the consumer has drained.
    HandOver(WorkerId),
    /// The shard is gone, and so will be its row.
    Gone,
    /// The row was made after what follows the shard had begun.
    TooLate,
}

impl Coordinator {
    /// While draining: stops consumers, and gives up what none is left for. May be called again at any time.
    pub(super) fn drain_holdings(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        let shards: Vec<ShardId> = self.held.keys().cloned().collect();
        for shard in shards {
            self.leave(now, &shard, Leaving::Drain, effects);
        }
    }

    /// Has a shard's consumer drained and the lease given up after that. The first reason decides who gets it.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        shard: &ShardId,
        why: Leaving,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(holding) = self.held.get_mut(shard) else {
            return;
        };
        holding.leaving.get_or_insert(why);
        holding.order_stop(StopReason::Drain, effects);
        if holding
            .end
            .as_ref()
            .is_some_and(|end| end.blocked.is_some())
        {
            // The next owner reads the last stretch again and makes the children's rows.
            holding.end = None;
        }
        self.give_up_if_idle(now, shard, effects);
        // A lease that has run out is over with that.
        self.drop_if_spent(now, shard);
    }

    /// Gives a lease up that is to be given up, if nothing has to be done for its shard any more.
    pub(super) fn give_up_if_idle(
        &mut self,
        now: Instant,
        shard: &ShardId,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let holding = self.held.get(shard).filter(|holding| holding.is_idle());
        if self.deleting.contains(shard) {
            return;
        }
        let to = match holding.and_then(|holding| holding.leaving.as_ref()) {
            None => return,
            // Its row is deleted instead, unless there is no time for that.
            Some(Leaving::Gone | Leaving::TooLate) if self.phase == Phase::Running => return,
            Some(Leaving::HandOver(to)) => Some(to.clone()),
            Some(Leaving::Gone | Leaving::TooLate | Leaving::Drain | Leaving::ByItself) => None,
        };
        self.keep(now, shard, KeeperEvent::Release { to }, effects);
    }

    /// Begins to hand over whatever another worker is to have.
    pub(super) fn hand_over_what_was_asked_for(
        &mut self,
        now: Instant,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let shards: Vec<ShardId> = self.held.keys().cloned().collect();
        for shard in shards {
            self.hand_over_if_asked(now, &shard, effects);
        }
    }

    /// Begins to hand a lease over if its row says to whom: the consumer drains, which no record is repeated after,
    /// and the lease is renewed until it has.
    pub(super) fn hand_over_if_asked(
        &mut self,
        now: Instant,
        shard: &ShardId,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let row = self.rows.get(shard);
        let heir = row.and_then(|lease| lease.passes_to().cloned());
        let (Some(to), Some(holding)) = (heir, self.held.get(shard)) else {
            return;
        };
        let is_wanted = to != self.settings.worker && self.phase == Phase::Running;
        if !is_wanted || holding.is_over() || holding.leaving.is_some() {
            return;
        }
        let tenure = holding.tenure();
        effects.push(CoordinatorEffect::Happened(Happening::HandingOver {
            tenure,
            to: to.clone(),
        }));
        self.leave(now, shard, Leaving::HandOver(to), effects);
    }

    /// An announcement came back.
    pub(super) fn announced(
        &mut self,
        now: Instant,
        shard: &ShardId,
        outcome: Result<bool, Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        self.announcing.remove(shard);
        match outcome {
            Ok(true) => {
                self.rows.announced(now, shard);
                self.listing.hurry(now + HANDOVER_LOOK);
                let owner = self.rows.get(shard).and_then(|lease| lease.owner.clone());
                effects.extend(owner.map(|owner| {
                    let shard = shard.clone();
                    CoordinatorEffect::Happened(Happening::Asked { shard, owner })
                }));
            }
            Ok(false) => self.listing.hurry(now + RELIST_AFTER),
            Err(trouble) => {
                // The next listing tells whether the row names this worker.
                self.listing.hurry(now + RELIST_AFTER);
                self.in_trouble("asking for a lease", trouble, false, effects);
            }
        }
    }
}
