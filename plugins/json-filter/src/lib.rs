//! Keeps, drops or routes JSON messages by one comparison.
//!
//! ```yaml
//! with:
//!   at: /order/total            # a JSON pointer (RFC 6901)
//!   is: { ge: 100 }             # eq, ne, lt, le, gt, ge, in, contains or exists
//!   mode: route                 # keep (the default), drop or route
//!   not_json: reject            # the default; or match, or drop
//! ```
//!
//! `keep` emits the messages that match and acks the others; `drop` does the opposite; `route` emits those that match to
//! `default` and the others to `rest`. Payload and key stay as they are. Numbers compare as numbers, text by its bytes,
//! and a value of another type, or none, matches only `ne` and `exists: false`. A payload that is not JSON is rejected,
//! unless `not_json` says that it counts as a match or is dropped.

mod comparison;

use comparison::Comparison;
use serde::Deserialize;
use serde_json::Value;
use shardwright_guest::{
    Batch, Columns, ConfigError, DEFAULT_OUTPUT, Failure, Handler, OrReject, Reply,
};

const REST: &str = "rest";

/// The handler.
#[derive(Debug)]
pub struct JsonFilter(Config);

/// The `with:` of its step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    at: String,
    is: Comparison,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    not_json: NotJson,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Keep,
    Drop,
    Route,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NotJson {
    #[default]
    Reject,
    Match,
    Drop,
}

impl Handler for JsonFilter {
    type Config = Config;
    const COLUMNS: Columns = Columns::NONE;
    const OUTPUTS: &'static [&'static str] = &[DEFAULT_OUTPUT, REST];
    const CONFIG_SCHEMA: Option<&'static str> = Some(include_str!("config.schema.json"));

    fn configure(config: Config) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if !config.at.is_empty() && !config.at.starts_with('/') {
            problems.push((
                "/at",
                "not a JSON pointer: it starts with `/`, or is empty for the whole payload",
            ));
        }
        if let Some((path, limit)) = config.is.limit()
            && !limit.is_number()
            && !limit.is_string()
        {
            problems.push((path, "only numbers and text have an order"));
        }
        let error = |error: Option<ConfigError>, (path, message)| match error {
            Some(error) => Some(error.and(path, message)),
            None => Some(ConfigError::invalid(path, message)),
        };
        problems
            .into_iter()
            .fold(None, error)
            .map_or(Ok(Self(config)), Err)
    }

    fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
        let mode = self.0.mode;
        batch.each(reply, |message, reply| {
            let Some(matches) = self.matches(message.data)? else {
                return Ok(());
            };
            let output = match (mode, matches) {
                (Mode::Keep | Mode::Route, true) | (Mode::Drop, false) => DEFAULT_OUTPUT,
                (Mode::Route, false) => REST,
                (Mode::Keep, false) | (Mode::Drop, true) => return Ok(()),
            };
            reply.emission(message).output(output).data(message.data);
            Ok(())
        });
        Ok(())
    }
}

shardwright_guest::export!(JsonFilter);

impl JsonFilter {
    /// Whether the payload matches; `None` if it is to be dropped for what it is.
    fn matches(&self, data: &[u8]) -> Result<Option<bool>, Failure> {
        let Self(config) = self;
        match (serde_json::from_slice::<Value>(data), config.not_json) {
            (Ok(value), _) => Ok(Some(config.is.holds(value.pointer(&config.at)))),
            (Err(_), NotJson::Match) => Ok(Some(true)),
            (Err(_), NotJson::Drop) => Ok(None),
            (error @ Err(_), NotJson::Reject) => error.or_reject().map(|_| None),
        }
    }
}

#[cfg(test)]
mod tests;
