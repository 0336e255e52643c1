//! Random moments, from a seed that a failure shows.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

/// A small generator: moments need no better one.
pub(super) struct Chance(u64);

impl Chance {
    /// Seeded by the environment variable `SHARDWRIGHT_E2E_SEED`, or anew; the seed is printed, and shown when a test fails.
    pub(super) fn new() -> Self {
        let seed = match env::var("SHARDWRIGHT_E2E_SEED") {
            Ok(seed) => seed.parse().expect("SHARDWRIGHT_E2E_SEED is a number"),
            Err(_) => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            }
        };
        println!("SHARDWRIGHT_E2E_SEED={seed}");
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Lets a random time below `most` pass: the moment is what is drawn, nothing is waited for.
    pub(super) fn pause(&mut self, most: Duration) {
        pause(Duration::from_millis(self.below(most.as_millis() as u64)));
    }
}

/// Lets time pass.
pub(super) fn pause(duration: Duration) {
    let until = Instant::now() + duration;
    while let Some(left) = until
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        thread::park_timeout(left);
    }
}

/// How many rounds a test of random moments has: `few` unless `SHARDWRIGHT_E2E_ROUNDS` says otherwise.
pub(super) fn rounds(few: u64) -> u64 {
    env::var("SHARDWRIGHT_E2E_ROUNDS")
        .map_or(few, |rounds| rounds.parse().expect("a number of rounds"))
}
