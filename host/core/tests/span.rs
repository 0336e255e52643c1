//! The bound on what a crash delivers again: messages from the durable checkpoint to the newest one, over all shards.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::vec_box,
    reason = "whatever goes wrong here fails the test, and boxes of batches travel"
)]

use std::time::Duration;

use proptest::prelude::*;
use shardwright_core::{
    Batch, BatchBounds, Budget, Checkpoint, ColumnsWanted, Consumer, ConsumerEffect, ConsumerEvent,
    ConsumerSettings, HashRange, Instant, Opening, Outcome, Position, Ran, RetryPolicy, ShardId,
    Usage,
};

#[path = "shared/numbered.rs"]
mod numbered;

use numbered::read_after;

const RECORDS: u64 = 40;
const SPAN: u64 = 100;
const READ: u64 = 30;

fn settings() -> ConsumerSettings {
    ConsumerSettings {
        lanes: 2,
        batch: BatchBounds {
            records: 10,
            bytes: 1_000,
            wait: Duration::ZERO,
        },
        retry: RetryPolicy {
            attempts: 1,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            max_age: Duration::ZERO,
        },
        opening: Opening {
            deaggregate: None,
            range: HashRange::FULL,
        },
        // Never due by time: what makes a checkpoint due here is the span alone.
        checkpoint_every: Duration::from_hours(1),
        checkpoint_after: SPAN / 8,
        wanted: ColumnsWanted {
            keys: false,
            sequence_numbers: false,
            sub_sequence_numbers: false,
            arrival_times: false,
        },
        hold_max: Duration::from_hours(1),
        breaker: None,
    }
}

/// A shard in a worker, and what its shell would have under way.
struct Shard {
    id: ShardId,
    consumer: Consumer,
    batches: Vec<Box<Batch>>,
    store: Option<Checkpoint>,
    read: u64,
    stored: u64,
}

struct World {
    budget: Budget,
    shards: Vec<Shard>,
}

impl World {
    fn new(shards: usize) -> Self {
        let limits = Usage {
            records: RECORDS,
            span: SPAN,
            bytes: u64::MAX / 2,
        };
        let shard = |number| Shard {
            id: ShardId::new(format!("shardId-{number:012}")),
            consumer: Consumer::new(Instant::default(), settings(), Checkpoint::TrimHorizon),
            batches: Vec::new(),
            store: None,
            read: 0,
            stored: 0,
        };
        Self {
            budget: Budget::new(limits, 1_000),
            shards: (0..shards).map(shard).collect(),
        }
    }

    fn handle(&mut self, index: usize, event: ConsumerEvent) {
        let shard = &mut self.shards[index];
        let budget = &mut self.budget;
        let room = |usage| budget.reserve_room(Instant::default(), &shard.id, usage);
        let mut effects = Vec::new();
        shard
            .consumer
            .handle(Instant::default(), event, room, 0, &mut effects);
        let (usage, wants_room) = (shard.consumer.usage(), shard.consumer.wants_room());
        self.budget
            .settle(Instant::default(), &shard.id, usage, wants_room);
        for effect in effects {
            match effect {
                ConsumerEffect::Run(batch) => shard.batches.push(batch),
                ConsumerEffect::Store(delta) => shard.store = Some(delta.to),
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        let event = read_after(shard.read, READ);
        shard.read += READ;
        self.handle(index, event);
    }

    /// Lets one of the batches that are out come back with everything acked; whether there was one.
    fn run(&mut self, index: usize, which: usize) -> bool {
        let batches = &mut self.shards[index].batches;
        if batches.is_empty() {
            return false;
        }
        let batch = batches.swap_remove(which % batches.len());
        let ran = Ran::Done(Outcome::default());
        self.handle(index, ConsumerEvent::Ran { batch, ran });
        true
    }

    /// Lets the checkpoint that is out become durable; whether there was one.
    fn store(&mut self, index: usize) -> bool {
        let shard = &mut self.shards[index];
        let Some(checkpoint) = shard.store.take() else {
            return false;
        };
        let Checkpoint::At(Position { sequence, .. }) = &checkpoint else {
            panic!("{checkpoint:?}");
        };
        shard.stored = sequence.to_string().parse().unwrap();
        self.handle(index, ConsumerEvent::Stored(checkpoint));
        true
    }

    /// What a crash at this moment would deliver again at most.
    fn again(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.consumer.intake().admitted - shard.stored)
            .sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Run(usize, usize),
    Store(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let shard = 0..4_usize;
    prop_oneof![
        2 => shard.clone().prop_map(Step::Read),
        6 => (shard.clone(), any::<usize>()).prop_map(|(shard, which)| Step::Run(shard, which)),
        1 => shard.prop_map(Step::Store),
    ]
}

proptest! {
    /// Whatever comes when, a crash delivers at most the span again, and one more for each shard that had nothing; and no
    /// pipeline stands still over it, though no checkpoint is ever due by time.
    #[test]
    fn a_crash_delivers_at_most_the_span_again(
        shards in 1..=4_usize,
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut world = World::new(shards);
        for step in steps {
            match step {
                // A shell reads no more while records wait for room.
                Step::Read(shard) if !world.shards[shard % shards].consumer.wants_room() => world.read(shard % shards),
                Step::Read(_) => {}
                Step::Run(shard, which) => { world.run(shard % shards, which); }
                Step::Store(shard) => { world.store(shard % shards); }
            }
            prop_assert!(world.again() <= SPAN + shards as u64, "{}", world.again());
        }
        loop {
            let mut is_moving = false;
            for shard in 0..shards {
                is_moving |= world.run(shard, 0) | world.store(shard);
                prop_assert!(world.again() <= SPAN + shards as u64, "{}", world.again());
            }
            while let Some(next) = world.budget.next_opener() {
                let shard = world.shards.iter().position(|shard| shard.id == next).unwrap();
                world.handle(shard, ConsumerEvent::Tick);
                is_moving = true;
                prop_assert!(world.again() <= SPAN + shards as u64, "{}", world.again());
            }
            if !is_moving {
                break;
            }
        }
        for shard in &world.shards {
            prop_assert_eq!(shard.consumer.intake().admitted, shard.read, "it stands still");
            prop_assert_eq!(shard.consumer.status().resolved, shard.read);
        }
    }
}
