//! What a handler says of its messages, and what it emits.

use std::io::{self, Write};

use serde::Serialize;

use crate::columns::{EmissionColumns, ReplyColumns, Room, column_u32, entry};
use crate::handler::DEFAULT_OUTPUT;
use crate::{Failure, Message, OrReject};

/// The source that stands for the whole call.
const WHOLE_CALL: u32 = u32::MAX;

/// What became of a batch: failures, holds, releases and emissions. A message that it does not name is acked.
///
/// Emissions are appended to a few flat columns; none is allocated by itself.
#[derive(Debug)]
pub struct Reply {
    columns: ReplyColumns,
    messages: u32,
    hold_next: u64,
}

/// What an emission comes from: it is acked only when the emission has been delivered.
///
/// A message, a [`Released`] hold, or [`Source::CALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u32);

impl Source {
    /// The whole call: the emission gates every message that the reply acks.
    pub const CALL: Self = Self(WHOLE_CALL);
}

impl From<Message<'_>> for Source {
    fn from(message: Message<'_>) -> Self {
        Self(message.index)
    }
}

impl From<&Message<'_>> for Source {
    fn from(message: &Message<'_>) -> Self {
        Self(message.index)
    }
}

/// A message that stays un-acked past the call. Keep it, and [release](Reply::release) it, as a rule in a later call.
///
/// The checkpoint cannot pass the message until then. Dropping this leaves the message to the pipeline's bound on the
/// age of holds, after which it is delivered again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message that is never released holds the checkpoint back"]
pub struct Hold(u64);

/// A message that was held and is settled, as the source of emissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released(u32);

impl From<Released> for Source {
    fn from(released: Released) -> Self {
        Self(released.0)
    }
}

impl Reply {
    /// `room` is what the last reply took: growing columns step by step costs a copy of them at each step.
    pub(crate) fn new(messages: usize, hold_next: u64, room: Room) -> Self {
        Self {
            columns: ReplyColumns {
                emissions: EmissionColumns::with_room(room),
                ..ReplyColumns::default()
            },
            messages: column_u32(messages),
            hold_next,
        }
    }

    /// Emits to the default output, under the key of the source.
    pub fn emit(&mut self, source: impl Into<Source>, data: impl AsRef<[u8]>) {
        self.emission(source).data(data);
    }

    /// Begins an emission with a key or an output of its own.
    ///
    /// ```
    /// # use shardwright_guest::{Failure, Message, Reply};
    /// fn route(message: Message<'_>, reply: &mut Reply) -> Result<(), Failure> {
    ///     reply.emission(message).output("late").key("eu").data(message.data);
    ///     reply.emission(message).json(&("copied", message.data.len()))
    /// }
    /// ```
    pub fn emission(&mut self, source: impl Into<Source>) -> Emission<'_> {
        Emission {
            emissions: &mut self.columns.emissions,
            source: source.into(),
            key: "",
            output: DEFAULT_OUTPUT,
        }
    }

    /// The message failed. What it emitted, and its hold, are discarded; the first failure of a message counts.
    pub fn fail(&mut self, message: Message<'_>, failure: impl Into<Failure>) {
        self.columns.failures.push((message.index, failure.into()));
    }

    /// The message failed for now: try it again. Later messages of its key run again after it, whatever is said of
    /// them here.
    pub fn retry(&mut self, message: Message<'_>, reason: impl Into<String>) {
        self.fail(message, Failure::retry(reason));
    }

    /// The message failed for good: it goes to the dead-letter sink.
    pub fn reject(&mut self, message: Message<'_>, reason: impl Into<String>) {
        self.fail(message, Failure::reject(reason));
    }

    /// Keeps the message un-acked past this call. How many, how large and for how long is bounded by the pipeline.
    pub fn hold(&mut self, message: Message<'_>) -> Hold {
        let id = self.hold_next;
        self.hold_next += 1;
        self.columns.holds.push((message.index, id));
        Hold(id)
    }

    /// Acks a held message, as soon as all that is emitted from it has been delivered.
    ///
    /// ```
    /// # use shardwright_guest::{Hold, Reply};
    /// fn settle(sum: u64, held: Vec<Hold>, reply: &mut Reply) {
    ///     for hold in held {
    ///         let released = reply.release(hold);
    ///         reply.emission(released).key("sums").data(sum.to_string());
    ///     }
    /// }
    /// ```
    pub fn release(&mut self, hold: Hold) -> Released {
        self.settle(hold, None)
    }

    /// Settles a held message as failed.
    pub fn release_failed(&mut self, hold: Hold, failure: impl Into<Failure>) {
        self.settle(hold, Some(failure.into()));
    }

    fn settle(&mut self, Hold(id): Hold, failure: Option<Failure>) -> Released {
        // The host has not heard yet of a hold that this call made: its message is settled as any other.
        let held_now = self.columns.holds.binary_search_by_key(&id, |&(_, id)| id);
        if let Ok(position) = held_now {
            let (message, _) = self.columns.holds.remove(position);
            self.columns
                .failures
                .extend(failure.map(|failure| (message, failure)));
            return Released(message);
        }
        let index = column_u32(self.columns.releases.len());
        self.columns.releases.push((id, failure));
        Released(self.messages.saturating_add(index))
    }

    /// The ids that it releases, and the id that the next hold gets.
    pub(crate) fn abandon(self) -> (impl Iterator<Item = u64>, u64) {
        (
            self.columns.releases.into_iter().map(|(id, _)| id),
            self.hold_next,
        )
    }

    /// The columns without what failures discard, and the id that the next hold gets.
    pub(crate) fn finish(self) -> (ReplyColumns, u64) {
        let Self {
            mut columns,
            messages,
            hold_next,
        } = self;
        // A release that failed has no `Released` to emit from, so only messages are looked at.
        if !columns.failures.is_empty() {
            columns.failures.sort_by_key(|(index, _)| *index);
            columns.failures.dedup_by_key(|(index, _)| *index);
            let failures = std::mem::take(&mut columns.failures);
            let failed = |index: u32| {
                failures
                    .binary_search_by_key(&index, |(index, _)| *index)
                    .is_ok()
            };
            columns.holds.retain(|(index, _)| !failed(*index));
            columns
                .emissions
                .retain(|source| source >= messages || !failed(source));
            columns.failures = failures;
        }
        (columns, hold_next)
    }
}

/// An emission in the making. It is made by [`data`](Self::data), [`json`](Self::json) or [`write`](Self::write).
#[derive(Debug)]
#[must_use = "an emission is made by `data`, `json` or `write`"]
pub struct Emission<'r> {
    emissions: &'r mut EmissionColumns,
    source: Source,
    key: &'r str,
    output: &'r str,
}

impl<'r> Emission<'r> {
    /// Under this key; an empty one stands for the key of the source. Keys keep their order, and say in a Kinesis sink
    /// which shard it goes to: at most 256 characters there.
    pub fn key(mut self, key: &'r str) -> Self {
        self.key = key;
        self
    }

    /// To this output, one of [`Handler::OUTPUTS`](crate::Handler::OUTPUTS).
    pub fn output(mut self, output: &'r str) -> Self {
        self.output = output;
        self
    }

    /// Emits these bytes.
    pub fn data(self, data: impl AsRef<[u8]>) {
        self.write(|payload| payload.extend(data.as_ref()));
    }

    /// Emits a value as JSON. One that is no JSON (a map without text as keys) is a permanent failure.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let start = self.emissions.data.len();
        if let Err(error) = serde_json::to_writer(Payload(&mut self.emissions.data), value) {
            self.emissions.data.truncate(start);
            return Err(error).or_reject();
        }
        self.write(|_| ());
        Ok(())
    }

    /// Emits what `write` appends, straight into the column.
    pub fn write(self, write: impl FnOnce(&mut Payload<'_>)) {
        let Self {
            emissions,
            source,
            key,
            output,
        } = self;
        write(&mut Payload(&mut emissions.data));
        emissions.data_ends.push(column_u32(emissions.data.len()));
        emissions.keys.extend_from_slice(key.as_bytes());
        emissions.key_ends.push(column_u32(emissions.keys.len()));
        emissions.push_output(output);
        emissions.sources.push(source.0);
    }
}

/// The end of the column that an emission's payload is appended to.
#[derive(Debug)]
pub struct Payload<'r>(&'r mut Vec<u8>);

impl Payload<'_> {
    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Write for Payload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl EmissionColumns {
    /// Called before the source is pushed: `outputs` stays empty until an emission names another output than the
    /// default.
    fn push_output(&mut self, output: &str) {
        if self.output_names.is_empty() {
            if output == DEFAULT_OUTPUT {
                return;
            }
            self.output_names.push(DEFAULT_OUTPUT.to_owned());
            self.outputs.resize(self.sources.len(), 0);
        }
        let index = self
            .output_names
            .iter()
            .position(|name| name == output)
            .unwrap_or_else(|| {
                self.output_names.push(output.to_owned());
                self.output_names.len() - 1
            });
        self.outputs.push(column_u32(index));
    }

    /// Keeps the emissions of the sources for which `keep` says so.
    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        if self.sources.iter().all(|&source| keep(source)) {
            return;
        }
        let all = std::mem::take(self);
        self.output_names = all.output_names;
        for (i, &source) in all.sources.iter().enumerate() {
            if !keep(source) {
                continue;
            }
            self.data
                .extend_from_slice(entry(&all.data, &all.data_ends, i).unwrap_or_default());
            self.data_ends.push(column_u32(self.data.len()));
            self.keys
                .extend_from_slice(entry(&all.keys, &all.key_ends, i).unwrap_or_default());
            self.key_ends.push(column_u32(self.keys.len()));
            self.outputs.extend(all.outputs.get(i));
            self.sources.push(source);
        }
    }
}
