//! The contract's bindings, and the way from them to [`Guest`]. Columns are moved, never copied.

use crate::columns::{BatchColumns, Columns, ReplyColumns};
use crate::guest::Guest;
use crate::log::Level;
use crate::{ConfigError, Failure, FlushReason, Handler};

/// What `wit-bindgen` generates.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "batch-full",
        pub_export_macro: true,
        export_macro_name: "export_batch_full",
        default_bindings_module: "shardwright_guest::wasm::bindings",
    });
}

use bindings::exports::shardwright::plugin::{batch_flush, batch_handler, configure, describe};
use bindings::shardwright::plugin::{log, metrics, types};

/// What [`export!`](crate::export) fills in: the one instance that a component is.
pub trait Instance {
    /// The handler.
    type Handler: Handler;
    /// The name of the plugin's package.
    const NAME: &'static str;
    /// The version of the plugin's package.
    const VERSION: &'static str;

    /// Gives access to the instance.
    fn with<R>(call: impl FnOnce(&mut Slot<Self::Handler>) -> R) -> R;
}

/// Where a component keeps its instance.
#[derive(Debug)]
pub struct Slot<H>(Guest<H>);

impl<H: Handler> Slot<H> {
    /// An instance that is not configured yet.
    #[allow(clippy::new_without_default, reason = "a static needs a const")]
    pub const fn new() -> Self {
        Self(Guest::new())
    }
}

impl<I: Instance> describe::Guest for I {
    fn describe() -> Result<describe::Description, types::Failure> {
        Ok(describe::Description {
            name: I::NAME.to_owned(),
            version: I::VERSION.to_owned(),
            config_schema: I::Handler::CONFIG_SCHEMA.map(str::to_owned),
            outputs: I::Handler::OUTPUTS
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            columns: columns(I::Handler::COLUMNS),
        })
    }
}

impl<I: Instance> configure::Guest for I {
    fn configure(config: String) -> Result<(), configure::ConfigError> {
        I::with(|slot| slot.0.configure(&config)).map_err(config_error)
    }
}

impl<I: Instance> batch_handler::Guest for I {
    fn handle(batch: batch_handler::Batch) -> Result<batch_handler::Reply, types::Failure> {
        let columns = BatchColumns {
            data: batch.data,
            data_ends: batch.data_ends,
            keys: batch.keys,
            key_ends: batch.key_ends,
            sequence_numbers: batch.sequence_numbers,
            sequence_number_ends: batch.sequence_number_ends,
            sub_sequence_numbers: batch.sub_sequence_numbers,
            arrival_times: batch.arrival_times,
        };
        I::with(|slot| slot.0.handle(&columns))
            .map(reply)
            .map_err(failure)
    }
}

impl<I: Instance> batch_flush::Guest for I {
    fn flush(reason: types::FlushReason) -> Result<batch_handler::Reply, types::Failure> {
        let reason = match reason {
            types::FlushReason::Interval => FlushReason::Interval,
            types::FlushReason::Idle => FlushReason::Idle,
            types::FlushReason::Full => FlushReason::Full,
            types::FlushReason::ShardEnd => FlushReason::ShardEnd,
            types::FlushReason::Reload => FlushReason::Reload,
            types::FlushReason::Shutdown => FlushReason::Shutdown,
        };
        I::with(|slot| slot.0.flush(reason))
            .map(reply)
            .map_err(failure)
    }
}

pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, line);
}

pub(crate) fn count(name: &str, by: u64) {
    metrics::count(name, by);
}

fn columns(wanted: Columns) -> types::Columns {
    let mut columns = types::Columns::empty();
    columns.set(types::Columns::KEYS, wanted.contains(Columns::KEYS));
    columns.set(
        types::Columns::SEQUENCE_NUMBERS,
        wanted.contains(Columns::SEQUENCE_NUMBERS),
    );
    columns.set(
        types::Columns::SUB_SEQUENCE_NUMBERS,
        wanted.contains(Columns::SUB_SEQUENCE_NUMBERS),
    );
    columns.set(
        types::Columns::ARRIVAL_TIMES,
        wanted.contains(Columns::ARRIVAL_TIMES),
    );
    columns
}

fn reply(reply: ReplyColumns) -> batch_handler::Reply {
    let ReplyColumns {
        failures,
        holds,
        releases,
        emissions,
    } = reply;
    batch_handler::Reply {
        failures: failures
            .into_iter()
            .map(|(index, why)| batch_handler::MessageFailure {
                index,
                failure: failure(why),
            })
            .collect(),
        holds: holds
            .into_iter()
            .map(|(index, id)| batch_handler::Hold { index, id })
            .collect(),
        releases: releases
            .into_iter()
            .map(|(id, why)| batch_handler::Release {
                id,
                failure: why.map(failure),
            })
            .collect(),
        emissions: batch_handler::Emissions {
            data: emissions.data,
            data_ends: emissions.data_ends,
            keys: emissions.keys,
            key_ends: emissions.key_ends,
            sources: emissions.sources,
            outputs: emissions.outputs,
            output_names: emissions.output_names,
        },
    }
}

fn failure(failure: Failure) -> types::Failure {
    match failure {
        Failure::Retry { after, reason } => types::Failure::Retry(types::RetryLater {
            after_ms: after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
            reason,
        }),
        Failure::Reject { reason } => types::Failure::Reject(reason),
    }
}

fn config_error(error: ConfigError) -> configure::ConfigError {
    match error {
        ConfigError::Invalid(problems) => configure::ConfigError::Invalid(
            problems
                .into_iter()
                .map(|problem| configure::ConfigProblem {
                    path: problem.path,
                    message: problem.message,
                })
                .collect(),
        ),
        ConfigError::Unreadable(reason) => configure::ConfigError::Unreadable(reason),
    }
}
