//! The shell of one shard's consumer: it waits for reads, batches and orders, hands them to core's consumer, and carries
//! out what that wants.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use shardwright_core::{
    Batch, CheckpointDelta, ChildShard, Consumer, ConsumerEffect, ConsumerEvent, ConsumerStart,
    Entropy, Instant, LostReason, Ran, ShardId, Slot, StopReason,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::fetcher::Fetcher;
use super::generation::Generation;
use super::lane::{Flushed, Instances, LaneWork};
use super::lease_events::{ConsumerLease, ConsumerOrders};
use super::shared::{Place, ShardReport, Shared, Turns};
use crate::ports::{Clock, ReadAnswer};

mod passing;
mod tasks;

use passing::Passing;

/// Answers that wait for the consumer beyond one of each lane: a read, dead letters, a sync.
const INPUTS_BESIDE_LANES: usize = 8;

/// What reaches a consumer from its tasks.
pub(super) enum Input {
    Read(ReadAnswer),
    Ran {
        batch: Box<Batch>,
        ran: Ran,
    },
    Flushed {
        is_asked: bool,
        flushed: Flushed,
    },
    GivenBack {
        lane: usize,
        lost: Vec<(Slot, u64)>,
    },
    /// Instances of the next generation, for a lane.
    Made {
        lane: usize,
        instances: Instances,
    },
    /// A lane has passed over to the next generation, and stood still for so long.
    Swapped {
        flushed: Flushed,
        pause: Duration,
    },
    /// A lane has ended, since there are to be others.
    Retired(Flushed),
    /// What was delivered under a generation that every lane has left is durable.
    Finished(u64),
    Buried(Vec<Slot>),
    /// Everything that was delivered before is durable; now this may be asked for.
    Synced(AfterSync),
}

/// What waits for the sinks to be synced.
#[derive(Debug)]
pub(super) enum AfterSync {
    Checkpoint(CheckpointDelta),
    End {
        from: shardwright_core::Checkpoint,
        children: Vec<ChildShard>,
    },
}

/// Why a consumer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

struct Shell {
    shared: Arc<Shared>,
    shard: ShardId,
    turns: Arc<Turns>,
    place: Place,
    lease: ConsumerLease,
    orders: watch::Receiver<ConsumerOrders>,
    consumer: Consumer,
    entropy: Entropy,
    lanes: Vec<mpsc::Sender<LaneWork>>,
    passing: Passing,
    /// The newest generation that it has heard of.
    heard_of: u64,
    inputs: mpsc::Sender<Input>,
    tasks: JoinSet<()>,
    fetcher: Option<tokio::task::AbortHandle>,
    is_draining: bool,
    /// Malformed containers, and user records outside the shard's range, as of the last look.
    told: (u64, u64),
    /// With a pause, the probes that had failed as of the last look.
    told_of_pause: Option<u32>,
    /// When it asks for room again by itself.
    asks_for_room: Option<Instant>,
    effects: Vec<ConsumerEffect>,
}

/// Consumes a shard until the coordinator orders a stop, or its end is stored.
pub(super) async fn consume(shared: Arc<Shared>, start: ConsumerStart, lease: ConsumerLease) {
    let shard = start.tenure.shard.clone();
    let pipeline = shared.name().to_owned();
    let from = match start.checkpoint.start_at(shared.start, start.latest_ms) {
        Ok(from) => from,
        Err(error) => {
            tracing::error!(pipeline, %shard, %error, "the shard cannot be consumed");
            return;
        }
    };
    let (place, generation, turns) = shared.join(&shard);
    tell_of_start(&shared, &generation, &start);
    let capacity = usize::from(generation.lanes()) + INPUTS_BESIDE_LANES;
    let (inputs, received) = mpsc::channel(capacity);
    let settings = generation.consumer_settings(start.hash_range);
    let now = shared.clock.now();
    let mut shell = Shell {
        consumer: Consumer::new(now, settings, start.checkpoint.clone()),
        orders: lease.orders(),
        lease,
        shard,
        turns,
        place,
        entropy: shared.clock.entropy(),
        lanes: Vec::new(),
        heard_of: generation.number,
        passing: Passing::new(generation, start.hash_range, now),
        inputs,
        tasks: JoinSet::new(),
        fetcher: None,
        is_draining: false,
        told: (0, 0),
        told_of_pause: None,
        asks_for_room: None,
        effects: Vec::new(),
        shared,
    };
    shell.start_lanes();
    shell.start_fetcher(from);
    // Its tasks have to end before the lease is let go of, also after a panic.
    let worked = AssertUnwindSafe(shell.run(received)).catch_unwind().await;
    if let Err(panic) = worked {
        shell.tell_of_panic(panic.as_ref());
    }
    shell.stop().await;
}

fn tell_of_start(shared: &Shared, generation: &Generation, start: &ConsumerStart) {
    let pipeline = shared.name();
    let shard = &start.tenure.shard;
    match &start.checkpoint {
        shardwright_core::Checkpoint::At(position) => tracing::info!(
            pipeline,
            %shard,
            after = %position,
            at_most = generation.bounds().span,
            "resuming a shard; at most this many messages after its checkpoint may be delivered again"
        ),
        checkpoint => tracing::info!(pipeline, %shard, from = %checkpoint, "starting a shard"),
    }
}

impl Shell {
    fn start_fetcher(&mut self, from: shardwright_core::StartAt) {
        let fetcher = Fetcher {
            shared: Arc::clone(&self.shared),
            shard: self.shard.clone(),
            turns: Arc::clone(&self.turns),
            out: self.inputs.clone(),
            entropy: self.shared.clock.entropy(),
        };
        self.fetcher = Some(self.tasks.spawn_on(fetcher.run(from), &self.shared.io));
    }

    async fn run(&mut self, mut received: mpsc::Receiver<Input>) {
        let (shared, turns) = (Arc::clone(&self.shared), Arc::clone(&self.turns));
        if self.obey() == Over::Yes {
            return;
        }
        loop {
            let due = self.consumer.next_deadline();
            let deadline = due.into_iter().chain(self.asks_for_room).min();
            tokio::select! {
                biased;
                changed = self.orders.changed() => {
                    if changed.is_err() || self.obey() == Over::Yes {
                        return;
                    }
                }
                // A stop finishes what was begun, under what it was begun with.
                () = shared.newer_than(self.heard_of), if !self.is_draining => {
                    if self.want_newest() == Over::Yes {
                        return;
                    }
                }
                Some(input) = received.recv() => {
                    if self.take(input).await == Over::Yes {
                        return;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    if self.task_ended(ended) == Over::Yes {
                        return;
                    }
                }
                () = turns.open.notified() => {
                    if self.handle(ConsumerEvent::Tick) == Over::Yes {
                        return;
                    }
                }
                () = sleep_until(shared.clock.as_ref(), deadline) => {
                    if self.handle(ConsumerEvent::Tick) == Over::Yes {
                        return;
                    }
                }
            }
        }
    }

    /// Does what the coordinator ordered last.
    fn obey(&mut self) -> Over {
        let orders = self.orders.borrow_and_update().clone();
        match orders.stop {
            Some(StopReason::Lost(reason)) => {
                let pipeline = self.shared.name();
                let why = match reason {
                    LostReason::Taken {
                        owner: Some(owner), ..
                    } => format!("{owner} has it"),
                    LostReason::Taken { owner: None, .. } => "its row has changed".to_owned(),
                    LostReason::Expired => "it could not be renewed in time".to_owned(),
                };
                let records = self.consumer.usage().records;
                tracing::warn!(pipeline, shard = %self.shard, why, records, "the lease is lost; its batches are dropped");
                return Over::Yes;
            }
            Some(StopReason::ShardEnd) => {
                tracing::info!(pipeline = self.shared.name(), shard = %self.shard, "the shard has ended");
                return Over::Yes;
            }
            Some(StopReason::Drain) if !self.is_draining => {
                self.is_draining = true;
                if let Some(fetcher) = self.fetcher.take() {
                    fetcher.abort();
                }
                self.shared.budget(|budget| budget.stop(&self.shard));
                if self.handle(ConsumerEvent::Drain) == Over::Yes {
                    return Over::Yes;
                }
            }
            Some(StopReason::Drain) | None => {}
        }
        self.handle(ConsumerEvent::Stored(orders.stored))
    }

    async fn take(&mut self, input: Input) -> Over {
        match input {
            Input::Read(answer) => {
                let end = answer.next.is_none().then_some(answer.children);
                let event = ConsumerEvent::Read {
                    records: answer.records,
                    end,
                    millis_behind_latest: answer.millis_behind_latest,
                };
                let over = self.handle(event);
                self.shared.budget(|budget| budget.end_read(&self.shard));
                over
            }
            Input::Ran { batch, ran } => {
                self.passing.speaks(batch.lane);
                self.handle(ConsumerEvent::Ran { batch, ran })
            }
            Input::Flushed { is_asked, flushed } => self.flushed(is_asked, flushed),
            Input::GivenBack { lane, lost } => {
                self.passing.speaks(lane);
                self.handle(ConsumerEvent::GivenBack { lane, lost })
            }
            Input::Made { lane, instances } => self.made(lane, instances),
            Input::Swapped { flushed, pause } => self.swapped(flushed, pause),
            Input::Retired(flushed) => self.retired(flushed),
            Input::Finished(number) => self.finished(number),
            Input::Buried(slots) => self.handle(ConsumerEvent::Buried(slots)),
            Input::Synced(after) => {
                let asked = match after {
                    AfterSync::Checkpoint(delta) => self.lease.checkpoint(delta).await,
                    AfterSync::End { from, children } => self.lease.ended(from, children).await,
                };
                if asked.is_err() { Over::Yes } else { Over::No }
            }
        }
    }

    fn handle(&mut self, event: ConsumerEvent) -> Over {
        let (shared, shard) = (&self.shared, &self.shard);
        let now = shared.clock.now();
        let room = |usage| shared.budget(|budget| budget.reserve_room(now, shard, usage));
        let random = self.entropy.draw() as u64;
        let mut effects = std::mem::take(&mut self.effects);
        self.consumer.handle(now, event, room, random, &mut effects);
        let (usage, wants_room) = (self.consumer.usage(), self.consumer.wants_room());
        self.asks_for_room = shared.budget(|budget| budget.settle(now, shard, usage, wants_room));
        self.publish();
        self.tell_of_intake();
        self.tell_of_pause();
        let mut over = Over::No;
        for effect in effects.drain(..) {
            if self.execute(effect) == Over::Yes {
                over = Over::Yes;
            }
        }
        self.effects = effects;
        over
    }

    fn publish(&self) {
        let checkpoint = self.orders.borrow().stored.clone();
        let report = ShardReport {
            status: self.consumer.status().clone(),
            intake: self.consumer.intake().clone(),
            checkpoint,
        };
        self.shared.reports().insert(self.shard.clone(), report);
    }

    /// The first time something odd comes in, it is told; how much there was in all is told at the end.
    fn tell_of_intake(&mut self) {
        let intake = self.consumer.intake();
        let (malformed, outside) = (intake.malformed.values().sum(), intake.outside_range);
        let pipeline = self.shared.name();
        if self.told.0 == 0 && malformed > 0 {
            let why = intake
                .malformed
                .keys()
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            tracing::warn!(pipeline, shard = %self.shard, why, "a record begins like a KPL container and is none; it is delivered whole");
        }
        if self.told.1 == 0 && outside > 0 {
            tracing::warn!(pipeline, shard = %self.shard, "user records outside the shard's hash range are dropped, as `outside_range` asks");
        }
        self.told = (malformed, outside);
    }

    fn tell_of_pause(&mut self) {
        let paused = self.consumer.status().paused.as_ref();
        let probes = paused.map(|paused| paused.probes);
        if probes == self.told_of_pause {
            return;
        }
        self.told_of_pause = probes;
        let (pipeline, now) = (self.shared.name(), self.shared.clock.now());
        let Some(paused) = paused else {
            return self.shared.pauses().end(now, &self.shard, pipeline);
        };
        let speaking = self.passing.speaking();
        let plugins = &speaking.parts.plugins;
        let plugin = paused.cause.step.and_then(|step| plugins.get(step));
        let name = plugin.map_or("", |plugin| &plugin.description().name);
        self.shared
            .pauses()
            .go_on(now, &self.shard, paused, name, pipeline);
    }

    fn execute(&mut self, effect: ConsumerEffect) -> Over {
        match effect {
            ConsumerEffect::Run(batch) => {
                let lane = batch.lane;
                self.passing.warm(lane);
                self.give(lane, LaneWork::Run(batch));
            }
            ConsumerEffect::Relane(_lanes) => {
                for lane in 0..self.lanes.len() {
                    self.give(lane, LaneWork::Retire);
                }
            }
            ConsumerEffect::Flush(reason) => {
                for lane in 0..self.lanes.len() {
                    self.give(lane, LaneWork::Flush(reason));
                }
            }
            ConsumerEffect::TakeBack(lane) => self.give(lane, LaneWork::TakeBack),
            ConsumerEffect::Bury(dead) => self.bury(dead),
            ConsumerEffect::Store(delta) => self.sync_then(AfterSync::Checkpoint(delta)),
            ConsumerEffect::Ended { from, children } => {
                self.sync_then(AfterSync::End { from, children });
            }
            ConsumerEffect::Drained => return Over::Yes,
        }
        Over::No
    }

    fn flushed(&mut self, is_asked: bool, flushed: Flushed) -> Over {
        self.passing.speaks(flushed.lane);
        self.handle(ConsumerEvent::Flushed {
            is_asked,
            outcome: flushed.outcome,
            lost: flushed.lost,
        })
    }

    fn give(&self, lane: usize, work: LaneWork) {
        // A lane has at most four things to do, for which its channel has room; one that is gone was aborted with the rest.
        if let Some(lane) = self.lanes.get(lane) {
            let _ = lane.try_send(work);
        }
    }

    /// A task has ended. One that panicked owes an answer that will never come, and the shard would wait for it for as long
    /// as its lease is renewed: whoever takes it next begins at the checkpoint (LV-1).
    fn task_ended(&self, ended: Result<(), JoinError>) -> Over {
        match ended.map_err(JoinError::try_into_panic) {
            Err(Ok(panic)) => {
                self.tell_of_panic(panic.as_ref());
                Over::Yes
            }
            // It had nothing more to do, or was aborted.
            Ok(()) | Err(Err(_)) => Over::No,
        }
    }

    fn tell_of_panic(&self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        tracing::error!(
            pipeline = self.shared.name(),
            shard = %self.shard,
            panic = text.unwrap_or("no text"),
            "a task of the shard panicked; the lease is given up, and what was begun is delivered again"
        );
    }

    /// Ends every task, and only then lets go of the lease.
    async fn stop(mut self) {
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            self.task_ended(ended);
        }
        let (malformed, outside_range) = self.told;
        if malformed + outside_range > 0 {
            let pipeline = self.shared.name();
            tracing::warn!(pipeline, shard = %self.shard, malformed, outside_range, "containers taken whole and user records dropped, in all");
        }
        // In this order: who takes the lease next has the same shard's place.
        drop(self.place);
        drop(self.lease);
    }
}

async fn sleep_until(clock: &dyn Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep(deadline.since(clock.now())).await,
        None => std::future::pending().await,
    }
}
