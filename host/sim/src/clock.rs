//! Clocks that run apart.

use shardwright_core::Instant;

/// A process's monotonic clock: it began somewhere, and runs a little faster or slower than the world's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds that it shows at the world's beginning.
    pub origin: u64,
    /// Parts per million above the world's speed.
    pub drift: i64,
}

const MILLION: u128 = 1_000_000;

impl Clock {
    fn speed(self) -> u128 {
        MILLION.saturating_add_signed(self.drift.into())
    }

    /// What it shows when the world's clock shows `real`.
    pub fn at(self, real: u64) -> Instant {
        let shown = u128::from(real) * self.speed() / MILLION;
        Instant::from_nanos(self.origin + shown as u64)
    }

    /// The first moment of the world at which it shows `local` or later.
    pub fn real(self, local: Instant) -> u64 {
        let shown = u128::from(local.as_nanos().saturating_sub(self.origin));
        (shown * MILLION).div_ceil(self.speed()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_there_and_back_is_reached_and_no_later_than_need_be() {
        for drift in [-50_000, -1, 0, 7, 50_000] {
            let clock = Clock { origin: 17, drift };
            for shown in [0, 1, 999_999_999, 123_456_789_123] {
                let local = Instant::from_nanos(17 + shown);
                let real = clock.real(local);
                assert!(clock.at(real) >= local);
                assert!(real == 0 || clock.at(real - 1) < local);
            }
        }
    }
}
