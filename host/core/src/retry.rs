//! How often a message is tried, and when.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::time::Instant;

#[cfg(test)]
mod tests;

/// What `on_failure.retry` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included; at least 1.
    pub attempts: u32,
    /// The pause after the first failure.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long after its first failure a message is still tried.
    pub max_age: Duration,
}

/// What a message has gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Tries that failed.
    pub attempts: u32,
    /// When the first of them did.
    pub since: Instant,
}

/// What happens next to a message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is tried again, not before this moment.
    TryAt(Instant),
    /// Its tries are used up.
    OutOfAttempts,
    /// It is too old.
    TooOld,
}

impl RetryPolicy {
    /// Decides for a message that has failed `tried.attempts` times, just now included.
    ///
    /// The pause doubles from try to try and is drawn from its upper half by `random` (uniform over all `u64`), so that
    /// messages which failed together do not come back together. A plugin may ask for a longer one.
    pub fn next(&self, now: Instant, tried: Tried, asked: Option<Duration>, random: u64) -> Next {
        if tried.attempts >= self.attempts {
            return Next::OutOfAttempts;
        }
        let pause = self
            .pause(tried.attempts, random)
            .max(asked.unwrap_or_default());
        let at = now + pause;
        if at.since(tried.since) > self.max_age {
            Next::TooOld
        } else {
            Next::TryAt(at)
        }
    }

    /// The pause after `failures` failures in a row; at least 1.
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let backoff = Backoff {
            first: self.backoff_min,
            max: self.backoff_max,
        };
        backoff.pause(failures, random.into())
    }
}
