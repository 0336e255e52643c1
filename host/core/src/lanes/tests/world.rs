//! The messages of a history and what has become of each; every step is held against it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::super::*;
use crate::entropy::Entropy;
use crate::limits::PROBE_PAUSE_FIRST;

pub(super) const BOUNDS: BatchBounds = BatchBounds {
    records: 5,
    bytes: 40,
    wait: Duration::from_millis(100),
};

pub(super) const RETRY: RetryPolicy = RetryPolicy {
    attempts: 3,
    backoff_min: Duration::from_millis(50),
    backoff_max: Duration::from_secs(2),
    max_age: Duration::from_hours(1),
};

mod breaker;

use breaker::Model;

/// More turns than any history here needs: one that takes longer is stuck.
const TURNS_MAX: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Queued,
    Running,
    /// It failed; it must not run before.
    Waiting(Instant),
    Held,
    Burying,
    Acked,
    Dead,
}

#[derive(Debug)]
struct Message {
    key: u64,
    bytes: u32,
    at: At,
    /// Tries that failed, and those since they began anew.
    failures: u32,
    attempts: u32,
    since: Instant,
    /// An instance held it, or it was given up beside another of its key: its key does not wait for it.
    may_be_passed: bool,
}

/// What can happen in a history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    pub(super) retry: u64,
    pub(super) reject: u64,
    pub(super) hold: u64,
    pub(super) crash: u64,
    /// Every message whose number is a multiple of this crashes its batch, always; 0: none does.
    pub(super) poison: u64,
    /// The number of lanes changes now and then.
    pub(super) relane: bool,
    /// So many different messages must have failed until nothing is given up.
    pub(super) breaker: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Ack,
    Again,
    Retry(Option<Duration>),
    Reject,
    Hold,
}

pub(super) struct World {
    lanes: Lanes,
    pub(super) now: Instant,
    pub(super) entropy: Entropy,
    odds: Odds,
    model: Model,
    messages: Vec<Message>,
    running: BTreeMap<usize, Vec<(Slot, u64)>>,
}

pub(super) fn cause(kind: &'static str) -> Cause {
    Cause {
        step: Some(0),
        kind,
        reason: String::new(),
    }
}

impl World {
    pub(super) fn new(seed: u64, lanes: u16, odds: Odds) -> Self {
        let mut all = Lanes::new(lanes, BOUNDS, RETRY);
        all.set_breaker(odds.breaker.and_then(NonZeroU32::new));
        Self {
            lanes: all,
            model: Model::default(),
            now: Instant::default(),
            entropy: Entropy::new(seed.into()),
            odds,
            messages: Vec::new(),
            running: BTreeMap::new(),
        }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.entropy.draw() as u64 % bound.max(1)
    }

    pub(super) fn percent(&mut self, odds: u64) -> bool {
        self.below(100) < odds
    }

    fn admitted(&self, slot: Slot) -> Admitted {
        let message = &self.messages[slot.0 as usize];
        Admitted {
            slot,
            key_hash: message.key,
            bytes: message.bytes,
        }
    }

    pub(super) fn admit(&mut self, keys: u64) {
        let key = (self.below(keys) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = if self.percent(5) {
            100
        } else {
            self.below(20) as u32
        };
        self.messages.push(Message {
            key,
            bytes,
            at: At::Queued,
            failures: 0,
            attempts: 0,
            since: self.now,
            may_be_passed: false,
        });
        let slot = Slot(self.messages.len() as u64 - 1);
        self.lanes.admit(self.now, self.admitted(slot));
    }

    /// Moves everything to another number of lanes, if none of them runs; true if it did.
    pub(super) fn relane(&mut self) -> bool {
        if !self.running.is_empty() {
            return false;
        }
        let count = 1 + self.below(4) as u16;
        let messages = &self.messages;
        self.lanes
            .relane(count, |slot| Some(messages[slot.0 as usize].key));
        true
    }

    /// Dispatches what may run; true if something did.
    pub(super) fn dispatch(&mut self, hurry: bool) -> bool {
        let mut batch = Vec::new();
        let mut any = false;
        for lane in 0..self.lanes.count() {
            let is_running = self.running.contains_key(&lane);
            if !self.lanes.take(lane, self.now, hurry, &mut batch) {
                assert!(batch.is_empty());
                continue;
            }
            assert!(!is_running, "two batches at once in lane {lane}");
            self.check_batch(lane, &batch);
            if let Some(not_before) = self.model.open {
                assert!(self.model.probing.replace(lane).is_none(), "two probes");
                assert!(not_before <= self.now, "a probe before its time");
            }
            self.running.insert(lane, batch.clone());
            any = true;
        }
        any
    }

    fn check_batch(&mut self, lane: usize, batch: &[(Slot, u64)]) {
        let bytes: u64 = batch
            .iter()
            .map(|(slot, _)| u64::from(self.messages[slot.0 as usize].bytes))
            .sum();
        assert!(
            !batch.is_empty() && batch.len() <= BOUNDS.records,
            "{batch:?}"
        );
        assert!(
            batch.len() == 1 || bytes <= BOUNDS.bytes,
            "{bytes} bytes in {batch:?}"
        );
        for (slot, key) in batch {
            let at = slot.0 as usize;
            assert_eq!(self.messages[at].key, *key);
            assert_eq!(self.lanes.lane_of(*key), lane);
            match self.messages[at].at {
                At::Queued => {}
                At::Waiting(until) => {
                    assert!(until <= self.now, "{slot:?} runs before its pause is over");
                }
                other => panic!("{slot:?} runs while it is {other:?}"),
            }
            self.messages[at].at = At::Running;
            for (older, other) in self.messages[..at]
                .iter()
                .enumerate()
                .filter(|(_, other)| other.key == *key)
            {
                let is_out_of_the_way = match other.at {
                    At::Acked | At::Dead | At::Held | At::Running => true,
                    At::Waiting(_) => false,
                    At::Queued | At::Burying => other.may_be_passed,
                };
                assert!(
                    is_out_of_the_way,
                    "OR-1: {slot:?} runs, {older} of its key is {:?}",
                    other.at
                );
            }
        }
    }

    fn is_poison(&self, slot: Slot) -> bool {
        self.odds.poison > 0 && slot.0.is_multiple_of(self.odds.poison)
    }

    fn finish_batch(&mut self, lane: usize) {
        let batch = self.running.remove(&lane).unwrap();
        let is_crash =
            self.percent(self.odds.crash) || batch.iter().any(|(slot, _)| self.is_poison(*slot));
        let mut expected = Expected::default();
        let is_probe = self
            .model
            .probing
            .take_if(|probing| *probing == lane)
            .is_some();
        let failed = self
            .messages
            .iter()
            .map(|message| message.failures)
            .sum::<u32>();
        let result = if is_crash {
            for (slot, _) in &batch {
                self.messages[slot.0 as usize].at = At::Queued;
            }
            if let [(alone, _)] = batch[..] {
                self.fail(alone, None, &mut expected);
            }
            RunResult::Crashed(cause("trap"))
        } else {
            RunResult::Done(self.verdicts(&batch, &mut expected))
        };
        let has_failed = self
            .messages
            .iter()
            .map(|message| message.failures)
            .sum::<u32>()
            > failed;
        if is_probe
            && has_failed
            && let Some(not_before) = &mut self.model.open
        {
            *not_before = self.now + PROBE_PAUSE_FIRST / 2;
        }
        let mut settled = Settled::default();
        let random = self.entropy.draw() as u64;
        self.lanes
            .settle(lane, self.now, result, random, &mut settled);
        expected.check(&settled);
        assert_eq!(self.lanes.paused().is_some(), self.model.open.is_some());
    }

    /// Verdicts as a run gives them: later messages of a key that is to be tried again run again after it.
    fn verdicts(
        &mut self,
        batch: &[(Slot, u64)],
        expected: &mut Expected,
    ) -> Vec<(usize, Verdict)> {
        let said = self.said(batch);
        if said.iter().any(|said| !matches!(said, Said::Retry(_))) {
            self.answered();
        }
        let mut verdicts = Vec::new();
        for (index, (&(slot, _), said)) in batch.iter().zip(said).enumerate() {
            let message = &mut self.messages[slot.0 as usize];
            let verdict = match said {
                Said::Ack => {
                    message.at = At::Acked;
                    expected.acked.push(slot);
                    None
                }
                Said::Again => {
                    message.at = At::Queued;
                    Some(Verdict::Again)
                }
                Said::Hold => {
                    message.at = At::Held;
                    message.may_be_passed = true;
                    Some(Verdict::Held)
                }
                Said::Retry(after) => {
                    self.fail(slot, after, expected);
                    let cause = cause("retry");
                    Some(Verdict::Retry { after, cause })
                }
                Said::Reject => {
                    self.reject(slot, expected);
                    Some(Verdict::Reject(cause("reject")))
                }
            };
            verdicts.extend(verdict.map(|verdict| (index, verdict)));
        }
        verdicts
    }

    fn said(&mut self, batch: &[(Slot, u64)]) -> Vec<Said> {
        let mut again: Vec<u64> = Vec::new();
        // A shared emission that falls with one of its messages takes along those that did not fail.
        let falls = self.percent(self.odds.retry) && batch.len() > 1;
        let mut all = Vec::new();
        for (index, &(_, key)) in batch.iter().enumerate() {
            let is_last = index + 1 == batch.len();
            let said = if again.contains(&key) && !(falls && is_last) {
                Said::Again
            } else if self.percent(self.odds.retry) || (falls && is_last) {
                again.push(key);
                Said::Retry(self.percent(20).then_some(Duration::from_millis(500)))
            } else if falls {
                again.push(key);
                Said::Again
            } else if self.percent(self.odds.reject) {
                Said::Reject
            } else if self.percent(self.odds.hold) {
                Said::Hold
            } else {
                Said::Ack
            };
            all.push(said);
        }
        all
    }

    fn reject(&mut self, slot: Slot, expected: &mut Expected) {
        let message = &self.messages[slot.0 as usize];
        expected.dead.push((slot, message.failures.max(1)));
        self.give_up(slot);
    }

    fn give_up(&mut self, slot: Slot) {
        let at = slot.0 as usize;
        let key = self.messages[at].key;
        let is_beside_another = self.messages.iter().enumerate().any(|(other_at, other)| {
            other.key == key
                && other_at != at
                && match other.at {
                    At::Burying | At::Waiting(_) => true,
                    At::Queued | At::Running => other_at < at,
                    At::Held | At::Acked | At::Dead => false,
                }
        });
        self.messages[at].may_be_passed |= is_beside_another;
        self.messages[at].at = At::Burying;
    }

    /// One that is in this state, at random.
    fn any(&mut self, at: At) -> Option<Slot> {
        let messages = (0_u64..).zip(&self.messages);
        let slots: Vec<u64> = messages
            .filter(|(_, message)| message.at == at)
            .map(|(slot, _)| slot)
            .collect();
        let chosen = self.below(slots.len() as u64) as usize;
        slots.get(chosen).copied().map(Slot)
    }

    pub(super) fn settle_held(&mut self, is_last: bool) -> bool {
        let Some(slot) = self.any(At::Held) else {
            return false;
        };
        let mut expected = Expected::default();
        let verdict = match self.below(if is_last { 1 } else { 5 }) {
            0 | 1 => {
                self.messages[slot.0 as usize].at = At::Acked;
                expected.acked.push(slot);
                None
            }
            2 => {
                self.fail(slot, None, &mut expected);
                Some(Verdict::Retry {
                    after: None,
                    cause: cause("retry"),
                })
            }
            3 => {
                self.reject(slot, &mut expected);
                Some(Verdict::Reject(cause("reject")))
            }
            _ => {
                self.messages[slot.0 as usize].at = At::Queued;
                Some(Verdict::Again)
            }
        };
        let mut settled = Settled::default();
        let random = self.entropy.draw() as u64;
        let message = self.admitted(slot);
        self.lanes
            .settle_held(self.now, message, verdict, random, &mut settled);
        expected.check(&settled);
        true
    }

    pub(super) fn bury(&mut self) -> bool {
        let Some(slot) = self.any(At::Burying) else {
            return false;
        };
        let message = &mut self.messages[slot.0 as usize];
        message.at = At::Dead;
        self.lanes.buried(self.now, slot, message.key);
        true
    }

    pub(super) fn finish_any(&mut self) -> bool {
        let lanes: Vec<usize> = self.running.keys().copied().collect();
        let chosen = self.below(lanes.len() as u64) as usize;
        lanes
            .get(chosen)
            .map(|lane| self.finish_batch(*lane))
            .is_some()
    }

    /// Goes to the next deadline, and sees that nothing was due before.
    fn wait(&mut self) -> bool {
        let Some(at) = self.lanes.next_deadline() else {
            return false;
        };
        assert!(
            at > self.now,
            "{at} is due and nothing was taken at {}",
            self.now
        );
        self.now = at.before(Duration::from_nanos(1));
        assert!(!self.dispatch(false), "the deadline {at} is late");
        self.now = at;
        true
    }

    /// Lets everything come to its end, by deadlines alone.
    pub(super) fn run_out(&mut self) {
        for _ in 0..TURNS_MAX {
            if self.dispatch(false) || self.finish_any() || self.bury() {
                continue;
            }
            if self.wait() {
                continue;
            }
            if !self.settle_held(true) {
                return;
            }
        }
        panic!("it never ends: {:?}", self.lanes);
    }

    pub(super) fn check_end(&self) {
        for (slot, message) in self.messages.iter().enumerate() {
            assert!(
                matches!(message.at, At::Acked | At::Dead),
                "{slot} is left {:?}",
                message.at
            );
        }
        assert!(self.lanes.is_idle());
        assert_eq!(self.lanes.parked_keys(), 0);
        assert!(self.lanes.all.iter().all(|lane| lane.tried.is_empty()));
    }
}

#[derive(Debug, Default)]
struct Expected {
    acked: Vec<Slot>,
    dead: Vec<(Slot, u32)>,
    retries: u64,
}

impl Expected {
    fn check(self, settled: &Settled) {
        assert_eq!(settled.acked, self.acked);
        let dead: Vec<(Slot, u32)> = settled
            .dead
            .iter()
            .map(|dead| (dead.slot, dead.attempts))
            .collect();
        assert_eq!(dead, self.dead);
        assert_eq!(settled.retries, self.retries);
    }
}
