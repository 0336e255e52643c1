//! One lane: its queues, and the keys that wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Cause, Dead, Settled, Verdict};
use crate::breaker::Breaker;
use crate::retry::{Next, RetryPolicy, Tried};
use crate::time::Instant;
use crate::window::Slot;

/// What every settling needs.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) retry: RetryPolicy,
    pub(super) random: u64,
    pub(super) breaker: &'a mut Breaker,
    pub(super) settled: &'a mut Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) slot: Slot,
    pub(super) key: u64,
    pub(super) bytes: u32,
}

/// What a parked key waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Its first message is tried again at this moment.
    At(Instant),
    /// Its first message runs.
    Running,
    /// Its first message is being written to the dead-letter sink.
    DeadLetter,
}

#[derive(Debug)]
pub(super) struct Parked {
    pub(super) first: Queued,
    behind: VecDeque<Queued>,
    pub(super) wake: Wake,
}

impl Parked {
    fn insert_behind(&mut self, queued: Queued) {
        let at = self
            .behind
            .partition_point(|other| other.slot < queued.slot);
        self.behind.insert(at, queued);
    }
}

/// A message that has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    tried: Tried,
    /// Tries before these, which a breaker has forgiven.
    before: u32,
    /// It is not tried again before.
    not_before: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// First tries, and messages that run again, in order.
    pub(super) ready: VecDeque<Queued>,
    /// When the oldest message came to `ready`.
    pub(super) since: Option<Instant>,
    /// Halves of batches that crashed, and keys whose turn has come: each runs by itself, before `ready`.
    pub(super) alone: VecDeque<VecDeque<Queued>>,
    pub(super) parked: BTreeMap<u64, Parked>,
    pub(super) running: Option<Vec<Queued>>,
    pub(super) tried: BTreeMap<Slot, Trial>,
}

impl Lane {
    /// Puts a message behind its key if that waits for an older one.
    pub(super) fn park_behind(&mut self, queued: Queued) -> bool {
        if self.parked.is_empty() || mutant!(KeyNotParked) {
            return false;
        }
        match self.parked.get_mut(&queued.key) {
            Some(parked) if parked.first.slot < queued.slot => {
                parked.insert_behind(queued);
                true
            }
            _ => false,
        }
    }

    pub(super) fn settle(
        &mut self,
        turn: &mut Turn<'_>,
        run: &[Queued],
        verdicts: Vec<(usize, Verdict)>,
    ) {
        let mut verdicts = verdicts.into_iter().peekable();
        let mut again = Vec::new();
        for (index, &queued) in run.iter().enumerate() {
            let verdict = verdicts
                .next_if(|(at, _)| *at == index)
                .map(|(_, verdict)| verdict);
            match verdict {
                None => self.acked(turn, queued),
                Some(Verdict::Held) => self.unpark(turn.now, queued.key, queued.slot),
                Some(Verdict::Again) => again.push(queued),
                Some(Verdict::Reject(cause)) => self.give_up(turn, queued, cause),
                Some(Verdict::Retry { after, cause }) => self.failed(turn, queued, after, cause),
            }
        }
        self.run_again(turn.now, again);
    }

    pub(super) fn acked(&mut self, turn: &mut Turn<'_>, queued: Queued) {
        turn.settled.acked.push(queued.slot);
        if !self.tried.is_empty() {
            self.tried.remove(&queued.slot);
        }
        self.unpark(turn.now, queued.key, queued.slot);
    }

    pub(super) fn failed(
        &mut self,
        turn: &mut Turn<'_>,
        queued: Queued,
        after: Option<Duration>,
        cause: Cause,
    ) {
        let trial = self.tried.entry(queued.slot).or_insert(Trial {
            tried: Tried {
                attempts: 0,
                since: turn.now,
            },
            before: 0,
            not_before: turn.now,
        });
        trial.tried.attempts += 1;
        if trial.tried.attempts == 1 {
            trial.tried.since = turn.now;
            turn.breaker.failed(&cause);
        }
        // Each message draws its own share of the pause.
        let random = turn
            .random
            .wrapping_add(queued.slot.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut next = turn.retry.next(turn.now, trial.tried, after, random);
        let is_last = !matches!(next, Next::TryAt(_));
        if is_last
            && turn
                .breaker
                .spares(turn.now, trial.tried.since, &cause, turn.random)
        {
            let asked = after.unwrap_or_default().min(turn.retry.max_age);
            let pause = turn.retry.pause(trial.tried.attempts, random);
            next = Next::TryAt(turn.now + pause.max(asked));
        }
        match next {
            Next::TryAt(at) => {
                trial.not_before = at;
                turn.settled.retries += 1;
                if mutant!(RetryIsAcked) {
                    turn.settled.acked.push(queued.slot);
                }
                self.park(queued, at);
            }
            Next::OutOfAttempts => {
                let kind = if cause.kind == "retry" {
                    "retries"
                } else {
                    cause.kind
                };
                self.give_up(turn, queued, Cause { kind, ..cause });
            }
            Next::TooOld => self.give_up(
                turn,
                queued,
                Cause {
                    kind: "age",
                    ..cause
                },
            ),
        }
    }

    /// Hands a message to the dead-letter sink. Its key waits meanwhile, unless it waits for another message already.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>, queued: Queued, cause: Cause) {
        let attempts = self
            .tried
            .get(&queued.slot)
            .map_or(1, |trial| (trial.before + trial.tried.attempts).max(1));
        let parked = Parked {
            first: queued,
            behind: VecDeque::new(),
            wake: Wake::DeadLetter,
        };
        let parked = self.parked.entry(queued.key).or_insert(parked);
        if parked.first.slot == queued.slot {
            parked.wake = Wake::DeadLetter;
        }
        if mutant!(AckBeforeBurial) {
            turn.settled.acked.push(queued.slot);
        }
        turn.settled.dead.push(Dead {
            slot: queued.slot,
            cause,
            attempts,
        });
    }

    /// Parks a key until `message` has been tried again.
    ///
    /// The key may wait for another message already, since one that was held can fail long after later ones of its key
    /// have run: the older of the two is tried first.
    fn park(&mut self, message: Queued, at: Instant) {
        if !self.park_behind(message) && !self.park_behind_queued(message) {
            self.park_first(message, Wake::At(at));
        }
    }

    /// Puts a message behind older ones of its key that are queued: those that came back while it ran. The key then waits
    /// for the oldest of them. False if there is none.
    fn park_behind_queued(&mut self, message: Queued) -> bool {
        let is_older = |other: &Queued| other.key == message.key && other.slot < message.slot;
        let queues = || self.alone.iter().chain(std::iter::once(&self.ready));
        let mut older: Vec<Queued> = queues().flatten().copied().filter(is_older).collect();
        older.sort_unstable_by_key(|other| other.slot);
        let Some((&first, rest)) = older.split_first() else {
            return false;
        };
        for other in rest {
            recall(&mut self.alone, &mut self.ready, other.slot);
        }
        self.park_first(first, Wake::Running);
        for other in rest.iter().chain([&message]) {
            self.park_behind(*other);
        }
        true
    }

    /// Makes a message the one that its key waits for. It is older than any that the key waits for already.
    fn park_first(&mut self, message: Queued, wake: Wake) {
        let parked = self.parked.entry(message.key).or_insert(Parked {
            first: message,
            behind: VecDeque::new(),
            wake,
        });
        let other = std::mem::replace(&mut parked.first, message);
        let before = std::mem::replace(&mut parked.wake, wake);
        if other.slot == message.slot {
            return;
        }
        // One that runs, or is being buried, is out of the way. One whose turn had come, and has not run yet, steps back.
        let steps_back = match before {
            Wake::At(_) => true,
            Wake::Running => recall(&mut self.alone, &mut self.ready, other.slot),
            Wake::DeadLetter => false,
        };
        if steps_back {
            parked.insert_behind(other);
        }
    }

    /// The message that a key waits for is out of the way: what waits behind it goes to the front.
    pub(super) fn unpark(&mut self, now: Instant, key: u64, slot: Slot) {
        if self.parked.is_empty()
            || self
                .parked
                .get(&key)
                .is_none_or(|parked| parked.first.slot != slot)
        {
            return;
        }
        if let Some(parked) = self.parked.remove(&key) {
            self.run_again(now, parked.behind.into());
        }
    }

    /// Runs a message again that was held: behind what is older of its key and still queued, if there is any.
    pub(super) fn run_held_again(&mut self, now: Instant, queued: Queued) {
        if self.parked.contains_key(&queued.key) || !self.queue_behind_older(queued) {
            self.run_again(now, vec![queued]);
        }
    }

    /// Puts a message behind the last older one of its key that is queued; false if there is none.
    fn queue_behind_older(&mut self, queued: Queued) -> bool {
        let queues = self
            .alone
            .iter_mut()
            .chain(std::iter::once(&mut self.ready));
        for queue in queues.rev() {
            let older = queue
                .iter()
                .rposition(|other| other.key == queued.key && other.slot < queued.slot);
            if let Some(index) = older {
                queue.insert(index + 1, queued);
                return true;
            }
        }
        false
    }

    /// Puts messages, in order, in front of everything that the lane has not begun, except those whose key waits for an
    /// older one, or that are themselves to be tried again later.
    pub(super) fn run_again(&mut self, now: Instant, again: Vec<Queued>) {
        let mut front = VecDeque::with_capacity(again.len());
        for queued in again {
            let wake = match self.tried.get(&queued.slot) {
                Some(trial) if trial.not_before > now => Wake::At(trial.not_before),
                _ => Wake::Running,
            };
            if self.park_behind(queued) {
                continue;
            }
            match self.parked.get(&queued.key) {
                Some(parked) if parked.first.slot == queued.slot => front.push_back(queued),
                // Its key waits for a younger one: this one comes first, unless one that is older still is queued.
                Some(_) => {
                    if !self.park_behind_queued(queued) {
                        self.park_first(queued, Wake::Running);
                        front.push_back(queued);
                    }
                }
                // One that is older may have come back while this one ran.
                None if wake == Wake::Running => {
                    if !self.queue_behind_older(queued) {
                        front.push_back(queued);
                    }
                }
                None => {
                    // What is older of its key comes first, one after the other.
                    let older: Vec<Queued> = front
                        .iter()
                        .filter(|older| older.key == queued.key)
                        .copied()
                        .collect();
                    if let Some((&first, rest)) = older.split_first() {
                        front.retain(|other| other.key != queued.key || other.slot == first.slot);
                        self.park_first(first, Wake::Running);
                        for &other in rest {
                            self.park_behind(other);
                        }
                        self.park_behind(queued);
                    } else if !self.park_behind_queued(queued) {
                        self.park_first(queued, wake);
                    }
                }
            }
        }
        if front.is_empty() {
            return;
        }
        if !self.alone.is_empty() {
            // What is cut out of a crashed batch may be younger and of the same key.
            self.alone.push_front(front);
            return;
        }
        self.since.get_or_insert(now);
        for queued in self.behind_older(front).into_iter().rev() {
            self.ready.push_front(queued);
        }
    }

    /// Takes what is older of the same keys out of `ready`, to go before these: what came back while they ran, or waited
    /// for a dead letter to be stored.
    fn behind_older(&mut self, front: VecDeque<Queued>) -> VecDeque<Queued> {
        let newest = front.iter().map(|queued| queued.slot).max();
        if self.ready.iter().all(|other| Some(other.slot) > newest) {
            return front;
        }
        let mut all = VecDeque::with_capacity(front.len() + 1);
        for queued in front {
            let is_older = |other: &Queued| other.key == queued.key && other.slot < queued.slot;
            while let Some(index) = self.ready.iter().position(is_older) {
                all.extend(self.ready.remove(index));
            }
            all.push_back(queued);
        }
        all
    }

    /// What has failed since then, or at any time, begins its tries anew.
    pub(super) fn begin_tries_anew(&mut self, now: Instant, since: Option<Instant>) {
        for trial in self.tried.values_mut() {
            if since.is_none_or(|since| since < trial.tried.since) {
                trial.before = trial.before.saturating_add(trial.tried.attempts);
                trial.tried = Tried {
                    attempts: 0,
                    since: now,
                };
            }
        }
    }
}

/// Takes a message out of the queues; false if it is in none.
fn recall(
    alone: &mut VecDeque<VecDeque<Queued>>,
    ready: &mut VecDeque<Queued>,
    slot: Slot,
) -> bool {
    let queues = alone.iter_mut().chain(std::iter::once(ready));
    for queue in queues {
        if let Some(index) = queue.iter().position(|queued| queued.slot == slot) {
            queue.remove(index);
            return true;
        }
    }
    false
}
