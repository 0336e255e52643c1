//! Packs user records into KPL containers: the producer's side of [`Deaggregator`](crate::Deaggregator).
//!
//! A container is delivered to one shard, so it should only hold user records of that shard: a consumer that filters by
//! hash range, as KCL does, drops the rest. An [`Aggregator`] therefore packs for one hash range and refuses what lies
//! outside it. Like the KPL's its containers go under the key `a` with the first user record's hash as explicit hash key;
//! so they reach the shard they were packed for, or, if it has been split meanwhile, the half their first record is in.

use std::collections::BTreeMap;

use bytes::Bytes;
use md5::{Digest, Md5};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::deaggregate::{CHECKSUM_BYTES, MAGIC};
use crate::limits::CONTAINER_BYTES_MAX;
use crate::shard::{HashRange, InvalidHashKey, effective_hash};

#[cfg(test)]
mod tests;

/// The key every container goes under; its explicit hash key decides the shard.
const CONTAINER_KEY: &str = "a";

/// How much one container may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregateBounds {
    /// Bytes of the container and the key it goes under, which together the service bounds.
    pub bytes: usize,
    /// User records.
    pub records: usize,
}

impl Default for AggregateBounds {
    /// 1 MiB, and as many user records as fit.
    fn default() -> Self {
        Self {
            bytes: CONTAINER_BYTES_MAX,
            records: usize::MAX,
        }
    }
}

/// A record ready to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRecord {
    /// The partition key to put it under.
    pub key: Box<str>,
    /// The explicit hash key to put it with, which is what decides its shard.
    pub explicit_hash_key: u128,
    /// A container, or the payload itself when there is but one.
    pub data: Bytes,
    /// How many user records it holds, at least one.
    pub user_records: usize,
}

/// A user record that cannot be packed. The aggregator is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// Its explicit hash key is none.
    #[error("explicit hash key: {0}")]
    HashKey(#[from] InvalidHashKey),
    /// It belongs to another shard.
    #[error("hash {hash} lies outside {range}")]
    OutsideRange {
        /// The user record's hash.
        hash: u128,
        /// The range that containers are packed for.
        range: HashRange,
    },
    /// It does not fit even a container of its own.
    #[error("a container of this user record alone takes {bytes} bytes, the bound is {bound}")]
    TooLarge {
        /// Bytes of that container and its key.
        bytes: usize,
        /// The bound.
        bound: usize,
    },
}

/// Packs user records of one hash range into containers, in the order they are added.
///
/// The three parts of the message are written as they come and joined at the end, which gives the same bytes as the KPL's
/// own writer: both tables, then the records. The size is therefore known exactly at every moment.
#[derive(Debug)]
pub struct Aggregator {
    range: HashRange,
    bounds: AggregateBounds,
    keys: Table<1>,
    hash_keys: Table<2>,
    /// The `records` fields, encoded.
    records: Vec<u8>,
    count: usize,
    first: Option<First>,
}

/// What is needed of the first user record, in case it stays the only one.
#[derive(Debug)]
struct First {
    key: Box<str>,
    hash: u128,
    data: Bytes,
}

impl Aggregator {
    /// An empty aggregator for the shard with this hash range.
    pub fn new(range: HashRange, bounds: AggregateBounds) -> Self {
        Self {
            range,
            bounds,
            keys: Table::default(),
            hash_keys: Table::default(),
            records: Vec::new(),
            count: 0,
            first: None,
        }
    }

    /// Adds a user record. When it no longer fits, what was packed so far comes out and the record begins the next one.
    pub fn add(
        &mut self,
        key: &str,
        explicit_hash_key: Option<&str>,
        data: &[u8],
    ) -> Result<Option<PackedRecord>, AggregateError> {
        let hash = effective_hash(key, explicit_hash_key)?;
        if !self.range.contains(hash) {
            return Err(AggregateError::OutsideRange {
                hash,
                range: self.range,
            });
        }
        let alone = FRAME_BYTES
            + entry_len(key)
            + explicit_hash_key.map_or(0, entry_len)
            + nested_len(record_len(0, explicit_hash_key.map(|_| 0), data.len()));
        if alone > self.bounds.bytes {
            return Err(AggregateError::TooLarge {
                bytes: alone,
                bound: self.bounds.bytes,
            });
        }
        let is_full = self.count >= self.bounds.records
            || self.bytes() + self.growth(key, explicit_hash_key, data.len()) > self.bounds.bytes;
        let packed = if is_full { self.finish() } else { None };
        self.push(key, explicit_hash_key, data);
        if self.first.is_none() {
            self.first = Some(First {
                key: key.into(),
                hash,
                data: Bytes::copy_from_slice(data),
            });
        }
        Ok(packed)
    }

    /// What has been packed since the last record came out, if anything.
    pub fn finish(&mut self) -> Option<PackedRecord> {
        let first = self.first.take()?;
        let user_records = std::mem::take(&mut self.count);
        let container = self.take_container();
        // One user record needs no container, unless it would be taken for one.
        if user_records == 1 && !first.data.starts_with(&MAGIC) {
            return Some(PackedRecord {
                key: first.key,
                explicit_hash_key: first.hash,
                data: first.data,
                user_records,
            });
        }
        Some(PackedRecord {
            key: CONTAINER_KEY.into(),
            explicit_hash_key: first.hash,
            data: container,
            user_records,
        })
    }

    /// User records packed and not yet out.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The hash range that is packed for.
    pub fn range(&self) -> HashRange {
        self.range
    }

    /// Bytes of the container as it stands, and its key.
    fn bytes(&self) -> usize {
        FRAME_BYTES + self.keys.encoded.len() + self.hash_keys.encoded.len() + self.records.len()
    }

    /// Bytes by which one more user record lengthens the container.
    fn growth(&self, key: &str, explicit_hash_key: Option<&str>, data_bytes: usize) -> usize {
        let (key_index, key_bytes) = self.keys.index(key);
        let (hash_index, hash_bytes) = match explicit_hash_key {
            None => (None, 0),
            Some(text) => {
                let (index, bytes) = self.hash_keys.index(text);
                (Some(index), bytes)
            }
        };
        key_bytes + hash_bytes + nested_len(record_len(key_index, hash_index, data_bytes))
    }

    fn push(&mut self, key: &str, explicit_hash_key: Option<&str>, data: &[u8]) {
        let key_index = self.keys.intern(key);
        let hash_index = explicit_hash_key.map(|text| self.hash_keys.intern(text));
        encode_key(3, WireType::LengthDelimited, &mut self.records);
        let bytes = record_len(key_index, hash_index, data.len());
        encode_varint(bytes as u64, &mut self.records);
        encode_key(1, WireType::Varint, &mut self.records);
        encode_varint(key_index, &mut self.records);
        if let Some(index) = hash_index {
            encode_key(2, WireType::Varint, &mut self.records);
            encode_varint(index, &mut self.records);
        }
        encode_key(3, WireType::LengthDelimited, &mut self.records);
        encode_varint(data.len() as u64, &mut self.records);
        self.records.extend_from_slice(data);
        self.count += 1;
    }

    fn take_container(&mut self) -> Bytes {
        let mut container = Vec::with_capacity(self.bytes());
        container.extend_from_slice(&MAGIC);
        self.keys.drain_into(&mut container);
        self.hash_keys.drain_into(&mut container);
        container.append(&mut self.records);
        let checksum = Md5::digest(&container[MAGIC.len()..]);
        container.extend_from_slice(&checksum);
        container.into()
    }
}

/// What a container takes beside its message: magic, checksum, and the key it goes under.
const FRAME_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES + CONTAINER_KEY.len();

/// A string table of the message, each string once, encoded as field `TAG`.
#[derive(Debug, Default)]
struct Table<const TAG: u32> {
    indexes: BTreeMap<Box<str>, u64>,
    encoded: Vec<u8>,
}

impl<const TAG: u32> Table<TAG> {
    /// The index that `text` has or would get, and the bytes that adding it would take.
    fn index(&self, text: &str) -> (u64, usize) {
        match self.indexes.get(text) {
            Some(index) => (*index, 0),
            None => (self.indexes.len() as u64, entry_len(text)),
        }
    }

    fn intern(&mut self, text: &str) -> u64 {
        let (index, bytes) = self.index(text);
        if bytes > 0 {
            self.indexes.insert(text.into(), index);
            encode_key(TAG, WireType::LengthDelimited, &mut self.encoded);
            encode_varint(text.len() as u64, &mut self.encoded);
            self.encoded.extend_from_slice(text.as_bytes());
        }
        index
    }

    fn drain_into(&mut self, container: &mut Vec<u8>) {
        container.append(&mut self.encoded);
        self.indexes.clear();
    }
}

/// Bytes of a length-delimited field with a one-byte key, which all of the message's are.
fn nested_len(bytes: usize) -> usize {
    key_len(1) + encoded_len_varint(bytes as u64) + bytes
}

fn entry_len(text: &str) -> usize {
    nested_len(text.len())
}

fn record_len(key_index: u64, hash_index: Option<u64>, data_bytes: usize) -> usize {
    let index_len = |index: u64| key_len(1) + encoded_len_varint(index);
    index_len(key_index) + hash_index.map_or(0, index_len) + nested_len(data_bytes)
}
