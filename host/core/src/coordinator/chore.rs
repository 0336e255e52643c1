//! A question that is asked again and again.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::limits::{LEASE_RETRY_FIRST, LISTING_RETRY_MAX};
use crate::time::Instant;

const RETRY: Backoff = Backoff {
    first: LEASE_RETRY_FIRST,
    max: LISTING_RETRY_MAX,
};

/// When to ask next. At most one question is out; what makes it due sooner meanwhile counts once the answer is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Chore {
    due: Option<Instant>,
    sent: Option<Instant>,
    failures: u32,
}

impl Chore {
    /// Makes it due at `at`, unless it is due sooner.
    pub(super) fn hurry(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Never asks again by itself.
    pub(super) fn cancel(&mut self) {
        self.due = None;
    }

    /// Whether to ask now; if so, the question counts as out.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let is_due = self.deadline().is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.sent = Some(now);
        }
        is_due
    }

    /// An answer came; the next question is due at `next` or sooner. Tells when the question was sent.
    pub(super) fn answered(&mut self, now: Instant, next: Option<Duration>) -> Instant {
        self.failures = 0;
        if let Some(next) = next {
            self.hurry(now + next);
        }
        self.sent.take().unwrap_or(now)
    }

    /// No answer came.
    pub(super) fn failed(&mut self, now: Instant, random: u128) {
        self.sent = None;
        self.failures += 1;
        // Whatever made it due sooner has to wait as well: the other side is in trouble.
        self.due = Some(now + RETRY.pause(self.failures, random));
    }

    /// When to ask next, if no question is out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.sent.is_some() { None } else { self.due }
    }
}
