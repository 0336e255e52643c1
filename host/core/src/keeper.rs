//! Keeping one lease: when to renew it, which checkpoint to write, when it is lost.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::lease::{HeldLease, WorkerId};
use crate::lease_write::{
    CheckpointDelta, CheckpointRefused, FencedWrite, LeaseChange, LostReason, Trouble, WriteFailure,
};
use crate::limits::{
    FINISHED_ROW_KEPT_FAILOVERS, HANDOVER_LIMIT_FAILOVERS, LEASE_DISPATCH_MARGIN_DIVISOR,
    LEASE_RENEW_EPSILON, LEASE_RETRY_FIRST, LEASE_RETRY_MAX, RELIST_AFTER, ROWS_USABLE_FAILOVERS,
    VERY_OLD_FAILOVERS,
};
use crate::position::Checkpoint;
use crate::shard::ShardId;
use crate::time::Instant;

#[cfg(test)]
mod tests;

const RETRY: Backoff = Backoff {
    first: LEASE_RETRY_FIRST,
    max: LEASE_RETRY_MAX,
};

/// The times that follow from a lease's duration, which must be the same for every worker of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long after a counter's last move others wait before they take the lease.
    pub failover: Duration,
}

impl LeaseTiming {
    /// From one write to the next renewal.
    pub fn renew_after(self) -> Duration {
        (self.failover / 3).saturating_sub(LEASE_RENEW_EPSILON)
    }

    /// From a write to the moment after which nothing may be dispatched without another one.
    pub fn dispatch_for(self) -> Duration {
        if mutant!(DispatchTooLong) {
            return self.failover * 2;
        }
        self.failover * (LEASE_DISPATCH_MARGIN_DIVISOR - 1) / LEASE_DISPATCH_MARGIN_DIVISOR
    }

    /// From one listing of the rows to the next: half of KCL's, since a dead owner is noticed at the second or third one.
    pub fn list_every(self) -> Duration {
        self.failover + LEASE_RENEW_EPSILON
    }

    /// From the first sight of a row to a second one, which shows whether its owner is alive: time for a renewal.
    pub fn probe_after(self) -> Duration {
        self.renew_after() + RELIST_AFTER
    }

    /// From the announcement of a handover to the moment when the lease is taken without one.
    pub fn hand_over_within(self) -> Duration {
        self.failover * HANDOVER_LIMIT_FAILOVERS
    }

    /// How long rows, from the moment they were asked for, may tell which ones are missing.
    pub fn rows_usable_for(self) -> Duration {
        self.failover * ROWS_USABLE_FAILOVERS
    }

    /// How long a row is kept that nobody needs any more.
    pub fn finished_row_kept_for(self) -> Duration {
        self.failover * FINISHED_ROW_KEPT_FAILOVERS
    }

    /// How long what is nobody's is left for workers that have less than their share.
    pub fn very_old_after(self) -> Duration {
        self.failover * VERY_OLD_FAILOVERS
    }
}

/// What a keeper is told.
#[derive(Clone, Debug)]
pub enum KeeperEvent {
    /// Time has passed.
    Tick,
    /// The consumer moved its watermark.
    Checkpoint(CheckpointDelta),
    /// The shard is closed, everything in it is done, and its children's leases exist (SH-2).
    Ended {
        /// Where the consumer's last move led.
        from: Checkpoint,
        /// The shards that follow.
        children: Vec<ShardId>,
    },
    /// No consumer needs the lease any more: give it up after the last checkpoint. The first such word counts.
    Release {
        /// Whom it is handed to.
        to: Option<WorkerId>,
    },
    /// The write that is out came back: the new counter, or why not.
    Written(Result<u64, WriteFailure>),
}

/// What a keeper wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperEffect {
    /// Make this write, and answer with [`KeeperEvent::Written`].
    Write(FencedWrite),
    /// Batches may be dispatched until then; it replaces what was said before.
    DispatchUntil(Instant),
    /// The lease could not be renewed for too long: begin no batch until [`Self::DispatchUntil`] comes again.
    StopDispatch,
    /// This checkpoint is durable.
    Stored(Checkpoint),
    /// A requested move is not written; everything else goes on.
    Refused(CheckpointRefused),
    /// A write got no answer and will be tried again.
    Retrying(Trouble),
    /// The lease is gone; nothing more will be written. The last word.
    Lost(LostReason),
    /// The lease was given up. The last word.
    Released {
        /// Whom it was handed to.
        to: Option<WorkerId>,
    },
    /// `SHARD_END` is durable. The lease of a finished shard is kept like any other until its row is deleted: every worker
    /// counts it in its share of them all.
    Ended,
}

/// One lease in this process's hands.
///
/// It is the only author of fenced writes for its lease and has at most one out at a time. A write without an answer is
/// tried again unchanged until there is one, since only the same write can be recognised as having happened; what was
/// asked for meanwhile waits, and only the newest checkpoint of it is written. Whatever is asked for last, a release
/// follows the checkpoints before it.
///
/// The lease counts from the *start* of the first try of the last write that succeeded: the counter cannot have moved
/// earlier, so others, who count from the moment they saw it moved, always wait longer than the owner acts. This needs no
/// agreement of clocks, only that they run at nearly the same speed.
#[derive(Clone, Debug)]
pub struct LeaseKeeper {
    held: HeldLease,
    timing: LeaseTiming,
    stored: Checkpoint,
    /// Where the accepted moves lead: `stored`, or above it while a move waits to be written.
    requested: Checkpoint,
    /// Given with the end of the shard.
    children: Vec<ShardId>,
    release: Option<Release>,
    since: Instant,
    attempt: Option<Attempt>,
    phase: Phase,
}

/// The lease is to be given up.
#[derive(Clone, Debug)]
struct Release {
    to: Option<WorkerId>,
}

/// A write that was sent and has no definite outcome yet.
#[derive(Clone, Debug)]
struct Attempt {
    change: LeaseChange,
    first_sent: Instant,
    failures: u32,
    /// None: it is out. Otherwise nothing came back, and it is sent again then.
    again_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Renewed in time.
    Fresh,
    /// Close to its end: nothing is dispatched, writes are still tried.
    Stale,
    /// Lost or released: nothing is written any more.
    Over,
}

impl LeaseKeeper {
    /// Begins to keep a lease that a take, sent at `since`, has got with this checkpoint in its row.
    pub fn new(
        held: HeldLease,
        checkpoint: Checkpoint,
        since: Instant,
        timing: LeaseTiming,
    ) -> Self {
        Self {
            held,
            timing,
            stored: checkpoint.clone(),
            requested: checkpoint,
            children: Vec::new(),
            release: None,
            since,
            attempt: None,
            phase: Phase::Fresh,
        }
    }

    /// Reading begins elsewhere than the row says, before anything was stored.
    pub fn begin_at(&mut self, checkpoint: Checkpoint) {
        self.stored = checkpoint.clone();
        self.requested = checkpoint;
    }

    /// The lease, with the counter that the table was last known to have.
    pub fn held(&self) -> &HeldLease {
        &self.held
    }

    /// The checkpoint that is known to be durable.
    pub fn stored(&self) -> &Checkpoint {
        &self.stored
    }

    /// Until when batches may be dispatched.
    pub fn dispatch_until(&self) -> Instant {
        self.since + self.timing.dispatch_for()
    }

    /// Whether a write is out that has not come back. A keeper whose last word is said may still wait for one.
    pub fn is_writing(&self) -> bool {
        matches!(self.attempt, Some(Attempt { again_at: None, .. }))
    }

    /// When [`KeeperEvent::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let limit = match self.phase {
            Phase::Fresh => self.dispatch_until(),
            Phase::Stale => self.expires_at(),
            Phase::Over => return None,
        };
        let write = match &self.attempt {
            Some(attempt) => attempt.again_at,
            None if self.next_change_at_once().is_some() => Some(self.since),
            None => Some(self.since + self.timing.renew_after()),
        };
        Some(write.map_or(limit, |write| write.min(limit)))
    }

    /// Takes in what happened. `random` decides the jitter of a pause.
    pub fn handle(
        &mut self,
        now: Instant,
        random: u128,
        event: KeeperEvent,
        effects: &mut Vec<KeeperEffect>,
    ) {
        // An answer may bring the very renewal that the clock has run out on; all else is judged by the clock first.
        if !matches!(event, KeeperEvent::Written(_)) {
            self.watch_clock(now, effects);
        }
        match event {
            KeeperEvent::Tick => {}
            KeeperEvent::Checkpoint(delta) => {
                let accepted = self.accept(&delta.from, delta.to, false);
                effects.extend(accepted.err().map(KeeperEffect::Refused));
            }
            KeeperEvent::Ended { from, children } => {
                match self.accept(&from, Checkpoint::ShardEnd, true) {
                    Ok(()) => self.children = children,
                    Err(refused) => effects.push(KeeperEffect::Refused(refused)),
                }
            }
            KeeperEvent::Release { to } => {
                self.release.get_or_insert(Release { to });
            }
            KeeperEvent::Written(outcome) => {
                self.written(now, random, outcome, effects);
                self.watch_clock(now, effects);
            }
        }
        self.write(now, effects);
    }

    /// Stops dispatch in time and gives the lease up for lost when it has run out.
    fn watch_clock(&mut self, now: Instant, effects: &mut Vec<KeeperEffect>) {
        if self.phase == Phase::Fresh && now >= self.dispatch_until() {
            self.phase = Phase::Stale;
            if self.stored != Checkpoint::ShardEnd {
                effects.push(KeeperEffect::StopDispatch);
            }
        }
        if self.phase == Phase::Stale && now >= self.expires_at() {
            self.lose(LostReason::Expired, effects);
        }
    }

    fn expires_at(&self) -> Instant {
        self.since + self.timing.failover
    }

    fn lose(&mut self, why: LostReason, effects: &mut Vec<KeeperEffect>) {
        self.phase = Phase::Over;
        effects.push(KeeperEffect::Lost(why));
    }

    /// Chains a move to those before it.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal names two checkpoints, and is never made twice"
    )]
    fn accept(
        &mut self,
        from: &Checkpoint,
        to: Checkpoint,
        has_ended: bool,
    ) -> Result<(), CheckpointRefused> {
        let is_settled = self.phase == Phase::Over
            || self.release.is_some()
            || self.requested == Checkpoint::ShardEnd;
        if is_settled {
            return Err(CheckpointRefused::NotHeld(self.held.tenure()));
        }
        if *from != self.requested {
            return Err(CheckpointRefused::Unchained {
                expected: self.requested.clone(),
                from: from.clone(),
            });
        }
        if to == Checkpoint::ShardEnd && !has_ended {
            return Err(CheckpointRefused::EndUnproven);
        }
        if to <= *from {
            return Err(CheckpointRefused::Backwards {
                from: from.clone(),
                to,
            });
        }
        self.requested = to;
        Ok(())
    }

    fn written(
        &mut self,
        now: Instant,
        random: u128,
        outcome: Result<u64, WriteFailure>,
        effects: &mut Vec<KeeperEffect>,
    ) {
        let Some(mut attempt) = self.attempt.take() else {
            return;
        };
        match outcome {
            Ok(counter) => {
                self.held.counter = counter;
                self.since = attempt.first_sent;
                self.succeeded(now, attempt.change, effects);
            }
            Err(WriteFailure::Lost { owner, counter }) => {
                if self.phase != Phase::Over {
                    self.lose(LostReason::Taken { owner, counter }, effects);
                }
            }
            Err(WriteFailure::Trouble(trouble)) => {
                if self.phase != Phase::Over {
                    attempt.failures += 1;
                    attempt.again_at = Some(now + RETRY.pause(attempt.failures, random));
                    self.attempt = Some(attempt);
                    effects.push(KeeperEffect::Retrying(trouble));
                }
            }
        }
    }

    fn succeeded(&mut self, now: Instant, change: LeaseChange, effects: &mut Vec<KeeperEffect>) {
        let was_over = self.phase == Phase::Over;
        match change {
            LeaseChange::Renew => {}
            LeaseChange::Checkpoint { to, .. } => {
                self.stored = to.clone();
                effects.push(KeeperEffect::Stored(to));
                if self.stored == Checkpoint::ShardEnd && !was_over {
                    effects.push(KeeperEffect::Ended);
                }
            }
            LeaseChange::Release { to } => {
                if !was_over {
                    self.phase = Phase::Over;
                    effects.push(KeeperEffect::Released { to });
                }
            }
        }
        if self.phase != Phase::Over && now < self.dispatch_until() {
            self.phase = Phase::Fresh;
            if self.stored != Checkpoint::ShardEnd {
                effects.push(KeeperEffect::DispatchUntil(self.dispatch_until()));
            }
        }
    }

    /// The write that does not wait for the time of the next renewal.
    fn next_change_at_once(&self) -> Option<LeaseChange> {
        if self.requested != self.stored {
            return Some(LeaseChange::Checkpoint {
                to: self.requested.clone(),
                children: self.children.clone(),
            });
        }
        let release = self.release.as_ref();
        release.map(|release| LeaseChange::Release {
            to: release.to.clone(),
        })
    }

    fn write(&mut self, now: Instant, effects: &mut Vec<KeeperEffect>) {
        if self.phase == Phase::Over {
            return;
        }
        let change = if let Some(attempt) = &mut self.attempt {
            if attempt.again_at.is_none_or(|again_at| now < again_at) {
                return;
            }
            attempt.again_at = None;
            attempt.change.clone()
        } else {
            let is_renewal_due = now >= self.since + self.timing.renew_after();
            let renewal = is_renewal_due.then_some(LeaseChange::Renew);
            let Some(change) = self.next_change_at_once().or(renewal) else {
                return;
            };
            self.attempt = Some(Attempt {
                change: change.clone(),
                first_sent: now,
                failures: 0,
                again_at: None,
            });
            change
        };
        effects.push(KeeperEffect::Write(FencedWrite {
            held: self.held.clone(),
            change,
        }));
    }
}
