//! Taking leases.

use crate::backoff::Backoff;
use crate::keeper::LeaseKeeper;
use crate::lease::{HeldLease, Incarnation, Lease};
use crate::lease_write::{Tenure, WriteFailure};
use crate::limits::{
    LEASE_CALLS_AT_ONCE, LEASE_RETRY_FIRST, LEASE_RETRY_MAX, RELIST_AFTER, TAKE_TRIES_MAX,
};
use crate::time::Instant;

use super::holding::Holding;
use super::rows::Verdict;
use super::{Coordinator, CoordinatorEffect, Happening, Phase};

const RETRY: Backoff = Backoff {
    first: LEASE_RETRY_FIRST,
    max: LEASE_RETRY_MAX,
};

/// A take without a definite outcome.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    seen: Lease,
    incarnation: Incarnation,
    /// When it was sent for the first time, which is when the lease begins to count if it is ours.
    first_sent: Instant,
    failures: u32,
    /// None: it is out. Otherwise nothing came back, and it is sent again then.
    pub(super) again_at: Option<Instant>,
}

impl Coordinator {
    /// Takes what may be taken, as far as calls at once allow.
    pub(super) fn review(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        for taking in self.taking.values_mut() {
            if taking.again_at.is_some_and(|again_at| again_at <= now) {
                taking.again_at = None;
                effects.push(CoordinatorEffect::Take {
                    seen: taking.seen.clone(),
                    incarnation: taking.incarnation,
                });
            }
        }
        if !self.must_review || !self.rows.has_listed() {
            return;
        }
        let eligible: Vec<Lease> = self
            .rows
            .leases()
            .filter(|lease| !self.held.contains_key(&lease.shard))
            .filter(|lease| !self.taking.contains_key(&lease.shard))
            .filter(|lease| self.rows.verdict(&lease.shard) == Verdict::Take)
            .cloned()
            .collect();
        let room = LEASE_CALLS_AT_ONCE.saturating_sub(self.taking.len());
        self.must_review = eligible.len() > room;
        for seen in eligible.into_iter().take(room) {
            let incarnation = Incarnation(self.entropy.draw());
            self.rows.drew(&seen.shard, incarnation);
            self.taking.insert(
                seen.shard.clone(),
                Taking {
                    seen: seen.clone(),
                    incarnation,
                    first_sent: now,
                    failures: 0,
                    again_at: None,
                },
            );
            effects.push(CoordinatorEffect::Take { seen, incarnation });
        }
    }

    pub(super) fn taken(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        outcome: Result<HeldLease, WriteFailure>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(mut taking) = self.taking.remove(&tenure.shard) else {
            return;
        };
        match outcome {
            Ok(held) => self.hold(now, held, taking, effects),
            Err(WriteFailure::Lost { .. }) => {
                effects.push(CoordinatorEffect::Happened(Happening::TakeLost(
                    tenure.shard.clone(),
                )));
                self.listing.hurry(now + RELIST_AFTER);
            }
            Err(WriteFailure::Trouble(trouble)) => {
                taking.failures += 1;
                let pause = RETRY.pause(taking.failures, self.entropy.draw());
                if self.phase == Phase::Running && taking.failures < TAKE_TRIES_MAX {
                    taking.again_at = Some(now + pause);
                    self.taking.insert(tenure.shard.clone(), taking);
                } else {
                    self.listing.hurry(now + pause.max(RELIST_AFTER));
                }
                self.in_trouble("taking a lease", trouble, false, effects);
            }
        }
    }

    fn hold(
        &mut self,
        now: Instant,
        held: HeldLease,
        taking: Taking,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Taking {
            seen, first_sent, ..
        } = taking;
        let shard = seen.shard.clone();
        self.rows.update(now, &shard, |lease| {
            lease.owner = Some(held.owner.clone());
            lease.counter = held.counter;
            lease.incarnation = Some(held.incarnation);
            lease.checkpoint_owner = None;
        });
        effects.push(CoordinatorEffect::Happened(Happening::Taken {
            tenure: held.tenure(),
            seen: seen.clone(),
        }));
        let keeper = LeaseKeeper::new(
            held,
            seen.checkpoint.clone(),
            first_sent,
            self.settings.timing,
        );
        self.held.insert(shard.clone(), Holding::new(keeper, seen));
        if self.phase == Phase::Draining {
            self.drain_holdings(now, effects);
        } else {
            self.start_consumer(&shard, true, effects);
        }
    }
}
