//! A guest of one message a call with everything; the message says how it behaves.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "../../../../../wit", world: "message-full" });

use exports::shardwright::plugin::configure::{self, ConfigError};
use exports::shardwright::plugin::describe::{self, Description};
use exports::shardwright::plugin::message_handler::{self, Emission, Message};
use shardwright::plugin::types::{Columns, Failure, RetryLater};
use shardwright::plugin::{config, log, metrics};

struct Talker;

impl describe::Guest for Talker {
    fn describe() -> Result<Description, Failure> {
        let mut said = Description {
            name: "talker".into(),
            version: "1.2.3".into(),
            config_schema: None,
            outputs: Vec::new(),
            columns: Columns::empty(),
        };
        match &*config::get() {
            r#"{"boast":"name"}"# => said.name = "x".repeat(1_000),
            r#"{"boast":"version"}"# => said.version = "1".repeat(1_000),
            r#"{"boast":"schema"}"# => said.config_schema = Some(" ".repeat(2 << 20)),
            r#"{"boast":"output"}"# => said.outputs = vec!["x".repeat(1_000)],
            r#"{"boast":"outputs"}"# => said.outputs = vec![String::new(); 1_000],
            r#"{"boast":"bell"}"# => said.name = "\u{7}".into(),
            _ => {}
        }
        Ok(said)
    }
}

impl configure::Guest for Talker {
    fn configure(config: String) -> Result<(), ConfigError> {
        if config.starts_with('{') {
            Ok(())
        } else {
            Err(ConfigError::Unreadable("no object".into()))
        }
    }
}

impl message_handler::Guest for Talker {
    fn handle(message: Message) -> Result<Vec<Emission>, Failure> {
        metrics::count("called", 1);
        let text = String::from_utf8_lossy(&message.data);
        log::write(log::Level::Debug, &text);
        let emit = |data: &str, key: Option<&str>, output: Option<&str>| Emission {
            data: data.into(),
            key: key.map(str::to_owned),
            output: output.map(str::to_owned),
        };
        match &*text {
            "panic" => panic!("this is what it says"),
            "retry" => Err(Failure::Retry(RetryLater {
                after_ms: Some(250),
                reason: "busy".into(),
            })),
            "reject" => Err(Failure::Reject("bad".into())),
            "nothing" => Ok(Vec::new()),
            "late" => Ok(vec![emit("late", Some("other"), Some("late"))]),
            "config" => Ok(vec![emit(&config::get(), None, None)]),
            "large" => Ok(vec![Emission {
                data: vec![0; 8 << 20],
                key: None,
                output: None,
            }]),
            _ => {
                let seen = format!(
                    "{text} {} {} {} {}",
                    message.key,
                    message.sequence_number,
                    message.sub_sequence_number,
                    message.arrival_time
                );
                Ok(vec![emit(&seen, None, None)])
            }
        }
    }
}

export!(Talker);
