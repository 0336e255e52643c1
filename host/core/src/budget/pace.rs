//! How soon room comes free, over all shards of a pipeline.

use crate::limits::{PACE_LOOK, ROUND};
use crate::time::Instant;

/// User records that come free, looked at now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Option<Instant>,
    freed: u64,
    part: u64,
}

impl Pace {
    /// Nothing came free yet: it is taken to be quick.
    pub(super) fn new() -> Self {
        Self {
            since: None,
            freed: 0,
            part: u64::MAX,
        }
    }

    /// So many user records came free.
    pub(super) fn add(&mut self, records: u64) {
        self.freed += records;
    }

    /// Of what comes free in a round, the part of each of those that waited when this was looked at last.
    pub(super) fn part(&self) -> u64 {
        self.part
    }

    /// Looks, if it is time to, while so many shards wait; tells whether the part is smaller now. The time begins when the
    /// first user record has come free: instances may still be made before.
    pub(super) fn look(&mut self, now: Instant, waiting: usize) -> bool {
        if self.since.is_none() && self.freed == 0 {
            return false;
        }
        let passed = now.since(*self.since.get_or_insert(now));
        if passed < PACE_LOOK {
            return false;
        }
        let round = u128::from(self.freed) * ROUND.as_nanos() / passed.as_nanos();
        let part = round / (waiting as u128).max(1);
        let before = self.part;
        *self = Self {
            since: Some(now),
            freed: 0,
            part: u64::try_from(part).unwrap_or(u64::MAX),
        };
        self.part < before
    }
}
