//! What crosses into a guest and what comes back: columns, verdicts, emissions.
//!
//! The shapes are those of the contract (`wit/batch-handler.wit`). They are flat so that a batch crosses the sandbox as
//! a handful of copies, and they are reused from batch to batch so that a record costs no allocation.

use std::time::Duration;

use crate::limits::EMISSIONS_MAX;

/// Byte strings laid end to end, with the place where each one ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Column {
    /// Takes a column apart that came from outside.
    ///
    /// `ends` must rise, and the last one must be the length of `bytes`.
    pub fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Result<Self, InvalidColumn> {
        let mut last = 0;
        for (index, &end) in ends.iter().enumerate() {
            if end < last {
                return Err(InvalidColumn::Falls { index, end, last });
            }
            last = end;
        }
        if last as usize != bytes.len() {
            return Err(InvalidColumn::Length {
                end: last,
                bytes: bytes.len(),
            });
        }
        Ok(Self { bytes, ends })
    }

    /// Appends one value. Whoever fills a column bounds it below 4 GiB first (`limits`).
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u32);
    }

    /// The value at `index`, or none past the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 {
            0
        } else {
            *self.ends.get(index - 1)? as usize
        };
        self.bytes.get(start..end)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All bytes, end to end.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each value ends.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Forgets the values and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let value = self.bytes.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            value
        })
    }
}

/// A column that does not fit its own ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidColumn {
    /// An end lies before the one in front of it.
    #[error("end {index} is {end}, below the one before it ({last})")]
    Falls {
        /// Which end.
        index: usize,
        /// Its value.
        end: u32,
        /// The value before it.
        last: u32,
    },
    /// The ends do not cover the bytes.
    #[error("the last end is {end}, and there are {bytes} bytes")]
    Length {
        /// The last end.
        end: u32,
        /// The number of bytes.
        bytes: usize,
    },
}

/// Which columns a plugin reads, besides the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnsWanted {
    /// Partition keys.
    pub keys: bool,
    /// Sequence numbers.
    pub sequence_numbers: bool,
    /// Sub-sequence numbers.
    pub sub_sequence_numbers: bool,
    /// Arrival times.
    pub arrival_times: bool,
}

impl ColumnsWanted {
    /// Every column: what a plugin gets that does not describe itself.
    pub const ALL: Self = Self {
        keys: true,
        sequence_numbers: true,
        sub_sequence_numbers: true,
        arrival_times: true,
    };
}

/// A batch of messages for a plugin. A column that is not wanted stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Payloads. Their number is the number of messages.
    pub data: Column,
    /// Partition keys of the user records, UTF-8.
    pub keys: Column,
    /// Sequence numbers, decimal text.
    pub sequence_numbers: Column,
    /// Index of each message in its container.
    pub sub_sequence_numbers: Vec<u64>,
    /// Arrival at the stream, milliseconds since the Unix epoch.
    pub arrival_times: Vec<i64>,
}

impl Messages {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Forgets the messages and keeps the room.
    pub fn clear(&mut self) {
        self.data.clear();
        self.keys.clear();
        self.sequence_numbers.clear();
        self.sub_sequence_numbers.clear();
        self.arrival_times.clear();
    }
}

/// Why a message was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Transient. Later messages of its key wait until it has been tried again.
    Retry {
        /// The least wait the plugin asks for.
        after: Option<Duration>,
        /// For a person.
        reason: String,
    },
    /// Permanent: to the dead-letter sink.
    Reject {
        /// For a person.
        reason: String,
    },
}

/// A message that stays un-acked past the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its index in the batch.
    pub index: u32,
    /// The name under which the instance releases it.
    pub id: u64,
}

/// A held message that is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name under which it was held.
    pub id: u64,
    /// None acks it.
    pub failure: Option<Failure>,
}

/// An emission whose source is the whole call: it gates every message that the reply acks.
pub const SOURCE_CALL: u32 = u32::MAX;

/// What a call emits, in the order of delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emissions {
    /// Payloads. Their number is the number of emissions.
    pub data: Column,
    /// Keys, UTF-8.
    pub keys: Column,
    /// Message `i`, or release `i - n`, or [`SOURCE_CALL`].
    pub sources: Vec<u32>,
    /// For each emission an index into `output_names`; empty: all to `default`.
    pub outputs: Vec<u32>,
    /// The outputs that `outputs` refers to.
    pub output_names: Vec<String>,
}

impl Emissions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The output of the emission at `index`.
    pub fn output(&self, index: usize) -> &str {
        self.outputs
            .get(index)
            .and_then(|&name| self.output_names.get(name as usize))
            .map_or("default", String::as_str)
    }
}

/// What became of a batch. A message that is not named is acked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Messages that failed: index and why.
    pub failures: Vec<(u32, Failure)>,
    /// Messages that stay un-acked.
    pub holds: Vec<Hold>,
    /// Held messages that are settled.
    pub releases: Vec<Release>,
    /// What is to be delivered.
    pub emissions: Emissions,
}

/// A reply that does not fit its batch. It is treated as a trap: nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReply {
    /// An index past the batch.
    #[error("it names message {index} of a batch of {messages}")]
    Index {
        /// The index.
        index: u32,
        /// How many messages there were.
        messages: usize,
    },
    /// One message got two verdicts.
    #[error("message {index} has two verdicts")]
    TwoVerdicts {
        /// The message.
        index: u32,
    },
    /// A hold under a name that is taken.
    #[error("two messages are held as {id}")]
    HoldTaken {
        /// The name.
        id: u64,
    },
    /// An emission whose source does not exist.
    #[error(
        "emission {emission} names source {from}; there are {messages} messages and {releases} releases"
    )]
    Source {
        /// Which emission.
        emission: usize,
        /// Its source.
        from: u32,
        /// How many messages there were.
        messages: usize,
        /// How many releases the reply has.
        releases: usize,
    },
    /// More emissions than the host takes at once.
    #[error("it has {emissions} emissions, and may have {limit}")]
    TooManyEmissions {
        /// How many there are.
        emissions: usize,
        /// The bound.
        limit: usize,
    },
    /// Columns of different lengths.
    #[error("{emissions} emissions with {found} {column}")]
    Columns {
        /// Which column.
        column: &'static str,
        /// How many emissions there are.
        emissions: usize,
        /// How long the column is.
        found: usize,
    },
    /// A column that does not fit its ends.
    #[error("{column}: {why}")]
    Column {
        /// Which column.
        column: &'static str,
        /// What is wrong with it.
        why: InvalidColumn,
    },
    /// An output that is not in the table of names.
    #[error("emission {emission} names output {output} of {names}")]
    Output {
        /// Which emission.
        emission: usize,
        /// Its output.
        output: u32,
        /// How many names there are.
        names: usize,
    },
    /// A key that is not text.
    #[error("the key of emission {emission} is not UTF-8")]
    Key {
        /// Which emission.
        emission: usize,
    },
}

impl Reply {
    /// Checks a reply against the batch it answers. `is_held` says whether the instance holds something under a name.
    pub fn check(
        &self,
        messages: usize,
        is_held: impl Fn(u64) -> bool,
    ) -> Result<(), InvalidReply> {
        self.check_verdicts(messages)?;
        self.check_names(is_held)?;
        self.check_emissions(messages)
    }

    fn check_verdicts(&self, messages: usize) -> Result<(), InvalidReply> {
        let named = self
            .failures
            .iter()
            .map(|(index, _)| *index)
            .chain(self.holds.iter().map(|hold| hold.index));
        let mut seen: Vec<u32> = named.collect();
        seen.sort_unstable();
        if let Some(&index) = seen.last().filter(|&&index| index as usize >= messages) {
            return Err(InvalidReply::Index { index, messages });
        }
        match seen.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(InvalidReply::TwoVerdicts { index: pair[0] }),
            None => Ok(()),
        }
    }

    /// A release of what is not held is no fault: the host drops and counts it. Two holds of one name are.
    fn check_names(&self, is_held: impl Fn(u64) -> bool) -> Result<(), InvalidReply> {
        let mut held: Vec<u64> = self.holds.iter().map(|hold| hold.id).collect();
        held.sort_unstable();
        if let Some(pair) = held.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(InvalidReply::HoldTaken { id: pair[0] });
        }
        if held.is_empty() {
            return Ok(());
        }
        // As many as a reply has room for, millions, and as many messages as are held may meet here.
        let mut released: Vec<u64> = self.releases.iter().map(|release| release.id).collect();
        released.sort_unstable();
        let is_released = |id| released.binary_search(&id).is_ok();
        match held.iter().find(|&&id| is_held(id) && !is_released(id)) {
            Some(&id) => Err(InvalidReply::HoldTaken { id }),
            None => Ok(()),
        }
    }

    fn check_emissions(&self, messages: usize) -> Result<(), InvalidReply> {
        let Emissions {
            data,
            keys,
            sources,
            outputs,
            output_names,
        } = &self.emissions;
        let emissions = data.len();
        if emissions > EMISSIONS_MAX {
            return Err(InvalidReply::TooManyEmissions {
                emissions,
                limit: EMISSIONS_MAX,
            });
        }
        for (column, found) in [("keys", keys.len()), ("sources", sources.len())] {
            if found != emissions {
                return Err(InvalidReply::Columns {
                    column,
                    emissions,
                    found,
                });
            }
        }
        if !outputs.is_empty() && outputs.len() != emissions {
            return Err(InvalidReply::Columns {
                column: "outputs",
                emissions,
                found: outputs.len(),
            });
        }
        let releases = self.releases.len();
        let known = messages + releases;
        if let Some(emission) = sources
            .iter()
            .position(|&from| from != SOURCE_CALL && from as usize >= known)
        {
            return Err(InvalidReply::Source {
                emission,
                from: sources[emission],
                messages,
                releases,
            });
        }
        if let Some(emission) = outputs
            .iter()
            .position(|&output| output as usize >= output_names.len())
        {
            return Err(InvalidReply::Output {
                emission,
                output: outputs[emission],
                names: output_names.len(),
            });
        }
        match keys
            .iter()
            .position(|key| std::str::from_utf8(key).is_err())
        {
            Some(emission) => Err(InvalidReply::Key { emission }),
            None => Ok(()),
        }
    }
}

/// Why an instance is asked to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// The flush interval has passed.
    Interval,
    /// No message for a while.
    Idle,
    /// The window is full and the instance holds messages.
    Full,
    /// The shard has ended.
    ShardEnd,
    /// A newer generation takes over.
    Reload,
    /// The worker stops.
    Shutdown,
}
