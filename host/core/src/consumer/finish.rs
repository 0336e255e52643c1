//! When what is done is stored, and when nothing is left to do.

use super::flush::Flush;
use super::{Consumer, ConsumerEffect, Phase};
use crate::budget::Grant;
use crate::time::Instant;

impl Consumer {
    pub(super) fn finish_or_store(&mut self, now: Instant, effects: &mut Vec<ConsumerEffect>) {
        let watermark = self.window.watermark();
        let is_drained = self.window.is_drained();
        if let Some(reason) = self.only_held_left() {
            self.flush(now, reason, effects);
        }
        let is_stored = self.progress.is_stored(watermark.clone());
        let is_end_reached = (is_drained && is_stored) || mutant!(EndBeforeDrained);
        if let Some(children) = self.end.take_if(|_| is_end_reached) {
            self.phase = Phase::Ended;
            effects.push(ConsumerEffect::Ended {
                from: self.progress.requested(),
                children,
            });
            return;
        }
        let is_flushed = matches!(self.flush, Flush::Done(_)) && self.only_held_left().is_some();
        let is_begun_done = is_drained || is_flushed;
        let is_stopping = self.phase == Phase::Draining && is_begun_done;
        if is_stopping && is_stored {
            self.phase = Phase::Over;
            effects.push(ConsumerEffect::Drained);
            return;
        }
        let done = self.window.done();
        // The next answer may be long in coming: memory for it is waited for as well.
        let is_urgent = is_drained || is_stopping || self.is_span_spent(done);
        if let Some(delta) = self.progress.plan(now, watermark, done, is_urgent) {
            effects.push(ConsumerEffect::Store(delta));
        }
    }

    /// Whether a checkpoint would give back so much of the span that it should not wait for its time: enough by itself;
    /// while the span is short, as much as is still unresolved; or all that was used in a turn which is over.
    fn is_span_spent(&self, done: u64) -> bool {
        let not_covered = self.progress.not_covered(done);
        let unresolved = self.window.usage().span;
        not_covered >= self.settings.checkpoint_after
            || (not_covered > 0
                && match self.refused {
                    None | Some(Grant::Room(_) | Grant::Wait) => false,
                    Some(Grant::SpanShort) => not_covered >= unresolved,
                    Some(Grant::TurnOver) => unresolved == 0,
                })
    }
}
