//! Leases in this process's hands, and the consumers of their shards.

use crate::keeper::{KeeperEffect, KeeperEvent, LeaseKeeper};
use crate::lease::Lease;
use crate::lease_write::{
    CheckpointDelta, CheckpointRefused, LostReason, RowAfter, Tenure, WriteFailure,
};
use crate::limits::RELIST_AFTER;
use crate::position::Checkpoint;
use crate::shard::{ChildShard, ShardId};
use crate::time::Instant;

use super::handover::Leaving;
use super::{Coordinator, CoordinatorEffect, Happening, LeaseState, Phase, StopReason};

/// One lease, from the take until nothing of it is left: no write out, no consumer.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) keeper: LeaseKeeper,
    /// The row before it was taken.
    pub(super) seen: Lease,
    /// No owner before noted when `LATEST` was.
    pub(super) is_first: bool,
    pub(super) consumer: Consumer,
    /// Since when it is held.
    pub(super) since: Instant,
    /// The consumer said that the shard has ended.
    pub(super) end: Option<ShardEnd>,
    /// Why the consumer was told to stop.
    stop: Option<StopReason>,
    /// Why the lease is to be given up.
    pub(super) leaving: Option<Leaving>,
    is_over: bool,
    /// How far the shard was read when the rows were last looked through.
    audited: Option<Checkpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    /// Not started: parents are unfinished, or are being looked for.
    Waiting,
    Running,
    Stopped,
}

/// A shard end whose `SHARD_END` is not written yet.
#[derive(Clone, Debug)]
pub(super) struct ShardEnd {
    pub(super) from: Checkpoint,
    pub(super) children: Vec<ChildShard>,
    /// Why the children's rows cannot be made yet.
    pub(super) blocked: Option<String>,
    /// The keeper has been told to write it.
    pub(super) is_told: bool,
}

impl Holding {
    pub(super) fn new(now: Instant, keeper: LeaseKeeper, seen: Lease) -> Self {
        Self {
            keeper,
            is_first: seen.latest_ms.is_none(),
            seen,
            consumer: Consumer::Waiting,
            since: now,
            end: None,
            stop: None,
            leaving: None,
            is_over: false,
            audited: None,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.keeper.next_deadline()
    }

    /// Whether the lease is not this worker's any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the shard has been read to its end, and the lease is kept for the count alone.
    pub(super) fn is_completed(&self) -> bool {
        *self.keeper.stored() == Checkpoint::ShardEnd
    }

    /// Whether the shard is not read to its end, and no further than when this was last asked.
    pub(super) fn stands_still(&mut self) -> bool {
        let stored = self.keeper.stored();
        let before = self.audited.replace(stored.clone());
        !self.is_over && !self.is_completed() && before.as_ref() == Some(self.keeper.stored())
    }

    /// Whether neither a consumer nor a write of this process stands in the way of deleting the row.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_over && self.consumer != Consumer::Running && !self.keeper.is_writing()
    }

    /// Whether nothing has to be done for the shard before the lease can be given up.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_over && self.consumer != Consumer::Running && self.end.is_none()
    }

    /// What the lease is to this worker, while it is held.
    pub(super) fn state(&self) -> Option<LeaseState> {
        match self.consumer {
            _ if self.is_over => None,
            Consumer::Waiting => Some(LeaseState::WaitingForParents),
            Consumer::Running | Consumer::Stopped => Some(LeaseState::Mine),
        }
    }

    pub(super) fn tenure(&self) -> Tenure {
        self.keeper.held().tenure()
    }

    fn is_spent(&self) -> bool {
        self.is_over && self.consumer != Consumer::Running && !self.keeper.is_writing()
    }

    /// Tells the consumer to stop, unless it has been told so for a reason as high.
    pub(super) fn order_stop(&mut self, why: StopReason, effects: &mut Vec<CoordinatorEffect>) {
        let is_news = self
            .stop
            .as_ref()
            .is_none_or(|before| before.rank() < why.rank());
        if self.consumer == Consumer::Running && is_news {
            self.stop = Some(why.clone());
            let tenure = self.tenure();
            effects.push(CoordinatorEffect::StopConsumer { tenure, why });
        }
    }
}

impl StopReason {
    fn rank(&self) -> u8 {
        match self {
            Self::Drain => 0,
            Self::ShardEnd => 1,
            Self::Lost(_) => 2,
        }
    }
}

impl Coordinator {
    pub(super) fn checkpoint(
        &mut self,
        now: Instant,
        tenure: Tenure,
        delta: CheckpointDelta,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.holding(&tenure).is_some() {
            let event = KeeperEvent::Checkpoint(delta);
            self.keep(now, &tenure.shard, event, effects);
        } else {
            refuse(tenure, effects);
        }
    }

    pub(super) fn shard_ended(
        &mut self,
        now: Instant,
        tenure: Tenure,
        from: Checkpoint,
        children: Vec<ChildShard>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        match self.holding(&tenure) {
            Some(holding) if !holding.is_over && holding.end.is_none() => {
                holding.end = Some(ShardEnd {
                    from,
                    children,
                    blocked: None,
                    is_told: false,
                });
                self.settle_ends(now, effects);
            }
            _ => refuse(tenure, effects),
        }
    }

    pub(super) fn consumer_stopped(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let failover = self.settings.timing.failover;
        let Some(holding) = self.holding(tenure) else {
            return;
        };
        holding.consumer = Consumer::Stopped;
        let was_asked = holding.stop.is_some();
        let is_ending = holding.end.is_some() || holding.is_completed();
        if !was_asked && !is_ending {
            holding.leaving.get_or_insert(Leaving::ByItself);
            // Somebody else may fare better; here it would likely do the same again at once.
            self.rows.rest(&tenure.shard, now + failover);
        }
        self.give_up_if_idle(now, &tenure.shard, effects);
        self.drop_if_spent(now, &tenure.shard);
        if self.phase == Phase::Draining {
            self.drain_holdings(now, effects);
        }
    }

    pub(super) fn written(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        outcome: Result<RowAfter, WriteFailure>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.holding(tenure).is_none() {
            return;
        }
        if let Ok(row) = &outcome {
            self.rows.update(now, &tenure.shard, |lease| {
                lease.counter = row.counter;
                lease.successor.clone_from(&row.successor);
            });
        }
        let event = KeeperEvent::Written(outcome.map(|row| row.counter));
        self.keep(now, &tenure.shard, event, effects);
        self.hand_over_if_asked(now, &tenure.shard, effects);
        self.drop_if_spent(now, &tenure.shard);
    }

    pub(super) fn tick_keepers(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        let is_due = |holding: &Holding| holding.next_deadline().is_some_and(|at| at <= now);
        let shards: Vec<ShardId> = self
            .held
            .iter()
            .filter(|(shard, holding)| is_due(holding) && !self.deleting.contains(*shard))
            .map(|(shard, _)| shard.clone())
            .collect();
        for shard in shards {
            self.keep(now, &shard, KeeperEvent::Tick, effects);
            self.drop_if_spent(now, &shard);
        }
    }

    /// Tells a shard's keeper something and does what it asks for.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        shard: &ShardId,
        event: KeeperEvent,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let random = self.entropy.draw();
        let Some(holding) = self.held.get_mut(shard) else {
            return;
        };
        let tenure = holding.tenure();
        let mut wanted = Vec::new();
        holding.keeper.handle(now, random, event, &mut wanted);
        for effect in wanted {
            self.revision += 1;
            self.carry_out(now, &tenure, effect, effects);
        }
    }

    fn carry_out(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        effect: KeeperEffect,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let shard = &tenure.shard;
        match effect {
            KeeperEffect::Write(write) => effects.push(CoordinatorEffect::Write(write)),
            KeeperEffect::DispatchUntil(until) => {
                let tenure = tenure.clone();
                effects.push(CoordinatorEffect::DispatchUntil { tenure, until });
            }
            KeeperEffect::StopDispatch => {
                effects.push(CoordinatorEffect::StopDispatch(tenure.clone()));
            }
            KeeperEffect::Stored(checkpoint) => {
                let stored = checkpoint.clone();
                self.rows
                    .update(now, shard, |lease| lease.checkpoint = stored);
                effects.push(CoordinatorEffect::Stored {
                    tenure: tenure.clone(),
                    checkpoint,
                });
            }
            KeeperEffect::Refused(why) => {
                effects.push(CoordinatorEffect::Happened(Happening::Refused {
                    tenure: tenure.clone(),
                    why,
                }));
            }
            KeeperEffect::Retrying(trouble) => {
                self.in_trouble("writing a lease", trouble, false, effects);
            }
            KeeperEffect::Lost(why) => self.lost(now, tenure, why, effects),
            KeeperEffect::Released { to } => {
                self.rows.update(now, shard, |lease| {
                    lease.owner.clone_from(&to);
                    lease.successor.clone_from(&to);
                });
                self.finish_holding(tenure, StopReason::Drain, effects);
                let tenure = tenure.clone();
                let released = Happening::Released { tenure, to };
                effects.push(CoordinatorEffect::Happened(released));
            }
            KeeperEffect::Ended => {
                if let Some(holding) = self.held.get_mut(shard) {
                    holding.end = None;
                    holding.order_stop(StopReason::ShardEnd, effects);
                }
                let ended = Happening::Ended(tenure.clone());
                effects.push(CoordinatorEffect::Happened(ended));
                self.must_review = self.phase == Phase::Running;
                self.start_consumers(now, effects);
                self.give_up_if_idle(now, shard, effects);
            }
        }
    }

    fn lost(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        why: LostReason,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if let LostReason::Taken {
            owner: new_owner,
            counter: Some(new_counter),
        } = &why
        {
            self.rows.update(now, &tenure.shard, |lease| {
                lease.owner.clone_from(new_owner);
                lease.counter = *new_counter;
                // Whose it is now is for the next listing to tell.
                lease.incarnation = None;
                lease.successor = None;
            });
        }
        self.finish_holding(tenure, StopReason::Lost(why.clone()), effects);
        self.listing.hurry(now + RELIST_AFTER);
        effects.push(CoordinatorEffect::Happened(Happening::Lost {
            tenure: tenure.clone(),
            why,
        }));
    }

    /// The keeper has said its last word.
    fn finish_holding(
        &mut self,
        tenure: &Tenure,
        why: StopReason,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if let Some(holding) = self.held.get_mut(&tenure.shard) {
            holding.is_over = true;
            holding.end = None;
            holding.order_stop(why, effects);
        }
    }

    pub(super) fn drop_if_spent(&mut self, now: Instant, shard: &ShardId) {
        if self.held.get(shard).is_some_and(Holding::is_spent) {
            self.held.remove(shard);
            // The row may have been left alone only because of this.
            if self.phase == Phase::Running {
                self.listing.hurry(now + RELIST_AFTER);
            }
        }
    }

    /// The holding of exactly this acquisition.
    fn holding(&mut self, tenure: &Tenure) -> Option<&mut Holding> {
        let holding = self.held.get_mut(&tenure.shard);
        holding.filter(|holding| holding.keeper.held().incarnation == tenure.incarnation)
    }
}

fn refuse(tenure: Tenure, effects: &mut Vec<CoordinatorEffect>) {
    effects.push(CoordinatorEffect::Happened(Happening::Refused {
        why: CheckpointRefused::NotHeld(tenure.clone()),
        tenure,
    }));
}
