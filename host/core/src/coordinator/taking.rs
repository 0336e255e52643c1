//! Taking leases.

use crate::backoff::Backoff;
use crate::keeper::LeaseKeeper;
use crate::lease::{HeldLease, Incarnation, Lease};
use crate::lease_write::{Tenure, WriteFailure};
use crate::limits::{
    LEASE_CALLS_AT_ONCE, LEASE_RETRY_FIRST, LEASE_RETRY_MAX, RELIST_AFTER, TAKE_TRIES_MAX,
};
use crate::time::Instant;

use super::balance::{Available, Census};
use super::holding::Holding;
use super::rows::Standing;
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
        let very_old = self
            .rows
            .listed_at()
            .before(self.settings.timing.very_old_after());
        let mut entropy = self.entropy.clone();
        let wanted = self
            .census()
            .choose_available(self.max_leases(), very_old, &mut entropy);
        let wanted: Vec<Lease> = wanted.into_iter().cloned().collect();
        self.entropy = entropy;
        let room = LEASE_CALLS_AT_ONCE.saturating_sub(self.taking.len());
        self.must_review = wanted.len() > room;
        if wanted.is_empty() && self.taking.is_empty() && self.must_balance {
            self.must_balance = false;
            self.balance(now, effects);
        }
        for seen in wanted.into_iter().take(room) {
            self.take(now, seen, effects);
        }
    }

    /// Asks for leases of workers that have more than their share, or steals from those that do not hand over. Once what
    /// was asked for is there, the next listing shows what is still missing.
    fn balance(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        if self.rows.awaits_handover() || !self.announcing.is_empty() {
            return;
        }
        let mut entropy = self.entropy.clone();
        let wanted = self
            .census()
            .choose_stealable(self.max_leases(), &mut entropy);
        let wanted: Vec<Lease> = wanted.into_iter().cloned().collect();
        self.entropy = entropy;
        for seen in wanted.into_iter().take(LEASE_CALLS_AT_ONCE) {
            if seen.is_ours() {
                self.announcing.insert(seen.shard.clone());
                effects.push(CoordinatorEffect::Announce { seen });
            } else {
                self.take(now, seen, effects);
            }
        }
    }

    fn max_leases(&self) -> usize {
        if mutant!(LeasesUnbounded) {
            usize::MAX
        } else {
            self.settings.max_leases
        }
    }

    fn take(&mut self, now: Instant, seen: Lease, effects: &mut Vec<CoordinatorEffect>) {
        let drawn = self.entropy.draw();
        let incarnation = Incarnation(if mutant!(IncarnationRepeated) {
            7
        } else {
            drawn
        });
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

    /// Counts the rows by whose they are.
    fn census(&self) -> Census<'_> {
        let me = &self.settings.worker;
        let mut census = Census::default();
        for lease in self.rows.leases() {
            census.total += 1;
            let heir = self.rows.heir(lease);
            let holding = self.held.get(&lease.shard);
            let is_held = holding.is_some_and(|holding| !holding.is_over());
            census.leaving += usize::from(is_held && heir.is_some_and(|heir| heir != me));
            let owner = if self.taking.contains_key(&lease.shard) {
                Some(me)
            } else if is_held {
                heir.or(Some(me))
            } else {
                match self.rows.standing(lease) {
                    Standing::Due if holding.is_none() => {
                        census.due.push(lease);
                        None
                    }
                    Standing::Due => Some(me),
                    Standing::Available { since } => {
                        // Its former consumer is still stopping: it can wait.
                        if holding.is_none() {
                            census.available.push(Available { lease, since });
                        }
                        None
                    }
                    Standing::Owned { .. } => heir.or(lease.owner.as_ref()),
                    Standing::Resting { .. } => None,
                }
            };
            let is_open = usize::from(!lease.is_completed());
            match owner {
                None => {}
                Some(owner) if owner == me => {
                    census.mine += 1;
                    census.mine_open += is_open;
                }
                Some(owner) => {
                    let share = census.others.entry(owner).or_default();
                    share.count += 1;
                    share.open += is_open;
                    let is_in_handoff = heir.is_some()
                        || lease.is_handed_over()
                        || lease.checkpoint_owner.is_some();
                    if !is_held && !is_in_handoff && self.rows.is_seen_alive(&lease.shard) {
                        share.stealable.push(lease);
                    }
                }
            }
        }
        census
    }

    pub(super) fn taken(
        &mut self,
        now: Instant,
        tenure: &Tenure,
        latest_ms: Option<i64>,
        outcome: Result<HeldLease, WriteFailure>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(mut taking) = self.taking.remove(&tenure.shard) else {
            return;
        };
        match outcome {
            Ok(held) => {
                // The next take may go by this row, without a look at the table.
                self.rows
                    .update(now, &tenure.shard, |lease| lease.latest_ms = latest_ms);
                self.hold(now, held, taking, effects);
                // A consumer that waits for the shard's parents begins where it would have begun now.
                if let Some(holding) = self.held.get_mut(&tenure.shard) {
                    holding.seen.latest_ms = latest_ms;
                }
            }
            Err(WriteFailure::Lost { .. }) => {
                self.rows.doubt(&tenure.shard);
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
        if seen.is_handed_over() {
            // There may be more to ask for.
            self.listing.hurry(now + RELIST_AFTER);
        }
        self.rows.update(now, &shard, |lease| {
            lease.owner = Some(held.owner.clone());
            lease.counter = held.counter;
            lease.incarnation = Some(held.incarnation);
            lease.incarnation_owner = Some(held.owner.clone());
            lease.checkpoint_owner = None;
            lease.successor = None;
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
        self.held
            .insert(shard.clone(), Holding::new(now, keeper, seen));
        if self.phase == Phase::Draining {
            self.drain_holdings(now, effects);
        } else {
            self.start_consumer(now, &shard, true, effects);
        }
    }
}
