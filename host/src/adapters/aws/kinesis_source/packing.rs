//! Small payloads and keys of one answer, moved side by side.
//!
//! The SDK gives every record of an answer its own buffers. They are made on the thread that reads and dropped, when
//! their record is done, on the one that dispatches: a heap that works so spends more on a plain record of 100 bytes
//! than the lanes do, and hands it over scattered. Copied into a chunk while they are warm they cost less than moved.

use aws_sdk_kinesis::types::Record as SdkRecord;
use bytes::{Bytes, BytesMut};

use crate::limits::{PACKED_BYTES_MAX, PACKED_CHUNK_BYTES_MAX};

/// Takes the buffers of one answer.
pub(super) struct Packing {
    /// Of the answer's small buffers, those that have no place yet.
    left: usize,
    room: BytesMut,
}

impl Packing {
    pub(super) fn of(records: &[SdkRecord]) -> Self {
        let left = records
            .iter()
            .map(|record| {
                let key = record.partition_key.as_ref().map_or(0, String::len);
                packed(record.data.as_ref().len()) + packed(key)
            })
            .sum();
        Self {
            left,
            room: BytesMut::new(),
        }
    }

    /// A small buffer is copied, any other moved.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) -> Bytes {
        let bytes = packed(buffer.len());
        if bytes == 0 {
            return buffer.into();
        }
        if self.room.capacity() < bytes {
            // No more than the answer needs: a record that comes alone is not to hold a chunk.
            let chunk = self.left.clamp(bytes, PACKED_CHUNK_BYTES_MAX.max(bytes));
            self.room = BytesMut::with_capacity(chunk);
        }
        self.left = self.left.saturating_sub(bytes);
        self.room.extend_from_slice(&buffer);
        self.room.split().freeze()
    }
}

/// The bytes of a buffer of that many that go into a chunk: all or none.
fn packed(bytes: usize) -> usize {
    if bytes <= PACKED_BYTES_MAX { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;
    use proptest::prelude::*;

    use super::*;

    fn record(key: &str, data: &[u8]) -> SdkRecord {
        SdkRecord::builder()
            .sequence_number("1")
            .partition_key(key)
            .data(Blob::new(data))
            .build()
            .expect("it is whole")
    }

    proptest! {
        /// Nothing is mixed up, a large buffer is moved, and small ones lie side by side in no more room than they need.
        #[test]
        fn buffers_come_out_as_they_went_in(
            lengths in prop::collection::vec((0..300_usize, 0..2 * PACKED_BYTES_MAX), 0..300),
        ) {
            let records: Vec<_> = lengths
                .iter()
                .enumerate()
                .map(|(index, &(key, data))| {
                    record(&"k".repeat(key), &vec![(index % 251) as u8; data])
                })
                .collect();
            let mut packing = Packing::of(&records);
            let mut small = 0;
            let mut last_end = None;
            let mut jumps = 0;
            for record in records {
                let key = record.partition_key.unwrap_or_default().into_bytes();
                for buffer in [key, record.data.into_inner()] {
                    let (before, at) = (buffer.clone(), buffer.as_ptr());
                    let kept = packing.keep(buffer);
                    prop_assert_eq!(&kept[..], &before[..]);
                    if before.len() > PACKED_BYTES_MAX {
                        prop_assert_eq!(kept.as_ptr(), at);
                    } else if !before.is_empty() {
                        small += before.len();
                        jumps += usize::from(last_end != Some(kept.as_ptr()));
                        last_end = Some(kept.as_ptr_range().end);
                    }
                    prop_assert!(packing.room.capacity() <= packing.left.max(PACKED_BYTES_MAX));
                }
            }
            prop_assert_eq!(packing.left, 0);
            // What is left of a chunk is smaller than one buffer.
            prop_assert!(jumps <= 1 + small / (PACKED_CHUNK_BYTES_MAX - PACKED_BYTES_MAX));
        }
    }
}
