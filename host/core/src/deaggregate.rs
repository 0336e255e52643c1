//! Opens KPL containers: records in which a producer packed many user records.
//!
//! A container is four magic bytes, a protobuf message and the MD5 of that message. [`Deaggregator::open`] checks all of
//! it before it hands anything out, so a container is either opened whole or treated as one opaque record. KCL hands out
//! what it parsed before it met the damage and loses the rest; we do not.

use md5::{Digest, Md5};

use crate::limits::SCRATCH_RECORDS_KEPT;
use crate::shard::{HashRange, effective_hash};

pub(crate) mod checksums;
#[cfg(test)]
mod tests;
mod wire;

/// What marks a container. The service knows nothing of it: any record may begin with these bytes by chance.
pub(crate) const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// Bytes of the MD5 that ends a container.
pub(crate) const CHECKSUM_BYTES: usize = 16;

/// A run of bytes of a container, from `start` up to but without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// Index after the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes, out of the container the span was made for. A longer or shorter slice than that panics at worst.
    pub fn of(self, container: &[u8]) -> &[u8] {
        &container[self.start as usize..self.end as usize]
    }

    /// Bytes covered.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it covers none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes as text: keys have been checked to be UTF-8, so for them this is never `None`.
    fn text(self, container: &[u8]) -> Option<&str> {
        std::str::from_utf8(self.of(container)).ok()
    }
}

/// Where one user record lies in its container. Its index in the slice is its sub-sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRecordSpan {
    /// The partition key, valid UTF-8.
    pub key: Span,
    /// The explicit hash key, valid UTF-8 when present; that it is a decimal is not checked.
    pub explicit_hash_key: Option<Span>,
    /// The payload.
    pub data: Span,
}

/// What a record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents<'a> {
    /// No container: the record is its own single user record.
    Plain,
    /// A sound container with these user records, perhaps none.
    Aggregate(&'a [UserRecordSpan]),
    /// It begins like a container and is not a sound one. It is delivered as one opaque record, and counted.
    Malformed(Malformed),
}

/// Why a record that begins like a container is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing between the magic and the checksum, or not even room for the checksum.
    #[error("container of {bytes} bytes has no message")]
    Truncated {
        /// Bytes of the whole record.
        bytes: usize,
    },
    /// Longer than any record, so that a [`Span`] could not address it.
    #[error("container of {bytes} bytes is too long")]
    TooLong {
        /// Bytes of the whole record.
        bytes: usize,
    },
    /// The MD5 does not match: damage, or a plain record that begins with the magic by chance.
    #[error("container's checksum does not match")]
    Checksum,
    /// Not the protobuf wire format, or a known field with another type than its own.
    #[error("container's message is not valid protobuf")]
    Protobuf,
    /// A user record without a key index or data, or a tag without a key.
    #[error("required field {field} is missing")]
    MissingField {
        /// The field's number in its message.
        field: u32,
    },
    /// A key, explicit hash key or tag that is no text.
    #[error("a key or tag is not valid UTF-8")]
    Utf8,
    /// A user record names a partition key that the table does not have.
    #[error("user record {record} names key {index}, the table has {table}")]
    KeyIndex {
        /// Index of the user record.
        record: u32,
        /// The index it names.
        index: u64,
        /// Entries in the table.
        table: u32,
    },
    /// A user record names an explicit hash key that the table does not have.
    #[error("user record {record} names explicit hash key {index}, the table has {table}")]
    HashKeyIndex {
        /// Index of the user record.
        record: u32,
        /// The index it names.
        index: u64,
        /// Entries in the table.
        table: u32,
    },
}

impl Malformed {
    /// A short fixed name of the reason, for a metric's label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::TooLong { .. } => "too_long",
            Self::Checksum => "checksum",
            Self::Protobuf => "protobuf",
            Self::MissingField { .. } => "missing_field",
            Self::Utf8 => "utf8",
            Self::KeyIndex { .. } => "key_index",
            Self::HashKeyIndex { .. } => "hash_key_index",
        }
    }
}

/// Opens containers, one at a time, into scratch that it keeps.
///
/// Once the scratch has grown to the largest container seen, opening allocates nothing, and payloads are never copied:
/// what comes out are spans into the bytes that went in.
#[derive(Debug, Default)]
pub struct Deaggregator {
    keys: Vec<Span>,
    hash_keys: Vec<Span>,
    parsed: Vec<wire::ParsedRecord>,
    records: Vec<UserRecordSpan>,
}

impl Deaggregator {
    /// Empty scratch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what `data`, the whole payload of one record, is, and where its user records lie.
    pub fn open(&mut self, data: &[u8]) -> Contents<'_> {
        self.open_checked(data, None)
    }

    /// As [`open`](Self::open), where the checksum may have been looked at already ([`checksums`]).
    pub(crate) fn open_checked(&mut self, data: &[u8], is_sound: Option<bool>) -> Contents<'_> {
        let Some(framed) = data.strip_prefix(&MAGIC) else {
            return Contents::Plain;
        };
        self.reset();
        match self.parse(data, framed, is_sound) {
            Ok(()) => Contents::Aggregate(&self.records),
            Err(malformed) => Contents::Malformed(malformed),
        }
    }

    fn parse(
        &mut self,
        container: &[u8],
        framed: &[u8],
        is_sound: Option<bool>,
    ) -> Result<(), Malformed> {
        let bytes = container.len();
        if framed.len() <= CHECKSUM_BYTES {
            return Err(Malformed::Truncated { bytes });
        }
        if u32::try_from(bytes).is_err() {
            return Err(Malformed::TooLong { bytes });
        }
        let (message, checksum) = framed.split_at(framed.len() - CHECKSUM_BYTES);
        if !is_sound.unwrap_or_else(|| Md5::digest(message)[..] == *checksum) {
            return Err(Malformed::Checksum);
        }
        self.read_message(container, MAGIC.len()..MAGIC.len() + message.len())?;
        self.resolve_indexes()
    }

    /// Turns table indexes into spans. The tables may follow the records that use them, so this waits for the end.
    fn resolve_indexes(&mut self) -> Result<(), Malformed> {
        for (record, parsed) in (0_u32..).zip(&self.parsed) {
            let key = entry(&self.keys, parsed.key_index).ok_or(Malformed::KeyIndex {
                record,
                index: parsed.key_index,
                table: self.keys.len() as u32,
            })?;
            let explicit_hash_key = match parsed.hash_key_index {
                None => None,
                Some(index) => Some(entry(&self.hash_keys, index).ok_or(
                    Malformed::HashKeyIndex {
                        record,
                        index,
                        table: self.hash_keys.len() as u32,
                    },
                )?),
            };
            self.records.push(UserRecordSpan {
                key,
                explicit_hash_key,
                data: parsed.data,
            });
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.keys.clear();
        self.hash_keys.clear();
        self.parsed.clear();
        self.records.clear();
        // `shrink_to` looks at the capacity first: this is four comparisons unless there is something to give back.
        self.keys.shrink_to(SCRATCH_RECORDS_KEPT);
        self.hash_keys.shrink_to(SCRATCH_RECORDS_KEPT);
        self.parsed.shrink_to(SCRATCH_RECORDS_KEPT);
        self.records.shrink_to(SCRATCH_RECORDS_KEPT);
    }
}

fn entry(table: &[Span], index: u64) -> Option<Span> {
    table.get(usize::try_from(index).ok()?).copied()
}

/// What to do with user records whose hash lies outside the range of the shard that carried their container.
///
/// The KPL packs a container for one shard. When the shard is split or merged before it arrives, the service takes it at
/// the shard of its own key, and the KPL sends the strayed user records again: KCL therefore drops such containers. Other
/// producers send nothing again, and some put any keys in one container: for them that drop is a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutsideRange {
    /// Deliver everything. No hash is computed.
    #[default]
    Keep,
    /// Drop the whole container if any of its user records lies outside, as KCL does.
    DropContainer,
    /// Drop the user records that lie outside, and only those.
    DropRecord,
}

impl OutsideRange {
    /// Fills `dropped` with the sub-sequence numbers, ascending, of the user records to drop under this policy.
    ///
    /// `records` are those that [`Deaggregator::open`] found in `container`. An explicit hash key that is no hash key
    /// cannot be judged, and what cannot be judged is kept.
    pub fn dropped(
        self,
        container: &[u8],
        records: &[UserRecordSpan],
        range: HashRange,
        dropped: &mut Vec<u32>,
    ) {
        dropped.clear();
        if self == Self::Keep || range == HashRange::FULL {
            return;
        }
        let mut last: Option<(UserRecordSpan, bool)> = None;
        for (index, record) in (0_u32..).zip(records) {
            let outside = match last {
                // Producers often pack a key's records side by side; they share the table's entry.
                Some((seen, outside))
                    if seen.key == record.key
                        && seen.explicit_hash_key == record.explicit_hash_key =>
                {
                    outside
                }
                _ => lies_outside(container, record, range),
            };
            last = Some((*record, outside));
            if outside {
                if self == Self::DropContainer {
                    dropped.clear();
                    dropped.extend(0..records.len() as u32);
                    return;
                }
                dropped.push(index);
            }
        }
    }
}

fn lies_outside(container: &[u8], record: &UserRecordSpan, range: HashRange) -> bool {
    let explicit = record
        .explicit_hash_key
        .and_then(|span| span.text(container));
    record
        .key
        .text(container)
        .and_then(|key| effective_hash(key, explicit).ok())
        .is_some_and(|hash| !range.contains(hash))
}
