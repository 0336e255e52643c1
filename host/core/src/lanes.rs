//! The lanes of one shard: which messages run next, and which must wait.
//!
//! A message goes to a lane by the hash of its key, and a lane runs one batch at a time, so that order holds per key
//! while lanes run in parallel (OR-1). A message that is to be tried again *parks its key*: later messages of that key
//! wait behind it, all others go on. A batch whose call gave no reply is cut in halves until the culprit is alone; only
//! then does it count as a try. When a step fails everything, nothing is given up and only probes run (`breaker`).

use std::num::NonZeroU32;
use std::time::Duration;

use crate::breaker::{Breaker, Leave, Paused, Probed, StepSet};
use crate::retry::RetryPolicy;
use crate::time::Instant;
use crate::window::{Admitted, Slot};

mod fill;
mod lane;
mod relane;
#[cfg(test)]
mod tests;

use lane::{Lane, Queued, Turn};

/// The bounds of a batch: it is full when either is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBounds {
    /// Messages.
    pub records: usize,
    /// Bytes of payload. A larger message is a batch by itself.
    pub bytes: u64,
    /// How long the first message waits for more.
    pub wait: Duration,
}

/// Why a message failed for good, or failed this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The step, from 0; none when a sink failed.
    pub step: Option<usize>,
    /// A fixed word for it, such as `trap` or `reject`.
    pub kind: &'static str,
    /// For a person.
    pub reason: String,
}

/// What a run made of one message. Messages without a verdict are acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays un-acked until an instance releases it.
    Held,
    /// It is to be tried again.
    Retry {
        /// The least wait the plugin asks for.
        after: Option<Duration>,
        /// Why.
        cause: Cause,
    },
    /// Trying again cannot help.
    Reject(Cause),
    /// It runs again, for a reason that lies elsewhere; it does not count as a try.
    Again,
}

/// What a run made of a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunResult {
    /// Index in the batch, rising, and verdict; all others are acked.
    Done(Vec<(usize, Verdict)>),
    /// The call gave no reply.
    Crashed(Cause),
}

impl RunResult {
    fn of_probe(&self, messages: usize) -> Probed {
        let is_retry = |(_, verdict): &(usize, Verdict)| matches!(verdict, Verdict::Retry { .. });
        let is_failed = match self {
            Self::Done(verdicts) => verdicts.iter().any(is_retry),
            Self::Crashed(_) => messages == 1,
        };
        if is_failed {
            Probed::Failed
        } else {
            Probed::NothingYet
        }
    }
}

/// A message that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Which.
    pub slot: Slot,
    /// Why.
    pub cause: Cause,
    /// How often it was tried.
    pub attempts: u32,
}

/// What the lanes want done after a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Messages that are resolved.
    pub acked: Vec<Slot>,
    /// Messages for the dead-letter sink. They are resolved once it has them.
    pub dead: Vec<Dead>,
    /// Failed tries that will be repeated.
    pub retries: u64,
}

/// The lanes of one shard.
#[derive(Debug)]
pub struct Lanes {
    bounds: BatchBounds,
    retry: RetryPolicy,
    breaker: Breaker,
    all: Vec<Lane>,
    /// Buffers of batches that are done.
    spare: Vec<Vec<Queued>>,
}

impl Lanes {
    /// `count` empty lanes; at least one.
    pub fn new(count: u16, bounds: BatchBounds, retry: RetryPolicy) -> Self {
        let lanes = (0..count.max(1)).map(|_| Lane::default()).collect();
        Self {
            bounds,
            retry,
            breaker: Breaker::default(),
            all: lanes,
            spare: Vec::new(),
        }
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The lane of a key.
    pub fn lane_of(&self, key_hash: u64) -> usize {
        // The high bits of the product spread as well as the hash does, and cost no division.
        ((u128::from(key_hash) * self.all.len() as u128) >> 64) as usize
    }

    /// Queues a message behind all that its lane has.
    pub fn admit(&mut self, now: Instant, message: Admitted) {
        let lane = self.lane_of(message.key_hash);
        let Some(lane) = self.all.get_mut(lane) else {
            return;
        };
        lane.since.get_or_insert(now);
        lane.ready.push_back(Queued {
            slot: message.slot,
            key: message.key_hash,
            bytes: message.bytes,
        });
    }

    /// Fills `batch` with what the lane runs next, slots and key hashes; false if it has nothing to run now, or runs already.
    ///
    /// `hurry` says that waiting for a fuller batch is of no use: the window is full, or nothing more will come.
    pub fn take(
        &mut self,
        lane: usize,
        now: Instant,
        hurry: bool,
        batch: &mut Vec<(Slot, u64)>,
    ) -> bool {
        batch.clear();
        let mut run = self.spare.pop().unwrap_or_default();
        run.clear();
        let (number, bounds) = (lane, self.bounds);
        let Some(lane) = self.all.get_mut(lane).filter(|lane| lane.running.is_none()) else {
            return false;
        };
        match self.breaker.leave(now) {
            Leave::All => {
                lane.wake(now, usize::MAX);
                lane.fill_alone(bounds, &mut run);
                if run.is_empty() {
                    lane.fill_ready(now, hurry, bounds, &mut run);
                }
            }
            Leave::Probe => lane.fill_probe(now, bounds, &mut run),
            Leave::Nothing => {}
        }
        if run.is_empty() {
            self.spare.push(run);
            return false;
        }
        self.breaker.begins(number);
        batch.extend(run.iter().map(|queued| (queued.slot, queued.key)));
        lane.running = Some(run);
        true
    }

    /// The next moment at which [`take`](Self::take) may answer otherwise than now, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let resting = self.all.iter().filter(|lane| lane.running.is_none());
        if self.paused().is_some() {
            let next = self.breaker.next_probe()?;
            let first = resting.filter_map(Lane::probe_deadline).min()?;
            return Some(first.max(next));
        }
        resting
            .filter_map(|lane| lane.next_deadline(self.bounds))
            .min()
    }

    /// How many different messages a step must have failed, and answered for none, until the lanes are paused; with none
    /// they never are.
    pub fn set_breaker(&mut self, after: Option<NonZeroU32>) {
        self.breaker.set_after(after);
    }

    /// Why only probes run, if that is so.
    pub fn paused(&self) -> Option<&Paused> {
        self.breaker.paused()
    }

    /// Something may have been mended: if only probes run, there is one at once.
    pub fn probe_now(&mut self, now: Instant) {
        self.breaker.probe_now(now);
    }

    /// The lane to be asked first for what it runs next.
    pub fn first_lane(&self) -> usize {
        self.breaker.first_lane()
    }

    /// These steps have answered for a message. To be told before the run is settled in which they did.
    pub fn answered(&mut self, now: Instant, steps: StepSet) {
        if let Some(closed) = self.breaker.answered(now, steps) {
            for lane in &mut self.all {
                lane.begin_tries_anew(now, closed.last_answer);
            }
        }
    }

    /// Takes the result of the batch that the lane runs.
    pub fn settle(
        &mut self,
        lane: usize,
        now: Instant,
        result: RunResult,
        random: u64,
        settled: &mut Settled,
    ) {
        let is_probe = self.breaker.is_probe(lane);
        let mut turn = Turn {
            now,
            retry: self.retry,
            random,
            breaker: &mut self.breaker,
            settled,
        };
        let Some(lane) = self.all.get_mut(lane) else {
            return;
        };
        let Some(run) = lane.running.take() else {
            return;
        };
        let probed = is_probe.then(|| result.of_probe(run.len()));
        match result {
            RunResult::Done(verdicts) => lane.settle(&mut turn, &run, verdicts),
            RunResult::Crashed(cause) => match &run[..] {
                [alone] => lane.failed(&mut turn, *alone, None, cause),
                many => {
                    let (front, back) = many.split_at(many.len() / 2);
                    let (front, back) = if mutant!(HalvesSwapped) {
                        (back, front)
                    } else {
                        (front, back)
                    };
                    lane.alone.push_front(back.to_vec().into());
                    lane.alone.push_front(front.to_vec().into());
                }
            },
        }
        if let Some(probed) = probed {
            self.breaker.probed(now, probed, random);
        }
        self.spare.push(run);
    }

    /// Settles a message that an earlier batch left held.
    pub fn settle_held(
        &mut self,
        now: Instant,
        message: Admitted,
        verdict: Option<Verdict>,
        random: u64,
        settled: &mut Settled,
    ) {
        let index = self.lane_of(message.key_hash);
        let mut turn = Turn {
            now,
            retry: self.retry,
            random,
            breaker: &mut self.breaker,
            settled,
        };
        let Some(lane) = self.all.get_mut(index) else {
            return;
        };
        let queued = Queued {
            slot: message.slot,
            key: message.key_hash,
            bytes: message.bytes,
        };
        match verdict {
            None => lane.acked(&mut turn, queued),
            Some(Verdict::Held) => {}
            Some(Verdict::Again) => lane.run_held_again(now, queued),
            Some(Verdict::Reject(cause)) => lane.give_up(&mut turn, queued, cause),
            Some(Verdict::Retry { after, cause }) => lane.failed(&mut turn, queued, after, cause),
        }
    }

    /// The dead-letter sink has a message: those behind it may run.
    pub fn buried(&mut self, now: Instant, slot: Slot, key_hash: u64) {
        let lane = self.lane_of(key_hash);
        let Some(lane) = self.all.get_mut(lane) else {
            return;
        };
        lane.tried.remove(&slot);
        lane.unpark(now, key_hash, slot);
    }

    /// Whether nothing is queued, runs or waits: what is still unresolved is held by an instance.
    pub fn is_idle(&self) -> bool {
        self.all.iter().all(|lane| {
            lane.running.is_none()
                && lane.ready.is_empty()
                && lane.alone.is_empty()
                && lane.parked.is_empty()
        })
    }

    /// How many keys are parked.
    pub fn parked_keys(&self) -> usize {
        self.all.iter().map(|lane| lane.parked.len()).sum()
    }
}
