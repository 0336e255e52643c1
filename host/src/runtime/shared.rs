//! What all shards of one pipeline share in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shardwright_core::pipeline::{Pipeline, PipelineName, StreamName};
use shardwright_core::{
    Budget, Checkpoint, ConsumerStatus, InitialPosition, Intake, ReadSettings, ShardId,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::crashes::CrashLines;
use super::generation::{Generation, GenerationParts};
use super::pauses::Pauses;
use super::take_over::TakeOvers;
use crate::ports::{Clock, StreamSource};

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
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
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

/// The budget, and how to wake those who wait for it.
struct Room {
    budget: Budget,
    shards: BTreeMap<ShardId, Arc<Turns>>,
}

/// Where the tasks of one shard hear that they may go on. A turn that is told before anybody waits for it is kept.
#[derive(Default)]
pub(super) struct Turns {
    /// To read.
    pub(super) read: Notify,
    /// To open what waits for room.
    pub(super) open: Notify,
}

/// The place of a shard that is consumed. Dropping it gives it up, also when that is a panic's doing: whatever the shard has
/// reserved is room that the others would never get.
pub(super) struct Place {
    shared: Arc<Shared>,
    shard: ShardId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.leave(&self.shard);
    }
}

/// One pipeline in this process.
pub(super) struct Shared {
    name: PipelineName,
    pub(super) stream: StreamName,
    pub(super) start: InitialPosition,
    pub(super) source: Arc<dyn StreamSource>,
    pub(super) io: Handle,
    pub(super) guests: Handle,
    pub(super) clock: Arc<dyn Clock>,
    newest: Mutex<Arc<Generation>>,
    /// Woken when there is a newer generation.
    newer: Notify,
    take_overs: Mutex<TakeOvers>,
    budget: Mutex<Room>,
    reports: Mutex<Reports>,
    pauses: Mutex<Pauses>,
    crashes: Mutex<CrashLines>,
}

impl Shared {
    pub(super) fn new(parts: PipelineParts) -> Self {
        let generation = Generation::new(1, parts.generation);
        let crashes = CrashLines::new(parts.clock.now());
        let Pipeline { name, source, .. } = &*generation.parts.pipeline;
        Self {
            name: name.clone(),
            stream: source.stream.clone(),
            start: source.start,
            budget: Mutex::new(Room {
                budget: Budget::new(generation.bounds(), parts.source.answer_bytes_max()),
                shards: BTreeMap::new(),
            }),
            source: parts.source,
            io: parts.io,
            guests: parts.guests,
            clock: parts.clock,
            take_overs: Mutex::default(),
            newest: Mutex::new(Arc::new(generation)),
            newer: Notify::new(),
            reports: Mutex::new(BTreeMap::new()),
            pauses: Mutex::default(),
            crashes: Mutex::new(crashes),
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // A panic between two assignments of a number cannot leave the budget in a state that is worse than wrong by
        // one shard's share, and ending every other shard for it would be.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the budget, and wakes those, and only those, who may go on for it.
    pub(super) fn budget<T>(&self, act: impl FnOnce(&mut Budget) -> T) -> T {
        let Room { budget, shards } = &mut *self.room();
        let value = act(budget);
        while let Some(shard) = budget.next_reader() {
            if let Some(turns) = shards.get(&shard) {
                turns.read.notify_one();
            }
        }
        while let Some(shard) = budget.next_opener() {
            if let Some(turns) = shards.get(&shard) {
                turns.open.notify_one();
            }
        }
        value
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pauses(&self) -> MutexGuard<'_, Pauses> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more line about a call that gave no reply may be written, and how many were not since the last one.
    pub(super) fn admit_crash_line(&self) -> Option<u64> {
        let mut lines = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        lines.admit(self.clock.now())
    }

    fn take_overs(&self) -> MutexGuard<'_, TakeOvers> {
        self.take_overs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest generation: what does not belong to a batch goes by it.
    pub(super) fn newest(&self) -> Arc<Generation> {
        let newest = self.newest.lock();
        Arc::clone(&newest.unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is a generation newer than this.
    pub(super) async fn newer_than(&self, number: u64) {
        loop {
            // Listening begins before looking, so that none falls between the two.
            let newer = self.newer.notified();
            if self.newest().number > number {
                return;
            }
            newer.await;
        }
    }

    /// A shard begins to be consumed, in the newest generation, and hears of its turns; until its place is dropped.
    pub(super) fn join(self: &Arc<Self>, shard: &ShardId) -> (Place, Arc<Generation>, Arc<Turns>) {
        let mut take_overs = self.take_overs();
        let generation = self.newest();
        take_overs.join(shard, generation.number);
        let turns = Arc::<Turns>::default();
        self.room().shards.insert(shard.clone(), Arc::clone(&turns));
        let place = Place {
            shared: Arc::clone(self),
            shard: shard.clone(),
        };
        (place, generation, turns)
    }

    /// A newer generation is to take over. Every shard that is consumed hears of it.
    pub(super) fn publish(&self, parts: GenerationParts) -> u64 {
        let mut take_overs = self.take_overs();
        let number = self.newest().number + 1;
        let generation = Generation::new(number, parts);
        self.budget(|budget| budget.set_limits(generation.bounds()));
        let newest = self.newest.lock();
        *newest.unwrap_or_else(PoisonError::into_inner) = Arc::new(generation);
        take_overs.begin(self.clock.now(), number, &self.name);
        drop(take_overs);
        self.newer.notify_waiters();
        number
    }

    /// All lanes of a shard have come to a generation; each stood still for so long.
    pub(super) fn settled(&self, shard: &ShardId, number: u64, pauses: Vec<Duration>) {
        let now = self.clock.now();
        self.take_overs()
            .settled(now, shard, number, pauses, &self.name);
    }

    /// A shard is not consumed any more.
    fn leave(&self, shard: &ShardId) {
        self.take_overs().leave(self.clock.now(), shard, &self.name);
        self.budget(|budget| budget.leave(shard));
        self.room().shards.remove(shard);
        self.reports().remove(shard);
        self.pauses().leave(shard);
    }

    pub(super) fn read_settings(&self) -> ReadSettings {
        self.newest().read_settings()
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }
}
