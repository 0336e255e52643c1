//! Messages that a test hands to a handler.

use crate::columns::{BatchColumns, Columns, column_u32};

/// A message for a handler under test. What a test does not say has a plausible value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The payload.
    pub data: Vec<u8>,
    /// The partition key; `key` unless set.
    pub key: String,
    /// The sequence number; counted up by the harness unless set.
    pub sequence_number: Option<String>,
    /// The index in its container; 0 unless set.
    pub sub_sequence_number: u64,
    /// Milliseconds since the Unix epoch; 2026-01-01T00:00:00Z unless set.
    pub arrival_time_ms: i64,
}

impl Input {
    /// A message with this payload.
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self {
            data: data.into(),
            key: "key".to_owned(),
            sequence_number: None,
            sub_sequence_number: 0,
            arrival_time_ms: 1_767_225_600_000,
        }
    }

    /// With this partition key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// At this position.
    #[must_use]
    pub fn at(mut self, sequence_number: impl Into<String>, sub_sequence_number: u64) -> Self {
        self.sequence_number = Some(sequence_number.into());
        self.sub_sequence_number = sub_sequence_number;
        self
    }

    /// Received at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn arrival_time_ms(mut self, arrival_time_ms: i64) -> Self {
        self.arrival_time_ms = arrival_time_ms;
        self
    }

    pub(super) fn number(&mut self, number: u64) {
        self.sequence_number
            .get_or_insert_with(|| number.to_string());
    }
}

impl From<&str> for Input {
    fn from(data: &str) -> Self {
        Self::new(data)
    }
}

impl From<&[u8]> for Input {
    fn from(data: &[u8]) -> Self {
        Self::new(data)
    }
}

impl From<Vec<u8>> for Input {
    fn from(data: Vec<u8>) -> Self {
        Self::new(data)
    }
}

/// The columns that the host would send.
pub(super) fn columns(inputs: &[Input], wanted: Columns) -> BatchColumns {
    let mut columns = BatchColumns::default();
    for input in inputs {
        push(&mut columns.data, &mut columns.data_ends, &input.data);
        if wanted.contains(Columns::KEYS) {
            push(
                &mut columns.keys,
                &mut columns.key_ends,
                input.key.as_bytes(),
            );
        }
        if wanted.contains(Columns::SEQUENCE_NUMBERS) {
            let number = input.sequence_number.as_deref().unwrap_or_default();
            push(
                &mut columns.sequence_numbers,
                &mut columns.sequence_number_ends,
                number.as_bytes(),
            );
        }
        if wanted.contains(Columns::SUB_SEQUENCE_NUMBERS) {
            columns.sub_sequence_numbers.push(input.sub_sequence_number);
        }
        if wanted.contains(Columns::ARRIVAL_TIMES) {
            columns.arrival_times.push(input.arrival_time_ms);
        }
    }
    columns
}

fn push(bytes: &mut Vec<u8>, ends: &mut Vec<u32>, entry: &[u8]) {
    bytes.extend_from_slice(entry);
    ends.push(column_u32(bytes.len()));
}
