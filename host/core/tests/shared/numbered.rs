//! Records that are numbered, each with a key of its own.

use bytes::Bytes;
use shardwright_core::{ConsumerEvent, Record, SequenceNumber};

/// A read of so many records of some 128 bytes, those after this number, that does not reach the tip.
pub(crate) fn read_after(number: u64, count: u64) -> ConsumerEvent {
    let record = |number: u64| Record {
        sequence: SequenceNumber::parse(number.to_string()).unwrap(),
        key: number.to_string().into(),
        data: Bytes::from_static(&[b'x'; 120]),
        arrival_ms: 0,
    };
    ConsumerEvent::Read {
        records: (number + 1..=number + count).map(record).collect(),
        end: None,
        millis_behind_latest: 1,
    }
}
