//! Many busy shards of one worker take turns: a handler is called with full batches and a checkpoint covers many of them,
//! however many shards there are, and no shard stands still for long.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "whatever goes wrong here fails the test"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shardwright_core::{
    Batch, BatchBounds, Budget, CHECKPOINTS_PER_SPAN, Checkpoint, ColumnsWanted, Consumer,
    ConsumerEffect, ConsumerEvent, ConsumerSettings, HashRange, Instant, Opening, Outcome, Ran,
    RetryPolicy, ShardId, Usage,
};

#[path = "shared/numbered.rs"]
mod numbered;

use numbered::read_after;

/// As a pipeline has them unless its YAML says otherwise.
const LIMITS: Usage = Usage {
    records: 30_000,
    span: 100_000,
    bytes: 64 << 20,
};
/// The most bytes of an answer, twice what one has here.
const ANSWER: u64 = 10 << 20;
const LANES: u16 = 8;
const BATCH: usize = 500;
const READ_TAKES: Duration = Duration::from_millis(10);
/// Batches that run at once.
const CORES: usize = 2;

/// How long things take.
#[derive(Clone, Copy)]
struct Pace {
    batch: Duration,
    message: Duration,
    store: Duration,
}

enum Happens {
    Ran(usize, Box<Batch>),
    Read(usize),
    Stored(usize, Checkpoint),
    Room(usize),
    Due(usize),
}

struct Shard {
    id: ShardId,
    consumer: Consumer,
    asks_for_room: Option<Instant>,
    is_reading: bool,
    /// Messages in an answer.
    answer: u64,
    read_takes: Duration,
    read: u64,
    /// When the last answer came.
    came_at: Instant,
    /// How long after that each batch was done with.
    took: Vec<Duration>,
    /// When it was last done with something.
    moved_at: Instant,
    stood_still: Duration,
}

struct World {
    pace: Pace,
    now: Instant,
    budget: Budget,
    shards: Vec<Shard>,
    /// By when it happens, and in which order it was put down.
    agenda: BTreeMap<(Instant, u64), Happens>,
    put_down: u64,
    waiting: VecDeque<(usize, Box<Batch>)>,
    running: usize,
    batches: u64,
    messages: u64,
    stores: u64,
}

impl World {
    fn new(shards: usize, answer: u64, pace: Pace) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let settings = ConsumerSettings {
            lanes: LANES,
            batch: BatchBounds {
                records: BATCH,
                bytes: 1 << 20,
                wait: Duration::from_millis(20),
            },
            retry: RetryPolicy {
                attempts: 5,
                backoff_min: Duration::from_millis(100),
                backoff_max: Duration::from_secs(10),
                max_age: Duration::from_hours(1),
            },
            opening: Opening {
                deaggregate: None,
                range: HashRange::FULL,
            },
            checkpoint_every: Duration::from_secs(5),
            checkpoint_after: LIMITS.span / CHECKPOINTS_PER_SPAN,
            wanted: ColumnsWanted {
                keys: false,
                sequence_numbers: false,
                sub_sequence_numbers: false,
                arrival_times: false,
            },
            hold_max: Duration::from_hours(1),
            breaker: None,
        };
        let shard = |number| Shard {
            id: ShardId::new(format!("shardId-{number:012}")),
            consumer: Consumer::new(now, settings, Checkpoint::TrimHorizon),
            asks_for_room: None,
            is_reading: false,
            answer,
            read_takes: READ_TAKES,
            read: 0,
            came_at: now,
            took: Vec::new(),
            moved_at: now,
            stood_still: Duration::ZERO,
        };
        Self {
            pace,
            now,
            budget: Budget::new(LIMITS, ANSWER),
            shards: (0..shards).map(shard).collect(),
            agenda: BTreeMap::new(),
            put_down: 0,
            waiting: VecDeque::new(),
            running: 0,
            batches: 0,
            messages: 0,
            stores: 0,
        }
    }

    /// For a while, before whose begin nothing runs: instances are being made.
    fn play(&mut self, lasts: Duration) {
        for index in 0..self.shards.len() {
            self.read(index);
        }
        let begins = self.now + Duration::from_millis(700);
        self.running = CORES;
        self.run_until(begins);
        self.running = 0;
        for shard in &mut self.shards {
            shard.moved_at = begins;
        }
        self.run_batches();
        self.run_until(begins + lasts);
        for shard in &mut self.shards {
            shard.stood_still = shard.stood_still.max(self.now.since(shard.moved_at));
        }
    }

    /// The longest time during which a shard was done with nothing.
    fn stood_still(&self) -> Duration {
        let still = self.shards.iter().map(|shard| shard.stood_still);
        still.max().unwrap_or_default()
    }

    fn after(&mut self, wait: Duration, what: Happens) {
        self.put_down += 1;
        self.agenda.insert((self.now + wait, self.put_down), what);
    }

    fn read(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        if !shard.is_reading && !shard.consumer.wants_room() && self.budget.reserve_read(&shard.id)
        {
            shard.is_reading = true;
            let takes = shard.read_takes;
            self.after(takes, Happens::Read(index));
        }
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(next) = self.agenda.first_entry().filter(|next| next.key().0 <= end) {
            let ((at, _), happens) = next.remove_entry();
            self.now = at;
            match happens {
                Happens::Ran(index, batch) => {
                    self.running -= 1;
                    self.messages += batch.len() as u64;
                    let shard = &mut self.shards[index];
                    shard.stood_still = shard.stood_still.max(at.since(shard.moved_at));
                    shard.moved_at = at;
                    shard.took.push(at.since(shard.came_at));
                    let ran = Ran::Done(Outcome::default());
                    self.handle(index, ConsumerEvent::Ran { batch, ran });
                }
                Happens::Read(index) => {
                    let shard = &mut self.shards[index];
                    shard.is_reading = false;
                    shard.came_at = at;
                    let event = read_after(shard.read, shard.answer);
                    shard.read += shard.answer;
                    let id = shard.id.clone();
                    self.handle(index, event);
                    self.budget.end_read(&id);
                    self.tell();
                }
                Happens::Stored(index, checkpoint) => {
                    self.stores += 1;
                    self.handle(index, ConsumerEvent::Stored(checkpoint));
                }
                Happens::Room(index) => self.handle(index, ConsumerEvent::Tick),
                Happens::Due(index) => {
                    let shard = &self.shards[index];
                    let due = [shard.consumer.next_deadline(), shard.asks_for_room];
                    if due.into_iter().flatten().any(|due| due <= at) {
                        self.handle(index, ConsumerEvent::Tick);
                    }
                }
            }
        }
        self.now = end;
    }

    fn run_batches(&mut self) {
        while self.running < CORES
            && let Some((index, batch)) = self.waiting.pop_front()
        {
            self.running += 1;
            let takes = self.pace.batch + self.pace.message * batch.len() as u32;
            self.after(takes, Happens::Ran(index, batch));
        }
    }

    fn handle(&mut self, index: usize, event: ConsumerEvent) {
        let (now, budget) = (self.now, &mut self.budget);
        let shard = &mut self.shards[index];
        let room = |usage| budget.reserve_room(now, &shard.id, usage);
        let mut effects = Vec::new();
        shard.consumer.handle(now, event, room, 0, &mut effects);
        let (usage, wants_room) = (shard.consumer.usage(), shard.consumer.wants_room());
        shard.asks_for_room = self.budget.settle(now, &shard.id, usage, wants_room);
        let due = shard.consumer.next_deadline().into_iter();
        if let Some(due) = due.chain(shard.asks_for_room).min() {
            self.after(due.since(now), Happens::Due(index));
        }
        for effect in effects {
            match effect {
                ConsumerEffect::Run(batch) => {
                    self.batches += 1;
                    self.waiting.push_back((index, batch));
                }
                ConsumerEffect::Store(delta) => {
                    self.after(self.pace.store, Happens::Stored(index, delta.to));
                }
                other => panic!("{other:?}"),
            }
        }
        self.run_batches();
        self.read(index);
        self.tell();
    }

    fn tell(&mut self) {
        while let Some(shard) = self.budget.next_reader() {
            let told = self.numbered(&shard);
            self.read(told);
        }
        while let Some(shard) = self.budget.next_opener() {
            let told = self.numbered(&shard);
            self.after(Duration::ZERO, Happens::Room(told));
        }
    }

    fn numbered(&self, shard: &ShardId) -> usize {
        let told = self.shards.iter().position(|known| known.id == *shard);
        told.unwrap()
    }
}

/// Each message takes a core for so long.
const fn pace(message: Duration) -> Pace {
    Pace {
        batch: Duration::from_micros(13),
        message,
        store: Duration::from_millis(5),
    }
}

const QUICK: Pace = pace(Duration::from_micros(5));

#[test]
fn batches_and_checkpoints_are_worth_it_however_many_shards_there_are() {
    for (shards, answer, a_store_at_least) in [
        (4, 20_000, 8_000),
        (64, 5_000, 7_000),
        // Answers of a third of the shards are in memory at once: they take turns in reading as well.
        (64, 20_000, 7_000),
        // More turns in a round make each shorter.
        (300, 2_000, 1_500),
    ] {
        let mut world = World::new(shards, answer, QUICK);
        world.play(Duration::from_secs(4));
        let messages_a_batch = world.messages / world.batches;
        let messages_a_store = world.messages / world.stores;
        let stood_still = world.stood_still();
        assert!(
            messages_a_batch >= 200,
            "{shards} shards: {messages_a_batch} a batch"
        );
        assert!(
            messages_a_store >= a_store_at_least,
            "{shards} shards: {messages_a_store} a checkpoint"
        );
        // Some 380,000 messages are done with in a second.
        let round = Duration::from_secs(shards as u64 * answer) / 380_000;
        let at_most = round.max(Duration::from_secs(2));
        assert!(
            stood_still <= at_most,
            "{shards} shards: {stood_still:?} of {at_most:?}"
        );
    }
}

/// Full turns would be long: each shard is given less at a time.
#[test]
fn shards_do_not_wait_for_their_turns_at_a_slow_handler() {
    let mut world = World::new(64, 1_000, pace(Duration::from_millis(1)));
    world.play(Duration::from_mins(2));
    // Two cores take 15 seconds for what may be in flight, whoever has it.
    let stood_still = world.stood_still();
    assert!(stood_still <= Duration::from_secs(20), "{stood_still:?}");
}

/// What arrives at the tip of one shard does not queue behind the backlogs of all the others.
#[test]
fn a_shard_with_little_to_do_goes_on_at_once_beside_busy_ones() {
    let mut world = World::new(64, 5_000, QUICK);
    world.shards[0].answer = 10;
    world.shards[0].read_takes = Duration::from_millis(100);
    world.play(Duration::from_secs(6));
    let took = &mut world.shards[0].took;
    took.sort();
    let (middle, most) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(took.len() > 30, "{}", took.len());
    // What may be in flight before it takes two cores some 80 ms.
    assert!(middle <= Duration::from_millis(150), "{middle:?}");
    assert!(most <= Duration::from_secs(2), "{most:?}");
}
