//! One batch's way through the steps of a lane, and what becomes of each message.
//!
//! A step's reply gives verdicts and emissions; an emission goes to the next step or to a sink. Every message that a step
//! gets, and every emission, remembers which messages of the batch it came from: its *sources*. A source is acked when
//! every step acked what came from it and every emission that came from it is delivered; any failure wins (design: a
//! default is never success).
//!
//! [`LaneState`] outlives the run: it knows what the instances hold.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::breaker::StepSet;
use crate::lanes::{Cause, Verdict};
use crate::limits::OUTPUT_NAME_SHOWN;
use crate::message::{Emissions, Failure, InvalidReply, Messages, Reply, SOURCE_CALL};
use crate::window::Slot;

mod deliver;
mod gate;
mod origin;
mod route;
mod state;
#[cfg(test)]
mod tests;

pub use deliver::Delivery;
use gate::Call;
pub use route::{Destination, Routes};
pub use state::LaneState;
use state::{Emitted, Held, Outstanding, Source};

/// Where something came from: one unit of the run, or several.
#[derive(Clone, Debug)]
enum Origin {
    Unit(u32),
    Units(u32),
    /// Of a message that no longer counts; whatever comes of it is dropped.
    Nothing,
}

/// The bytes of an emission, in the run.
#[derive(Clone, Copy, Debug)]
enum Payload {
    Message(u32),
    Emission { reply: u32, index: u32 },
}

#[derive(Debug)]
struct Outgoing {
    sink: u32,
    origin: Origin,
    n: u32,
    payload: Payload,
    key: KeyFrom,
}

/// Where an emission's key is.
#[derive(Clone, Debug)]
enum KeyFrom {
    /// In the emission itself.
    Emission,
    /// It has none, and takes that of this message of the batch.
    Message(u32),
    /// It has none, and takes this one: that of its source as the step that emits saw it.
    Source(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnitState {
    Live,
    Failed,
}

/// A message of the batch, or one held from an earlier batch that a reply released.
#[derive(Debug)]
struct Unit {
    state: UnitState,
    holds: u32,
    emitted: Emitted,
}

impl Unit {
    fn new(holds: u32, emitted: Emitted) -> Self {
        Self {
            state: UnitState::Live,
            holds,
            emitted,
        }
    }
}

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Index in the batch, rising, and verdict; all others are acked.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Messages of earlier batches that are settled: slot, key hash, and verdict, none for an ack.
    pub released: Vec<(Slot, u64, Option<Verdict>)>,
    /// Releases of what was not held, dropped.
    pub unknown_releases: u64,
    /// Steps that answered for a message of the batch: with anything but a request to try again.
    pub answered: StepSet,
}

/// One batch on its way.
#[derive(Debug)]
pub struct Run<'a> {
    batch: &'a Batch,
    state: &'a mut LaneState,
    routes: &'a Routes,
    attempt: u64,
    units: Vec<Unit>,
    /// Those beyond the batch.
    released: Vec<Source>,
    groups: Vec<Vec<u32>>,
    /// Groups for which something was emitted.
    gating: Vec<u32>,
    verdicts: BTreeMap<u32, Verdict>,
    replies: Vec<Emissions>,
    outgoing: Vec<Outgoing>,
    /// The messages for the next step, and where each came from. For the first step they are the batch's own.
    messages: Messages,
    origins: Vec<Origin>,
    step: usize,
    unknown_releases: u64,
    answered: StepSet,
}

impl<'a> Run<'a> {
    /// The run of a flush: it begins at the step that is asked, with no messages.
    pub fn of_flush(
        step: usize,
        nothing: &'a Batch,
        state: &'a mut LaneState,
        routes: &'a Routes,
    ) -> Self {
        Self {
            step,
            ..Self::new(nothing, state, routes)
        }
    }

    /// Begins with a batch.
    pub fn new(batch: &'a Batch, state: &'a mut LaneState, routes: &'a Routes) -> Self {
        state.tries += 1;
        let units = (0..batch.len())
            .map(|_| Unit::new(0, Emitted::default()))
            .collect();
        let mut run = Self {
            batch,
            attempt: state.tries,
            state,
            routes,
            units,
            released: Vec::new(),
            groups: Vec::new(),
            gating: Vec::new(),
            verdicts: BTreeMap::new(),
            replies: Vec::new(),
            outgoing: Vec::new(),
            messages: Messages::default(),
            origins: Vec::new(),
            step: 0,
            unknown_releases: 0,
            answered: StepSet::default(),
        };
        if let Some(sink) = routes.mirror() {
            for index in 0..batch.len() as u32 {
                run.emit(
                    sink,
                    Origin::Unit(index),
                    Payload::Message(index),
                    KeyFrom::Message(index),
                );
            }
        }
        run
    }

    /// The messages for the step that is next.
    pub fn messages(&self) -> &Messages {
        if self.step == 0 {
            &self.batch.messages
        } else {
            &self.messages
        }
    }

    /// The step that is next; none when all have run.
    pub fn next_step(&self) -> Option<usize> {
        (self.step < self.routes.steps()).then_some(self.step)
    }

    /// Checks a reply of the next step against what it was asked and what its instance holds.
    pub fn check(&self, reply: &Reply) -> Result<(), InvalidReply> {
        reply.check(self.messages().len(), |id| {
            self.state.is_held(self.step, id)
        })
    }

    /// Takes the answer of the next step, which has been checked ([`check`](Self::check)). A failure stands for all messages.
    pub fn absorb(&mut self, answer: Result<Reply, Failure>) {
        let origins = std::mem::take(&mut self.origins);
        let messages = self.messages().len();
        let origin_of = |index: usize| match origins.get(index) {
            Some(origin) => origin.clone(),
            None => Origin::Unit(index as u32),
        };
        let step = self.step;
        if has_answered(messages, &answer) {
            self.answered.add(step);
        }
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                for index in 0..messages {
                    self.fail(&origin_of(index), failure.clone());
                }
                Reply::default()
            }
        };
        let mut call = Call::new(&reply);
        for (index, failure) in reply.failures {
            self.fail(&origin_of(index as usize), failure);
        }
        let releases: Vec<(Origin, Box<str>)> = reply
            .releases
            .into_iter()
            .map(|release| {
                let (origin, key) = self.release(step, release.id);
                match release.failure {
                    Some(failure) => self.fail(&origin, failure),
                    None => call.acks_release(&origin),
                }
                (origin, key)
            })
            .collect();
        self.discard_later_of_failed_keys();
        for hold in reply.holds {
            self.hold(
                step,
                hold.id,
                hold.index as usize,
                &origin_of(hold.index as usize),
            );
        }
        let mut next = Messages::default();
        let mut next_origins = Vec::new();
        let emissions = reply.emissions;
        let reply_index = self.replies.len() as u32;
        for index in 0..emissions.len() {
            let from = emissions.sources.get(index).copied();
            let release =
                from.and_then(|from| releases.get((from as usize).wrapping_sub(messages)));
            let origin = match (from, release) {
                (Some(SOURCE_CALL) | None, _) => self.whole_call(&mut call, messages, &origin_of),
                (Some(_), Some((origin, _))) => origin.clone(),
                (Some(from), None) => origin_of(from as usize),
            };
            if let Origin::Units(group) = origin {
                self.gating.push(group);
            }
            if !self.is_live(&origin) {
                continue;
            }
            let key = match emissions.keys.get(index) {
                Some(own) if !own.is_empty() => KeyFrom::Emission,
                _ => match (from, release, releases.first()) {
                    (Some(SOURCE_CALL) | None, _, first) if messages == 0 => {
                        KeyFrom::Source(first.map(|(_, key)| key.clone()).unwrap_or_default())
                    }
                    (Some(SOURCE_CALL) | None, _, _) => self.key_of_message(0),
                    (Some(_), Some((_, key)), _) => KeyFrom::Source(key.clone()),
                    (Some(from), None, _) => self.key_of_message(from),
                },
            };
            match self.routes.destination(step, emissions.output(index)) {
                Some(Destination::Sink(sink)) => {
                    let payload = Payload::Emission {
                        reply: reply_index,
                        index: index as u32,
                    };
                    self.emit(sink, origin, payload, key);
                }
                Some(Destination::NextStep) => {
                    self.push_next(&mut next, &emissions, index, &origin, &key);
                    next_origins.push(origin);
                }
                None => {
                    self.fail(&origin, unrouted(emissions.output(index)));
                }
            }
        }
        self.replies.push(emissions);
        self.messages = next;
        self.origins = next_origins;
        self.step += 1;
        self.spread_failures();
    }

    fn push_next(
        &self,
        next: &mut Messages,
        emissions: &Emissions,
        index: usize,
        origin: &Origin,
        key: &KeyFrom,
    ) {
        let unit = self.first_unit(origin);
        let (sequence, sub) = self.place(unit);
        next.data
            .push(emissions.data.get(index).unwrap_or_default());
        next.keys
            .push(self.key_text(key, emissions, index).as_bytes());
        next.sequence_numbers.push(sequence.as_bytes());
        next.sub_sequence_numbers.push(sub);
        next.arrival_times.push(self.arrival(unit));
    }

    fn emit(&mut self, sink: u32, origin: Origin, payload: Payload, key: KeyFrom) {
        let first = self.first_unit(&origin) as usize;
        let n = match (self.units.get_mut(first), &origin) {
            // What comes of one message is numbered alike in whatever batch it runs.
            (Some(unit), Origin::Unit(_)) => next_number(&mut unit.emitted.alone),
            (Some(unit), _) => next_number(&mut unit.emitted.shared),
            (None, _) => self.outgoing.len() as u32,
        };
        self.outgoing.push(Outgoing {
            sink,
            origin,
            n,
            payload,
            key,
        });
    }

    fn fail(&mut self, origin: &Origin, failure: Failure) {
        let verdict = match failure {
            Failure::Retry { after, reason } => Verdict::Retry {
                after,
                cause: self.cause("retry", reason),
            },
            Failure::Reject { reason } => Verdict::Reject(self.cause("reject", reason)),
        };
        let units: Vec<u32> = self.units_of(origin).collect();
        for unit in units {
            self.set_verdict(unit, verdict.clone());
        }
    }

    fn cause(&self, kind: &'static str, reason: String) -> Cause {
        Cause {
            step: Some(self.step),
            kind,
            reason,
        }
    }

    /// The first verdict stands, except that a discard is stronger than what it discards.
    fn set_verdict(&mut self, unit: u32, verdict: Verdict) {
        let Some(known) = self.units.get_mut(unit as usize) else {
            return;
        };
        if known.state == UnitState::Live || verdict == Verdict::Again {
            known.state = UnitState::Failed;
            self.verdicts.insert(unit, verdict);
        }
    }

    /// Ends the run: emissions that are still in it count as delivered.
    pub fn finish(mut self) -> Outcome {
        let batch = self.batch.len();
        let mut verdicts = Vec::new();
        for index in 0..batch {
            let unit = index as u32;
            let verdict = self.verdicts.remove(&unit);
            let (holds, emitted) = self.left_of(index);
            let slot = self.batch.slots.get(index).copied();
            match (verdict, slot) {
                (Some(verdict), _) => verdicts.push((index, verdict)),
                (None, Some(slot)) if holds > 0 && !mutant!(HeldIsAcked) => {
                    self.state.outstanding.insert(
                        slot,
                        Outstanding {
                            key_hash: self
                                .batch
                                .key_hashes
                                .get(index)
                                .copied()
                                .unwrap_or_default(),
                            holds,
                            attempt: self.attempt,
                            emitted,
                            is_out: false,
                        },
                    );
                    verdicts.push((index, Verdict::Held));
                }
                (None, _) => {}
            }
        }
        let mut released = Vec::new();
        for (index, source) in self.released.iter().enumerate() {
            let unit = (batch + index) as u32;
            let (holds, emitted) = self.left_of(batch + index);
            let verdict = self.verdicts.remove(&unit);
            if verdict.is_none() && holds > 0 {
                let outstanding = Outstanding {
                    key_hash: source.key_hash,
                    holds,
                    attempt: source.attempt,
                    emitted,
                    is_out: false,
                };
                self.state.outstanding.insert(source.slot, outstanding);
                continue;
            }
            self.state.outstanding.remove(&source.slot);
            released.push((source.slot, source.key_hash, verdict));
        }
        Outcome {
            verdicts,
            released,
            unknown_releases: self.unknown_releases,
            answered: self.answered,
        }
    }

    fn left_of(&self, unit: usize) -> (u32, Emitted) {
        self.units
            .get(unit)
            .map_or_else(Default::default, |unit| (unit.holds, unit.emitted))
    }
}

fn unrouted(output: &str) -> Failure {
    let shown = &output[..output.floor_char_boundary(OUTPUT_NAME_SHOWN)];
    let reason = format!("it emits to the output `{shown}`, which the pipeline does not route");
    Failure::Reject { reason }
}

/// Whether a step says of any of its messages something else than that it is to be tried again.
fn has_answered(messages: usize, answer: &Result<Reply, Failure>) -> bool {
    let is_retry = |failure: &Failure| matches!(failure, Failure::Retry { .. });
    let retried = match answer {
        Err(failure) if is_retry(failure) => messages,
        Err(_) => 0,
        Ok(reply) => {
            let failures = reply.failures.iter();
            failures.filter(|(_, failure)| is_retry(failure)).count()
        }
    };
    retried < messages
}

fn next_number(next: &mut u32) -> u32 {
    *next += 1;
    *next - 1
}
