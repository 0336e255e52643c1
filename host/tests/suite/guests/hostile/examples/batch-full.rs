//! A columnar guest with everything; `{"do":"…"}` in its configuration says how it behaves.

use std::cell::{Cell, RefCell};

wit_bindgen::generate!({ path: "../../../../../wit", world: "batch-full" });

use exports::shardwright::plugin::batch_flush;
use exports::shardwright::plugin::batch_handler::{
    self, Batch, Emissions, Hold, MessageFailure, Release, Reply,
};
use exports::shardwright::plugin::configure::{self, ConfigError, ConfigProblem};
use exports::shardwright::plugin::describe::{self, Description};
use shardwright::plugin::types::{Columns, Failure, FlushReason, RetryLater};
use shardwright::plugin::{config, log, metrics};

struct Hostile;

thread_local! {
    static DO: RefCell<String> = const { RefCell::new(String::new()) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

impl describe::Guest for Hostile {
    fn describe() -> Result<Description, Failure> {
        Ok(Description {
            name: "hostile".into(),
            version: "1.2.3".into(),
            config_schema: Some("{}".into()),
            outputs: vec!["default".into(), "late".into()],
            columns: Columns::KEYS,
        })
    }
}

impl configure::Guest for Hostile {
    fn configure(config: String) -> Result<(), ConfigError> {
        assert_eq!(
            config,
            config::get(),
            "both ways give the same configuration"
        );
        let what = config.split('"').nth(3).unwrap_or_default();
        match what {
            "refuse" => {
                let problem = |path: &str, message: &str| ConfigProblem {
                    path: path.into(),
                    message: message.into(),
                };
                return Err(ConfigError::Invalid(vec![
                    problem("/do", "not this"),
                    problem("", "nor that"),
                ]));
            }
            "panic-at-start" => panic!("it cannot start"),
            _ => DO.set(what.to_owned()),
        }
        Ok(())
    }
}

impl batch_handler::Guest for Hostile {
    fn handle(batch: Batch) -> Result<Reply, Failure> {
        let what = DO.with_borrow(Clone::clone);
        CALLS.set(CALLS.get() + 1);
        hostile::act(&what);
        let messages = batch.data_ends.len() as u32;
        let mut reply = nothing();
        match what.as_str() {
            "echo" => {
                reply.emissions = Emissions {
                    sources: (0..messages).collect(),
                    data: batch.data,
                    data_ends: batch.data_ends,
                    keys: batch.keys,
                    key_ends: batch.key_ends,
                    ..reply.emissions
                }
            }
            "columns" => {
                let seen = format!(
                    "{} {} {} {} {}",
                    messages,
                    batch.key_ends.len(),
                    batch.sequence_number_ends.len(),
                    batch.sub_sequence_numbers.len(),
                    batch.arrival_times.len()
                );
                reply.emissions.data_ends = vec![seen.len() as u32];
                reply.emissions.data = seen.into_bytes();
                reply.emissions.key_ends = vec![0];
                reply.emissions.sources = vec![u32::MAX];
            }
            "fail-once" if CALLS.get() == 1 => {
                return Err(Failure::Retry(RetryLater {
                    after_ms: Some(5),
                    reason: "busy".into(),
                }));
            }
            "hold" => reply.holds.push(Hold { index: 0, id: 7 }),
            "huge-reply" => {
                reply.emissions.data = vec![7; 65 << 20];
                reply.emissions.data_ends = vec![65 << 20];
            }
            "wrong-index" => reply.failures.push(MessageFailure {
                index: messages,
                failure: Failure::Reject("there is no such message".into()),
            }),
            "wrong-ends" => {
                reply.emissions.data = vec![1];
                reply.emissions.data_ends = vec![9];
            }
            "forged-release" => reply.releases.push(Release {
                id: 99,
                failure: None,
            }),
            "log-flood" => {
                for n in 0..100_000 {
                    log::write(log::Level::Info, &format!("line {n}"));
                }
            }
            "log-huge" => log::write(log::Level::Info, &"x".repeat(65 << 20)),
            "count" => {
                metrics::count("seen", u64::from(messages));
                (0..1_000).for_each(|n| metrics::count(&format!("n{n}"), 1));
            }
            _ => {}
        }
        Ok(reply)
    }
}

impl batch_flush::Guest for Hostile {
    fn flush(reason: FlushReason) -> Result<Reply, Failure> {
        let mut reply = nothing();
        reply.releases.push(Release {
            id: 7,
            failure: Some(Failure::Reject(format!("{reason:?}"))),
        });
        Ok(reply)
    }
}

fn nothing() -> Reply {
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

export!(Hostile);
