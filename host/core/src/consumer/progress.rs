//! When a shard's checkpoint moves, and from where to where.

use std::time::Duration;

use crate::lease_write::CheckpointDelta;
use crate::position::{Checkpoint, Position};
use crate::time::Instant;

/// The chain of checkpoints of one consumer: one move is out at a time, and each begins where the last one led (CP-3).
#[derive(Debug)]
pub(super) struct Progress {
    every: Duration,
    stored: Checkpoint,
    /// A move that is out: where it leads, and how many user records that is from the start.
    out: Option<(Checkpoint, u64)>,
    since: Instant,
    /// User records up to what is stored, from the start.
    covered: u64,
}

impl Progress {
    pub(super) fn new(now: Instant, every: Duration, stored: Checkpoint) -> Self {
        Self {
            every,
            stored,
            out: None,
            since: now,
            covered: 0,
        }
    }

    pub(super) fn set_every(&mut self, every: Duration) {
        self.every = every;
    }

    /// The move to ask for now, if one is due: the time has come, or it is urgent. Below the watermark are `done` user
    /// records from the start.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        watermark: Option<Position>,
        done: u64,
        is_urgent: bool,
    ) -> Option<CheckpointDelta> {
        if self.out.is_some() || !(is_urgent || self.since + self.every <= now) {
            return None;
        }
        let to = Checkpoint::At(watermark?);
        if to <= self.stored {
            return None;
        }
        self.out = Some((to.clone(), done));
        Some(CheckpointDelta {
            from: self.stored.clone(),
            to,
        })
    }

    pub(super) fn stored(&mut self, now: Instant, checkpoint: Checkpoint) {
        if let Some((_, done)) = self.out.take_if(|(to, _)| *to <= checkpoint) {
            self.covered = done;
        }
        if self.stored < checkpoint {
            self.stored = checkpoint;
            self.since = now;
        }
    }

    /// Of `done` user records below the watermark, those that a crash would deliver again all the same.
    pub(super) fn not_covered(&self, done: u64) -> u64 {
        done - self.covered
    }

    /// Where the moves asked for so far lead.
    pub(super) fn requested(&self) -> Checkpoint {
        let out = self.out.as_ref().map(|(to, _)| to);
        out.unwrap_or(&self.stored).clone()
    }

    /// Whether everything up to the watermark is durable.
    pub(super) fn is_stored(&self, watermark: Option<Position>) -> bool {
        self.out.is_none()
            && watermark.is_none_or(|watermark| Checkpoint::At(watermark) <= self.stored)
    }

    /// When the next move is due; none while one is out, or while there is nothing to store.
    pub(super) fn deadline(&self, watermark: impl FnOnce() -> Option<Position>) -> Option<Instant> {
        if self.out.is_some() {
            return None;
        }
        let to = Checkpoint::At(watermark()?);
        (to > self.stored).then(|| self.since + self.every)
    }
}
