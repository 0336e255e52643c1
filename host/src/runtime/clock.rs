//! The worker's clock.

use rustix::time::{ClockId, clock_gettime};
use shardwright_core::Instant;

/// Now, on a clock that goes on while the machine sleeps.
///
/// `std::time::Instant` stands still during a suspend, and a lease that ran out meanwhile would look fresh.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    // The kernel never hands out a boot time before boot.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
