//! Many calls of a `message-handler` as one reply.

use std::borrow::Cow;
use std::collections::HashSet;

use shardwright_core::{Column, Failure, Messages, Reply};

use super::super::limits::{DESCRIBED_OUTPUTS, REPLY_BYTES};
use super::{failure, message_handler, types};

/// The output of an emission that names none.
const DEFAULT_OUTPUT: &str = "default";

/// What an emission takes in the columns beside its payload and key, bytes: one that is empty costs too.
const COLUMN_BYTES: u64 = 16;

/// What the calls of a batch have answered so far.
pub(in super::super) struct Gathered<'m> {
    messages: &'m Messages,
    reply: Reply,
    /// Keys of which a message is to be tried again.
    waiting: HashSet<&'m [u8]>,
    bytes: u64,
}

/// The answers of a batch are together larger than the host takes, or go to more outputs than a plugin can have.
#[derive(Debug)]
pub(in super::super) struct TooLarge;

impl<'m> Gathered<'m> {
    pub(in super::super) fn new(messages: &'m Messages) -> Self {
        Self {
            messages,
            reply: Reply::default(),
            waiting: HashSet::new(),
            bytes: 0,
        }
    }

    /// Whether the call for this message can be left out: one of its key in front of it is tried again, and what this
    /// one answers would be discarded.
    pub(in super::super) fn waits(&self, index: usize) -> bool {
        !self.waiting.is_empty() && self.waiting.contains(self.key(index))
    }

    /// The message at `index`, borrowed from the columns. Those without text, which the host does not make, are shown
    /// with replacement characters.
    pub(in super::super) fn message<'t>(
        &self,
        index: usize,
        text: &'t mut [Cow<'m, str>; 2],
    ) -> message_handler::Message<'t>
    where
        'm: 't,
    {
        let sequence_number = self.messages.sequence_numbers.get(index);
        *text = [
            String::from_utf8_lossy(self.key(index)),
            String::from_utf8_lossy(sequence_number.unwrap_or_default()),
        ];
        let [key, sequence_number] = text;
        message_handler::Message {
            data: self.messages.data.get(index).unwrap_or_default(),
            key,
            sequence_number,
            sub_sequence_number: value(&self.messages.sub_sequence_numbers, index),
            arrival_time: value(&self.messages.arrival_times, index),
        }
    }

    /// Adds what a call has answered.
    pub(in super::super) fn answer(
        &mut self,
        index: usize,
        answer: Result<Vec<message_handler::Emission>, types::Failure>,
    ) -> Result<(), TooLarge> {
        let source = index as u32;
        match answer.map_err(failure) {
            Ok(emissions) => {
                for emission in emissions {
                    self.emit(source, &emission)?;
                }
            }
            Err(failed) => {
                if matches!(failed, Failure::Retry { .. }) {
                    self.waiting.insert(self.key(index));
                }
                self.reply.failures.push((source, failed));
            }
        }
        Ok(())
    }

    pub(in super::super) fn into_reply(self) -> Reply {
        self.reply
    }

    fn emit(&mut self, source: u32, emission: &message_handler::Emission) -> Result<(), TooLarge> {
        let own_key = self.key(source as usize);
        let key = emission.key.as_ref().map_or(own_key, String::as_bytes);
        self.bytes += (emission.data.len() + key.len()) as u64 + COLUMN_BYTES;
        if self.bytes > REPLY_BYTES {
            return Err(TooLarge);
        }
        let emissions = &mut self.reply.emissions;
        emissions.data.push(&emission.data);
        emissions.keys.push(key);
        emissions.sources.push(source);
        let output = emission.output.as_deref().unwrap_or(DEFAULT_OUTPUT);
        // As long as all go to the default, the column stays empty.
        if output != DEFAULT_OUTPUT || !emissions.outputs.is_empty() {
            if emissions.outputs.is_empty() {
                emissions.output_names.push(DEFAULT_OUTPUT.to_owned());
                emissions.outputs.resize(emissions.sources.len() - 1, 0);
            }
            let known = emissions
                .output_names
                .iter()
                .position(|name| name == output);
            let name = match known {
                Some(name) => name,
                // Each is looked for in all: they must stay few.
                None if emissions.output_names.len() >= DESCRIBED_OUTPUTS => return Err(TooLarge),
                None => {
                    emissions.output_names.push(output.to_owned());
                    emissions.output_names.len() - 1
                }
            };
            emissions.outputs.push(name as u32);
        }
        Ok(())
    }

    fn key(&self, index: usize) -> &'m [u8] {
        fn get(column: &Column, index: usize) -> &[u8] {
            column.get(index).unwrap_or_default()
        }
        get(&self.messages.keys, index)
    }
}

fn value<T: Copy + Default>(column: &[T], index: usize) -> T {
    column.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(keys: &[&str]) -> Messages {
        let mut messages = Messages::default();
        for key in keys {
            messages.data.push(b"data");
            messages.keys.push(key.as_bytes());
            messages.sequence_numbers.push(b"1");
        }
        messages
    }

    fn emission(key: Option<&str>, output: Option<&str>) -> message_handler::Emission {
        message_handler::Emission {
            data: b"out".to_vec(),
            key: key.map(str::to_owned),
            output: output.map(str::to_owned),
        }
    }

    #[test]
    fn after_a_retry_the_rest_of_its_key_is_not_called_and_other_keys_are() {
        let messages = messages(&["a", "b", "a"]);
        let mut gathered = Gathered::new(&messages);
        assert!(!gathered.waits(0));
        let later = types::RetryLater {
            after_ms: Some(7),
            reason: "busy".into(),
        };
        gathered
            .answer(0, Err(types::Failure::Retry(later)))
            .unwrap();
        assert!(!gathered.waits(1));
        assert!(gathered.waits(2));
        let reply = gathered.into_reply();
        let after = Some(std::time::Duration::from_millis(7));
        let reason = "busy".to_owned();
        assert_eq!(reply.failures, [(0, Failure::Retry { after, reason })]);
    }

    #[test]
    fn a_rejected_message_holds_nothing_up() {
        let messages = messages(&["a", "a"]);
        let mut gathered = Gathered::new(&messages);
        gathered
            .answer(0, Err(types::Failure::Reject("bad".into())))
            .unwrap();
        assert!(!gathered.waits(1));
    }

    #[test]
    fn emissions_take_the_key_of_their_message_and_the_default_output() {
        let messages = messages(&["a", "b"]);
        let mut gathered = Gathered::new(&messages);
        gathered.answer(0, Ok(vec![emission(None, None)])).unwrap();
        gathered
            .answer(
                1,
                Ok(vec![
                    emission(Some("k"), Some("late")),
                    emission(None, None),
                ]),
            )
            .unwrap();
        let reply = gathered.into_reply();
        reply.check(messages.len(), |_| false).unwrap();
        let keys: Vec<&[u8]> = reply.emissions.keys.iter().collect();
        assert_eq!(keys, [b"a", b"k", b"b"]);
        assert_eq!(reply.emissions.sources, [0, 1, 1]);
        let outputs: Vec<&str> = (0..3).map(|n| reply.emissions.output(n)).collect();
        assert_eq!(outputs, ["default", "late", "default"]);
    }
}
