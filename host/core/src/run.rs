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
use crate::lanes::{Cause, Verdict};
use crate::message::{Emissions, Failure, InvalidReply, Messages, Reply, SOURCE_CALL};
use crate::window::Slot;

mod deliver;
mod origin;
mod route;
mod state;
#[cfg(test)]
mod tests;

pub use deliver::Delivery;
pub use route::{Destination, Routes};
pub use state::LaneState;
use state::{Outstanding, Source};

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
    emitted: u32,
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Index in the batch, rising, and verdict; all others are acked.
    pub verdicts: Vec<(usize, Verdict)>,
    /// Messages of earlier batches that are settled: slot, key hash, and verdict, none for an ack.
    pub released: Vec<(Slot, u64, Option<Verdict>)>,
    /// Releases of what was not held, dropped.
    pub unknown_releases: u64,
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
    verdicts: BTreeMap<u32, Verdict>,
    replies: Vec<Emissions>,
    outgoing: Vec<Outgoing>,
    /// The messages for the next step, and where each came from. For the first step they are the batch's own.
    messages: Messages,
    origins: Vec<Origin>,
    step: usize,
    unknown_releases: u64,
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
            .map(|_| Unit {
                state: UnitState::Live,
                holds: 0,
                emitted: 0,
            })
            .collect();
        let mut run = Self {
            batch,
            attempt: state.tries,
            state,
            routes,
            units,
            released: Vec::new(),
            groups: Vec::new(),
            verdicts: BTreeMap::new(),
            replies: Vec::new(),
            outgoing: Vec::new(),
            messages: Messages::default(),
            origins: Vec::new(),
            step: 0,
            unknown_releases: 0,
        };
        if let Some(sink) = routes.mirror() {
            for index in 0..batch.len() as u32 {
                run.emit(sink, Origin::Unit(index), Payload::Message(index));
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
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                for index in 0..messages {
                    self.fail(&origin_of(index), failure.clone());
                }
                Reply::default()
            }
        };
        for (index, failure) in reply.failures {
            self.fail(&origin_of(index as usize), failure);
        }
        let releases: Vec<Origin> = reply
            .releases
            .into_iter()
            .map(|release| {
                let origin = self.release(step, release.id);
                if let Some(failure) = release.failure {
                    self.fail(&origin, failure);
                }
                origin
            })
            .collect();
        let any_discarded = self.discard_later_of_failed_keys();
        for hold in reply.holds {
            self.hold(step, hold.id, &origin_of(hold.index as usize));
        }
        let mut next = Messages::default();
        let mut next_origins = Vec::new();
        let emissions = reply.emissions;
        let reply_index = self.replies.len() as u32;
        let mut call = None;
        for index in 0..emissions.len() {
            let origin = match emissions.sources.get(index) {
                Some(&SOURCE_CALL) | None => {
                    let origin = call.get_or_insert_with(|| {
                        self.whole_call(messages, &origin_of, &releases, any_discarded)
                    });
                    origin.clone()
                }
                Some(&from) if (from as usize) < messages => origin_of(from as usize),
                Some(&from) => releases
                    .get(from as usize - messages)
                    .cloned()
                    .unwrap_or(Origin::Nothing),
            };
            if !self.is_live(&origin) {
                continue;
            }
            match self.routes.destination(step, emissions.output(index)) {
                Some(Destination::Sink(sink)) => {
                    self.emit(
                        sink,
                        origin,
                        Payload::Emission {
                            reply: reply_index,
                            index: index as u32,
                        },
                    );
                }
                Some(Destination::NextStep) => {
                    self.push_next(&mut next, &emissions, index, &origin);
                    next_origins.push(origin);
                }
                None => {
                    let reason = format!(
                        "it emits to the output `{}`, which the pipeline does not route",
                        emissions.output(index)
                    );
                    self.fail(&origin, Failure::Reject { reason });
                }
            }
        }
        self.replies.push(emissions);
        self.messages = next;
        self.origins = next_origins;
        self.step += 1;
    }

    fn push_next(&self, next: &mut Messages, emissions: &Emissions, index: usize, origin: &Origin) {
        let unit = self.first_unit(origin);
        let (sequence, sub) = self.place(unit);
        next.data
            .push(emissions.data.get(index).unwrap_or_default());
        next.keys
            .push(self.key_of(origin, emissions, index).as_bytes());
        next.sequence_numbers.push(sequence.as_bytes());
        next.sub_sequence_numbers.push(sub);
        next.arrival_times.push(
            self.batch
                .messages
                .arrival_times
                .get(unit as usize)
                .copied()
                .unwrap_or_default(),
        );
    }

    fn emit(&mut self, sink: u32, origin: Origin, payload: Payload) {
        let first = self.first_unit(&origin) as usize;
        let n = match self.units.get_mut(first) {
            Some(unit) => {
                unit.emitted += 1;
                unit.emitted - 1
            }
            None => self.outgoing.len() as u32,
        };
        self.outgoing.push(Outgoing {
            sink,
            origin,
            n,
            payload,
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

    /// Messages that follow one of their key which is to be tried again run again after it.
    fn discard_later_of_failed_keys(&mut self) -> bool {
        let failed: Vec<u32> = self
            .verdicts
            .iter()
            .filter(|(unit, verdict)| {
                (**unit as usize) < self.batch.len() && matches!(verdict, Verdict::Retry { .. })
            })
            .map(|(unit, _)| *unit)
            .collect();
        if failed.is_empty() {
            return false;
        }
        let mut first = BTreeMap::new();
        for unit in failed {
            if let Some(&key) = self.batch.key_hashes.get(unit as usize) {
                first.entry(key).or_insert(unit);
            }
        }
        let later: Vec<u32> = (0..self.batch.len() as u32)
            .filter(|unit| {
                let key = self.batch.key_hashes.get(*unit as usize);
                key.and_then(|key| first.get(key))
                    .is_some_and(|first| first < unit)
            })
            .collect();
        for &unit in &later {
            self.set_verdict(unit, Verdict::Again);
        }
        !later.is_empty()
    }

    /// All that this call acks. If some of its messages were discarded, an emission that speaks for all of them cannot be
    /// told apart from them: then everything it gates runs again.
    fn whole_call(
        &mut self,
        messages: usize,
        origin_of: &impl Fn(usize) -> Origin,
        releases: &[Origin],
        any_discarded: bool,
    ) -> Origin {
        let mut units: Vec<u32> = Vec::new();
        for origin in (0..messages).map(origin_of).chain(releases.iter().cloned()) {
            units.extend(self.units_of(&origin));
        }
        units.sort_unstable();
        units.dedup();
        units.retain(|unit| {
            self.units
                .get(*unit as usize)
                .is_some_and(|unit| unit.state == UnitState::Live && unit.holds == 0)
        });
        if any_discarded {
            for unit in units {
                self.set_verdict(unit, Verdict::Again);
            }
            return Origin::Nothing;
        }
        if units.is_empty() {
            return Origin::Nothing;
        }
        self.groups.push(units);
        Origin::Units(self.groups.len() as u32 - 1)
    }

    /// Ends the run: emissions that are still in it count as delivered.
    pub fn finish(mut self) -> Outcome {
        let batch = self.batch.len();
        let mut verdicts = Vec::new();
        for index in 0..batch {
            let unit = index as u32;
            let verdict = self.verdicts.remove(&unit);
            let holds = self.units.get(index).map_or(0, |unit| unit.holds);
            let slot = self.batch.slots.get(index).copied();
            match (verdict, slot) {
                (Some(verdict), _) => verdicts.push((index, verdict)),
                (None, Some(slot)) if holds > 0 => {
                    self.state.outstanding.insert(
                        slot,
                        Outstanding {
                            holds,
                            attempt: self.attempt,
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
            let holds = self.units.get(batch + index).map_or(0, |unit| unit.holds);
            let verdict = self.verdicts.remove(&unit);
            if verdict.is_none() && holds > 0 {
                let outstanding = Outstanding {
                    holds,
                    attempt: source.attempt,
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
        }
    }
}
