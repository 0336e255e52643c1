//! How many lines calls that gave no reply may cause.

use shardwright_core::Instant;

use crate::limits::{CRASH_LINE_EVERY, CRASH_LINES_BURST};

/// A bucket of lines: a guest that traps at everything must not fill the log.
#[derive(Debug)]
pub(super) struct CrashLines {
    left: u32,
    filled: Instant,
    not_told: u64,
}

impl CrashLines {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: CRASH_LINES_BURST,
            filled: now,
            not_told: 0,
        }
    }

    /// Whether a line may be written, and how many were not since the last one.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        let every = CRASH_LINE_EVERY.as_millis().max(1);
        let passed = now.since(self.filled).as_millis() / every;
        if let Ok(more @ 1..) = u32::try_from(passed) {
            self.left = self.left.saturating_add(more).min(CRASH_LINES_BURST);
            self.filled = now;
        }
        if self.left == 0 {
            self.not_told += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.not_told))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_of_crashes_is_a_line_a_second_that_says_how_many_there_were() {
        let start = Instant::default();
        let mut lines = CrashLines::new(start);
        let told = |lines: &mut CrashLines, second: u64| {
            let at = |n| start + Duration::from_secs(second) + Duration::from_micros(n);
            (0..5_000)
                .filter_map(|n| lines.admit(at(n)))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&mut lines, 0), [0; CRASH_LINES_BURST as usize]);
        let rest = 5_000 - u64::from(CRASH_LINES_BURST);
        assert_eq!(told(&mut lines, 1), [rest]);
        assert_eq!(told(&mut lines, 2), [4_999]);
        assert_eq!(told(&mut lines, 60).len(), CRASH_LINES_BURST as usize);
    }
}
