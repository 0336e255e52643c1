//! A shard that stands still since a step fails everything, and a stop that finds it so.

use super::{Consumer, Phase};
use crate::breaker::StepSet;
use crate::lanes::Cause;

impl Consumer {
    /// Whether a stop finds the shard paused: what is left cannot be done now, and is not waited for. It is delivered again
    /// to whoever comes next.
    pub(super) fn is_stopping_paused(&self) -> bool {
        self.phase == Phase::Draining && self.lanes.paused().is_some()
    }

    /// The same, and no batch is out any more.
    pub(super) fn is_at_rest_paused(&self) -> bool {
        self.is_stopping_paused() && !self.lanes.is_running()
    }

    pub(super) fn tell_of_pause(&mut self) {
        let paused = self.lanes.paused();
        if self.status.paused.as_ref() != paused {
            self.status.paused = paused.cloned();
        }
    }
}

/// The steps that have answered for a message when this happens: those before the one that gave no reply to it.
pub(super) fn answered_before(cause: &Cause) -> StepSet {
    cause.step.map_or(StepSet::default(), StepSet::before)
}
