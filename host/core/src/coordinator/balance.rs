//! Who should have how many leases, as KCL's lease taker has it: every worker works it out for itself from the rows.

use std::collections::BTreeMap;

use crate::entropy::Entropy;
use crate::lease::{Lease, WorkerId};
use crate::time::Instant;

/// The leases by whose they are, finished ones included: every worker of the application must count the same.
#[derive(Debug, Default)]
pub(super) struct Census<'a> {
    /// Leases that this worker holds, is taking, is about to get, or that carry its name.
    pub(super) mine: usize,
    /// Of these, the ones whose shards have not ended.
    pub(super) mine_open: usize,
    /// Leases that this worker holds until it has handed them over: they count as others'.
    pub(super) leaving: usize,
    /// To be taken whatever the others have.
    pub(super) due: Vec<&'a Lease>,
    /// Anybody's.
    pub(super) available: Vec<Available<'a>>,
    /// By owner, this worker left out.
    pub(super) others: BTreeMap<&'a WorkerId, Share<'a>>,
    /// All rows.
    pub(super) total: usize,
}

/// A lease that is nobody's, or whose owner has had its time.
#[derive(Debug)]
pub(super) struct Available<'a> {
    pub(super) lease: &'a Lease,
    /// Since when its counter stands still.
    pub(super) since: Instant,
}

/// What one other worker has.
#[derive(Debug, Default)]
pub(super) struct Share<'a> {
    /// All of it, what it is about to get included.
    pub(super) count: usize,
    /// Of these, the ones whose shards have not ended.
    pub(super) open: usize,
    /// What may be asked of it, or stolen.
    pub(super) stealable: Vec<&'a Lease>,
}

impl<'a> Census<'a> {
    /// What each worker should have at most: all leases divided by the workers that have any and this one.
    pub(super) fn fair_share(&self) -> usize {
        let workers = self.others.len() + 1;
        self.total.div_ceil(workers).max(1)
    }

    /// Which available leases to take now, before any is stolen.
    ///
    /// Up to the fair share; but what nobody has taken since before `very_old` is for whoever sees it, since the workers
    /// that it is left for may not exist. `max` bounds both.
    pub(super) fn choose_available(
        &self,
        max: usize,
        very_old: Instant,
        entropy: &mut Entropy,
    ) -> Vec<&'a Lease> {
        let is_old = |available: &&Available<'_>| available.since < very_old;
        let old: Vec<&Lease> = self
            .available
            .iter()
            .filter(is_old)
            .map(|available| available.lease)
            .collect();
        let max = max.saturating_sub(self.leaving);
        let room = max.saturating_sub(self.mine + self.due.len());
        let (mut wanted, count) = if old.is_empty() {
            let all = self.available.iter().map(|available| available.lease);
            let share = self.fair_share().saturating_sub(self.mine + self.due.len());
            (all.collect(), share.min(room))
        } else {
            (old, room)
        };
        shuffle(&mut wanted, entropy);
        // Finished shards wait more easily.
        wanted.sort_by_key(|lease| lease.is_completed());
        wanted.truncate(count);
        // What is a worker's own by right is not a matter of shares, but of what it can bear.
        let due = self.due.iter().copied();
        let due = due.take(max.saturating_sub(self.mine));
        due.chain(wanted).collect()
    }

    /// Which leases of the living to ask for, or to steal: none while there are others to be had.
    ///
    /// It is the most loaded worker's turn as long as it has more than its share, or as much and this worker lacks more
    /// than one: so nobody is brought below what would make it take back. Half of what is missing is asked for at once,
    /// since others may be asking as well. An owner that does not hand over is robbed of one lease a round, as KCL does.
    pub(super) fn choose_stealable(mut self, max: usize, entropy: &mut Entropy) -> Vec<&'a Lease> {
        let fair = self.fair_share();
        let have = self.mine + self.due.len();
        let mut needed = fair.min(max).saturating_sub(have);
        let mut wanted: Vec<&Lease> = Vec::new();
        if !self.available.is_empty() {
            return wanted;
        }
        let at_once = needed.div_ceil(2);
        for share in self.others.values_mut() {
            shuffle(&mut share.stealable, entropy);
        }
        while wanted.len() < at_once {
            let victim = self
                .others
                .values_mut()
                .filter(|share| !share.stealable.is_empty())
                .max_by_key(|share| share.count);
            let Some(victim) = victim else { break };
            let is_above = victim.count > fair;
            let is_worth_it = victim.count == fair && needed > 1 && wanted.is_empty();
            if !is_above && !is_worth_it {
                break;
            }
            let Some(lease) = victim.pick(self.mine_open) else {
                break;
            };
            if lease.is_ours() {
                wanted.push(lease);
                self.mine_open += usize::from(!lease.is_completed());
                needed -= 1;
            } else {
                // Only one, and it stands for the whole round.
                if wanted.is_empty() {
                    wanted.push(lease);
                }
                break;
            }
        }
        wanted
    }
}

impl<'a> Share<'a> {
    /// Takes one out: an open shard's, as long as that evens out the work; a finished one's evens out the count alone.
    fn pick(&mut self, open_here: usize) -> Option<&'a Lease> {
        let wants_open = self.open > open_here;
        let fits = |lease: &&Lease| lease.is_completed() != wants_open;
        let at = self.stealable.iter().position(fits).unwrap_or(0);
        if self.stealable.is_empty() {
            return None;
        }
        let lease = self.stealable.swap_remove(at);
        self.count -= 1;
        self.open -= usize::from(!lease.is_completed());
        Some(lease)
    }
}

fn shuffle<T>(items: &mut [T], entropy: &mut Entropy) {
    for last in (1..items.len()).rev() {
        let other = entropy.draw() % (last as u128 + 1);
        items.swap(last, usize::try_from(other).unwrap_or(last));
    }
}
