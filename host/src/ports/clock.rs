//! Time and chance.

use std::future::Future;
use std::time::Duration;

use shardwright_core::{Entropy, Instant};

use super::PortFuture;

/// What no machine can decide for itself: what time it is, when it is later, and what chance brings.
pub trait Clock: Send + Sync {
    /// Now, on the worker's own clock, which goes on while the machine sleeps.
    fn now(&self) -> Instant;

    /// The wall clock: milliseconds since the Unix epoch.
    fn unix_ms(&self) -> i64;

    /// Waits. A suspend of the machine may not count, and the caller may be woken late.
    fn sleep(&self, time: Duration) -> PortFuture<'static, ()>;

    /// A stream of random numbers that is like no other.
    fn entropy(&self) -> Entropy;
}

impl dyn Clock {
    /// Waits for something, and no longer than this; none when the time is up. What is ready comes before the time is.
    pub async fn within<F: Future>(&self, time: Duration, wanted: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            found = wanted => Some(found),
            () = self.sleep(time) => None,
        }
    }
}
