//! What a lane's instances hold from run to run.

use std::collections::BTreeMap;

use crate::window::Slot;

/// What the instances of a lane hold: for each step, by the name under which it is held.
#[derive(Debug, Default)]
pub struct LaneState {
    pub(super) steps: Vec<BTreeMap<u64, Vec<Source>>>,
    /// For messages that are held: how often, and in which try.
    pub(super) outstanding: BTreeMap<Slot, Outstanding>,
    pub(super) tries: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub(super) holds: u32,
    pub(super) attempt: u64,
}

/// A message of an earlier batch that is still held.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) slot: Slot,
    pub(super) key_hash: u64,
    pub(super) attempt: u64,
    pub(super) place: (Box<str>, u64),
}

impl LaneState {
    /// Nothing is held.
    pub fn new(steps: usize) -> Self {
        Self {
            steps: (0..steps).map(|_| BTreeMap::new()).collect(),
            outstanding: BTreeMap::new(),
            tries: 0,
        }
    }

    /// Whether a step's instance holds something under a name.
    pub fn is_held(&self, step: usize, id: u64) -> bool {
        self.steps
            .get(step)
            .is_some_and(|held| held.contains_key(&id))
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.outstanding.len()
    }

    /// A step's instance is lost: what it held is to run again. Slots and key hashes, oldest first.
    pub fn instance_lost(&mut self, step: usize) -> Vec<(Slot, u64)> {
        let Some(held) = self.steps.get_mut(step) else {
            return Vec::new();
        };
        let mut lost: Vec<(Slot, u64)> = Vec::new();
        for source in std::mem::take(held).into_values().flatten() {
            let is_current = self
                .outstanding
                .get(&source.slot)
                .is_some_and(|known| known.attempt == source.attempt);
            if is_current {
                self.outstanding.remove(&source.slot);
                lost.push((source.slot, source.key_hash));
            }
        }
        lost.sort_unstable();
        lost
    }
}
