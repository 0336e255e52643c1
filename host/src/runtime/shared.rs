//! What all shards of one pipeline share in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardwright_core::pipeline::{Pace, Pipeline};
use shardwright_core::{
    BatchBounds, Budget, Checkpoint, ColumnsWanted, ConsumerSettings, ConsumerStatus, HashRange,
    Intake, Opening, READ_ANSWER_BYTES_MAX, ReadSettings, RetryPolicy, Routes, ShardId, Usage,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::limits::CHECKPOINTS_PER_SPAN;
use crate::ports::{DeadLetterSink, PreparedPlugin, Sink, StreamSource};

/// What a pipeline is built of. Whoever builds it names the adapters; nothing here does.
pub struct PipelineParts {
    /// What the YAML says.
    pub pipeline: Arc<Pipeline>,
    /// The stream.
    pub source: Arc<dyn StreamSource>,
    /// The plugins of the steps, in order.
    pub plugins: Vec<Arc<dyn PreparedPlugin>>,
    /// The sinks, in the order of their names.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// Where records go that cannot be handled.
    pub dead_letters: Arc<dyn DeadLetterSink>,
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
    pub(super) parts: PipelineParts,
    pub(super) routes: Routes,
    pub(super) retry: RetryPolicy,
    budget: Mutex<Budget>,
    /// Woken when something was given back that somebody may wait for.
    pub(super) room: Notify,
    reports: Mutex<Reports>,
}

impl Shared {
    pub(super) fn new(parts: PipelineParts) -> Self {
        let pipeline = &parts.pipeline;
        let flow = &pipeline.flow;
        let limits = Usage {
            records: flow.in_flight_records,
            span: flow.span,
            bytes: flow.in_flight_bytes,
        };
        let retry = &pipeline.on_failure.retry;
        Self {
            routes: Routes::new(pipeline),
            retry: RetryPolicy {
                attempts: retry.attempts,
                backoff_min: retry.backoff_min,
                backoff_max: retry.backoff_max,
                max_age: retry.max_age,
            },
            budget: Mutex::new(Budget::new(limits, READ_ANSWER_BYTES_MAX)),
            room: Notify::new(),
            reports: Mutex::new(BTreeMap::new()),
            parts,
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

    pub(super) fn consumer_settings(&self, range: Option<HashRange>) -> ConsumerSettings {
        let pipeline = &self.parts.pipeline;
        let batch = &pipeline.flow.batch;
        ConsumerSettings {
            lanes: pipeline.flow.lanes,
            batch: BatchBounds {
                records: batch.records as usize,
                bytes: batch.bytes,
                wait: batch.wait,
            },
            retry: self.retry,
            opening: Opening {
                deaggregate: pipeline.source.deaggregate,
                range: range.unwrap_or(HashRange::FULL),
            },
            checkpoint_every: pipeline.checkpoint_every,
            checkpoint_after: (pipeline.flow.span / CHECKPOINTS_PER_SPAN).max(1),
            wanted: self.columns_wanted(),
            hold_max: pipeline.flow.hold,
        }
    }

    /// Steps after the first get their columns from emissions, which carry them all.
    fn columns_wanted(&self) -> ColumnsWanted {
        let none = ColumnsWanted {
            keys: true,
            sequence_numbers: false,
            sub_sequence_numbers: false,
            arrival_times: false,
        };
        let first = self
            .parts
            .plugins
            .first()
            .map_or(none, |plugin| plugin.description().columns);
        // An emission of a later step takes its arrival time from here.
        ColumnsWanted {
            arrival_times: first.arrival_times || self.parts.plugins.len() > 1,
            ..first
        }
    }

    pub(super) fn read_settings(&self) -> ReadSettings {
        let poll = &self.parts.pipeline.source.poll;
        ReadSettings {
            interval: poll.interval,
            records_max: poll.max_records,
            is_paced: poll.pace == Pace::Service,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.parts.pipeline.name.as_str()
    }
}
