//! What all shards of one pipeline share in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardwright_core::pipeline::{Pipeline, PipelineName, StreamName};
use shardwright_core::{
    Budget, Checkpoint, ConsumerStatus, InitialPosition, Intake, READ_ANSWER_BYTES_MAX,
    ReadSettings, ShardId,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::generation::{Generation, GenerationParts};
use super::take_over::TakeOvers;
use crate::ports::StreamSource;

/// What a pipeline is built of. Whoever builds it names the adapters; nothing here does.
pub struct PipelineParts {
    /// The stream.
    pub source: Arc<dyn StreamSource>,
    /// What its batches run under at first.
    pub generation: GenerationParts,
    /// Where leases, reads and deliveries wait.
    pub io: Handle,
    /// Where guests run.
    pub guests: Handle,
}

/// What there is to see of one shard.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// Its consumer.
    pub status: ConsumerStatus,
    /// What came in.
    pub intake: Intake,
    /// The durable checkpoint.
    pub checkpoint: Checkpoint,
}

/// What a pipeline's consumers report, by shard.
pub type Reports = BTreeMap<ShardId, ShardReport>;

/// One pipeline in this process.
pub(super) struct Shared {
    name: PipelineName,
    pub(super) stream: StreamName,
    pub(super) start: InitialPosition,
    pub(super) source: Arc<dyn StreamSource>,
    pub(super) io: Handle,
    pub(super) guests: Handle,
    newest: watch::Sender<Arc<Generation>>,
    take_overs: Mutex<TakeOvers>,
    budget: Mutex<Budget>,
    /// Woken when something was given back that somebody may wait for.
    pub(super) room: Notify,
    reports: Mutex<Reports>,
}

impl Shared {
    pub(super) fn new(parts: PipelineParts) -> Self {
        let generation = Generation::new(1, parts.generation);
        let Pipeline { name, source, .. } = &*generation.parts.pipeline;
        Self {
            name: name.clone(),
            stream: source.stream.clone(),
            start: source.start,
            source: parts.source,
            io: parts.io,
            guests: parts.guests,
            take_overs: Mutex::default(),
            budget: Mutex::new(Budget::new(generation.bounds(), READ_ANSWER_BYTES_MAX)),
            newest: watch::Sender::new(Arc::new(generation)),
            room: Notify::new(),
            reports: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn budget(&self) -> MutexGuard<'_, Budget> {
        // A panic between two assignments of a number cannot leave the budget in a state that is worse than wrong by
        // one shard's share, and ending every other shard for it would be.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_overs(&self) -> MutexGuard<'_, TakeOvers> {
        self.take_overs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest generation: what does not belong to a batch goes by it.
    pub(super) fn newest(&self) -> Arc<Generation> {
        Arc::clone(&self.newest.borrow())
    }

    /// A shard begins to be consumed, in the newest generation, and hears of newer ones.
    pub(super) fn join(
        &self,
        shard: &ShardId,
    ) -> (Arc<Generation>, watch::Receiver<Arc<Generation>>) {
        let mut take_overs = self.take_overs();
        let mut newer = self.newest.subscribe();
        let generation = Arc::clone(&newer.borrow_and_update());
        take_overs.join(shard, generation.number);
        (generation, newer)
    }

    /// A newer generation is to take over. Every shard that is consumed hears of it.
    pub(super) fn publish(&self, parts: GenerationParts) -> u64 {
        let mut take_overs = self.take_overs();
        let number = self.newest.borrow().number + 1;
        let generation = Generation::new(number, parts);
        self.budget().set_limits(generation.bounds());
        self.newest.send_replace(Arc::new(generation));
        take_overs.begin(number, &self.name);
        drop(take_overs);
        self.room.notify_waiters();
        number
    }

    /// All lanes of a shard have come to a generation; each stood still for so long.
    pub(super) fn settled(&self, shard: &ShardId, number: u64, pauses: Vec<Duration>) {
        self.take_overs().settled(shard, number, pauses, &self.name);
    }

    /// A shard is not consumed any more.
    pub(super) fn leave(&self, shard: &ShardId) {
        self.take_overs().leave(shard, &self.name);
        self.budget().leave(shard);
        self.room.notify_waiters();
        self.reports().remove(shard);
    }

    pub(super) fn read_settings(&self) -> ReadSettings {
        self.newest.borrow().read_settings()
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }
}
