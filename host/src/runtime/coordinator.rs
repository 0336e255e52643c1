//! The shell of the lease coordinator: one task per pipeline that waits, asks core's machine, and carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardwright_core::{
    ConsumerStart, Coordinator, CoordinatorEffect, CoordinatorEvent, Instant, LeaseSettings,
    LeaseSnapshot, StopReason, Tenure, Trouble,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::lease_events::{ConsumerLease, ConsumerOrders, DispatchPermit, StartConsumer};
use crate::limits::{LEASE_REQUESTS_MAX, LEASE_SLEEP_MAX, LEASE_SNAPSHOT_INTERVAL};
use crate::ports::{Clock, LeaseTable, StreamSource};

mod calls;
mod report;
#[cfg(test)]
pub(super) mod tests;

use calls::Calls;

/// Why a pipeline's leases cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The lease table or the stream refuses to be used at all.
    #[error("no leases can be had: {0}")]
    Refused(Trouble),
    /// A call to the lease table or the stream panicked: its answer will never come.
    #[error("a call to the lease table or the stream panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// Steers a running coordinator. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseHandle {
    drain: Arc<watch::Sender<bool>>,
    snapshot: watch::Receiver<LeaseSnapshot>,
}

impl LeaseHandle {
    /// Begins to give everything up in good order: consumers are told to drain, their last checkpoints are written, leases
    /// are released; then [`LeaseCoordinator::run`] returns. A consumer that does not stop holds this up: whoever drains
    /// sets consumers their limit.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// The table as this worker sees it, now and whenever it changes.
    pub fn snapshot(&self) -> watch::Receiver<LeaseSnapshot> {
        self.snapshot.clone()
    }
}

/// One pipeline's lease coordinator. Runs on the runtime for I/O, where no guest can hold it up.
pub struct LeaseCoordinator {
    machine: Coordinator,
    clock: Arc<dyn Clock>,
    calls: Calls,
    answers: JoinSet<CoordinatorEvent>,
    starter: Box<dyn StartConsumer>,
    consumers: BTreeMap<Tenure, ConsumerSide>,
    requests: (
        mpsc::Sender<CoordinatorEvent>,
        mpsc::Receiver<CoordinatorEvent>,
    ),
    stopped: (
        mpsc::UnboundedSender<Tenure>,
        mpsc::UnboundedReceiver<Tenure>,
    ),
    drain: watch::Receiver<bool>,
    snapshot: watch::Sender<LeaseSnapshot>,
    /// Revision and time of the newest snapshot.
    published: (u64, Instant),
    is_draining: bool,
}

/// The coordinator's end of a consumer's lease.
struct ConsumerSide {
    orders: watch::Sender<ConsumerOrders>,
    permit: DispatchPermit,
}

/// What woke the coordinator.
enum Wake {
    Event(CoordinatorEvent),
    Stopped(Tenure),
    Panicked(tokio::task::JoinError),
}

impl LeaseCoordinator {
    /// Builds a coordinator of the leases that `table` holds for the stream of `source`.
    pub fn new(
        settings: LeaseSettings,
        table: Arc<dyn LeaseTable>,
        source: Arc<dyn StreamSource>,
        clock: Arc<dyn Clock>,
        starter: Box<dyn StartConsumer>,
    ) -> (Self, LeaseHandle) {
        let (drain, drained) = watch::channel(false);
        let (snapshot, snapshots) = watch::channel(LeaseSnapshot::default());
        let calls = Calls::new(
            table,
            source,
            settings.worker.clone(),
            settings.timing.failover,
            Arc::clone(&clock),
        );
        let coordinator = Self {
            machine: Coordinator::new(settings),
            clock,
            calls,
            answers: JoinSet::new(),
            starter,
            consumers: BTreeMap::new(),
            requests: mpsc::channel(LEASE_REQUESTS_MAX),
            stopped: mpsc::unbounded_channel(),
            drain: drained,
            snapshot,
            published: (0, Instant::default()),
            is_draining: false,
        };
        let handle = LeaseHandle {
            drain: Arc::new(drain),
            snapshot: snapshots,
        };
        (coordinator, handle)
    }

    /// Runs until a drain has finished, or until leases turn out not to be had. Dropping it leaves leases to expire.
    pub async fn run(mut self) -> Result<(), LeaseError> {
        let mut event = CoordinatorEvent::Started;
        let mut effects = Vec::new();
        loop {
            self.machine.handle(self.clock.now(), event, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    CoordinatorEffect::Finished => {
                        self.publish(self.clock.now());
                        return Ok(());
                    }
                    CoordinatorEffect::GiveUp(trouble) => return Err(LeaseError::Refused(trouble)),
                    effect => self.carry_out(effect),
                }
            }
            event = match self.wait().await {
                Wake::Event(event) => event,
                Wake::Panicked(why) => return Err(LeaseError::Panicked(why)),
                Wake::Stopped(tenure) => {
                    self.take_last_requests(&mut effects);
                    self.consumers.remove(&tenure);
                    CoordinatorEvent::ConsumerStopped(tenure)
                }
            };
        }
    }

    /// Waits for whatever comes first, publishing snapshots meanwhile.
    async fn wait(&mut self) -> Wake {
        loop {
            let now = self.clock.now();
            let due = self.machine.next_deadline();
            let publish = (self.published.0 != self.machine.revision())
                .then_some(self.published.1 + LEASE_SNAPSHOT_INTERVAL);
            if publish.is_some_and(|at| at <= now) {
                self.publish(now);
                continue;
            }
            if due.is_some_and(|at| at <= now) {
                return Wake::Event(CoordinatorEvent::Tick);
            }
            let next = due.into_iter().chain(publish).min();
            let sleep = next.map_or(LEASE_SLEEP_MAX, |at| at.since(now).min(LEASE_SLEEP_MAX));
            // In this order, so that a flood of one kind cannot hide the kinds that a lease hangs on.
            tokio::select! {
                biased;
                Some(answer) = self.answers.join_next() => {
                    return answer.map_or_else(Wake::Panicked, Wake::Event);
                }
                Ok(_) = self.drain.wait_for(|wanted| *wanted), if !self.is_draining => {
                    self.is_draining = true;
                    return Wake::Event(CoordinatorEvent::Drain);
                }
                Some(tenure) = self.stopped.1.recv() => return Wake::Stopped(tenure),
                Some(request) = self.requests.1.recv() => return Wake::Event(request),
                () = self.clock.sleep(sleep) => {}
            }
        }
    }

    /// What a consumer asked for before it stopped comes before the news that it has.
    fn take_last_requests(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        while let Ok(request) = self.requests.1.try_recv() {
            self.machine.handle(self.clock.now(), request, effects);
        }
    }

    fn carry_out(&mut self, effect: CoordinatorEffect) {
        match effect {
            CoordinatorEffect::StartConsumer(start) => self.start(start),
            CoordinatorEffect::DispatchUntil { tenure, until } => {
                if let Some(consumer) = self.consumers.get(&tenure) {
                    consumer.permit.extend(until);
                    consumer.pause(false);
                }
            }
            CoordinatorEffect::StopDispatch(tenure) => {
                if let Some(consumer) = self.consumers.get(&tenure) {
                    consumer.permit.withdraw();
                    consumer.pause(true);
                }
            }
            CoordinatorEffect::StopConsumer { tenure, why } => {
                if let Some(consumer) = self.consumers.get(&tenure) {
                    if matches!(why, StopReason::Lost(_)) {
                        consumer.permit.withdraw();
                    }
                    consumer
                        .orders
                        .send_modify(|orders| orders.stop = Some(why));
                }
            }
            CoordinatorEffect::Stored { tenure, checkpoint } => {
                if let Some(consumer) = self.consumers.get(&tenure) {
                    consumer
                        .orders
                        .send_modify(|orders| orders.stored = checkpoint);
                }
            }
            CoordinatorEffect::Happened(happening) => report::happened(&happening),
            // `run` ends on these two.
            CoordinatorEffect::Finished | CoordinatorEffect::GiveUp(_) => {}
            call => self.calls.make(call, &mut self.answers),
        }
    }

    fn start(&mut self, start: ConsumerStart) {
        let (orders, received) = watch::channel(ConsumerOrders {
            stop: None,
            is_paused: false,
            stored: start.checkpoint.clone(),
        });
        let permit = DispatchPermit::new(start.dispatch_until, Arc::clone(&self.clock));
        let lease = ConsumerLease::new(
            start.tenure.clone(),
            received,
            permit.clone(),
            self.requests.0.clone(),
            self.stopped.0.clone(),
        );
        self.consumers
            .insert(start.tenure.clone(), ConsumerSide { orders, permit });
        self.starter.start(start, lease);
    }

    fn publish(&mut self, now: Instant) {
        self.published = (self.machine.revision(), now);
        self.snapshot.send_replace(self.machine.snapshot());
    }
}

impl ConsumerSide {
    fn pause(&self, is_paused: bool) {
        self.orders.send_if_modified(|orders| {
            let was_paused = std::mem::replace(&mut orders.is_paused, is_paused);
            was_paused != is_paused
        });
    }
}
