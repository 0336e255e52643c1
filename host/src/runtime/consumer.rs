//! The shell of one shard's consumer: it waits for reads, batches and orders, hands them to core's consumer, and carries
//! out what that wants.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shardwright_core::{
    Batch, CheckpointDelta, ChildShard, Consumer, ConsumerEffect, ConsumerEvent, ConsumerStart,
    DeadMessage, Entropy, Instant, LaneState, LostReason, Outcome, Ran, ShardId, Slot, StopReason,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::clock;
use super::delivery::seeded;
use super::fetcher::Fetcher;
use super::lane::{Lane, LaneWork};
use super::lease_events::{ConsumerLease, ConsumerOrders};
use super::shared::{ShardReport, Shared};
use crate::ports::{DeadLetter, PortError, ReadAnswer};

/// Answers that wait for the consumer beyond one of each lane: a read, dead letters, a sync.
const INPUTS_BESIDE_LANES: usize = 8;

/// What reaches a consumer from its tasks.
#[derive(Debug)]
pub(super) enum Input {
    Read(ReadAnswer),
    Ran {
        batch: Box<Batch>,
        ran: Ran,
    },
    Flushed {
        is_asked: bool,
        outcome: Outcome,
        lost: Vec<(Slot, u64)>,
    },
    GivenBack {
        lane: usize,
        lost: Vec<(Slot, u64)>,
    },
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
    lease: ConsumerLease,
    orders: watch::Receiver<ConsumerOrders>,
    consumer: Consumer,
    entropy: Entropy,
    lanes: Vec<mpsc::Sender<LaneWork>>,
    inputs: mpsc::Sender<Input>,
    tasks: JoinSet<()>,
    fetcher: Option<tokio::task::AbortHandle>,
    is_draining: bool,
    /// Malformed containers, and user records outside the shard's range, as of the last look.
    told: (u64, u64),
    effects: Vec<ConsumerEffect>,
}

/// Consumes a shard until the coordinator orders a stop, or its end is stored.
pub(super) async fn consume(shared: Arc<Shared>, start: ConsumerStart, lease: ConsumerLease) {
    let initial = shared.parts.pipeline.source.start;
    let shard = start.tenure.shard.clone();
    let pipeline = shared.name().to_owned();
    let from = match start.checkpoint.start_at(initial) {
        Ok(from) => from,
        Err(error) => {
            tracing::error!(pipeline, %shard, %error, "the shard cannot be consumed");
            return;
        }
    };
    tell_of_start(&shared, &start);
    let capacity = usize::from(shared.parts.pipeline.flow.lanes) + INPUTS_BESIDE_LANES;
    let (inputs, received) = mpsc::channel(capacity);
    let settings = shared.consumer_settings(start.hash_range);
    let mut shell = Shell {
        consumer: Consumer::new(clock::now(), settings, start.checkpoint.clone()),
        orders: lease.orders(),
        lease,
        shard,
        entropy: seeded(),
        lanes: Vec::new(),
        inputs,
        tasks: JoinSet::new(),
        fetcher: None,
        is_draining: false,
        told: (0, 0),
        effects: Vec::new(),
        shared,
    };
    shell.start_tasks(from);
    shell.run(received).await;
    shell.stop().await;
}

fn tell_of_start(shared: &Shared, start: &ConsumerStart) {
    let pipeline = shared.name();
    let shard = &start.tenure.shard;
    match &start.checkpoint {
        shardwright_core::Checkpoint::At(position) => tracing::info!(
            pipeline,
            %shard,
            after = %position,
            at_most = shared.parts.pipeline.flow.span,
            "resuming a shard; at most this many messages after its checkpoint may be delivered again"
        ),
        checkpoint => tracing::info!(pipeline, %shard, from = %checkpoint, "starting a shard"),
    }
}

impl Shell {
    fn start_tasks(&mut self, from: shardwright_core::StartAt) {
        let guests = self.shared.parts.guests.clone();
        for number in 0..self.shared.parts.pipeline.flow.lanes {
            // One batch or flush is out at a time; a second place, since a lane that lost an instance over a flush of its own
            // may be given a batch while the flush it was asked for still waits; and a third for what it held too long.
            let (give, work) = mpsc::channel(3);
            let lane = Lane {
                shared: Arc::clone(&self.shared),
                shard: self.shard.clone(),
                number: number.into(),
                origin: format!("{}/{number}", self.shard),
                permit: self.lease.permit(),
                orders: self.lease.orders(),
                work,
                out: self.inputs.clone(),
                instances: self.shared.parts.plugins.iter().map(|_| None).collect(),
                state: LaneState::new(self.shared.parts.plugins.len()),
            };
            self.lanes.push(give);
            self.tasks.spawn_on(lane.run(), &guests);
        }
        let fetcher = Fetcher {
            shared: Arc::clone(&self.shared),
            shard: self.shard.clone(),
            out: self.inputs.clone(),
            entropy: seeded(),
        };
        self.fetcher = Some(
            self.tasks
                .spawn_on(fetcher.run(from), &self.shared.parts.io),
        );
    }

    async fn run(&mut self, mut received: mpsc::Receiver<Input>) {
        let shared = Arc::clone(&self.shared);
        if self.obey() == Over::Yes {
            return;
        }
        loop {
            // Listening begins before looking, so that what is given back between the two is not missed.
            let room = shared.room.notified();
            let wants_room = self.consumer.wants_room();
            if wants_room && shared.budget().has_room(&self.shard) {
                if self.handle(ConsumerEvent::Tick) == Over::Yes {
                    return;
                }
                continue;
            }
            let deadline = self.consumer.next_deadline();
            tokio::select! {
                biased;
                changed = self.orders.changed() => {
                    if changed.is_err() || self.obey() == Over::Yes {
                        return;
                    }
                }
                Some(input) = received.recv() => {
                    if self.take(input).await == Over::Yes {
                        return;
                    }
                }
                () = room, if wants_room => {
                    if self.handle(ConsumerEvent::Tick) == Over::Yes {
                        return;
                    }
                }
                () = sleep_until(deadline) => {
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
                tracing::warn!(pipeline, shard = %self.shard, why, "the lease is lost; its batches are dropped");
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
                self.shared.budget().end_read(&self.shard);
                self.shared.room.notify_waiters();
                over
            }
            Input::Ran { batch, ran } => self.handle(ConsumerEvent::Ran { batch, ran }),
            Input::Flushed {
                is_asked,
                outcome,
                lost,
            } => self.handle(ConsumerEvent::Flushed {
                is_asked,
                outcome,
                lost,
            }),
            Input::GivenBack { lane, lost } => self.handle(ConsumerEvent::GivenBack { lane, lost }),
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
        let room = self.shared.budget().reserve_room(&self.shard);
        let random = self.entropy.draw() as u64;
        let mut effects = std::mem::take(&mut self.effects);
        self.consumer
            .handle(clock::now(), event, room, random, &mut effects);
        if self
            .shared
            .budget()
            .settle(&self.shard, self.consumer.usage())
        {
            self.shared.room.notify_waiters();
        }
        self.publish();
        self.tell_of_intake();
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

    fn execute(&mut self, effect: ConsumerEffect) -> Over {
        match effect {
            ConsumerEffect::Run(batch) => {
                let lane = batch.lane;
                self.give(lane, LaneWork::Run(batch));
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

    fn give(&self, lane: usize, work: LaneWork) {
        // A lane has at most three things to do, for which its channel has room; one that is gone was aborted with the rest.
        if let Some(lane) = self.lanes.get(lane) {
            let _ = lane.try_send(work);
        }
    }

    /// Syncs every sink, however often that takes, then comes back with what waits for it.
    fn sync_then(&mut self, after: AfterSync) {
        let shared = Arc::clone(&self.shared);
        let out = self.inputs.clone();
        let sync = async move {
            let mut entropy = seeded();
            for sink in &shared.parts.sinks {
                let mut failures = 0;
                while let Err(error) = sink.sync().await {
                    failures += 1;
                    wait_after(
                        &shared,
                        &error,
                        "a sink cannot be synced",
                        failures,
                        &mut entropy,
                    )
                    .await;
                }
            }
            let _ = out.send(Input::Synced(after)).await;
        };
        self.tasks.spawn_on(sync, &self.shared.parts.io);
    }

    /// Writes dead letters, however often that takes: until they are written, their records are not done with.
    fn bury(&mut self, dead: Vec<DeadMessage>) {
        let shared = Arc::clone(&self.shared);
        let out = self.inputs.clone();
        let slots: Vec<Slot> = dead.iter().map(|message| message.slot).collect();
        let letters: Vec<DeadLetter> = dead
            .into_iter()
            .map(|message| letter(&shared, &self.shard, message))
            .collect();
        let bury = async move {
            let mut entropy = seeded();
            let mut failures = 0;
            while let Err(error) = shared.parts.dead_letters.put(letters.clone()).await {
                failures += 1;
                wait_after(
                    &shared,
                    &error,
                    "dead letters cannot be written",
                    failures,
                    &mut entropy,
                )
                .await;
            }
            let _ = out.send(Input::Buried(slots)).await;
        };
        self.tasks.spawn_on(bury, &self.shared.parts.io);
    }

    /// Ends every task, and only then lets go of the lease.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
        let (malformed, outside_range) = self.told;
        if malformed + outside_range > 0 {
            let pipeline = self.shared.name();
            tracing::warn!(pipeline, shard = %self.shard, malformed, outside_range, "containers taken whole and user records dropped, in all");
        }
        self.shared.budget().leave(&self.shard);
        self.shared.room.notify_waiters();
        self.shared.reports().remove(&self.shard);
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

async fn wait_after(
    shared: &Shared,
    error: &PortError,
    what: &str,
    failures: u32,
    entropy: &mut Entropy,
) {
    tracing::warn!(pipeline = shared.name(), failures, %error, "{what}; trying again");
    tokio::time::sleep(shared.retry.pause(failures, entropy.draw() as u64)).await;
}

fn letter(shared: &Shared, shard: &ShardId, message: DeadMessage) -> DeadLetter {
    let step = message.cause.step;
    let plugin = step.and_then(|step| shared.parts.plugins.get(step));
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let name = |plugin: &crate::ports::Description| {
        format!("{} {}", plugin.name, plugin.version)
            .trim_end()
            .to_owned()
    };
    DeadLetter {
        pipeline: shared.name().to_owned(),
        step,
        plugin: plugin
            .map(|plugin| name(plugin.description()))
            .unwrap_or_default(),
        digest: plugin
            .map(|plugin| plugin.digest().to_owned())
            .unwrap_or_default(),
        stream: shared.parts.pipeline.source.stream.as_str().to_owned(),
        shard: shard.as_str().to_owned(),
        position: message.position,
        key: message.key,
        data: message.data,
        arrival_ms: message.arrival_ms,
        error: message.cause.kind,
        reason: message.cause.reason,
        attempts: message.attempts,
        at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    }
}
