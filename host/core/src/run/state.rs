//! What a lane's instances hold from run to run.

use std::collections::BTreeMap;

use crate::window::Slot;

/// What the instances of a lane hold: for each step, by the name under which it is held.
#[derive(Debug, Default)]
pub struct LaneState {
    pub(super) steps: Vec<BTreeMap<u64, Held>>,
    /// For messages that are held: how often, and in which try.
    pub(super) outstanding: BTreeMap<Slot, Outstanding>,
    pub(super) tries: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub(super) key_hash: u64,
    pub(super) holds: u32,
    pub(super) attempt: u64,
    pub(super) emitted: Emitted,
    /// Released in a run that has not ended.
    pub(super) is_out: bool,
}

/// How many emissions came of a message, over all the runs of one try.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Emitted {
    /// Of it alone.
    pub(super) alone: u32,
    /// Of it as the first of several.
    pub(super) shared: u32,
}

/// What is held under one name.
#[derive(Debug)]
pub(super) struct Held {
    /// The key under which the step saw it.
    pub(super) key: Box<str>,
    pub(super) sources: Vec<Source>,
}

/// A message of an earlier batch that is still held.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) slot: Slot,
    pub(super) key_hash: u64,
    pub(super) attempt: u64,
    pub(super) place: (Box<str>, u64),
    pub(super) arrival_ms: i64,
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

    /// Whether a step's instance holds anything.
    pub fn holds(&self, step: usize) -> bool {
        self.steps.get(step).is_some_and(|held| !held.is_empty())
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.outstanding.len()
    }

    /// A step's instance is lost: what it held is to run again, and so is what a run that broke off over it had released.
    /// Slots and key hashes, oldest first.
    pub fn instance_lost(&mut self, step: usize) -> Vec<(Slot, u64)> {
        if let Some(held) = self.steps.get_mut(step) {
            held.clear();
        }
        self.lost()
    }

    /// Another generation takes over, with so many steps: what its predecessor's instances hold is to run again, except
    /// where `kept` says that the step keeps its instance. Slots and key hashes, oldest first.
    pub fn take_over(&mut self, steps: usize, kept: impl Fn(usize) -> bool) -> Vec<(Slot, u64)> {
        self.steps.truncate(steps);
        for (step, held) in self.steps.iter_mut().enumerate() {
            if !kept(step) {
                held.clear();
            }
        }
        self.steps.resize_with(steps, BTreeMap::new);
        self.lost()
    }

    /// Messages that nobody will release as often as they are held.
    fn lost(&mut self) -> Vec<(Slot, u64)> {
        let mut left: BTreeMap<(Slot, u64), u32> = BTreeMap::new();
        for source in self
            .steps
            .iter()
            .flat_map(BTreeMap::values)
            .flat_map(|held| &held.sources)
        {
            *left.entry((source.slot, source.attempt)).or_default() += 1;
        }
        let mut lost = Vec::new();
        self.outstanding.retain(|slot, known| {
            let is_whole = !known.is_out && left.get(&(*slot, known.attempt)) == Some(&known.holds);
            if !is_whole {
                lost.push((*slot, known.key_hash));
            }
            is_whole
        });
        lost
    }
}
