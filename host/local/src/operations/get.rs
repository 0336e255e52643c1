//! `GetShardIterator` and `GetRecords`.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::constraints::{is_decimal, one_of};
use super::shards::{HashKeyRange, hash_key_range};
use super::{
    ACCOUNT, Call, Service, StreamName, encryption, limited, no_shard, no_stream, refuse, required,
    shard_id, shard_number, unless_dry_run,
};
use crate::clock::Millis;
use crate::faults::FaultKind;
use crate::limits;
use crate::sequence::SequenceNumber;
use crate::store::{Page, PageLimit, Shard, Span, Stream};
use crate::token::{ShardIterator, Token, TokenError};
use crate::wire::{BlobRef, ServiceError, Timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_id: Option<String>,
    shard_iterator_type: Option<String>,
    starting_sequence_number: Option<String>,
    timestamp: Option<Timestamp>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IteratorAnswer {
    shard_iterator: String,
}

pub(super) async fn get_shard_iterator(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    let request: GetShardIterator = call.decode()?;
    let id = required(request.shard_id.as_deref(), "shardId")?;
    let kind = required(request.shard_iterator_type.as_deref(), "shardIteratorType")?;
    let position = Position {
        kind,
        sequence: request.starting_sequence_number.as_deref(),
        timestamp: request.timestamp,
        operation: "GetShardIterator",
        kind_field: "shardIteratorType",
        sequence_field: "startingSequenceNumber",
    };
    position.check()?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    let number = shard_number(id)?;
    let shard = stream
        .shard(number)
        .ok_or_else(|| no_shard(number, &stream.name))?;
    let index = position.index(service, &stream, shard).await?;
    unless_dry_run(request.dry_run)?;
    call.encode(&IteratorAnswer {
        shard_iterator: iterator(service, &stream, number, index).seal(),
    })
}

/// Where in a shard a request asks to begin.
pub(super) struct Position<'a> {
    pub(super) kind: &'a str,
    pub(super) sequence: Option<&'a str>,
    pub(super) timestamp: Option<Timestamp>,
    /// Who asks, and where in the request the kind and the number stand.
    pub(super) operation: &'static str,
    pub(super) kind_field: &'static str,
    pub(super) sequence_field: &'static str,
}

const POSITION_KINDS: [&str; 5] = [
    "AFTER_SEQUENCE_NUMBER",
    "LATEST",
    "AT_TIMESTAMP",
    "AT_SEQUENCE_NUMBER",
    "TRIM_HORIZON",
];

impl Position<'_> {
    /// What is wrong with it whatever the shard is.
    pub(super) fn check(&self) -> Result<(), ServiceError> {
        one_of(self.kind, self.kind_field, &POSITION_KINDS)?;
        let Some(number) = self.sequence else {
            return Ok(());
        };
        if !is_decimal(number, limits::SEQUENCE_DIGITS) {
            let rule = r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,128})";
            return Err(ServiceError::constraint(number, self.sequence_field, rule));
        }
        if matches!(self.kind, "TRIM_HORIZON" | "LATEST") {
            return Err(ServiceError::InvalidArgument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) \
                 TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {} and also a \
                 StartingSequenceNumber.",
                self.kind
            )));
        }
        Ok(())
    }

    /// The index of the record there. It is settled now: LATEST is the tip of this moment.
    pub(super) async fn index(
        &self,
        service: &Service,
        stream: &Stream,
        shard: &Shard,
    ) -> Result<u64, ServiceError> {
        let index = match self.kind {
            "TRIM_HORIZON" => shard.tail.first(),
            "LATEST" => shard.tail.next(),
            "AT_SEQUENCE_NUMBER" => self.sequence(stream, shard)?.index,
            "AFTER_SEQUENCE_NUMBER" => self.sequence(stream, shard)?.index.saturating_add(1),
            // AT_TIMESTAMP: `check` lets no other kind through.
            _ => self.at_timestamp(service, stream, shard).await?,
        };
        Ok(index.min(shard.tail.next()))
    }

    fn sequence(&self, stream: &Stream, shard: &Shard) -> Result<SequenceNumber, ServiceError> {
        let Some(text) = self.sequence else {
            let message = format!(
                "Must either specify a StartingSequenceNumber or another iterator type than {}.",
                self.kind
            );
            return Err(ServiceError::InvalidArgument(message));
        };
        let used = || {
            format!(
                "StartingSequenceNumber {text} used in {} on shard {} in stream {} under account {ACCOUNT} is invalid",
                self.operation,
                shard_id(shard.number),
                stream.name
            )
        };
        let Ok(number) = text.parse::<SequenceNumber>() else {
            return Err(ServiceError::InvalidArgument(used() + "."));
        };
        // The number that a closed shard ends with is not one of its records', but it is its own.
        if shard.owns(&number) {
            return Ok(number);
        }
        Err(ServiceError::InvalidArgument(
            if number.shard == shard.number {
                used() + " because it did not come from this stream."
            } else {
                format!(
                    "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
                    shard_id(number.shard),
                    shard_id(shard.number)
                )
            },
        ))
    }

    async fn at_timestamp(
        &self,
        service: &Service,
        stream: &Stream,
        shard: &Shard,
    ) -> Result<u64, ServiceError> {
        let Some(Timestamp(at)) = self.timestamp else {
            return Err(ServiceError::InvalidArgument(
                "Must specify timestampInMillis for iterator of type AT_TIMESTAMP.".into(),
            ));
        };
        let now = service.clock.now();
        if at > now {
            return Err(ServiceError::InvalidArgument(format!(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                 timestampInMillis: {at}, currentTimestampInMillis: {now}"
            )));
        }
        let span = Span {
            stream: stream.id,
            shard: shard.number,
            from: shard.tail.first(),
            end: shard.tail.next(),
        };
        let first = service.store.first_since(span, at).await;
        first.map_err(|error| refuse(error, &stream.name))
    }
}

fn iterator(service: &Service, stream: &Stream, shard: u32, index: u64) -> ShardIterator {
    ShardIterator {
        name: stream.name.clone(),
        stream: stream.id,
        shard,
        index,
        made_ms: service.clock.now(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: Option<String>,
    limit: Option<i64>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsAnswer<'a> {
    records: Records<'a>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChildShard {
    shard_id: String,
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRange,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    sequence_number: SequenceNumber,
    approximate_arrival_timestamp: Timestamp,
    data: BlobRef<'a>,
    /// Missing of a record that was put without one, and of one whose key is damaged, rather than losing the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// Encoded one by one out of the page, without a list between.
pub(super) struct Records<'a> {
    pub(super) page: &'a Page,
    pub(super) shard: &'a Shard,
    pub(super) stream: &'a Stream,
}

impl Serialize for Records<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.page.records().map(|record| {
            Record {
                sequence_number: self.shard.sequence(record.index, record.arrival_ms),
                approximate_arrival_timestamp: Timestamp(record.arrival_ms),
                data: BlobRef(record.data),
                partition_key: std::str::from_utf8(record.key)
                    .ok()
                    .filter(|key| !key.is_empty()),
                encryption_type: encryption::of_record(self.stream, record.arrival_ms),
            }
        }))
    }
}

pub(super) async fn get_records(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: GetRecords = call.decode()?;
    let text = required(request.shard_iterator, "shardIterator")?;
    let limit = limited(
        request.limit,
        "limit",
        limits::GET_RECORDS,
        limits::GET_RECORDS,
    )?;
    let token =
        ShardIterator::open(&text, &service.clock).map_err(|error| refuse_iterator(&error))?;
    if let Some(arn) = &request.stream_arn
        && StreamName::new(None, Some(arn)).name()? != token.name
    {
        return Err(ServiceError::InvalidArgument(format!(
            "The iterator is not one of {arn}"
        )));
    }
    // The stream first, then the tail: a shard that is closed here has no records past the tail that is read next.
    let stream = find(service, &token)?;
    let shard = stream
        .shard(token.shard)
        .ok_or_else(|| no_shard(token.shard, &token.name))?;
    unless_dry_run(request.dry_run)?;
    admit(service, &stream, shard)?;
    let end = shard.tail.next();
    let from = token.index.max(shard.tail.first());
    let span = Span {
        stream: stream.id,
        shard: shard.number,
        from,
        end,
    };
    let limit = PageLimit {
        records: limit,
        bytes: limits::GET_BYTES,
    };
    let page = service
        .store
        .read(span, limit)
        .await
        .map_err(|error| refuse(error, &stream.name))?;
    service.limiter.with(|throughput, limits| {
        let key = (stream.id, shard.number);
        throughput.charge_read(key, page.bytes() as u64, limits, service.clock.now());
    });
    // The same records again, as when an answer is lost between the service and a client that retries by itself.
    let is_repeated = call
        .fault
        .is_some_and(|f| f.kind == FaultKind::DuplicatedRead);
    let is_at_tip = page.next >= end;
    let is_at_end = is_at_tip && !shard.is_open() && !is_repeated;
    let next = if is_repeated { from } else { page.next };
    call.encode(&RecordsAnswer {
        records: Records {
            page: &page,
            shard,
            stream: &stream,
        },
        next_shard_iterator: (!is_at_end)
            .then(|| iterator(service, &stream, shard.number, next).seal()),
        millis_behind_latest: page.last_arrival_ms().map_or(0, |last| {
            millis_behind(last, !is_at_tip, service.clock.now())
        }),
        child_shards: is_at_end.then(|| child_shards(&stream, shard.number)),
    })
}

/// How far behind its shard a reader is whose last record arrived at `last`: by at least a millisecond while there are
/// more, however fast they were put.
pub(super) fn millis_behind(last: Millis, has_more: bool, now: Millis) -> Millis {
    if has_more {
        now.saturating_sub(last).max(1)
    } else {
        0
    }
}

fn admit(service: &Service, stream: &Stream, shard: &Shard) -> Result<(), ServiceError> {
    let now = service.clock.now();
    let admitted = service
        .limiter
        .with(|throughput, limits| throughput.admit_read((stream.id, shard.number), limits, now));
    if admitted == Some(false) {
        return Err(ServiceError::ThroughputExceeded(format!(
            "Rate exceeded for Shard - {ACCOUNT}/{}/{}",
            stream.name,
            shard_id(shard.number)
        )));
    }
    Ok(())
}

fn find(service: &Service, token: &ShardIterator) -> Result<Arc<Stream>, ServiceError> {
    let stream = service
        .store
        .streams()
        .get(&token.name)
        .filter(|s| s.id == token.stream);
    stream.ok_or_else(|| no_stream(&token.name))
}

fn refuse_iterator(error: &TokenError) -> ServiceError {
    match error {
        TokenError::Invalid => ServiceError::InvalidArgument("Invalid ShardIterator.".into()),
        TokenError::Expired { made_ms, now_ms } => ServiceError::ExpiredIterator(format!(
            "Iterator expired. The iterator was created at time {made_ms} while right now it is {now_ms} which is \
             further in the future than the tolerated delay of {} milliseconds.",
            limits::TOKEN_AGE.as_millis()
        )),
    }
}

pub(super) fn child_shards(stream: &Stream, parent: u32) -> Vec<ChildShard> {
    let shown = |child: &Arc<Shard>| ChildShard {
        shard_id: shard_id(child.number),
        parent_shards: [child.parent, child.adjacent_parent]
            .into_iter()
            .flatten()
            .map(shard_id)
            .collect(),
        hash_key_range: hash_key_range(child),
    };
    stream.children(parent).map(shown).collect()
}
