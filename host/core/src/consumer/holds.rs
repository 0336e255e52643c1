//! Messages that instances hold past their call: since when, and for how long they still may.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::lanes::{Cause, Verdict};
use crate::time::Instant;
use crate::window::Slot;

/// What the instances of one shard hold. Their number and bytes are bounded by the window, their age is bounded here.
#[derive(Debug)]
pub(super) struct Holds {
    limit: Duration,
    since: BTreeMap<Slot, Hold>,
    by_age: BTreeSet<(Instant, Slot)>,
    /// Lanes that were told to give back what they hold, and have not answered.
    asked: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    at: Instant,
    lane: usize,
}

impl Holds {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: BTreeMap::new(),
            by_age: BTreeSet::new(),
            asked: BTreeSet::new(),
        }
    }

    pub(super) fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// A message is held from now on, unless it was before.
    pub(super) fn hold(&mut self, now: Instant, slot: Slot, lane: usize) {
        if let Entry::Vacant(free) = self.since.entry(slot) {
            free.insert(Hold { at: now, lane });
            self.by_age.insert((now, slot));
        }
    }

    /// It is held no longer; true if it had been held for too long.
    pub(super) fn end(&mut self, now: Instant, slot: Slot) -> bool {
        let Some(hold) = self.since.remove(&slot) else {
            return false;
        };
        self.by_age.remove(&(hold.at, slot));
        hold.at + self.limit <= now
    }

    /// The next moment at which a message has been held for too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.by_age.iter().find(|(_, slot)| {
            self.since
                .get(slot)
                .is_some_and(|hold| !self.asked.contains(&hold.lane))
        });
        oldest.map(|(at, _)| *at + self.limit)
    }

    /// Lanes that hold a message for too long and were not asked to give it back.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<usize> {
        let mut lanes = Vec::new();
        for (at, slot) in &self.by_age {
            if *at + self.limit > now {
                break;
            }
            if let Some(hold) = self.since.get(slot)
                && self.asked.insert(hold.lane)
            {
                lanes.push(hold.lane);
            }
        }
        lanes
    }

    /// A lane has given back everything that it held.
    pub(super) fn given_back(&mut self, lane: usize) {
        self.asked.remove(&lane);
    }

    /// What becomes of a message that was held for too long: it is tried again, and that counts.
    pub(super) fn verdict(&self) -> Verdict {
        let reason = format!(
            "it was held for {:?} and not released, which is the longest that `flow.hold` allows; its instance was replaced",
            self.limit
        );
        Verdict::Retry {
            after: None,
            cause: Cause {
                step: None,
                kind: "held",
                reason,
            },
        }
    }
}
