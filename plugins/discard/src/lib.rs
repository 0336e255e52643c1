//! Acks every message and emits nothing: what is left is the cost of the host.

use shardwright_guest::{Batch, Columns, ConfigError, Failure, Handler, NoConfig, Reply};

/// The handler.
#[derive(Debug)]
pub struct Discard;

impl Handler for Discard {
    type Config = NoConfig;
    const COLUMNS: Columns = Columns::NONE;
    const OUTPUTS: &'static [&'static str] = &[];
    const CONFIG_SCHEMA: Option<&'static str> =
        Some(r#"{"type": "object", "additionalProperties": false}"#);

    fn configure(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn handle(&mut self, _: &Batch<'_>, _: &mut Reply) -> Result<(), Failure> {
        Ok(())
    }
}

shardwright_guest::export!(Discard);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shardwright_guest::testing::{Harness, Verdict};

    use super::*;

    #[test]
    fn every_message_is_acked_and_nothing_is_emitted() {
        let mut harness = Harness::<Discard>::new(json!({})).unwrap();
        let outcome = harness.handle(["a", "", "\u{fffd}"]);
        assert_eq!(outcome.verdicts, [Verdict::Ack, Verdict::Ack, Verdict::Ack]);
        assert_eq!(outcome.emissions, []);
    }

    #[test]
    fn it_has_no_settings() {
        assert!(Harness::<Discard>::new(json!({ "x": 1 })).is_err());
    }
}
