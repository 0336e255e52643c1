//! Random numbers that a seed decides.

use xxhash_rust::xxh3::xxh3_128;

/// A stream of random numbers out of one seed, so that a machine that draws them can be replayed.
///
/// Shells seed it from the operating system, simulators from their own seed. It is good for telling acquisitions of a
/// lease apart and for jitter; it keeps no secrets.
#[derive(Clone, Debug)]
pub struct Entropy {
    seed: u128,
    drawn: u64,
}

impl Entropy {
    /// The stream that belongs to a seed.
    pub fn new(seed: u128) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next 128 random bits.
    pub fn draw(&mut self) -> u128 {
        let mut block = [0; 24];
        block[..16].copy_from_slice(&self.seed.to_le_bytes());
        block[16..].copy_from_slice(&self.drawn.to_le_bytes());
        self.drawn = self.drawn.wrapping_add(1);
        xxh3_128(&block)
    }
}
