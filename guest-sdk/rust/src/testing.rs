//! Runs a handler natively, as the host would: no Wasm, no stream.
//!
//! ```
//! use shardwright_guest::testing::{Harness, Input, Verdict};
//! use shardwright_guest::{Batch, ConfigError, Failure, Handler, NoConfig, Reply};
//!
//! struct Evens;
//!
//! impl Handler for Evens {
//!     type Config = NoConfig;
//!
//!     fn configure(_: NoConfig) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!
//!     fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
//!         batch.each(reply, |message, reply| {
//!             let number: u64 = str::from_utf8(message.data)?.parse()?;
//!             if number % 2 == 0 {
//!                 reply.emit(message, message.data);
//!             }
//!             Ok(())
//!         });
//!         Ok(())
//!     }
//! }
//!
//! let mut harness = Harness::<Evens>::new(serde_json::json!({})).unwrap();
//! let outcome = harness.handle([Input::new("4").key("a"), Input::new("x").key("b")]);
//! assert_eq!(outcome.verdicts[0], Verdict::Ack);
//! assert!(matches!(outcome.verdicts[1], Verdict::Failed(Failure::Retry { .. })));
//! assert_eq!(outcome.emissions[0].text(), "4");
//! assert_eq!(outcome.emissions[0].key, "a");
//! ```

mod captured;
mod input;
mod outcome;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use captured::{counted, logged};
pub(crate) use captured::{keep_count, keep_line};
pub use input::Input;
pub use outcome::{Emitted, Origin, Outcome, Settled, Verdict};

use crate::columns::{ReplyColumns, entry};
use crate::guest::Guest;
use crate::{ConfigError, Failure, FlushReason, Handler};

/// A handler under test, and the messages that it holds.
///
/// It applies the contract as the host does: columns that were not asked for are empty, later messages of a key wait
/// for one that is retried, what a failure discards is gone, and an empty key is that of the source.
#[derive(Debug)]
pub struct Harness<H> {
    guest: Guest<H>,
    held: BTreeMap<u64, Input>,
    messages_seen: u64,
}

impl<H: Handler> Harness<H> {
    /// Configures the handler with what a pipeline would say under `with:`.
    pub fn new(config: impl Serialize) -> Result<Self, ConfigError> {
        let json = serde_json::to_string(&config)
            .map_err(|error| ConfigError::Unreadable(error.to_string()))?;
        let mut guest = Guest::new();
        guest.configure(&json)?;
        Ok(Self {
            guest,
            held: BTreeMap::new(),
            messages_seen: 0,
        })
    }

    /// Hands it a batch.
    ///
    /// # Panics
    /// If it emits to an output that it does not declare or holds a message twice, which a host would refuse.
    pub fn handle(&mut self, messages: impl IntoIterator<Item = impl Into<Input>>) -> Outcome {
        let mut inputs: Vec<Input> = messages.into_iter().map(Into::into).collect();
        for input in &mut inputs {
            self.messages_seen += 1;
            input.number(self.messages_seen);
        }
        let reply = self.guest.handle(&input::columns(&inputs, H::COLUMNS));
        self.settle(&inputs, reply)
    }

    /// Flushes it.
    ///
    /// # Panics
    /// If it emits to an output that it does not declare, which a host would refuse.
    pub fn flush(&mut self, reason: FlushReason) -> Outcome {
        let reply = self.guest.flush(reason);
        self.settle(&[], reply)
    }

    /// How many messages it holds.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn settle(&mut self, inputs: &[Input], reply: Result<ReplyColumns, Failure>) -> Outcome {
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => return Outcome::failed(inputs.len(), failure),
        };
        let mut verdicts = vec![Verdict::Ack; inputs.len()];
        for &(index, _) in &reply.holds {
            let verdict = std::mem::replace(&mut verdicts[index as usize], Verdict::Hold);
            assert_eq!(
                verdict,
                Verdict::Ack,
                "the handler holds message {index} twice"
            );
        }
        for (index, failure) in &reply.failures {
            verdicts[*index as usize] = Verdict::Failed(failure.clone());
        }
        let mut keys_retried = BTreeSet::new();
        for (input, verdict) in inputs.iter().zip(&mut verdicts) {
            if keys_retried.contains(&input.key) {
                *verdict = Verdict::Again;
            } else if matches!(verdict, Verdict::Failed(Failure::Retry { .. })) {
                keys_retried.insert(&input.key);
            }
        }

        let released = self.release(&reply);
        for &(index, id) in &reply.holds {
            if verdicts[index as usize] == Verdict::Hold {
                self.held.insert(id, inputs[index as usize].clone());
            }
        }
        let emissions = emissions::<H>(inputs, &verdicts, &released, &reply);
        let released = released.into_iter().flatten().collect();
        Outcome {
            verdicts,
            released,
            emissions,
            failure: None,
        }
    }

    /// One entry for each release; `None` for what is not held (any more).
    fn release(&mut self, reply: &ReplyColumns) -> Vec<Option<Settled>> {
        let release = |(id, failure): &(u64, Option<Failure>)| {
            let verdict = failure.clone().map_or(Verdict::Ack, Verdict::Failed);
            Some(Settled {
                message: self.held.remove(id)?,
                verdict,
            })
        };
        reply.releases.iter().map(release).collect()
    }
}

fn emissions<H: Handler>(
    inputs: &[Input],
    verdicts: &[Verdict],
    released: &[Option<Settled>],
    reply: &ReplyColumns,
) -> Vec<Emitted> {
    let columns = &reply.emissions;
    let mut emissions = Vec::new();
    for (i, &source) in columns.sources.iter().enumerate() {
        let source = source as usize;
        let (origin, source_key) = if source == u32::MAX as usize {
            (
                Origin::Call,
                inputs.first().map_or("", |input| input.key.as_str()),
            )
        } else if let Some(input) = inputs.get(source) {
            if !matches!(verdicts[source], Verdict::Ack | Verdict::Hold) {
                continue;
            }
            (Origin::Message(source), input.key.as_str())
        } else {
            let index = source - inputs.len();
            match &released[index] {
                Some(Settled {
                    message,
                    verdict: Verdict::Ack,
                }) => (Origin::Released(index), message.key.as_str()),
                _ => continue,
            }
        };
        let output = match columns.outputs.get(i) {
            Some(&output) => columns.output_names[output as usize].as_str(),
            None => crate::DEFAULT_OUTPUT,
        };
        assert!(
            H::OUTPUTS.contains(&output),
            "the handler emitted to `{output}`, which is not among its OUTPUTS {:?}",
            H::OUTPUTS,
        );
        let key = entry(&columns.keys, &columns.key_ends, i).unwrap_or_default();
        let key = String::from_utf8_lossy(key);
        emissions.push(Emitted {
            origin,
            key: if key.is_empty() {
                source_key.to_owned()
            } else {
                key.into_owned()
            },
            output: output.to_owned(),
            data: entry(&columns.data, &columns.data_ends, i)
                .unwrap_or_default()
                .to_vec(),
        });
    }
    emissions
}
