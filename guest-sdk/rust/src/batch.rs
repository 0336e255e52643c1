//! Messages borrowed out of a batch's columns.

use std::iter::FusedIterator;

use crate::columns::{BatchColumns, entry};
use crate::{Failure, Reply};

/// The messages of one call, all of one lane of one shard, in order.
///
/// It borrows what the host wrote: walking it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    data: &'a [u8],
    data_ends: &'a [u32],
    keys: &'a str,
    key_ends: &'a [u32],
    sequence_numbers: &'a str,
    sequence_number_ends: &'a [u32],
    sub_sequence_numbers: &'a [u64],
    arrival_times: &'a [i64],
}

/// A user record in a handler's hands.
///
/// What a handler did not ask for in [`Handler::COLUMNS`](crate::Handler::COLUMNS) is empty or `None` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// The payload. Always there.
    pub data: &'a [u8],
    /// The partition key of the user record, not of the container that carried it. Empty unless asked for.
    pub key: &'a str,
    /// The sequence number as decimal text. Messages of one container share theirs. Empty unless asked for.
    pub sequence_number: &'a str,
    /// The index of the message in its container; 0 for a record that was not aggregated. `None` unless asked for.
    pub sub_sequence_number: Option<u64>,
    /// When the stream received the record: milliseconds since the Unix epoch, approximate. `None` unless asked for.
    pub arrival_time_ms: Option<i64>,
    pub(crate) index: u32,
}

impl Message<'_> {
    /// Where the message stands in its batch, from 0.
    pub fn index(&self) -> usize {
        self.index as usize
    }
}

impl<'a> Batch<'a> {
    /// Checks each column once, so that nothing has to be checked, or can fail, for each message.
    pub(crate) fn new(columns: &'a BatchColumns) -> Result<Self, Failure> {
        let count = columns.data_ends.len();
        check_ends("data", columns.data.len(), &columns.data_ends, count)?;
        Ok(Self {
            data: &columns.data,
            data_ends: &columns.data_ends,
            keys: text_column("keys", &columns.keys, &columns.key_ends, count)?,
            key_ends: &columns.key_ends,
            sequence_numbers: text_column(
                "sequence-numbers",
                &columns.sequence_numbers,
                &columns.sequence_number_ends,
                count,
            )?,
            sequence_number_ends: &columns.sequence_number_ends,
            sub_sequence_numbers: &columns.sub_sequence_numbers,
            arrival_times: &columns.arrival_times,
        })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.data_ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data_ends.is_empty()
    }

    /// The bytes of all payloads together, for sizing buffers.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// The message at `index`.
    pub fn get(&self, index: usize) -> Option<Message<'a>> {
        Some(Message {
            data: entry(self.data, self.data_ends, index)?,
            key: text(self.keys, self.key_ends, index),
            sequence_number: text(self.sequence_numbers, self.sequence_number_ends, index),
            sub_sequence_number: self.sub_sequence_numbers.get(index).copied(),
            arrival_time_ms: self.arrival_times.get(index).copied(),
            index: index as u32,
        })
    }

    /// The messages, in order.
    pub fn iter(&self) -> Messages<'a> {
        Messages {
            batch: *self,
            next: 0,
        }
    }

    /// Handles the messages one by one. One for which `handle` fails gets that verdict, and the others go on.
    pub fn each<F>(&self, reply: &mut Reply, mut handle: F)
    where
        F: FnMut(Message<'a>, &mut Reply) -> Result<(), Failure>,
    {
        for message in self {
            if let Err(failure) = handle(message, reply) {
                reply.fail(message, failure);
            }
        }
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Message<'a>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}

/// Iterates over the messages of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    batch: Batch<'a>,
    next: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let message = self.batch.get(self.next)?;
        self.next += 1;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len().saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Messages<'_> {}

impl FusedIterator for Messages<'_> {}

fn text<'a>(text: &'a str, ends: &[u32], index: usize) -> &'a str {
    let Some(&end) = ends.get(index) else {
        return "";
    };
    let start = if index == 0 { 0 } else { ends[index - 1] };
    text.get(start as usize..end as usize).unwrap_or_default()
}

fn text_column<'a>(
    name: &str,
    bytes: &'a [u8],
    ends: &[u32],
    count: usize,
) -> Result<&'a str, Failure> {
    // A column that was not asked for has no ends.
    check_ends(
        name,
        bytes.len(),
        ends,
        if ends.is_empty() { 0 } else { count },
    )?;
    let text = str::from_utf8(bytes).map_err(|_| unsound(name))?;
    if !ends.iter().all(|&end| text.is_char_boundary(end as usize)) {
        return Err(unsound(name));
    }
    Ok(text)
}

fn check_ends(name: &str, bytes: usize, ends: &[u32], count: usize) -> Result<(), Failure> {
    let last = ends.last().map_or(0, |&end| end as usize);
    if ends.len() != count || last != bytes || !ends.is_sorted() {
        return Err(unsound(name));
    }
    Ok(())
}

fn unsound(name: &str) -> Failure {
    Failure::retry(format!(
        "the host sent a batch whose column `{name}` does not add up"
    ))
}
