//! Shards: their ids, their slices of the hash space, and how they descend from one another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::position::{Checkpoint, SequenceNumber};

#[cfg(test)]
mod tests;

/// The name of a shard, such as `shardId-000000000007`. Cloning it is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// Takes the service's text as it is: its form is the service's affair.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ShardId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for ShardId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl Borrow<str> for ShardId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({})", self.0)
    }
}

/// A hash key is a decimal integer from 0 to 2^128 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHashKey {
    /// Empty, or a byte other than `0`–`9`.
    #[error("a hash key is decimal digits only")]
    NotDecimal,
    /// More than 2^128 − 1.
    #[error("a hash key is at most 2^128 - 1")]
    TooLarge,
}

/// The two ends of a hash range do not make a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHashRange {
    /// The first hash key is no hash key.
    #[error("starting hash key: {0}")]
    Start(InvalidHashKey),
    /// The last hash key is no hash key.
    #[error("ending hash key: {0}")]
    End(InvalidHashKey),
    /// The range ends before it begins.
    #[error("the hash range ends at {end}, before it starts at {start}")]
    Reversed {
        /// First hash key.
        start: u128,
        /// Last hash key.
        end: u128,
    },
}

/// The hash keys a shard takes: from `start` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// First hash key.
    pub start: u128,
    /// Last hash key.
    pub end: u128,
}

impl HashRange {
    /// The whole hash space.
    pub const FULL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    /// Reads the decimal strings of a shard listing or a lease row.
    pub fn parse(start: &str, end: &str) -> Result<Self, InvalidHashRange> {
        let start = parse_hash_key(start).map_err(InvalidHashRange::Start)?;
        let end = parse_hash_key(end).map_err(InvalidHashRange::End)?;
        if end < start {
            return Err(InvalidHashRange::Reversed { start, end });
        }
        Ok(Self { start, end })
    }

    /// Whether a record with this hash belongs here.
    pub fn contains(&self, hash: u128) -> bool {
        (self.start..=self.end).contains(&hash)
    }

    /// Whether some hash key belongs to both.
    pub fn overlaps(&self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}

fn parse_hash_key(text: &str) -> Result<u128, InvalidHashKey> {
    // `u128::from_str` would take a leading plus sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidHashKey::NotDecimal);
    }
    text.parse().map_err(|_| InvalidHashKey::TooLarge)
}

/// The hash that decides a user record's shard: its explicit hash key, else the MD5 of its key's UTF-8 bytes as a
/// big-endian integer.
pub fn effective_hash(key: &str, explicit_hash_key: Option<&str>) -> Result<u128, InvalidHashKey> {
    match explicit_hash_key {
        Some(text) => parse_hash_key(text),
        None => Ok(hash_of_key(key.as_bytes())),
    }
}

pub(crate) fn hash_of_key(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// A shard as a listing describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// None for a shard that was there from the start, one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys it takes, or took.
    pub hash_range: HashRange,
    /// The first number it could hand out.
    pub starting_sequence: SequenceNumber,
    /// The last number it handed out, once it is closed.
    pub ending_sequence: Option<SequenceNumber>,
}

impl Shard {
    /// Whether a split or merge has closed it: it takes no more records.
    pub fn is_closed(&self) -> bool {
        self.ending_sequence.is_some()
    }
}

/// A shard that continues one that has been read to its end, as the last read of the parent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildShard {
    /// Its id.
    pub id: ShardId,
    /// Every parent: one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// The hash keys it takes.
    pub hash_range: HashRange,
}

/// Whether a shard with these parents may start (SH-1): each parent is at shard end or has no lease.
///
/// `checkpoint` gives a parent's lease as the table has it now. A parent without a lease was never ours to read, or its
/// lease was cleaned up long after it ended, or its data is past retention: in all three there is nothing to wait for.
pub fn parents_are_done<'a>(
    parents: &[ShardId],
    mut checkpoint: impl FnMut(&ShardId) -> Option<&'a Checkpoint>,
) -> bool {
    parents
        .iter()
        .all(|parent| matches!(checkpoint(parent), None | Some(Checkpoint::ShardEnd)))
}
