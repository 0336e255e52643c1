//! What a message costs in allocations: nothing. A batch costs a few, however large it is.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "whatever goes wrong here fails the test"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use shardwright_core::pipeline::{
    self, DeadLetterTarget, Endpoint, FileTarget, Flow, Handling, KinesisSource, Leases, OnFailure,
    Pace, Pipeline, Place, PluginRef, Poll, Retry, Step, StepLimits,
};
use shardwright_core::{
    AggregateBounds, Aggregator, Batch, BatchBounds, Budget, Checkpoint, ColumnsWanted, Consumer,
    ConsumerEffect, ConsumerEvent, ConsumerSettings, HashRange, InitialPosition, Instant,
    LaneState, Opening, OutsideRange, Ran, Record, Reply, RetryPolicy, Routes, Run, SequenceNumber,
    ShardId, Usage,
};

/// What may be allocated for a batch: the run and its outcome, the effects, and a checkpoint now and then.
const OF_A_BATCH: u64 = 20;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, bytes) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One step without outputs.
fn routes() -> Routes {
    let place = Place {
        region: None,
        endpoint: Endpoint::Local,
    };
    Routes::new(&Pipeline {
        name: "counted".into(),
        tenant: None,
        source: KinesisSource {
            stream: "counted".into(),
            place: place.clone(),
            start: InitialPosition::TrimHorizon,
            poll: Poll {
                interval: Duration::ZERO,
                max_records: 1,
                pace: Pace::Unlimited,
            },
            deaggregate: None,
            leases: Leases {
                table: "counted".into(),
                place,
                failover: Duration::ZERO,
                max_leases: None,
            },
        },
        flow: Flow {
            lanes: 1,
            in_flight_records: 1,
            in_flight_bytes: 1,
            span: 1,
            batch: pipeline::Batch {
                records: 1,
                bytes: 1,
                wait: Duration::ZERO,
            },
            hold: Duration::ZERO,
        },
        handling: Handling::Steps(vec![Step {
            plugin: PluginRef::File(PathBuf::new()),
            config: "{}".into(),
            limits: StepLimits {
                memory: 0,
                time: Duration::ZERO,
                wait: Duration::ZERO,
            },
            outputs: BTreeMap::new(),
        }]),
        sinks: BTreeMap::new(),
        on_failure: OnFailure {
            retry: Retry {
                attempts: 1,
                backoff_min: Duration::ZERO,
                backoff_max: Duration::ZERO,
                max_age: Duration::ZERO,
            },
            breaker: None,
            dead_letter: DeadLetterTarget::File(FileTarget::File(PathBuf::new())),
        },
        checkpoint_every: Duration::ZERO,
    })
}

/// Messages of 100 bytes, in containers or not.
fn payloads(is_aggregated: bool) -> Vec<Bytes> {
    let data = [b'x'; 100];
    if !is_aggregated {
        return vec![Bytes::copy_from_slice(&data); 5_000];
    }
    let bounds = AggregateBounds {
        records: 40,
        ..AggregateBounds::default()
    };
    let mut packer = Aggregator::new(HashRange::FULL, bounds);
    let full =
        (0..=5_000).filter_map(|key| packer.add(&format!("key-{key}"), None, &data).unwrap());
    full.map(|packed| packed.data).collect()
}

/// A shard and what its shell does: each event in turn, batches in the order in which they were given.
struct World {
    shard: ShardId,
    consumer: Consumer,
    budget: Budget,
    batches: VecDeque<Box<Batch>>,
    routes: Routes,
    lanes: Vec<LaneState>,
    effects: Vec<ConsumerEffect>,
    read: u64,
    /// Messages and batches that are done.
    done: (u64, u64),
}

impl World {
    fn new(batch: usize) -> Self {
        let settings = ConsumerSettings {
            lanes: 4,
            batch: BatchBounds {
                records: batch,
                bytes: 1 << 30,
                wait: Duration::ZERO,
            },
            retry: RetryPolicy {
                attempts: 1,
                backoff_min: Duration::ZERO,
                backoff_max: Duration::ZERO,
                max_age: Duration::ZERO,
            },
            opening: Opening {
                deaggregate: Some(OutsideRange::Keep),
                range: HashRange::FULL,
            },
            checkpoint_every: Duration::from_hours(1),
            checkpoint_after: 50_000,
            wanted: ColumnsWanted::ALL,
            hold_max: Duration::from_hours(1),
            breaker: NonZeroU32::new(10),
        };
        let limits = Usage {
            records: 20_000,
            span: 400_000,
            bytes: 1 << 30,
        };
        Self {
            shard: ShardId::new("shardId-000000000000"),
            consumer: Consumer::new(Instant::default(), settings, Checkpoint::TrimHorizon),
            budget: Budget::new(limits, 1),
            batches: VecDeque::new(),
            routes: routes(),
            lanes: (0..4).map(|_| LaneState::new(1)).collect(),
            effects: Vec::new(),
            read: 0,
            done: (0, 0),
        }
    }

    fn tell(&mut self, event: ConsumerEvent) {
        let room = |usage| {
            self.budget
                .reserve_room(Instant::default(), &self.shard, usage)
        };
        self.consumer
            .handle(Instant::default(), event, room, 0, &mut self.effects);
        let (usage, wants_room) = (self.consumer.usage(), self.consumer.wants_room());
        self.budget
            .settle(Instant::default(), &self.shard, usage, wants_room);
        let mut stored = None;
        for effect in self.effects.drain(..) {
            match effect {
                ConsumerEffect::Run(batch) => self.batches.push_back(batch),
                ConsumerEffect::Store(delta) => stored = Some(delta.to),
                other => panic!("{other:?}"),
            }
        }
        if let Some(checkpoint) = stored {
            self.tell(ConsumerEvent::Stored(checkpoint));
        }
    }

    /// Allocations from the moment in which the records are there until all of them are done.
    fn count(&mut self, payloads: &[Bytes]) -> u64 {
        let records: Vec<Record> = payloads
            .iter()
            .map(|data| {
                self.read += 1;
                Record {
                    sequence: SequenceNumber::parse(self.read.to_string()).unwrap(),
                    key: self.read.to_string().into(),
                    data: data.clone(),
                    arrival_ms: 0,
                }
            })
            .collect();
        let before = ALLOCATIONS.get();
        self.tell(ConsumerEvent::Read {
            records,
            end: None,
            millis_behind_latest: 1,
        });
        while let Some(batch) = self.batches.pop_front() {
            self.done.0 += batch.len() as u64;
            self.done.1 += 1;
            let mut run = Run::new(&batch, &mut self.lanes[batch.lane], &self.routes);
            run.check(&Reply::default()).unwrap();
            run.absorb(Ok(Reply::default()));
            let ran = Ran::Done(run.finish());
            self.tell(ConsumerEvent::Ran { batch, ran });
        }
        ALLOCATIONS.get() - before
    }
}

#[test]
fn a_message_costs_no_allocation_and_a_batch_a_few() {
    for is_aggregated in [true, false] {
        for batch in [50, 1_000] {
            let payloads = payloads(is_aggregated);
            let mut world = World::new(batch);
            // Until every buffer has its size.
            for _ in 0..4 {
                world.count(&payloads);
            }
            world.done = (0, 0);
            let counted: u64 = (0..8).map(|_| world.count(&payloads)).sum();
            let (messages, batches) = world.done;
            assert_eq!(messages, 40_000);
            println!(
                "batches of {}: {:.1} allocations a batch, {:.4} a message",
                messages / batches,
                counted as f64 / batches as f64,
                counted as f64 / messages as f64
            );
            assert!(
                counted <= OF_A_BATCH * batches,
                "{counted} allocations for {batches} batches of {messages} messages"
            );
        }
    }
}
