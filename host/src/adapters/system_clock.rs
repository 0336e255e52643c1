//! The clocks and the randomness of the operating system.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use shardwright_core::{Entropy, Instant};

use crate::ports::{Clock, PortFuture};

/// The clocks of this machine, and tokio's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// `std::time::Instant` stands still during a suspend, and a lease that ran out meanwhile would look fresh.
    fn now(&self) -> Instant {
        let time = clock_gettime(ClockId::Boottime);
        // The kernel never hands out a boot time before boot.
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) -> PortFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn entropy(&self) -> Entropy {
        let mut seed = [0; 16];
        match getrandom::fill(&mut seed) {
            Ok(()) => Entropy::new(u128::from_le_bytes(seed)),
            Err(_unavailable) => Entropy::new(u128::from(self.now().as_nanos())),
        }
    }
}
