//! What instances hold, and how they let it go.

use std::collections::BTreeMap;

use super::super::super::*;
use super::{Held, World, cause};

impl World {
    /// Some of what a lane's instances hold is settled, one way or another.
    pub(super) fn release(&mut self, lane: usize, odds: u64) -> Vec<(Slot, u64, Option<Verdict>)> {
        let slots: Vec<Slot> = self
            .held
            .iter()
            .filter(|(_, held)| held.lane == lane)
            .map(|(slot, _)| *slot)
            .collect();
        let mut released = Vec::new();
        for slot in slots {
            if self.odds.keeps || !self.percent(odds) {
                continue;
            }
            let held = self.held.remove(&slot).unwrap();
            let verdict = match self.below(8) {
                0 => Some(Verdict::Retry {
                    after: None,
                    cause: cause("retry"),
                }),
                1 => Some(Verdict::Reject(cause("reject"))),
                2 => Some(Verdict::Again),
                _ => {
                    self.resolve(held.position);
                    None
                }
            };
            released.push((slot, held.key_hash, verdict));
        }
        released
    }

    pub(super) fn lose(&mut self, lane: usize) -> Vec<(Slot, u64)> {
        let held = std::mem::take(&mut self.held);
        let (lost, kept) = held.into_iter().partition(|(_, held)| held.lane == lane);
        self.held = kept;
        let lost: BTreeMap<Slot, Held> = lost;
        lost.into_iter()
            .map(|(slot, held)| (slot, held.key_hash))
            .collect()
    }
}
