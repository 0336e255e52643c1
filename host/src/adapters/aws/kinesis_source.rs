//! Reading a Kinesis stream by polling.

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{
    ChildShard as SdkChildShard, HashKeyRange, Record as SdkRecord, Shard as SdkShard, ShardFilter,
    ShardFilterType, ShardIteratorType, StreamStatus,
};
use aws_smithy_types::DateTime;
use bytestring::ByteString;
use shardwright_core::{ChildShard, HashRange, Record, SequenceNumber, Shard, ShardId, StartAt};

use packing::Packing;

use super::error::port_error;
use crate::limits::{GET_RECORDS_MAX, SHARD_PAGES_MAX};
use crate::ports::{
    ErrorKind, PortError, PortFuture, ReadAnswer, ShardIterator, ShardListing, StreamSource,
    StreamSummary,
};

mod packing;

/// A Kinesis stream, by name. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct KinesisSource {
    client: Client,
    stream: Arc<str>,
}

impl KinesisSource {
    pub(super) fn new(client: Client, stream: &str) -> Self {
        Self {
            client,
            stream: stream.into(),
        }
    }

    async fn describe(&self) -> Result<StreamSummary, PortError> {
        let call = || format!("DescribeStreamSummary of {}", self.stream);
        let answer = self
            .client
            .describe_stream_summary()
            .stream_name(&*self.stream)
            .send()
            .await
            .map_err(|error| port_error(call(), &error))?;
        let summary = answer
            .stream_description_summary
            .ok_or_else(|| unreadable(&call(), "it has no summary"))?;
        Ok(StreamSummary {
            is_active: matches!(
                summary.stream_status,
                StreamStatus::Active | StreamStatus::Updating
            ),
            arn: summary.stream_arn,
            created_ms: millis(&summary.stream_creation_timestamp),
            open_shards: u32::try_from(summary.open_shard_count)
                .map_err(|_| unreadable(&call(), "its shard count is negative"))?,
        })
    }

    async fn list(&self, which: ShardListing) -> Result<Vec<Shard>, PortError> {
        let call = || format!("ListShards of {} ({which:?})", self.stream);
        let filter = filter_of(which).map_err(|why| unreadable(&call(), why))?;
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..SHARD_PAGES_MAX {
            let request = self.client.list_shards();
            // A token stands for the stream and the filter, and must come alone.
            let request = match token.take() {
                Some(token) => request.next_token(token),
                None => request
                    .stream_name(&*self.stream)
                    .set_shard_filter(filter.clone()),
            };
            let answer = request
                .send()
                .await
                .map_err(|error| port_error(call(), &error))?;
            for shard in answer.shards.unwrap_or_default() {
                shards.push(to_shard(shard).map_err(|why| unreadable(&call(), why))?);
            }
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(unreadable(
            &call(),
            format!("it goes on after {SHARD_PAGES_MAX} pages"),
        ))
    }

    async fn start(&self, shard: &ShardId, start: &StartAt) -> Result<ShardIterator, PortError> {
        let call = || format!("GetShardIterator of {}/{shard} at {start:?}", self.stream);
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&*self.stream)
            .shard_id(shard.as_str());
        let request = match start {
            StartAt::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            StartAt::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            StartAt::AtTimestamp(unix_ms) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*unix_ms)),
            StartAt::AtSequence(sequence) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
            StartAt::AfterSequence(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.as_str()),
        };
        let answer = request.send().await.map_err(|error| {
            let is_about_the_position = error.code() == Some("InvalidArgumentException")
                && matches!(start, StartAt::AtSequence(_) | StartAt::AfterSequence(_));
            let mut error = port_error(call(), &error);
            if is_about_the_position {
                error.kind = ErrorKind::InvalidPosition;
            }
            error
        })?;
        answer
            .shard_iterator
            .map(ShardIterator)
            .ok_or_else(|| unreadable(&call(), "it has no iterator"))
    }

    async fn fetch(&self, iterator: &ShardIterator, limit: u32) -> Result<ReadAnswer, PortError> {
        let call = || format!("GetRecords of {}", self.stream);
        // At most 10,000, which fits.
        let limit = limit.clamp(1, GET_RECORDS_MAX).cast_signed();
        let answer = self
            .client
            .get_records()
            .shard_iterator(&iterator.0)
            .limit(limit)
            .send()
            .await
            .map_err(|error| {
                // The iterator is the only argument that can be wrong, and one that is refused is as good as expired:
                // another one, after the last record fetched, goes on.
                let is_about_the_iterator = error.code() == Some("InvalidArgumentException");
                let mut error = port_error(call(), &error);
                if is_about_the_iterator {
                    error.kind = ErrorKind::ExpiredIterator;
                }
                error
            })?;
        to_read_answer(answer).map_err(|why| unreadable(&call(), why))
    }
}

impl StreamSource for KinesisSource {
    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>> {
        Box::pin(self.describe())
    }

    fn list_shards(&self, which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>> {
        Box::pin(self.list(which))
    }

    fn iterator<'a>(
        &'a self,
        shard: &'a ShardId,
        start: &'a StartAt,
    ) -> PortFuture<'a, Result<ShardIterator, PortError>> {
        Box::pin(self.start(shard, start))
    }

    fn read<'a>(
        &'a self,
        iterator: &'a ShardIterator,
        limit: u32,
    ) -> PortFuture<'a, Result<ReadAnswer, PortError>> {
        Box::pin(self.fetch(iterator, limit))
    }
}

/// An answer that says what no answer may say: asking again would bring the same.
fn unreadable(call: &str, why: impl std::fmt::Display) -> PortError {
    PortError::new(
        ErrorKind::Fatal,
        format!("{call}: the answer makes no sense: {why}"),
    )
}

fn filter_of(which: ShardListing) -> Result<Option<ShardFilter>, String> {
    let filter = ShardFilter::builder();
    let filter = match which {
        ShardListing::All => return Ok(None),
        ShardListing::AtLatest => filter.r#type(ShardFilterType::AtLatest),
        ShardListing::AtTrimHorizon => filter.r#type(ShardFilterType::AtTrimHorizon),
        ShardListing::AtTimestamp(unix_ms) => filter
            .r#type(ShardFilterType::AtTimestamp)
            .timestamp(DateTime::from_millis(unix_ms)),
    };
    filter.build().map(Some).map_err(|error| error.to_string())
}

fn to_read_answer(answer: GetRecordsOutput) -> Result<ReadAnswer, String> {
    let mut packing = Packing::of(&answer.records);
    Ok(ReadAnswer {
        records: answer
            .records
            .into_iter()
            .map(|record| to_record(record, &mut packing))
            .collect::<Result<_, _>>()?,
        next: answer.next_shard_iterator.map(ShardIterator),
        children: answer
            .child_shards
            .unwrap_or_default()
            .into_iter()
            .map(to_child)
            .collect::<Result<_, _>>()?,
        millis_behind_latest: answer
            .millis_behind_latest
            .and_then(|behind| u64::try_from(behind).ok())
            .unwrap_or(0),
    })
}

fn to_record(record: SdkRecord, packing: &mut Packing) -> Result<Record, String> {
    let key = record.partition_key.unwrap_or_default();
    Ok(Record {
        sequence: sequence(record.sequence_number)?,
        key: ByteString::try_from(packing.keep(key.into_bytes()))
            .map_err(|error| error.to_string())?,
        data: packing.keep(record.data.into_inner()),
        // The service always sends it.
        arrival_ms: record
            .approximate_arrival_timestamp
            .as_ref()
            .map_or(0, millis),
    })
}

fn to_child(child: SdkChildShard) -> Result<ChildShard, String> {
    Ok(ChildShard {
        hash_range: hash_range(&child.shard_id, child.hash_key_range)?,
        id: child.shard_id.into(),
        parents: child.parent_shards.into_iter().map(ShardId::from).collect(),
    })
}

fn to_shard(shard: SdkShard) -> Result<Shard, String> {
    let range = shard
        .sequence_number_range
        .ok_or_else(|| format!("{} has no sequence number range", shard.shard_id))?;
    Ok(Shard {
        hash_range: hash_range(&shard.shard_id, shard.hash_key_range)?,
        id: shard.shard_id.into(),
        parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
            .map(ShardId::from)
            .collect(),
        starting_sequence: sequence(range.starting_sequence_number)?,
        ending_sequence: range.ending_sequence_number.map(sequence).transpose()?,
    })
}

fn hash_range(shard: &str, range: Option<HashKeyRange>) -> Result<HashRange, String> {
    let range = range.ok_or_else(|| format!("{shard} has no hash range"))?;
    HashRange::parse(&range.starting_hash_key, &range.ending_hash_key)
        .map_err(|error| format!("{shard}: {error}"))
}

fn sequence(text: String) -> Result<SequenceNumber, String> {
    SequenceNumber::parse(text).map_err(|error| error.to_string())
}

/// Milliseconds since the Unix epoch. An instant beyond 292 million years is taken as the epoch.
fn millis(instant: &DateTime) -> i64 {
    instant.to_millis().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;

    use super::*;

    #[test]
    fn a_record_keeps_what_it_says() {
        let number = "49590338271490256608559692538361571095921575989136588898";
        let record = SdkRecord::builder()
            .sequence_number(number)
            .partition_key("k\u{e4}se")
            .data(Blob::new("payload"))
            .approximate_arrival_timestamp(DateTime::from_millis(1_700_000_000_123))
            .build()
            .expect("it is whole");
        let mut packing = Packing::of(std::slice::from_ref(&record));
        let record = to_record(record, &mut packing).expect("it is a record");
        assert_eq!(record.sequence.as_str(), number);
        assert_eq!(record.key, "k\u{e4}se");
        assert_eq!(record.data, "payload");
        assert_eq!(record.arrival_ms, 1_700_000_000_123);
    }

    #[test]
    fn a_record_without_a_number_is_not_taken_for_one() {
        let record = SdkRecord::builder()
            .sequence_number("")
            .data(Blob::new(""))
            .build()
            .expect("it is whole");
        let mut packing = Packing::of(&[]);
        assert!(to_record(record, &mut packing).is_err());
    }
}
