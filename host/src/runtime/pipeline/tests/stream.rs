//! A stream of one shard, of numbers that rise.

use std::sync::Mutex;

use shardwright_core::{HashRange, Record, SequenceNumber, Shard, ShardId, ShardListing, StartAt};

use super::troubles::Trip;
use crate::ports::{
    ErrorKind, PortError, PortFuture, ReadAnswer, ShardIterator, StreamSource, StreamSummary,
};

/// Keys that the numbers have by turns.
const KEYS: u64 = 11;

#[derive(Default)]
pub(super) struct Numbers {
    count: Mutex<u64>,
    /// The next read panics.
    pub(super) trip: Trip,
}

impl Numbers {
    /// Appends so many.
    pub(super) fn add(&self, count: u64) {
        *self.count.lock().unwrap() += count;
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(*self.count.lock().unwrap()).unwrap()
    }

    pub(super) fn key_of(number: u64) -> u64 {
        number % KEYS
    }
}

/// Number 0 has the sequence number 1.
fn record(number: u64) -> Record {
    Record {
        sequence: SequenceNumber::parse((number + 1).to_string()).unwrap(),
        key: Numbers::key_of(number).to_string().into(),
        data: number.to_string().into_bytes().into(),
        arrival_ms: 0,
    }
}

impl StreamSource for Numbers {
    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>> {
        Box::pin(async { Err(PortError::new(ErrorKind::NotFound, "nobody asks")) })
    }

    fn list_shards(&self, _which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>> {
        let shard = Shard {
            id: ShardId::from("shard"),
            parents: Vec::new(),
            hash_range: HashRange::FULL,
            starting_sequence: SequenceNumber::parse("1").unwrap(),
            ending_sequence: None,
        };
        Box::pin(async move { Ok(vec![shard]) })
    }

    fn iterator<'a>(
        &'a self,
        _shard: &'a ShardId,
        start: &'a StartAt,
    ) -> PortFuture<'a, Result<ShardIterator, PortError>> {
        let next = match start {
            StartAt::AfterSequence(number) => number.as_str(),
            _ => "0",
        };
        let iterator = ShardIterator(next.to_owned());
        Box::pin(async move { Ok(iterator) })
    }

    fn read<'a>(
        &'a self,
        iterator: &'a ShardIterator,
        limit: u32,
    ) -> PortFuture<'a, Result<ReadAnswer, PortError>> {
        self.trip.spring();
        let from: u64 = iterator.0.parse().unwrap();
        let all = *self.count.lock().unwrap();
        let to = all.min(from + u64::from(limit));
        let answer = ReadAnswer {
            records: (from..to).map(record).collect(),
            next: Some(ShardIterator(to.to_string())),
            children: Vec::new(),
            millis_behind_latest: u64::from(to < all),
        };
        Box::pin(async { Ok(answer) })
    }
}
