//! How long to wait before trying again.

use std::time::Duration;

/// Doubling pauses with jitter, between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first pause.
    pub first: Duration,
    /// The longest pause of all.
    pub max: Duration,
}

impl Backoff {
    /// The pause after `failures` failures in a row, the first being 1, drawn by `random` from the upper half of its
    /// range: half keeps a floor under the pause, the other half spreads workers that failed together.
    pub fn pause(self, failures: u32, random: u128) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
        let longest = doubled
            .and_then(|factor| self.first.checked_mul(factor))
            .map_or(self.max, |pause| pause.min(self.max));
        let half = longest / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos((random as u64) % spread.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_stay_between_half_and_whole_of_a_doubling_bound(failures in 1_u32..80, random: u128) {
            let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) };
            let pause = backoff.pause(failures, random);
            let bound = (0.05 * f64::from(failures.min(60)).exp2()).min(5.0);
            prop_assert!(pause.as_secs_f64() <= bound + 1e-9);
            prop_assert!(pause.as_secs_f64() >= bound / 2.0 - 1e-9);
        }
    }
}
