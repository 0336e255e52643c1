//! The pipeline that a history's settings ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use shardwright_core::pipeline::{
    Batch, DeadLetterTarget, Endpoint, FileTarget, Flow, Handling, KinesisSource, Leases,
    LineFormat, OnFailure, OutputName, Pace, Pipeline, Place, PluginRef, Poll, Retry, Route, Sink,
    SinkName, Step, StepLimits,
};
use shardwright_core::{InitialPosition, RetryPolicy};

use crate::plan::{Settings, Start};

/// Wall clock at the world's beginning, milliseconds since the Unix epoch.
pub const EPOCH_MS: i64 = 1_800_000_000_000;

/// A guest's own time.
pub const TIME_LIMIT: Duration = Duration::from_secs(2);

/// How long a plugin may hold a message: short, so that some do for too long.
pub const HOLD_MAX: Duration = Duration::from_secs(5);

/// Where shards without a lease begin.
pub(crate) fn initial(settings: &Settings) -> InitialPosition {
    match settings.start {
        Start::TrimHorizon => InitialPosition::TrimHorizon,
        Start::Latest => InitialPosition::Latest,
        Start::At(at) => InitialPosition::AtTimestamp(EPOCH_MS + at.cast_signed()),
    }
}

pub(crate) fn batch_bytes(settings: &Settings) -> u64 {
    settings.answer / 3
}

pub(crate) fn retry_policy(settings: &Settings) -> RetryPolicy {
    RetryPolicy {
        attempts: settings.attempts,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(2),
        max_age: Duration::from_secs(20),
    }
}

/// The pipeline that a history's settings ask for. Its steps come one after the other; each has an output `side` to the
/// last sink, and the last step's default goes to the first.
pub fn pipeline(settings: &Settings) -> Pipeline {
    let sink = |number: u32| SinkName::from(&*format!("sink-{number}"));
    let step = |index: usize| {
        let is_last = index + 1 == settings.steps;
        let default = if is_last {
            Route::Sink(sink(0))
        } else {
            Route::NextStep
        };
        Step {
            plugin: PluginRef::Builtin("simulated".into()),
            config: "{}".into(),
            limits: StepLimits {
                memory: 0,
                time: TIME_LIMIT,
                wait: TIME_LIMIT,
            },
            outputs: BTreeMap::from([
                (OutputName::from("default"), default),
                (
                    OutputName::from("side"),
                    Route::Sink(sink(settings.sinks - 1)),
                ),
            ]),
        }
    };
    let sinks = (0..settings.sinks).map(|number| {
        let target = FileTarget::File(PathBuf::new());
        let format = LineFormat::Text;
        (sink(number), Sink::File { target, format })
    });
    let place = Place {
        region: None,
        endpoint: Endpoint::Aws,
    };
    let retry = retry_policy(settings);
    Pipeline {
        name: "simulated".into(),
        tenant: None,
        source: KinesisSource {
            stream: "simulated".into(),
            place: place.clone(),
            start: initial(settings),
            poll: Poll {
                interval: settings.poll,
                max_records: settings.records_max,
                pace: Pace::Service,
            },
            deaggregate: Some(settings.outside),
            leases: Leases {
                table: "simulated".into(),
                place,
                failover: settings.failover,
                max_leases: None,
            },
        },
        flow: Flow {
            lanes: settings.lanes,
            in_flight_records: settings.in_flight,
            in_flight_bytes: settings.in_flight_bytes,
            span: settings.span,
            hold: HOLD_MAX,
            batch: Batch {
                records: settings.batch as u32,
                bytes: batch_bytes(settings),
                wait: settings.batch_wait,
            },
        },
        handling: Handling::Steps((0..settings.steps).map(step).collect()),
        sinks: sinks.collect(),
        on_failure: OnFailure {
            retry: Retry {
                attempts: settings.attempts,
                backoff_min: retry.backoff_min,
                backoff_max: retry.backoff_max,
                max_age: retry.max_age,
            },
            breaker: settings.breaker,
            dead_letter: DeadLetterTarget::DataDirectory,
        },
        checkpoint_every: settings.checkpoint_every,
    }
}
