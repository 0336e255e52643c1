//! Records packed into the rows of the record table.

use std::ops::Range;

use thiserror::Error;

use crate::hash_key::{self, HashKey};

/// Bytes before a packed record's key: the lengths of key (2) and data (4).
const HEADER: usize = 6;

/// A block in the database that does not read as one.
#[derive(Debug, Error)]
#[error("damaged block: {needed} bytes at {at} of {len}")]
pub(crate) struct DamagedBlock {
    at: usize,
    needed: usize,
    len: usize,
}

/// Records of one request, packed by whoever decoded them, so that the writer only copies.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<(HashKey, Range<usize>)>,
}

impl Batch {
    pub(crate) fn with_capacity(records: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes + records * HEADER),
            entries: Vec::with_capacity(records),
        }
    }

    /// Adds a record. The key's length is checked by the caller: it is at most `limits::KEY_CHARS` characters.
    pub(crate) fn push(&mut self, hash: HashKey, key: &str, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes
            .extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes
            .extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(data);
        self.entries.push((hash, start..self.bytes.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of keys and data.
    pub(crate) fn record_bytes(&self) -> usize {
        self.sizes().sum()
    }

    /// Gives every record another hash key, counted from `first`: such that any run of them is spread evenly.
    pub(crate) fn spread(&mut self, first: u64) {
        for (count, (hash, _)) in (first..).zip(&mut self.entries) {
            *hash = hash_key::spread(count);
        }
    }

    /// Bytes of key and data of each record.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().map(|(_, range)| range.len() - HEADER)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Keeps the records for which `keep` says so; it is given each one's hash key and its bytes of key and data.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(HashKey, usize) -> bool) {
        self.entries
            .retain(|(hash, range)| keep(*hash, range.len() - HEADER));
    }

    /// Hash key and packed form of each record.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (HashKey, &[u8])> {
        self.entries
            .iter()
            .map(|(hash, range)| (*hash, &self.bytes[range.clone()]))
    }
}

/// Where the next packed record of `block` lies from `at` on: its key, its data; the data's end is where the one after begins.
pub(crate) fn next_record(
    block: &[u8],
    at: usize,
) -> Result<(Range<usize>, Range<usize>), DamagedBlock> {
    let damaged = |needed| DamagedBlock {
        at,
        needed,
        len: block.len(),
    };
    let header: &[u8; HEADER] = block
        .get(at..)
        .and_then(|b| b.first_chunk())
        .ok_or(damaged(HEADER))?;
    let key_len = usize::from(u16::from_le_bytes([header[0], header[1]]));
    let data_len = u32::from_le_bytes([header[2], header[3], header[4], header[5]]) as usize;
    let key = at + HEADER..at + HEADER + key_len;
    let data = key.end..key.end + data_len;
    if data.end > block.len() {
        return Err(damaged(HEADER + key_len + data_len));
    }
    Ok((key, data))
}
