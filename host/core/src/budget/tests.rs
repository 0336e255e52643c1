//! A budget that many shards share.

use proptest::prelude::*;

use super::*;
use crate::entropy::Entropy;

const ANSWER: u64 = 10;

fn shard(number: usize) -> ShardId {
    ShardId::from(format!("shard-{number}"))
}

#[derive(Clone, Default)]
struct Shard {
    usage: Usage,
    is_reading: bool,
    is_waiting: bool,
    reads: u64,
}

struct World {
    budget: Budget,
    limits: Usage,
    shards: Vec<Shard>,
    entropy: Entropy,
}

impl World {
    fn new(seed: u64, shards: usize, limits: Usage) -> Self {
        Self {
            budget: Budget::new(limits, ANSWER),
            limits,
            shards: vec![Shard::default(); shards],
            entropy: Entropy::new(seed.into()),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.entropy.draw() as u64 % bound.max(1)
    }

    fn ask(&mut self, number: usize) -> bool {
        let is_reading = self.shards[number].is_reading;
        let may = self.budget.reserve_read(&shard(number));
        assert!(!(may && is_reading), "two reads of one shard");
        if may {
            self.shards[number].is_reading = true;
            self.shards[number].reads += 1;
        }
        self.shards[number].is_waiting = !may;
        self.check();
        may
    }

    fn answer(&mut self, number: usize, bytes: u64) {
        self.shards[number].is_reading = false;
        self.shards[number].usage.bytes += bytes;
        // As the shell does it: what was read is told, then the reservation is given back.
        self.budget.end_read(&shard(number));
        self.settle(number);
    }

    fn admit(&mut self, number: usize) {
        let room = self.budget.reserve_room(&shard(number));
        let held = self.shards[number].usage;
        assert!(
            held.records > 0 || held.span > 0 || room >= 1,
            "LV: a shard with nothing gets on"
        );
        let admitted = self.below(room + 1);
        self.shards[number].usage.records += admitted;
        self.shards[number].usage.span += admitted;
        self.settle(number);
    }

    fn give_back(&mut self, number: usize, all: bool) {
        let held = self.shards[number].usage;
        let records = if all { 0 } else { self.below(held.records + 1) };
        let usage = Usage {
            records,
            span: if records == 0 {
                0
            } else {
                records + self.below(held.span - records + 1)
            },
            bytes: if all { 0 } else { self.below(held.bytes + 1) },
        };
        self.shards[number].usage = usage;
        self.settle(number);
    }

    fn settle(&mut self, number: usize) {
        self.budget
            .settle(&shard(number), self.shards[number].usage);
        self.check();
    }

    fn check(&self) {
        let total = self.budget.total();
        assert!(total.bytes <= self.limits.bytes, "BP-1: {total:?}");
        // At most one message of each shard beyond a bound, so that every shard gets on.
        let spare = self.shards.len() as u64;
        assert!(
            total.records <= self.limits.records + spare && total.span <= self.limits.span + spare
        );
        let sum = |of: fn(&Usage) -> u64| {
            self.shards
                .iter()
                .map(|shard| of(&shard.usage))
                .sum::<u64>()
        };
        let reserved = self.shards.iter().filter(|shard| shard.is_reading).count() as u64 * ANSWER;
        assert_eq!(total.records, sum(|usage| usage.records));
        assert_eq!(total.span, sum(|usage| usage.span));
        assert_eq!(total.bytes, sum(|usage| usage.bytes) + reserved);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// BP-1; no shard starves; whoever leaves leaves nothing.
    #[test]
    fn shards_share_and_none_starves(
        seed: u64,
        shards in 1_usize..8,
        bytes in ANSWER..6 * ANSWER,
        records in 1_u64..30,
    ) {
        let limits = Usage { records, span: records * 3, bytes };
        let mut world = World::new(seed, shards, limits);
        for _ in 0..200 {
            let number = world.below(shards as u64) as usize;
            match world.below(4) {
                0 => {
                    world.ask(number);
                }
                1 if world.shards[number].is_reading => {
                    let bytes = world.below(ANSWER + 1);
                    world.answer(number, bytes);
                }
                2 => world.admit(number),
                3 => world.give_back(number, false),
                _ => {}
            }
        }
        // From here on everything that was read is done with soon, and every shard keeps asking.
        let before: Vec<u64> = world.shards.iter().map(|shard| shard.reads).collect();
        for _ in 0..2 * shards {
            for number in 0..shards {
                world.ask(number);
            }
            for number in 0..shards {
                if world.shards[number].is_reading {
                    world.answer(number, ANSWER);
                }
                world.give_back(number, true);
            }
        }
        for (number, before) in before.iter().enumerate() {
            prop_assert!(world.shards[number].reads > *before, "shard {} starves", number);
        }
        for number in 0..shards {
            world.budget.leave(&shard(number));
        }
        prop_assert_eq!(world.budget.total(), Usage::default());
    }
}

/// A shard that took more than its share after it began to wait does not keep those behind it from reading.
#[test]
fn an_unfair_shard_at_the_head_is_passed() {
    let limits = Usage {
        records: 10,
        span: 10,
        bytes: 50,
    };
    let mut world = World::new(0, 3, limits);
    assert!(world.ask(0));
    world.answer(0, 10);
    assert!(world.ask(0));
    world.answer(0, 10);
    assert!(world.ask(1));
    assert!(world.ask(2));
    // 10 are free, of which the first with its 20 may take nothing; the others read.
    assert!(!world.ask(0));
    world.answer(1, 0);
    // 20 are free: the first holds as much, and leaves the room to the second.
    assert!(!world.ask(0));
    assert!(world.ask(1));
}
