//! A plugin that does what its messages tell it to, good or bad: each payload is a command of `act` or `forge`.
//!
//! It is written against the bare contract, since the SDK would not let it lie. Its configuration may name a command
//! for `configure` and one for `flush`: `{"configure": "spin", "flush": "panic"}`.
#![cfg(target_arch = "wasm32")]

mod act;
mod bindings;
mod forge;

use std::cell::RefCell;

use bindings::exports::shardwright::plugin::batch_handler::{
    Batch, Emissions, Hold, MessageFailure, Release, Reply,
};
use bindings::exports::shardwright::plugin::configure::{ConfigError, ConfigProblem};
use bindings::exports::shardwright::plugin::describe::Description;
use bindings::exports::shardwright::plugin::{batch_flush, batch_handler, configure, describe};
use bindings::shardwright::plugin::types::{Columns, Failure, FlushReason, RetryLater};

/// The source that stands for the whole call.
const WHOLE_CALL: u32 = u32::MAX;

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::new()) };
}

/// What lives from call to call.
struct State {
    held: Vec<u64>,
    hold_next: u64,
    on_flush: String,
    /// What `keep` allocated.
    kept: Vec<Vec<u8>>,
}

impl State {
    const fn new() -> Self {
        Self {
            held: Vec::new(),
            hold_next: 0,
            on_flush: String::new(),
            kept: Vec::new(),
        }
    }
}

struct Hostile;

impl describe::Guest for Hostile {
    fn describe() -> Result<Description, Failure> {
        Ok(Description {
            name: "hostile".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_schema: None,
            outputs: vec!["default".to_owned(), "late".to_owned()],
            columns: Columns::all(),
        })
    }
}

impl configure::Guest for Hostile {
    fn configure(config: String) -> Result<(), ConfigError> {
        let config: serde_json::Value = serde_json::from_str(&config)
            .map_err(|error| ConfigError::Unreadable(error.to_string()))?;
        let command = |name| {
            config
                .get(name)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        match command("configure") {
            "invalid" => {
                return Err(ConfigError::Invalid(vec![ConfigProblem {
                    path: "/configure".to_owned(),
                    message: "refused, as it asks".to_owned(),
                }]));
            }
            "unreadable" => return Err(ConfigError::Unreadable("refused, as it asks".to_owned())),
            command => act::act(command),
        }
        STATE.with_borrow_mut(|state| command("flush").clone_into(&mut state.on_flush));
        Ok(())
    }
}

impl batch_handler::Guest for Hostile {
    fn handle(batch: Batch) -> Result<Reply, Failure> {
        STATE.with_borrow_mut(|state| {
            let mut reply = empty_reply();
            let mut start = 0;
            for (index, &end) in (0..).zip(&batch.data_ends) {
                let data = &batch.data[start..end as usize];
                start = end as usize;
                obey(state, index, data, &mut reply)?;
            }
            Ok(reply)
        })
    }
}

impl batch_flush::Guest for Hostile {
    fn flush(_: FlushReason) -> Result<Reply, Failure> {
        STATE.with_borrow_mut(|state| {
            let mut reply = empty_reply();
            let command = state.on_flush.clone();
            obey(state, WHOLE_CALL, command.as_bytes(), &mut reply)?;
            Ok(reply)
        })
    }
}

/// Carries out one command, for the message at `index`.
fn obey(state: &mut State, index: u32, data: &[u8], reply: &mut Reply) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(data);
    let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let retry = |after_ms| {
        Failure::Retry(RetryLater {
            after_ms,
            reason: "as it asks".to_owned(),
        })
    };
    let reject = || Failure::Reject("as it asks".to_owned());
    let mut fail = |failure| reply.failures.push(MessageFailure { index, failure });
    match verb {
        "echo" => emit(reply, index, "", "default", rest.as_bytes()),
        "to" => {
            let (output, data) = rest.split_once(' ').unwrap_or((rest, ""));
            emit(reply, index, output, output, data.as_bytes());
        }
        "whole" => emit(reply, WHOLE_CALL, "", "default", rest.as_bytes()),
        "reach" => emit(reply, index, "", "default", act::reach().as_bytes()),
        "huge" => emit(
            reply,
            index,
            "",
            "default",
            &vec![b'x'; act::number(rest) << 20],
        ),
        "many" => (0..act::number(rest)).for_each(|_| emit(reply, index, "", "default", b"x")),
        "retry" => fail(retry(rest.parse().ok())),
        "reject" => fail(reject()),
        "reason" => fail(Failure::Reject("r".repeat(act::number(rest) << 10))),
        "retry-call" => return Err(retry(rest.parse().ok())),
        "reject-call" => return Err(reject()),
        "hold" => {
            state.hold_next += 1;
            state.held.push(state.hold_next);
            reply.holds.push(Hold {
                index,
                id: state.hold_next,
            });
        }
        "release" => settle(state, reply, None),
        "release-retry" => settle(state, reply, Some(&retry(None))),
        "release-reject" => settle(state, reply, Some(&reject())),
        "keep" => state.kept.push(vec![1; act::number(rest) << 20]),
        "forge" => forge::forge(rest, index, reply),
        _ => act::act(&text),
    }
    Ok(())
}

/// Settles all that is held.
fn settle(state: &mut State, reply: &mut Reply, failure: Option<&Failure>) {
    for id in state.held.drain(..) {
        reply.releases.push(Release {
            id,
            failure: failure.cloned(),
        });
    }
}

fn emit(reply: &mut Reply, source: u32, key: &str, output: &str, data: &[u8]) {
    let emissions = &mut reply.emissions;
    emissions.data.extend_from_slice(data);
    emissions.data_ends.push(emissions.data.len() as u32);
    emissions.keys.extend_from_slice(key.as_bytes());
    emissions.key_ends.push(emissions.keys.len() as u32);
    emissions.sources.push(source);
    let names = &mut emissions.output_names;
    let position = names
        .iter()
        .position(|name| name == output)
        .unwrap_or_else(|| {
            names.push(output.to_owned());
            names.len() - 1
        });
    emissions.outputs.push(position as u32);
}

fn empty_reply() -> Reply {
    Reply {
        failures: Vec::new(),
        holds: Vec::new(),
        releases: Vec::new(),
        emissions: Emissions {
            data: Vec::new(),
            data_ends: Vec::new(),
            keys: Vec::new(),
            key_ends: Vec::new(),
            sources: Vec::new(),
            outputs: Vec::new(),
            output_names: Vec::new(),
        },
    }
}
