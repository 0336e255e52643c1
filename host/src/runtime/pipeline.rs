//! One running pipeline: its lease coordinator, and a consumer for every shard that it holds.

use std::sync::{Arc, Mutex, PoisonError};

use shardwright_core::{
    ConsumerStart, LeaseSettings, LeaseSnapshot, LeaseState, LeaseTiming, ShardId, Usage, WorkerId,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::consumer::consume;
use super::coordinator::{LeaseCoordinator, LeaseError, LeaseHandle};
use super::generation::GenerationParts;
use super::lease_events::{ConsumerLease, StartConsumer};
use super::shared::{PipelineParts, Reports, Shared};
use crate::ports::LeaseTable;

#[cfg(test)]
mod tests;

/// How a pipeline came to its end.
#[derive(Debug, thiserror::Error)]
pub enum PipelineEnd {
    /// Its leases cannot be had.
    #[error(transparent)]
    Leases(#[from] LeaseError),
    /// A task of it panicked, or its runtime is gone.
    #[error("the pipeline's own task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A pipeline that runs. Dropping it does not stop it: [`drain`](Self::drain) or [`abort`](Self::abort) it.
pub struct RunningPipeline {
    shared: Arc<Shared>,
    leases: LeaseHandle,
    snapshot: watch::Receiver<LeaseSnapshot>,
    task: JoinHandle<Result<(), LeaseError>>,
    consumers: Consumers,
}

/// The consumers that were started and may still run.
#[derive(Clone, Default)]
struct Consumers(Arc<Mutex<Vec<AbortHandle>>>);

impl Consumers {
    fn keep(&self, started: AbortHandle) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|consumer| !consumer.is_finished());
        all.push(started);
    }

    fn abort(&self) {
        for consumer in self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            consumer.abort();
        }
    }
}

struct Starter {
    shared: Arc<Shared>,
    guests: Handle,
    consumers: Consumers,
}

impl StartConsumer for Starter {
    fn start(&mut self, start: ConsumerStart, lease: ConsumerLease) {
        let task = self
            .guests
            .spawn(consume(Arc::clone(&self.shared), start, lease));
        self.consumers.keep(task.abort_handle());
    }
}

impl RunningPipeline {
    /// Starts a pipeline as `worker`.
    pub fn start(parts: PipelineParts, table: Arc<dyn LeaseTable>, worker: WorkerId) -> Self {
        Self::start_watched(parts, table, worker, |starter| starter)
    }

    /// Starts a pipeline whose consumers are started through what `watch` makes of their starter.
    pub(super) fn start_watched(
        parts: PipelineParts,
        table: Arc<dyn LeaseTable>,
        worker: WorkerId,
        watch: impl FnOnce(Box<dyn StartConsumer>) -> Box<dyn StartConsumer>,
    ) -> Self {
        let described = &parts.generation.pipeline.source;
        let settings = LeaseSettings {
            worker,
            initial: described.start,
            timing: LeaseTiming {
                failover: described.leases.failover,
            },
            max_leases: described.leases.max_leases.unwrap_or(usize::MAX),
            seed: parts.clock.entropy().draw(),
        };
        let (io, guests) = (parts.io.clone(), parts.guests.clone());
        let (source, clock) = (Arc::clone(&parts.source), Arc::clone(&parts.clock));
        let shared = Arc::new(Shared::new(parts));
        let consumers = Consumers::default();
        let starter = Starter {
            shared: Arc::clone(&shared),
            guests,
            consumers: consumers.clone(),
        };
        let (coordinator, leases) =
            LeaseCoordinator::new(settings, table, source, clock, watch(Box::new(starter)));
        let snapshot = leases.snapshot();
        Self {
            shared,
            leases,
            snapshot,
            task: io.spawn(coordinator.run()),
            consumers,
        }
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Lets another generation take over, in each lane between two batches; no lease is given up, nothing is read or
    /// handled twice for it. Answers its number. What belongs to the leases (stream, lease table, where to start) must be
    /// as it was: for that a pipeline is stopped and another one started.
    pub fn swap(&self, generation: GenerationParts) -> u64 {
        self.shared.publish(generation)
    }

    /// The number of the newest generation, from 1.
    pub fn generation(&self) -> u64 {
        self.shared.newest().number
    }

    /// Begins to stop in good order: nothing new is read, what was begun is finished, the last checkpoints are written
    /// and the leases released.
    pub fn drain(&self) {
        self.leases.drain();
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Result<(), PipelineEnd> {
        let result = (&mut self.task).await?;
        Ok(result?)
    }

    /// Whether it has come to its end, in order or not.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Stops at once. Leases are left to expire, and what was begun is delivered again.
    pub fn abort(&self) {
        self.task.abort();
        self.consumers.abort();
    }

    /// The lease table as this worker sees it.
    pub fn leases(&self) -> LeaseSnapshot {
        self.snapshot.borrow().clone()
    }

    /// What the consumers of this worker report, by shard.
    pub fn reports(&self) -> Reports {
        self.shared.reports().clone()
    }

    /// A step that fails everything, so that shards stand still for it: its number from 1, and how it fails.
    pub fn paused(&self) -> Option<(usize, String)> {
        let reports = self.shared.reports();
        let paused = reports
            .values()
            .find_map(|report| report.status.paused.as_ref());
        paused.map(|paused| {
            let step = paused.cause.step.map_or(0, |step| step + 1);
            (step, paused.cause.reason.clone())
        })
    }

    /// What all windows hold together, reservations for reads included.
    pub fn in_flight(&self) -> Usage {
        self.shared.budget(|budget| budget.total())
    }

    /// Whether every shard has been read to its tip and everything is stored, or is in the hands of another worker that
    /// was seen alive. A lease that may yet expire is waited for.
    pub fn is_at_tip(&self) -> bool {
        let snapshot = self.snapshot.borrow();
        let reports = self.shared.reports();
        let is_done = |shard: &ShardId| {
            reports
                .get(shard)
                .is_some_and(|report| report.status.is_at_tip)
        };
        snapshot.is_settled
            && snapshot.leases.iter().all(|lease| match lease.state {
                LeaseState::Ended | LeaseState::Alive => true,
                LeaseState::Mine => is_done(&lease.shard),
                LeaseState::WaitingForParents | LeaseState::Free | LeaseState::Unproven { .. } => {
                    false
                }
            })
    }
}
