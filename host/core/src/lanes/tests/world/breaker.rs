//! When the breaker must be open, and what it must spare.

use super::*;
use crate::breaker::StepSet;

/// What the breaker must be like.
#[derive(Debug, Default)]
pub(super) struct Model {
    answered: Option<Instant>,
    /// Different messages that failed since.
    failed: u32,
    /// Probes alone may run, and none before this.
    pub(super) open: Option<Instant>,
    pub(super) probing: Option<usize>,
}

impl World {
    /// The step answers: if nothing was given up over it, whatever it failed since its last answer begins anew.
    pub(super) fn answered(&mut self) {
        let mut steps = StepSet::default();
        steps.add(0);
        self.lanes.answered(self.now, steps);
        let before = self.model.answered.replace(self.now);
        self.model.failed = 0;
        if self.model.open.take().is_none() {
            return;
        }
        self.model.probing = None;
        for message in &mut self.messages {
            if before.is_none_or(|before| before < message.since) {
                message.attempts = 0;
            }
        }
    }

    /// The plugin is mended, and whoever did it says so.
    pub(in super::super) fn mend(&mut self) {
        self.odds = Odds {
            retry: 0,
            crash: 0,
            poison: 0,
            ..self.odds
        };
        self.lanes.probe_now(self.now);
        if let Some(not_before) = &mut self.model.open {
            *not_before = self.now;
        }
    }

    pub(super) fn fail(&mut self, slot: Slot, after: Option<Duration>, expected: &mut Expected) {
        let now = self.now;
        let message = &mut self.messages[slot.0 as usize];
        message.failures += 1;
        message.attempts += 1;
        if message.attempts == 1 {
            message.since = now;
            self.model.failed += 1;
        }
        let is_enough = |after| after <= self.model.failed;
        let is_spared = self.odds.breaker.is_some_and(is_enough)
            && self.model.answered.is_none_or(|at| at < message.since);
        let is_last = message.attempts >= RETRY.attempts;
        if is_last && !is_spared {
            expected.dead.push((slot, message.failures));
            return self.give_up(slot);
        }
        if is_last {
            let not_before = now + PROBE_PAUSE_FIRST / 2;
            self.model.open.get_or_insert(not_before);
        }
        message.at = At::Waiting(now + after.unwrap_or_default().max(RETRY.backoff_min / 2));
        expected.retries += 1;
    }
}
