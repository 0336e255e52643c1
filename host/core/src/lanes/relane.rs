//! Another number of lanes, or other bounds, for what is under way.

use std::collections::VecDeque;

use super::lane::Lane;
use super::{BatchBounds, Lanes};
use crate::retry::RetryPolicy;
use crate::window::Slot;

impl Lanes {
    /// From now on batches have these bounds, and failures this policy.
    pub fn set_bounds(&mut self, bounds: BatchBounds, retry: RetryPolicy) {
        self.bounds = bounds;
        self.retry = retry;
    }

    /// Whether a lane runs a batch.
    pub fn is_running(&self) -> bool {
        self.all.iter().any(|lane| lane.running.is_some())
    }

    /// Moves everything that is queued or waits to `count` lanes. No lane may run: its batch could not be settled after.
    ///
    /// A key's messages come out of one lane and go into one, in the order they had (OR-1). `key_of` gives the key hash of a
    /// message that is not resolved.
    pub fn relane(&mut self, count: u16, key_of: impl Fn(Slot) -> Option<u64>) {
        debug_assert!(!self.is_running(), "a batch is out");
        let lanes = (0..count.max(1)).map(|_| Lane::default()).collect();
        for lane in std::mem::replace(&mut self.all, lanes) {
            self.spread(lane, &key_of);
        }
        for lane in &mut self.all {
            // Each key's are in order already: sorting only mixes the keys of several lanes by age.
            lane.ready
                .make_contiguous()
                .sort_by_key(|queued| queued.slot);
        }
    }

    fn spread(&mut self, from: Lane, key_of: &impl Fn(Slot) -> Option<u64>) {
        let Lane {
            ready,
            since,
            alone,
            parked,
            running: _,
            tried,
        } = from;
        for set in alone {
            // Messages that had to be by themselves stay in one set with those that they were with.
            let mut places: Vec<Option<usize>> = vec![None; self.all.len()];
            for queued in set {
                let index = self.lane_of(queued.key);
                let lane = &mut self.all[index];
                let place = *places[index].get_or_insert_with(|| {
                    lane.alone.push_back(VecDeque::new());
                    lane.alone.len() - 1
                });
                lane.alone[place].push_back(queued);
            }
        }
        for queued in ready {
            let index = self.lane_of(queued.key);
            let lane = &mut self.all[index];
            lane.ready.push_back(queued);
            lane.since = match (lane.since, since) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        for (key, waiting) in parked {
            let index = self.lane_of(key);
            self.all[index].parked.insert(key, waiting);
        }
        for (slot, trial) in tried {
            if let Some(key) = key_of(slot) {
                let index = self.lane_of(key);
                self.all[index].tried.insert(slot, trial);
            }
        }
    }
}
