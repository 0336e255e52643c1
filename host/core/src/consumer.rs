//! The consumer of one leased shard: from what was read to what may be checkpointed.
//!
//! It owns the shard's window and lanes, hands batches out, takes their outcomes, and moves the checkpoint by chained
//! deltas (CP-3) that never pass an unresolved message (CP-1). It ends in one of two ways: *drained*, when it was told to
//! stop, has run to its end everything that it had begun and stored the last checkpoint; or at the *end of the shard*, when
//! the shard is closed and everything in it is done (SH-2).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::batch::Batch;
use crate::breaker::Paused;
use crate::budget::Grant;
use crate::lanes::{BatchBounds, Lanes, RunResult, Settled, Verdict};
use crate::message::ColumnsWanted;
use crate::position::{Checkpoint, Position};
use crate::retry::RetryPolicy;
use crate::shard::ChildShard;
use crate::time::Instant;
use crate::window::{Admitted, Intake, Opening, Slot, Usage, Window};

mod events;
mod finish;
mod flush;
mod holds;
mod pause;
mod progress;
mod reconfigure;
#[cfg(test)]
mod tests;

pub use events::{ConsumerEffect, ConsumerEvent, DeadMessage, Ran};
use flush::Flush;
use holds::Holds;
use pause::answered_before;
use progress::Progress;

/// What a consumer is made with.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerSettings {
    /// Lanes.
    pub lanes: u16,
    /// Bounds of a batch.
    pub batch: BatchBounds,
    /// How often messages are tried.
    pub retry: RetryPolicy,
    /// How records are taken apart.
    pub opening: Opening,
    /// The longest time between two checkpoints while there is progress.
    pub checkpoint_every: Duration,
    /// The most user records between two checkpoints, more or less: from here on one is asked for at once.
    pub checkpoint_after: u64,
    /// The columns that the first step reads.
    pub wanted: ColumnsWanted,
    /// How long a plugin may hold a message past its call. After that the message counts as failed.
    pub hold_max: Duration,
    /// How many different messages a step must have failed, and answered for none, until the shard is paused; with none it
    /// never is.
    pub breaker: Option<NonZeroU32>,
}

/// What there is to see of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Messages that are resolved, acked or buried.
    pub resolved: u64,
    /// Messages given up.
    pub dead: u64,
    /// Failed tries that were, or will be, repeated.
    pub retries: u64,
    /// Batches whose call gave no reply.
    pub crashes: u64,
    /// How far behind the tip the last read ended, in milliseconds; none before the first read.
    pub millis_behind_latest: Option<u64>,
    /// The last read was empty and at the tip, or the shard has ended, and everything before it is done and stored.
    pub is_at_tip: bool,
    /// Keys that wait.
    pub parked_keys: usize,
    /// A step fails everything, and only probes run.
    pub paused: Option<Paused>,
    /// What the window holds.
    pub usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    /// At the end of the shard, with everything stored: nothing is left to do but to stop.
    Ended,
    /// Drained: nothing more is done.
    Over,
}

/// The consumer of one shard.
#[derive(Debug)]
pub struct Consumer {
    settings: ConsumerSettings,
    window: Window,
    lanes: Lanes,
    holds: Holds,
    progress: Progress,
    phase: Phase,
    end: Option<Vec<ChildShard>>,
    is_last_read_at_tip: bool,
    /// What was said when opening stopped for want of room: waiting for fuller batches would be in vain.
    refused: Option<Grant>,
    flush: Flush,
    /// The lanes are being replaced: no batch goes out before they are.
    is_relaning: bool,
    burying: BTreeMap<Slot, u64>,
    /// Batches that came back, to be filled again.
    #[expect(
        clippy::vec_box,
        reason = "the boxes travel: they are handed out and come back"
    )]
    spare: Vec<Box<Batch>>,
    picked: Vec<(Slot, u64)>,
    status: ConsumerStatus,
}

impl Consumer {
    /// A consumer of a shard whose lease says that it is done up to `checkpoint`.
    pub fn new(now: Instant, settings: ConsumerSettings, checkpoint: Checkpoint) -> Self {
        let window = Window::new(settings.opening, checkpoint.position().cloned());
        let mut lanes = Lanes::new(settings.lanes, settings.batch, settings.retry);
        lanes.set_breaker(settings.breaker);
        Self {
            settings,
            window,
            lanes,
            holds: Holds::new(settings.hold_max),
            progress: Progress::new(now, settings.checkpoint_every, checkpoint),
            phase: Phase::Running,
            end: None,
            is_last_read_at_tip: false,
            refused: None,
            flush: Flush::NotAsked,
            is_relaning: false,
            burying: BTreeMap::new(),
            spare: Vec::new(),
            picked: Vec::new(),
            status: ConsumerStatus::default(),
        }
    }

    /// Takes an event. `room`, asked only if records wait to be opened, says how many may be, given what is held by then.
    pub fn handle(
        &mut self,
        now: Instant,
        event: ConsumerEvent,
        room: impl FnOnce(Usage) -> Grant,
        random: u64,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        match event {
            ConsumerEvent::Tick => {}
            ConsumerEvent::Read {
                records,
                end,
                millis_behind_latest,
            } => {
                self.status.millis_behind_latest = Some(millis_behind_latest);
                self.is_last_read_at_tip =
                    end.is_some() || (records.is_empty() && millis_behind_latest == 0);
                self.window.push(records);
                if self.phase == Phase::Running {
                    self.end = self.end.take().or(end);
                }
            }
            ConsumerEvent::Ran { batch, ran } => self.ran(now, batch, ran, random, effects),
            ConsumerEvent::Flushed {
                is_asked,
                outcome,
                lost,
            } => {
                if is_asked {
                    self.lane_flushed(now);
                }
                self.lanes.answered(now, outcome.answered);
                self.settle_released(now, outcome.released, random, effects);
                self.run_lost_again(now, lost, random, effects);
            }
            ConsumerEvent::GivenBack { lane, lost } => {
                self.run_lost_again(now, lost, random, effects);
                self.holds.given_back(lane);
            }
            ConsumerEvent::Buried(slots) => self.buried(now, &slots),
            ConsumerEvent::Stored(checkpoint) => self.progress.stored(now, checkpoint),
            ConsumerEvent::Drain => self.drain(effects),
            ConsumerEvent::Reconfigure(settings) => self.reconfigure(now, settings),
            ConsumerEvent::Relaned(lanes) => self.relaned(lanes),
        }
        self.advance(now, room, effects);
    }

    /// The next moment at which something happens by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Ended | Phase::Over) {
            return None;
        }
        let store = self.progress.deadline(|| self.window.watermark());
        let flush = match self.flush {
            Flush::Done(again) if self.phase == Phase::Running => {
                self.only_held_left().map(|_| again)
            }
            _ => None,
        };
        let run = if self.waits_for_lanes() || self.is_stopping_paused() {
            None
        } else {
            self.lanes.next_deadline()
        };
        let held = if self.is_relaning {
            None
        } else {
            self.holds.next_deadline()
        };
        [store, flush, run, held].into_iter().flatten().min()
    }

    fn drain(&mut self, effects: &mut Vec<ConsumerEffect>) {
        match self.phase {
            Phase::Running => {
                self.phase = Phase::Draining;
                if let Flush::Done(_) = self.flush {
                    self.flush = Flush::NotAsked;
                }
                self.end = None;
                self.window.close();
            }
            Phase::Ended if !mutant!(EndedConsumerDeaf) => {
                // The end may wait for other shards' leases: whoever is next says it again.
                self.phase = Phase::Over;
                effects.push(ConsumerEffect::Drained);
            }
            Phase::Draining | Phase::Ended | Phase::Over => {}
        }
    }

    fn ran(
        &mut self,
        now: Instant,
        mut batch: Box<Batch>,
        ran: Ran,
        random: u64,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        let mut settled = Settled {
            acked: Vec::with_capacity(batch.len()),
            ..Settled::default()
        };
        match ran {
            Ran::Done(outcome) => {
                for (index, verdict) in &outcome.verdicts {
                    if let (Verdict::Held, Some(&slot)) = (verdict, batch.slots.get(*index)) {
                        self.holds.hold(now, slot, batch.lane);
                    }
                }
                self.lanes.answered(now, outcome.answered);
                let result = RunResult::Done(outcome.verdicts);
                self.lanes
                    .settle(batch.lane, now, result, random, &mut settled);
                self.settled(settled, effects);
                self.settle_released(now, outcome.released, random, effects);
            }
            Ran::Crashed { cause, lost } => {
                self.status.crashes += 1;
                self.lanes.answered(now, answered_before(&cause));
                self.lanes.settle(
                    batch.lane,
                    now,
                    RunResult::Crashed(cause),
                    random,
                    &mut settled,
                );
                self.settled(settled, effects);
                self.run_lost_again(now, lost, random, effects);
            }
        }
        batch.clear();
        self.spare.push(batch);
    }

    fn run_lost_again(
        &mut self,
        now: Instant,
        lost: Vec<(Slot, u64)>,
        random: u64,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        let again = lost
            .into_iter()
            .map(|(slot, key_hash)| (slot, key_hash, Some(Verdict::Again)));
        self.settle_released(now, again.collect(), random, effects);
    }

    fn settle_released(
        &mut self,
        now: Instant,
        released: Vec<(Slot, u64, Option<Verdict>)>,
        random: u64,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        for (slot, key_hash, mut verdict) in released {
            if verdict != Some(Verdict::Held)
                && self.holds.end(now, slot)
                && verdict == Some(Verdict::Again)
            {
                verdict = Some(self.holds.verdict());
            }
            let Some(message) = self.window.message(slot) else {
                continue;
            };
            let message = Admitted {
                slot,
                key_hash,
                bytes: message.data.len() as u32,
            };
            let mut settled = Settled::default();
            self.lanes
                .settle_held(now, message, verdict, random, &mut settled);
            self.settled(settled, effects);
        }
    }

    fn settled(&mut self, settled: Settled, effects: &mut Vec<ConsumerEffect>) {
        self.status.resolved += settled.acked.len() as u64;
        self.status.retries += settled.retries;
        self.status.dead += settled.dead.len() as u64;
        for slot in settled.acked {
            self.window.resolve(slot);
        }
        let mut dead = Vec::new();
        for given_up in settled.dead {
            let (Some(message), Some(data)) = (
                self.window.message(given_up.slot),
                self.window.payload(given_up.slot),
            ) else {
                continue;
            };
            let key_hash = crate::window::key_hash(message.key);
            dead.push(DeadMessage {
                slot: given_up.slot,
                position: Position {
                    sequence: message.sequence.clone(),
                    sub_sequence: message.sub_sequence,
                },
                key: message.key.to_owned(),
                data,
                arrival_ms: message.arrival_ms,
                cause: given_up.cause,
                attempts: given_up.attempts,
            });
            self.burying.insert(given_up.slot, key_hash);
        }
        if !dead.is_empty() {
            effects.push(ConsumerEffect::Bury(dead));
        }
    }

    fn buried(&mut self, now: Instant, slots: &[Slot]) {
        for &slot in slots {
            let Some(key_hash) = self.burying.remove(&slot) else {
                continue;
            };
            self.status.resolved += 1;
            self.window.resolve(slot);
            self.lanes.buried(now, slot, key_hash);
        }
    }

    /// Leaves nothing undone that can be done now.
    fn advance(
        &mut self,
        now: Instant,
        room: impl FnOnce(Usage) -> Grant,
        effects: &mut Vec<ConsumerEffect>,
    ) {
        match self.phase {
            Phase::Running | Phase::Draining => {}
            // Other lanes are not needed any more, and still waited for.
            Phase::Ended if self.waits_for_lanes() => return self.relane_when_idle(effects),
            Phase::Ended | Phase::Over => return,
        }
        self.window.fold();
        self.open(now, room);
        if self.waits_for_lanes() {
            self.relane_when_idle(effects);
        } else {
            self.dispatch(now, effects);
        }
        // Lanes that go give back whatever they hold.
        if !self.is_relaning {
            let overdue = self.holds.overdue(now);
            effects.extend(overdue.into_iter().map(ConsumerEffect::TakeBack));
        }
        self.finish_or_store(now, effects);
        self.status.usage = self.usage();
        self.status.parked_keys = self.lanes.parked_keys();
        self.tell_of_pause();
        self.status.is_at_tip = self.is_last_read_at_tip
            && self.window.is_drained()
            && self.progress.is_stored(self.window.watermark());
    }

    fn open(&mut self, now: Instant, room: impl FnOnce(Usage) -> Grant) {
        self.refused = None;
        if !self.window.has_unopened() {
            return;
        }
        match room(self.usage()) {
            Grant::Room(room) => {
                let lanes = &mut self.lanes;
                self.window.open(room, |message| lanes.admit(now, message));
            }
            refused => self.refused = Some(refused),
        }
    }

    fn dispatch(&mut self, now: Instant, effects: &mut Vec<ConsumerEffect>) {
        if self.is_stopping_paused() {
            return;
        }
        let hurry =
            self.window.has_unopened() || self.end.is_some() || self.phase == Phase::Draining;
        let (first, lanes) = (self.lanes.first_lane(), self.lanes.count());
        for lane in (first..first + lanes).map(|lane| lane % lanes) {
            if !self.lanes.take(lane, now, hurry, &mut self.picked) {
                continue;
            }
            let mut batch = self.spare.pop().unwrap_or_default();
            batch.lane = lane;
            for &(slot, key_hash) in &self.picked {
                if let Some(message) = self.window.raw_message(slot) {
                    batch.push(slot, key_hash, message, self.settings.wanted);
                }
            }
            effects.push(ConsumerEffect::Run(batch));
        }
    }

    /// What there is to see.
    pub fn status(&self) -> &ConsumerStatus {
        &self.status
    }

    /// What came in.
    pub fn intake(&self) -> &Intake {
        self.window.intake()
    }

    /// What the pipeline's budget must know after every event: what the window holds, its span from the durable
    /// checkpoint on, since that is where a crash begins again.
    pub fn usage(&self) -> Usage {
        let held = self.window.usage();
        Usage {
            span: held.span + self.progress.not_covered(self.window.done()),
            ..held
        }
    }

    /// Whether records wait for room.
    pub fn wants_room(&self) -> bool {
        self.window.has_unopened()
    }

    /// The highest position with nothing unresolved below it.
    pub fn watermark(&self) -> Option<Position> {
        self.window.watermark()
    }
}
