//! Looking after the rows of the whole stream, now and then: listing its shards, or finding that one must.

use crate::lease::Lease;
use crate::limits::{AUDIT_INTERVAL, AUDITS_PER_LISTING, HOLE_CONFIDENCE};
use crate::shard_sync::{Cover, cover};
use crate::time::Instant;

use super::leader::leader;
use super::{Coordinator, Phase};

/// What the last looks at the rows have found.
#[derive(Clone, Debug, Default)]
pub(super) struct Auditor {
    last: Option<Cover>,
    /// How often in a row the last one was found.
    times: u32,
}

impl Auditor {
    /// Takes in what the rows show. Whether to do something about it: the same hole was found often enough, so that it is
    /// no moment in the middle of a reshard.
    pub(super) fn look(&mut self, found: Cover) -> bool {
        if found == Cover::Whole {
            *self = Self::default();
            return false;
        }
        if self.last == Some(found) {
            self.times += 1;
        } else {
            self.last = Some(found);
            self.times = 1;
        }
        self.times >= HOLE_CONFIDENCE
    }
}

impl Coordinator {
    /// When the next look is due.
    pub(super) fn next_audit(&self) -> Option<Instant> {
        let is_watching = self.phase == Phase::Running && self.rows.has_listed();
        is_watching.then_some(self.audit_at)
    }

    /// The leader lists the shards at every look. The others do when the rows leave a part of the hash space to nobody and
    /// nothing is done about it, when a shard of theirs may be gone, and once in a while whatever the rows say: the leader
    /// may be another program, or stuck.
    pub(super) fn audit(&mut self, now: Instant) {
        if self.next_audit().is_none_or(|at| now < at) {
            return;
        }
        self.audit_at = now + AUDIT_INTERVAL;
        self.audits += 1;
        let unfinished = self.rows.leases().filter(|lease| !lease.is_completed());
        let ranges = unfinished.map(|lease: &Lease| lease.hash_range);
        let has_hole = self.auditor.look(cover(ranges));
        let is_its_turn = self.audits.is_multiple_of(AUDITS_PER_LISTING);
        let may_be_gone = self.has_one_that_stands_still() || !self.unlisted.is_empty();
        if has_hole || is_its_turn || self.leads() || may_be_gone {
            self.sync.hurry(now);
        }
    }

    /// Whether a shard that this worker has not read to its end has got no further since the last look. Retention may have
    /// taken it, which nobody else would find: the leader sees no more than that its children are missing.
    fn has_one_that_stands_still(&mut self) -> bool {
        let mut is_any = false;
        for holding in self.held.values_mut() {
            is_any |= holding.stands_still();
        }
        is_any
    }

    /// Whether this worker looks after the rows of all.
    fn leads(&self) -> bool {
        let owners = self.rows.leases().filter_map(|lease| lease.owner.as_ref());
        leader(owners).is_none_or(|leader| *leader == self.settings.worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(from: u128) -> Cover {
        Cover::Hole { from, to: from + 9 }
    }

    /// KCL: testIfShardSyncIsInitiatedWhenConfidenceFactorIsReached.
    #[test]
    fn acts_on_a_hole_that_stays() {
        let mut auditor = Auditor::default();
        let looks = [hole(5); 4].map(|found| auditor.look(found));
        assert_eq!(looks, [false, false, true, true]);
    }

    /// KCL: testIfShardSyncIsNotInitiatedWhenHoleShifts.
    #[test]
    fn does_not_act_on_a_hole_that_moves_or_goes() {
        let mut auditor = Auditor::default();
        let found = [
            hole(5),
            hole(5),
            hole(6),
            hole(6),
            Cover::Whole,
            hole(6),
            hole(6),
            Cover::Unknown,
            Cover::Unknown,
        ];
        for found in found {
            assert!(!auditor.look(found), "{found:?}");
        }
        assert!(auditor.look(Cover::Unknown));
    }
}
