//! When everything that instances hold is asked for.

use std::time::Duration;

use super::{Consumer, ConsumerEffect, Phase};
use crate::message::FlushReason;
use crate::time::Instant;

/// Between two flushes of a plugin that keeps what it holds: often enough that a window or a shard's end does not wait
/// long for it, seldom enough to cost nothing.
const FLUSH_PAUSE: Duration = Duration::from_secs(1);

/// How far a flush of everything has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    NotAsked,
    /// So many lanes have not answered.
    Waiting(usize, FlushReason),
    /// Before a stop: whatever is held now stays held, and is delivered again to whoever comes next. Otherwise it may be
    /// asked for again from this moment on.
    Done(Instant),
}

impl Consumer {
    /// Why everything must be flushed: what is unresolved is held by instances, and nothing else will come before some of
    /// it is released.
    pub(super) fn only_held_left(&self) -> Option<FlushReason> {
        let is_at_work = !self.lanes.is_idle() && !self.is_at_rest_paused();
        let is_busy = self.waits_for_lanes() || is_at_work || !self.burying.is_empty();
        if is_busy || self.window.is_drained() {
            return None;
        }
        match (self.phase, &self.end) {
            _ if self.window.has_unopened() => {
                (!self.holds.is_empty()).then_some(FlushReason::Full)
            }
            (_, Some(_)) => Some(FlushReason::ShardEnd),
            (Phase::Draining, None) => Some(FlushReason::Shutdown),
            _ => None,
        }
    }

    /// Asks once before a stop, and now and again for as long as the window or the shard's end waits for it.
    pub(super) fn flush(
        &mut self,
        now: Instant,
        reason: FlushReason,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        let is_due = match self.flush {
            Flush::NotAsked => true,
            Flush::Waiting(..) => false,
            Flush::Done(again) => self.phase == Phase::Running && again <= now,
        };
        if is_due {
            self.flush = Flush::Waiting(self.lanes.count(), reason);
            effects.push(ConsumerEffect::Flush(reason));
        }
    }

    pub(super) fn lane_flushed(&mut self, now: Instant) {
        let Flush::Waiting(lanes, reason) = self.flush else {
            return;
        };
        self.flush = match reason {
            _ if lanes > 1 => Flush::Waiting(lanes - 1, reason),
            // A plugin may keep more for a full window than for a stop.
            FlushReason::Full if self.phase == Phase::Draining => Flush::NotAsked,
            _ => Flush::Done(now + FLUSH_PAUSE),
        };
    }
}
