//! Generations under random histories: answers come late and in any order, and new ones are wanted meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::entropy::Entropy;

/// The lanes of a shard as its shell has them, and what it owes.
struct Shard {
    machine: Generations,
    lanes: Vec<u64>,
    wanted: u64,
    lanes_of: BTreeMap<u64, u16>,
    making: BTreeSet<usize>,
    swapping: BTreeSet<usize>,
    relaning: Option<u64>,
    finishing: BTreeSet<u64>,
    begun: BTreeSet<u64>,
    retired: BTreeSet<u64>,
    settled: u64,
}

impl Shard {
    fn new(lanes: u16) -> Self {
        Self {
            machine: Generations::new(1, lanes),
            lanes: vec![1; lanes.into()],
            wanted: 1,
            lanes_of: BTreeMap::from([(1, lanes)]),
            making: BTreeSet::new(),
            swapping: BTreeSet::new(),
            relaning: None,
            finishing: BTreeSet::new(),
            begun: BTreeSet::from([1]),
            retired: BTreeSet::new(),
            settled: 1,
        }
    }

    fn handle(&mut self, event: GenerationEvent) {
        let mut effects = Vec::new();
        self.machine.handle(event, &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
        for (lane, number) in self.lanes.iter().enumerate() {
            assert!(!self.retired.contains(number), "{number} is gone");
            assert_eq!(self.machine.of_lane(lane), *number);
        }
        let used: BTreeSet<u64> = self.lanes.iter().copied().collect();
        assert!(used.len() <= 2, "lanes of {used:?}");
        let in_use: BTreeSet<u64> = self.machine.in_use().collect();
        let expected: BTreeSet<u64> = self.begun.difference(&self.retired).copied().collect();
        assert_eq!(
            in_use, expected,
            "what was delivered under one of them is made durable"
        );
    }

    fn carry_out(&mut self, effect: GenerationEffect) {
        match effect {
            GenerationEffect::Begin { number } => {
                assert!(self.begun.last().is_none_or(|last| *last < number));
                assert!(self.lanes.iter().all(|lane| *lane == self.settled));
                self.begun.insert(number);
                if usize::from(self.lanes_of[&number]) != self.lanes.len() {
                    self.relaning = Some(number);
                }
            }
            GenerationEffect::Make { lane, number } => {
                assert_eq!(Some(&number), self.begun.last());
                assert!(self.relaning.is_none() && lane < self.lanes.len());
                assert!(self.making.insert(lane), "made twice at once");
            }
            GenerationEffect::Swap { lane, number } => {
                assert!(self.lanes[lane] < number, "a lane never goes back");
                assert!(!self.making.contains(&lane) && self.swapping.insert(lane));
            }
            GenerationEffect::Settled { number } => {
                assert!(self.lanes.iter().all(|lane| *lane == number));
                self.settled = number;
            }
            GenerationEffect::Finish { number } => {
                assert!(!self.lanes.contains(&number), "{number} has lanes");
                assert!(self.finishing.insert(number));
            }
            GenerationEffect::Retire { number } => {
                assert!(!self.lanes.contains(&number) && !self.finishing.contains(&number));
                assert!(self.retired.insert(number), "retired twice");
            }
        }
    }

    fn want(&mut self, lanes: u16) {
        self.wanted += 1;
        let number = self.wanted;
        self.lanes_of.insert(number, lanes);
        self.handle(GenerationEvent::Wanted { number, lanes });
    }

    /// Answers one thing that is owed; false if there is none.
    fn answer(&mut self, random: usize) -> bool {
        let owed = self.making.len()
            + self.swapping.len()
            + self.finishing.len()
            + usize::from(self.relaning.is_some());
        if owed == 0 {
            return false;
        }
        let chosen = random % owed;
        let (making, swapping) = (self.making.len(), self.swapping.len());
        if chosen < making {
            let lane = *self.making.iter().nth(chosen).unwrap();
            self.making.remove(&lane);
            self.handle(GenerationEvent::Made { lane });
        } else if chosen < making + swapping {
            let lane = *self.swapping.iter().nth(chosen - making).unwrap();
            self.swapping.remove(&lane);
            self.lanes[lane] = *self.begun.last().unwrap();
            self.handle(GenerationEvent::Swapped { lane });
        } else if chosen < making + swapping + self.finishing.len() {
            let number = *self.finishing.first().unwrap();
            self.finishing.remove(&number);
            self.handle(GenerationEvent::Finished { number });
        } else {
            let number = self.relaning.take().unwrap();
            self.lanes = vec![number; self.lanes_of[&number].into()];
            self.handle(GenerationEvent::Relaned);
        }
        true
    }
}

proptest! {
    /// Lanes of at most two generations at once, none ever goes back, and in the end all are in the newest and every
    /// other one is retired, once.
    #[test]
    fn every_lane_comes_to_the_newest_generation(seed: u64, lanes in 1_u16..5, turns in 0_usize..200) {
        let mut entropy = Entropy::new(seed.into());
        let mut draw = move |bound: u64| (entropy.draw() as u64 % bound) as usize;
        let mut shard = Shard::new(lanes);
        for _ in 0..turns {
            match draw(10) {
                0 => {
                    let lanes = if draw(4) == 0 { 1 + draw(4) as u16 } else { shard.lanes.len() as u16 };
                    shard.want(lanes);
                }
                1 => {
                    // What nobody waits for changes nothing.
                    let number = draw(shard.wanted) as u64;
                    shard.handle(GenerationEvent::Wanted { number, lanes: 3 });
                }
                _ => {
                    shard.answer(draw(1_000));
                }
            }
        }
        while shard.answer(draw(1_000)) {}
        prop_assert_eq!(shard.settled, shard.wanted);
        let mut others = shard.begun.clone();
        others.remove(&shard.wanted);
        prop_assert_eq!(shard.retired, others);
    }
}
