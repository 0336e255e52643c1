//! The words of `shardwright:plugin@0.1` and how they become core's. Nothing else knows the generated types.

use std::time::Duration;

use shardwright_core::{
    Column, ColumnsWanted, Emissions, Failure, FlushReason, Hold, InvalidColumn, InvalidReply,
    Messages, Release, Reply,
};

pub(super) mod bindings;
mod gather;

pub(super) use bindings::exports::shardwright::plugin::{
    batch_flush, batch_handler, configure, describe, message_handler,
};
use bindings::shardwright::plugin::types;
pub(super) use gather::Gathered;

use super::limits::{
    DESCRIBED_NAME_BYTES, DESCRIBED_OUTPUTS, DESCRIBED_SCHEMA_BYTES, PROBLEMS, REASON_BYTES,
};

/// The columns of a batch, borrowed; those that are not wanted are empty.
pub(super) fn batch(messages: &Messages, wanted: ColumnsWanted) -> batch_handler::Batch<'_> {
    fn column(column: &Column, is_wanted: bool) -> (&[u8], &[u32]) {
        if is_wanted {
            (column.bytes(), column.ends())
        } else {
            (&[], &[])
        }
    }
    let (keys, key_ends) = column(&messages.keys, wanted.keys);
    let (sequence_numbers, sequence_number_ends) =
        column(&messages.sequence_numbers, wanted.sequence_numbers);
    let sub_sequence_numbers: &[u64] = if wanted.sub_sequence_numbers {
        &messages.sub_sequence_numbers
    } else {
        &[]
    };
    batch_handler::Batch {
        data: messages.data.bytes(),
        data_ends: messages.data.ends(),
        keys,
        key_ends,
        sequence_numbers,
        sequence_number_ends,
        sub_sequence_numbers,
        arrival_times: if wanted.arrival_times {
            &messages.arrival_times
        } else {
            &[]
        },
    }
}

pub(super) fn failure(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Retry(later) => Failure::Retry {
            after: later
                .after_ms
                .map(|ms| Duration::from_millis(u64::from(ms))),
            reason: cut(later.reason, REASON_BYTES),
        },
        types::Failure::Reject(reason) => Failure::Reject {
            reason: cut(reason, REASON_BYTES),
        },
    }
}

pub(super) fn reply(reply: batch_handler::Reply) -> Result<Reply, InvalidReply> {
    Ok(Reply {
        failures: reply
            .failures
            .into_iter()
            .map(|failed| (failed.index, failure(failed.failure)))
            .collect(),
        holds: reply
            .holds
            .into_iter()
            .map(|hold| Hold {
                index: hold.index,
                id: hold.id,
            })
            .collect(),
        releases: reply
            .releases
            .into_iter()
            .map(|release| Release {
                id: release.id,
                failure: release.failure.map(failure),
            })
            .collect(),
        emissions: emissions(reply.emissions)?,
    })
}

fn emissions(emissions: batch_handler::Emissions) -> Result<Emissions, InvalidReply> {
    let named = |column| move |why: InvalidColumn| InvalidReply::Column { column, why };
    Ok(Emissions {
        data: Column::from_parts(emissions.data, emissions.data_ends)
            .map_err(named("emissions.data"))?,
        keys: Column::from_parts(emissions.keys, emissions.key_ends)
            .map_err(named("emissions.keys"))?,
        sources: emissions.sources,
        outputs: emissions.outputs,
        output_names: emissions.output_names,
    })
}

pub(super) fn flush_reason(reason: FlushReason) -> types::FlushReason {
    match reason {
        FlushReason::Interval => types::FlushReason::Interval,
        FlushReason::Idle => types::FlushReason::Idle,
        FlushReason::Full => types::FlushReason::Full,
        FlushReason::ShardEnd => types::FlushReason::ShardEnd,
        FlushReason::Reload => types::FlushReason::Reload,
        FlushReason::Shutdown => types::FlushReason::Shutdown,
    }
}

pub(super) fn columns(columns: types::Columns) -> ColumnsWanted {
    ColumnsWanted {
        keys: columns.contains(types::Columns::KEYS),
        sequence_numbers: columns.contains(types::Columns::SEQUENCE_NUMBERS),
        sub_sequence_numbers: columns.contains(types::Columns::SUB_SEQUENCE_NUMBERS),
        arrival_times: columns.contains(types::Columns::ARRIVAL_TIMES),
    }
}

/// A guest's text, no longer than that.
pub(super) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// Whether a plugin says no more of itself than log lines and tables can bear.
pub(super) fn check_description(said: &describe::Description) -> Result<(), String> {
    let schema = said.config_schema.as_ref().map_or(0, String::len);
    let output = said.outputs.iter().map(String::len).max().unwrap_or(0);
    let bounds = [
        ("a name", said.name.len(), DESCRIBED_NAME_BYTES, "bytes"),
        (
            "a version",
            said.version.len(),
            DESCRIBED_NAME_BYTES,
            "bytes",
        ),
        ("an output's name", output, DESCRIBED_NAME_BYTES, "bytes"),
        ("a list", said.outputs.len(), DESCRIBED_OUTPUTS, "outputs"),
        ("a config schema", schema, DESCRIBED_SCHEMA_BYTES, "bytes"),
    ];
    for (what, has, limit, unit) in bounds {
        if has > limit {
            let why =
                format!("it describes itself with {what} of {has} {unit}, and may use {limit}");
            return Err(why);
        }
    }
    let names = [&said.name, &said.version].into_iter().chain(&said.outputs);
    if names.flat_map(|name| name.chars()).any(char::is_control) {
        return Err("it describes itself with control characters in a name".to_owned());
    }
    Ok(())
}

/// What is wrong with a configuration, a line each.
pub(super) fn config_problems(error: configure::ConfigError) -> Vec<String> {
    match error {
        configure::ConfigError::Unreadable(why) => vec![cut(why, REASON_BYTES)],
        configure::ConfigError::Invalid(problems) => problems
            .into_iter()
            .take(PROBLEMS)
            .map(|problem| {
                let message = cut(problem.message, REASON_BYTES);
                if problem.path.is_empty() {
                    message
                } else {
                    format!("{}: {message}", cut(problem.path, REASON_BYTES))
                }
            })
            .collect(),
    }
}
