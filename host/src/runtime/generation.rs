//! One generation of a pipeline: what a batch runs under, from its plugins to its sinks.

use std::sync::Arc;

use shardwright_core::pipeline::{Pace, Pipeline};
use shardwright_core::{
    BatchBounds, CHECKPOINTS_PER_SPAN, ColumnsWanted, ConsumerSettings, HashRange, Opening,
    ReadSettings, RetryPolicy, Routes, Usage,
};

use crate::ports::{DeadLetterSink, PreparedPlugin, Sink};

/// What a generation is built of. What it shares with the one before, such as a plugin that has not changed, is the same
/// `Arc`: lanes then keep its instances.
#[derive(Clone)]
pub struct GenerationParts {
    /// What the YAML says.
    pub pipeline: Arc<Pipeline>,
    /// The plugins of the steps, in order.
    pub plugins: Vec<Arc<dyn PreparedPlugin>>,
    /// The sinks, in the order of their names.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// Where records go that cannot be handled.
    pub dead_letters: Arc<dyn DeadLetterSink>,
}

/// One generation.
pub(super) struct Generation {
    /// Counted from 1 since the pipeline was started.
    pub(super) number: u64,
    pub(super) parts: GenerationParts,
    pub(super) routes: Routes,
    pub(super) retry: RetryPolicy,
}

impl Generation {
    pub(super) fn new(number: u64, parts: GenerationParts) -> Self {
        let retry = &parts.pipeline.on_failure.retry;
        Self {
            number,
            routes: Routes::new(&parts.pipeline),
            retry: RetryPolicy {
                attempts: retry.attempts,
                backoff_min: retry.backoff_min,
                backoff_max: retry.backoff_max,
                max_age: retry.max_age,
            },
            parts,
        }
    }

    pub(super) fn lanes(&self) -> u16 {
        self.parts.pipeline.flow.lanes
    }

    /// Whether a step has the plugin that it has in another generation, with the same configuration.
    pub(super) fn keeps(&self, other: &Self, step: usize) -> bool {
        let plugin = |generation: &Self| generation.parts.plugins.get(step).map(Arc::as_ptr);
        plugin(self).is_some_and(|one| plugin(other).is_some_and(|two| std::ptr::addr_eq(one, two)))
    }

    /// The sinks that another generation does not have.
    pub(super) fn sinks_of_its_own(&self, other: &Self) -> Vec<Arc<dyn Sink>> {
        let is_shared = |sink: &&Arc<dyn Sink>| has_sink(&other.parts.sinks, sink);
        let own = self.parts.sinks.iter().filter(|sink| !is_shared(sink));
        own.cloned().collect()
    }

    pub(super) fn bounds(&self) -> Usage {
        let flow = &self.parts.pipeline.flow;
        Usage {
            records: flow.in_flight_records,
            span: flow.span,
            bytes: flow.in_flight_bytes,
        }
    }

    pub(super) fn consumer_settings(&self, range: Option<HashRange>) -> ConsumerSettings {
        let pipeline = &self.parts.pipeline;
        let batch = &pipeline.flow.batch;
        ConsumerSettings {
            lanes: self.lanes(),
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
            breaker: pipeline.on_failure.breaker,
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
        let plugins = &self.parts.plugins;
        let first = plugins
            .first()
            .map_or(none, |plugin| plugin.description().columns);
        // An emission of a later step takes its arrival time from here.
        ColumnsWanted {
            arrival_times: first.arrival_times || plugins.len() > 1,
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
}

/// Whether one of these sinks is this very one.
pub(super) fn has_sink(sinks: &[Arc<dyn Sink>], sink: &Arc<dyn Sink>) -> bool {
    let mut same = sinks
        .iter()
        .filter(|other| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(sink)));
    same.next().is_some()
}
