//! A shard, a runtime that answers when it likes, and what has become of every user record.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::aggregate::{AggregateBounds, Aggregator};
use crate::breaker::StepSet;
use crate::deaggregate::OutsideRange;
use crate::entropy::Entropy;
use crate::lanes::Cause;
use crate::position::SequenceNumber;
use crate::record::Record;
use crate::run::Outcome;
use crate::shard::HashRange;

mod checks;
mod holds;

const RETRY: RetryPolicy = RetryPolicy {
    attempts: 3,
    backoff_min: Duration::from_millis(50),
    backoff_max: Duration::from_secs(1),
    max_age: Duration::from_hours(1),
};

/// Short enough to run out now and then.
const HOLD_MAX: Duration = Duration::from_millis(400);

/// More turns than any life here needs: one that takes longer is stuck.
const TURNS_MAX: u32 = 20_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    pub(super) retry: u64,
    pub(super) reject: u64,
    pub(super) hold: u64,
    pub(super) crash: u64,
    /// What is held is never released.
    pub(super) keeps: bool,
    /// User records that may be admitted at a time; a consumer that holds none may always admit one.
    pub(super) room: u64,
    /// Other settings come, in so many of a thousand turns.
    pub(super) reconfigure: u64,
    /// So many different messages must have failed until the shard is paused.
    pub(super) breaker: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Drained,
    Ended,
    /// The process died.
    Died,
}

/// What the runtime owes an answer for.
enum Pending {
    Run(Box<Batch>),
    Flush(usize),
    TakeBack(usize),
    Bury(Vec<(Slot, Position)>),
    Store(Checkpoint),
    Relane(u16),
}

struct Held {
    key_hash: u64,
    position: Position,
    lane: usize,
}

pub(super) struct World {
    entropy: Entropy,
    odds: Odds,
    /// Lanes that there are, and that there will be.
    lanes: u16,
    lanes_wanted: u16,
    batch_records: usize,
    records: Vec<Record>,
    payloads: BTreeMap<Position, String>,
    /// How often each was acked or buried.
    resolved: BTreeMap<Position, u32>,
    stored: Checkpoint,
    ended: bool,
    now: Instant,
    // What follows belongs to one life.
    pending: Vec<Pending>,
    held: BTreeMap<Slot, Held>,
    requested: Checkpoint,
    begun: BTreeSet<Position>,
    done: BTreeSet<Position>,
    read: usize,
    over: Option<Over>,
    /// It was drained while a step failed everything.
    was_paused: bool,
    buried: u32,
}

fn sequence(number: usize) -> SequenceNumber {
    SequenceNumber::parse(number.to_string()).unwrap()
}

fn position(sequence: &str, sub_sequence: u64) -> Position {
    Position {
        sequence: SequenceNumber::parse(sequence).unwrap(),
        sub_sequence,
    }
}

impl World {
    pub(super) fn new(seed: u64, records: usize, lanes: u16, odds: Odds) -> Self {
        let mut world = Self {
            entropy: Entropy::new(seed.into()),
            odds,
            lanes,
            lanes_wanted: lanes,
            batch_records: 6,
            records: Vec::new(),
            payloads: BTreeMap::new(),
            resolved: BTreeMap::new(),
            stored: Checkpoint::TrimHorizon,
            ended: false,
            now: Instant::default(),
            pending: Vec::new(),
            held: BTreeMap::new(),
            requested: Checkpoint::TrimHorizon,
            begun: BTreeSet::new(),
            done: BTreeSet::new(),
            read: 0,
            over: None,
            was_paused: false,
            buried: 0,
        };
        for number in 1..=records {
            world.produce(number);
        }
        world
    }

    fn produce(&mut self, number: usize) {
        let mut aggregator = Aggregator::new(HashRange::FULL, AggregateBounds::default());
        for sub in 0..=self.below(5) {
            let key = format!("key-{}", self.below(5));
            let data = format!("{number}/{sub}");
            aggregator.add(&key, None, data.as_bytes()).unwrap();
            self.payloads
                .insert(position(&number.to_string(), sub), data);
        }
        let packed = aggregator.finish().unwrap();
        self.records.push(Record {
            sequence: sequence(number),
            key: packed.key.into(),
            data: packed.data,
            arrival_ms: 0,
        });
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.entropy.draw() as u64 % bound.max(1)
    }

    fn percent(&mut self, odds: u64) -> bool {
        self.below(100) < odds
    }

    /// One life of a worker: after so many turns it is told to stop, or dies.
    pub(super) fn live(&mut self, turns: u32, is_graceful: bool) -> Over {
        self.pending.clear();
        self.held.clear();
        self.begun.clear();
        self.requested = self.stored.clone();
        self.over = None;
        let first = self
            .stored
            .position()
            .map(|position| position.sequence.clone());
        self.done = self
            .payloads
            .keys()
            .filter(|position| Checkpoint::At((*position).clone()) <= self.stored)
            .cloned()
            .collect();
        self.read = self
            .records
            .iter()
            .take_while(|record| first.as_ref().is_some_and(|first| record.sequence < *first))
            .count();
        self.lanes = self.lanes_wanted;
        let settings = self.settings();
        let mut consumer = Consumer::new(self.now, settings, self.stored.clone());
        let mut is_stopping = false;
        for turn in 0..TURNS_MAX {
            if !is_stopping && turn >= turns {
                if !is_graceful {
                    return Over::Died;
                }
                is_stopping = true;
                self.handle(&mut consumer, ConsumerEvent::Drain);
            }
            if self.over.is_none() {
                self.turn(&mut consumer, is_stopping);
            }
            if let Some(over) = self.over {
                return over;
            }
        }
        panic!("LV-1: it never ends: {consumer:?}");
    }

    fn settings(&self) -> ConsumerSettings {
        ConsumerSettings {
            lanes: self.lanes_wanted,
            batch: BatchBounds {
                records: self.batch_records,
                bytes: 1000,
                wait: Duration::from_millis(100),
            },
            retry: RETRY,
            opening: Opening {
                deaggregate: Some(OutsideRange::Keep),
                range: HashRange::FULL,
            },
            checkpoint_every: Duration::from_millis(300),
            checkpoint_after: 20,
            wanted: ColumnsWanted::ALL,
            hold_max: HOLD_MAX,
            breaker: self.odds.breaker.and_then(NonZeroU32::new),
        }
    }

    fn reconfigure(&mut self, consumer: &mut Consumer) {
        self.lanes_wanted = 1 + self.below(4) as u16;
        self.batch_records = 1 + self.below(8) as usize;
        let settings = self.settings();
        self.handle(consumer, ConsumerEvent::Reconfigure(settings));
    }

    fn turn(&mut self, consumer: &mut Consumer, is_stopping: bool) {
        if self.below(1000) < self.odds.reconfigure {
            self.reconfigure(consumer);
            if self.over.is_some() {
                return;
            }
        }
        let can_read = !is_stopping && self.read <= self.records.len();
        match self.below(10) {
            0..=2 if can_read => self.read_some(consumer),
            0..=8 if !self.pending.is_empty() => {
                let chosen = self.below(self.pending.len() as u64) as usize;
                let pending = self.pending.swap_remove(chosen);
                self.answer(consumer, pending);
            }
            9 => {
                self.now = self.now + Duration::from_millis(self.entropy.draw() as u64 % 40);
                if let Some(held) = self.held.values().next() {
                    // A lane that gets nothing flushes by itself.
                    let lane = held.lane;
                    self.flushed(consumer, lane, false);
                } else {
                    self.handle(consumer, ConsumerEvent::Tick);
                }
            }
            _ if self.pending.is_empty() && !can_read => {
                // Nothing else will happen: a deadline or room must.
                if let Some(at) = consumer.next_deadline() {
                    self.now = self.now.max(at);
                } else {
                    assert!(consumer.wants_room(), "LV-1: nothing is due: {consumer:?}");
                }
                self.handle(consumer, ConsumerEvent::Tick);
            }
            _ => {}
        }
    }

    fn read_some(&mut self, consumer: &mut Consumer) {
        // An iterator that expired may bring some again.
        let from = if self.percent(10) {
            self.read.saturating_sub(2)
        } else {
            self.read
        };
        let count = 1 + self.below(6) as usize;
        let records: Vec<Record> = self
            .records
            .iter()
            .skip(from)
            .take(count)
            .cloned()
            .collect();
        let to = from + records.len();
        let is_last = to == self.records.len() && self.percent(50);
        self.read = if is_last {
            self.records.len() + 1
        } else {
            to.max(self.read)
        };
        let event = ConsumerEvent::Read {
            records,
            end: is_last.then(Vec::new),
            millis_behind_latest: 0,
        };
        self.handle(consumer, event);
    }

    fn answer(&mut self, consumer: &mut Consumer, pending: Pending) {
        match pending {
            Pending::Run(batch) => self.ran(consumer, batch),
            Pending::Flush(lane) => self.flushed(consumer, lane, true),
            Pending::TakeBack(lane) => {
                let lost = self.lose(lane);
                self.handle(consumer, ConsumerEvent::GivenBack { lane, lost });
            }
            Pending::Bury(dead) => {
                let slots = dead.iter().map(|(slot, _)| *slot).collect();
                for (_, position) in dead {
                    self.buried += 1;
                    self.resolve(position);
                }
                self.handle(consumer, ConsumerEvent::Buried(slots));
            }
            Pending::Store(checkpoint) => {
                assert!(self.stored < checkpoint, "CP-2");
                self.stored = checkpoint.clone();
                self.handle(consumer, ConsumerEvent::Stored(checkpoint));
            }
            Pending::Relane(lanes) => {
                // A lane does one thing after the other.
                let (asked, left) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|pending| matches!(pending, Pending::TakeBack(_)));
                self.pending = left;
                let asked: Vec<Pending> = asked;
                for pending in asked {
                    self.answer(consumer, pending);
                }
                for lane in 0..usize::from(self.lanes) {
                    let released = self.release(lane, 50);
                    let lost = self.lose(lane);
                    self.tell_flushed(consumer, false, released, lost);
                }
                self.lanes = lanes;
                self.handle(consumer, ConsumerEvent::Relaned(lanes));
            }
        }
    }

    fn resolve(&mut self, position: Position) {
        assert!(
            self.done.insert(position.clone()),
            "{position} is resolved twice in one life"
        );
        *self.resolved.entry(position).or_default() += 1;
    }

    fn ran(&mut self, consumer: &mut Consumer, batch: Box<Batch>) {
        if self.percent(self.odds.crash) {
            let lost = self.lose(batch.lane);
            let cause = cause("trap");
            let ran = Ran::Crashed { cause, lost };
            self.handle(consumer, ConsumerEvent::Ran { batch, ran });
            return;
        }
        let mut verdicts = Vec::new();
        let mut retried = BTreeSet::new();
        for index in 0..batch.len() {
            let key = batch.key_hashes[index];
            let (sequence, sub) = batch.place(index);
            let position = position(sequence, sub);
            let verdict = if retried.contains(&key) {
                Some(Verdict::Again)
            } else if self.percent(self.odds.retry) {
                retried.insert(key);
                Some(Verdict::Retry {
                    after: None,
                    cause: cause("retry"),
                })
            } else if self.percent(self.odds.reject) {
                Some(Verdict::Reject(cause("reject")))
            } else if self.percent(self.odds.hold) {
                let held = Held {
                    key_hash: key,
                    position,
                    lane: batch.lane,
                };
                self.held.insert(batch.slots[index], held);
                Some(Verdict::Held)
            } else {
                self.resolve(position);
                None
            };
            verdicts.extend(verdict.map(|verdict| (index, verdict)));
        }
        let mut answered = StepSet::default();
        let is_no_answer = |(_, verdict): &&(usize, Verdict)| {
            matches!(verdict, Verdict::Retry { .. } | Verdict::Again)
        };
        if verdicts.iter().filter(is_no_answer).count() < batch.len() {
            answered.add(0);
        }
        let ran = Ran::Done(Outcome {
            verdicts,
            released: self.release(batch.lane, 20),
            answered,
            ..Outcome::default()
        });
        self.handle(consumer, ConsumerEvent::Ran { batch, ran });
    }

    fn flushed(&mut self, consumer: &mut Consumer, lane: usize, is_asked: bool) {
        let lost = if self.percent(self.odds.crash) {
            self.lose(lane)
        } else {
            Vec::new()
        };
        let released = self.release(lane, 50);
        self.tell_flushed(consumer, is_asked, released, lost);
    }

    fn tell_flushed(
        &mut self,
        consumer: &mut Consumer,
        is_asked: bool,
        released: Vec<(Slot, u64, Option<Verdict>)>,
        lost: Vec<(Slot, u64)>,
    ) {
        let outcome = Outcome {
            released,
            ..Outcome::default()
        };
        self.handle(
            consumer,
            ConsumerEvent::Flushed {
                is_asked,
                outcome,
                lost,
            },
        );
    }

    pub(super) fn was_paused(&self) -> bool {
        self.was_paused
    }

    pub(super) fn buried(&self) -> u32 {
        self.buried
    }

    /// The plugin fails nothing any more.
    pub(super) fn mend(&mut self) {
        self.odds = Odds {
            retry: 0,
            crash: 0,
            ..self.odds
        };
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// User records that are resolved and above the stored checkpoint: whoever comes next would repeat them.
    pub(super) fn unstored(&self) -> usize {
        let done = self.done.iter().cloned().map(Checkpoint::At);
        done.filter(|position| *position > self.stored).count()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn repeated(&self) -> u32 {
        self.resolved.values().map(|times| times - 1).sum()
    }

    /// DL-1: nothing is lost.
    pub(super) fn check_end(&self) {
        assert_eq!(self.resolved.len(), self.payloads.len());
    }
}

fn cause(kind: &'static str) -> Cause {
    Cause {
        step: Some(0),
        kind,
        reason: String::new(),
    }
}
