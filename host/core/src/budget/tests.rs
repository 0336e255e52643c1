//! A budget that many shards share.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::entropy::Entropy;
use crate::limits::LONG_PATIENCE;

const ANSWER: u64 = 10;

fn shard(number: usize) -> ShardId {
    ShardId::from(format!("shard-{number}"))
}

#[derive(Clone, Default)]
struct Shard {
    usage: Usage,
    is_reading: bool,
    /// It was refused a read.
    waits_to_read: bool,
    /// It was told that it may ask again.
    may_read: bool,
    /// Records of it wait to be opened.
    unopened: u64,
    may_open: bool,
    /// When it asks again by itself.
    asks_again: Option<Instant>,
    waits_since: Option<Instant>,
    reads: u64,
}

struct World {
    budget: Budget,
    limits: Usage,
    shards: Vec<Shard>,
    now: Instant,
    entropy: Entropy,
}

impl World {
    fn new(seed: u64, shards: usize, limits: Usage) -> Self {
        Self {
            budget: Budget::new(limits, ANSWER),
            limits,
            shards: vec![Shard::default(); shards],
            now: Instant::default(),
            entropy: Entropy::new(seed.into()),
        }
    }

    /// Shards with records without end, of which 16,000 may be in flight; each has asked once.
    fn busy(shards: usize, span: u64) -> Self {
        let limits = Usage {
            records: 16_000,
            span,
            bytes: 50,
        };
        let mut world = Self::new(0, shards, limits);
        for number in 0..shards {
            world.shards[number].unopened = 100_000_000;
            world.open(number);
        }
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.entropy.draw() as u64 % bound.max(1)
    }

    fn ask(&mut self, number: usize) -> bool {
        let may = self.budget.reserve_read(&shard(number));
        let known = &mut self.shards[number];
        assert!(!(may && known.is_reading), "two reads of one shard");
        known.is_reading |= may;
        known.waits_to_read = !may;
        known.may_read = false;
        self.tell();
        assert!(
            may || !self.shards[number].may_read,
            "it is refused and told at once"
        );
        may
    }

    fn answer(&mut self, number: usize, bytes: u64) {
        self.shards[number].is_reading = false;
        self.shards[number].usage.bytes += bytes;
        // As the shell does it: what was read is told, then the reservation is given back.
        self.budget.end_read(&shard(number));
        self.settle(number);
    }

    /// Opens as much as there is room for of what waits.
    fn open(&mut self, number: usize) {
        let known = &mut self.shards[number];
        known.may_open = false;
        if known.unopened > 0 {
            let since = *known.waits_since.get_or_insert(self.now);
            let has_waited = since + LONG_PATIENCE <= self.now;
            let room = match self
                .budget
                .reserve_room(self.now, &shard(number), known.usage)
            {
                Grant::Room(room) => room,
                _ => 0,
            };
            assert!(
                known.usage.records > 0 || known.usage.span > 0 || room >= 1 || !has_waited,
                "LV: a shard with nothing that has waited gets on"
            );
            if room > 0 {
                known.waits_since = None;
            }
            let admitted = room.min(known.unopened);
            known.unopened -= admitted;
            known.usage.records += admitted;
            known.usage.span += admitted;
        }
        self.settle(number);
    }

    fn finish_one(&mut self, number: usize) {
        self.shards[number].usage.records -= 1;
        self.shards[number].usage.span -= 1;
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
        self.open(number);
    }

    fn settle(&mut self, number: usize) {
        let Shard {
            usage, unopened, ..
        } = self.shards[number];
        self.shards[number].asks_again =
            self.budget
                .settle(self.now, &shard(number), usage, unopened > 0);
        self.tell();
    }

    /// Whoever may go on is told, once.
    fn tell(&mut self) {
        self.check();
        while let Some(next) = self.budget.next_reader() {
            let known = self.numbered(&next);
            assert!(known.waits_to_read && !known.may_read, "it waits");
            known.may_read = true;
        }
        while let Some(next) = self.budget.next_opener() {
            let known = self.numbered(&next);
            assert!(known.unopened > 0, "it waits");
            known.may_open = true;
        }
    }

    fn numbered(&mut self, id: &ShardId) -> &mut Shard {
        let number = (0..self.shards.len()).find(|number| shard(*number) == *id);
        &mut self.shards[number.expect("it is one of them")]
    }

    /// Those that were told go on, until nobody is told any more.
    fn go_on(&mut self) {
        while let Some(number) = self
            .shards
            .iter()
            .position(|shard| shard.may_read || shard.may_open)
        {
            if self.shards[number].may_read {
                self.ask(number);
            }
            if self.shards[number].may_open {
                self.open(number);
            }
        }
    }

    /// Time passes, and whoever waits and was told of nothing asks when it is to.
    fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        for number in 0..self.shards.len() {
            if self.shards[number]
                .asks_again
                .is_some_and(|at| at <= self.now)
            {
                self.open(number);
            }
        }
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

    /// BP-1; nobody who waits is forgotten, no shard starves; whoever leaves leaves nothing.
    #[test]
    fn shards_share_and_none_starves(
        seed: u64,
        shards in 1_usize..8,
        bytes in ANSWER..6 * ANSWER,
        records in 1_u64..200,
    ) {
        let limits = Usage { records, span: records * 3, bytes };
        let mut world = World::new(seed, shards, limits);
        for _ in 0..200 {
            let number = world.below(shards as u64) as usize;
            match world.below(7) {
                0 => {
                    world.ask(number);
                }
                1 if world.shards[number].is_reading => {
                    let bytes = world.below(ANSWER + 1);
                    world.shards[number].unopened += bytes;
                    world.answer(number, bytes);
                }
                2 => world.open(number),
                3 => world.give_back(number, false),
                4 if world.shards[number].may_read => {
                    world.ask(number);
                }
                5 if world.shards[number].may_open => world.open(number),
                6 => {
                    let millis = world.below(2_000);
                    world.wait(millis);
                }
                _ => {}
            }
        }
        // From here on everything that was read is done with soon, and a shard asks to read unless it waits for its turn.
        let before: Vec<u64> = world.shards.iter().map(|shard| shard.reads).collect();
        for _ in 0..40 * shards {
            for number in 0..shards {
                if world.shards[number].is_reading {
                    world.shards[number].reads += 1;
                    world.shards[number].unopened += ANSWER;
                    world.answer(number, ANSWER);
                }
                world.give_back(number, true);
                world.go_on();
                world.wait(50);
                if !world.shards[number].is_reading && !world.shards[number].waits_to_read {
                    world.ask(number);
                }
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

    /// Shards that only wait go on when others are done with something, told or by themselves: nothing is left over.
    #[test]
    fn what_waits_for_room_is_opened(
        unopened in prop::collection::vec(0_u64..1_000, 1..8),
        records in 1_u64..400,
    ) {
        let limits = Usage { records, span: records, bytes: ANSWER };
        let mut world = World::new(0, unopened.len(), limits);
        for (shard, unopened) in world.shards.iter_mut().zip(&unopened) {
            shard.unopened = *unopened;
        }
        for number in 0..unopened.len() {
            world.open(number);
        }
        let mut is_moving = true;
        while std::mem::take(&mut is_moving) {
            for number in 0..unopened.len() {
                is_moving |= world.shards[number].usage.records > 0;
                is_moving |= world.shards[number].asks_again.is_some();
                world.give_back(number, true);
                world.go_on();
                world.wait(100);
            }
        }
        for shard in &world.shards {
            prop_assert_eq!(shard.unopened, 0);
        }
    }

    /// A shard that stops while it was told leaves its turn to those behind it.
    #[test]
    fn whoever_stops_leaves_its_turn(order in Just(vec![1_usize, 2, 3]).prop_shuffle()) {
        let limits = Usage { records: 10, span: 10, bytes: ANSWER };
        let mut world = World::new(0, 4, limits);
        prop_assert!(world.ask(0));
        for &number in &order {
            world.shards[number].unopened = 5;
            prop_assert!(!world.ask(number));
        }
        world.answer(0, 0);
        for (index, &number) in order.iter().enumerate() {
            prop_assert!(world.shards[number].may_read);
            world.budget.stop(&shard(number));
            world.shards[number].waits_to_read = false;
            world.tell();
            let others = &order[index + 1..];
            let told: Vec<_> = others.iter().filter(|other| world.shards[**other].may_read).collect();
            prop_assert_eq!(told.len(), others.len().min(1));
        }
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

/// Many busy shards take turns: each is given room for full batches, or waits.
#[test]
fn room_is_given_in_parts_that_are_worth_it() {
    let mut world = World::busy(64, 100_000);
    let mut turns = vec![0; 64];
    for step in 0..256_000 {
        let number = step % 64;
        let shard = &mut world.shards[number];
        let done = shard.usage.records.min(100);
        shard.usage.records -= done;
        shard.usage.span -= done;
        let before = shard.usage.records;
        world.open(number);
        while let Some(told) = world.shards.iter().position(|shard| shard.may_open) {
            let before = world.shards[told].usage.records;
            world.open(told);
            let given = world.shards[told].usage.records - before;
            assert!(given == 0 || given >= 1_000, "{given}");
            turns[told] += usize::from(given > 0);
        }
        let given = world.shards[number].usage.records.saturating_sub(before);
        assert!(given == 0 || given >= 1_000, "{given}");
    }
    // A turn is six such parts at most.
    let (fewest, most) = (turns.iter().min(), turns.iter().max());
    assert!(
        fewest
            .zip(most)
            .is_some_and(|(fewest, most)| *fewest >= 36 && most - fewest <= 6),
        "{turns:?}"
    );
}

/// While little comes free, nobody waits for a part that is worth it: a shard takes what there is, unless it is a trifle
/// beside what it holds.
#[test]
fn nobody_waits_for_a_turn_while_turns_would_be_long() {
    let mut world = World::busy(30, 100_000);
    world.finish_one(0);
    world.open(0);
    world.wait(249);
    world.go_on();
    assert_eq!(world.shards[29].usage.records, 0);
    world.wait(1);
    world.go_on();
    assert!(world.shards.iter().all(|shard| shard.usage.records > 0));
    // The first is done with one message after the other, and wants no more.
    world.shards[0].unopened = 0;
    let mut wakes = 0;
    for _ in 0..1_000 {
        world.finish_one(0);
        world.settle(0);
        while let Some(told) = world.shards.iter().position(|shard| shard.may_open) {
            wakes += 1;
            let held = world.shards[told].usage.records;
            world.open(told);
            let given = world.shards[told].usage.records - held;
            assert!(given > 0 && given >= held / 8, "{given} to {held}");
        }
    }
    assert!(wakes > 0);
}

/// A shard of which a part does not get done needs more room than the others for its turn, and they take it first. It is not
/// kept waiting for ever.
#[test]
fn a_shard_that_holds_something_for_long_goes_on_beside_the_others() {
    let mut world = World::busy(20, 1_000_000);
    let mut went_on = 0;
    // A part comes free every 20 ms, which is taken at once, for half a minute.
    for step in 0..30_000 {
        world.wait(1);
        let number = 1 + step % 19;
        let usage = &mut world.shards[number].usage;
        usage.records = usage.records.saturating_sub(1_500);
        usage.span = usage.records;
        world.open(number);
        world.go_on();
        // Of what this one holds, 900 stay.
        world.shards[0].usage.records = 900;
        world.open(0);
        went_on += u64::from(world.shards[0].usage.records > 900);
    }
    assert!(went_on >= 6, "{went_on}");
}
