//! The operations of the Kinesis API, by group. One request in, one answer out; nothing here knows HTTP.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::clock::Clock;
use crate::store::{LineageError, Store, StoreError, Stream};
use crate::wire::ServiceError;

mod get;
mod put;
mod reshard;
mod shards;
mod streams;

pub(crate) use shards::ShardFilter;

/// The account that everything belongs to.
pub(crate) const ACCOUNT: &str = "000000000000";

/// What operations work on.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
}

/// A request, told apart and not yet read.
#[derive(Debug)]
pub(crate) struct Call {
    /// The operation's name, as in `PutRecords`.
    pub(crate) operation: String,
    /// The region the client signed for; names the streams' ARNs and nothing else.
    pub(crate) region: String,
    pub(crate) body: Bytes,
}

/// Carries a call out and encodes its answer.
pub(crate) async fn dispatch(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    match call.operation.as_str() {
        "CreateStream" => streams::create(service, call).await,
        "DeleteStream" => streams::delete(service, call).await,
        "ListStreams" => streams::list(service, call),
        "DescribeStream" => streams::describe(service, call),
        "DescribeStreamSummary" => streams::describe_summary(service, call),
        "IncreaseStreamRetentionPeriod" => streams::increase_retention(service, call).await,
        "DecreaseStreamRetentionPeriod" => streams::decrease_retention(service, call).await,
        "ListShards" => shards::list(service, call),
        "PutRecord" => put::put_record(service, call).await,
        "PutRecords" => put::put_records(service, call).await,
        "GetShardIterator" => get::get_shard_iterator(service, call).await,
        "GetRecords" => get::get_records(service, call).await,
        "SplitShard" => reshard::split(service, call).await,
        "MergeShards" => reshard::merge(service, call).await,
        "UpdateShardCount" => reshard::update_shard_count(service, call).await,
        other => Err(ServiceError::UnknownOperation(format!(
            "{other} is not an operation of this endpoint"
        ))),
    }
}

/// How a request names its stream.
#[derive(Clone, Copy, Debug)]
struct StreamName<'a> {
    name: Option<&'a str>,
    arn: Option<&'a str>,
}

impl<'a> StreamName<'a> {
    fn new(name: Option<&'a str>, arn: Option<&'a str>) -> Self {
        Self { name, arn }
    }

    /// The name, given or out of the ARN.
    fn name(self) -> Result<&'a str, ServiceError> {
        match (self.name, self.arn) {
            (Some(name), None) => {
                check_name(name)?;
                Ok(name)
            }
            (name, Some(arn)) => {
                let in_arn = name_in_arn(arn).ok_or_else(|| {
                    ServiceError::constraint(arn, "streamARN", "Member must be a stream's ARN")
                })?;
                if name.is_some_and(|name| name != in_arn) {
                    return Err(ServiceError::InvalidArgument(format!(
                        "StreamARN {arn} is not of the StreamName given"
                    )));
                }
                Ok(in_arn)
            }
            (None, None) => Err(ServiceError::InvalidArgument(
                "either StreamName or StreamARN has to be given".into(),
            )),
        }
    }

    fn find(self, service: &Service) -> Result<Arc<Stream>, ServiceError> {
        let name = self.name()?;
        service
            .store
            .streams()
            .get(name)
            .ok_or_else(|| no_stream(name))
    }
}

/// Any region and account are taken: the endpoint is all of them.
fn name_in_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_kinesis =
        parts.next() == Some("arn") && parts.next().is_some() && parts.next() == Some("kinesis");
    let name = parts.nth(2)?.strip_prefix("stream/")?;
    (is_kinesis && !name.is_empty() && !name.contains('/')).then_some(name)
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.is_empty() {
        return Err(ServiceError::constraint(
            name,
            "streamName",
            "Member must have length greater than or equal to 1",
        ));
    }
    if name.len() > 128 {
        return Err(ServiceError::constraint(
            name,
            "streamName",
            "Member must have length less than or equal to 128",
        ));
    }
    if !name.bytes().all(legal) {
        let rule = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(ServiceError::constraint(name, "streamName", rule));
    }
    Ok(())
}

fn stream_arn(region: &str, name: &str) -> String {
    format!("arn:aws:kinesis:{region}:{ACCOUNT}:stream/{name}")
}

fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number in a shard's id.
fn shard_number(id: &str) -> Result<u32, ServiceError> {
    id.strip_prefix("shardId-")
        .filter(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| ServiceError::ResourceNotFound(format!("Shard {id} does not exist")))
}

fn no_stream(name: &str) -> ServiceError {
    ServiceError::ResourceNotFound(format!("Stream {name} under account {ACCOUNT} not found."))
}

fn no_shard(number: u32, stream: &str) -> ServiceError {
    let id = shard_id(number);
    ServiceError::ResourceNotFound(format!(
        "Shard {id} in stream {stream} under account {ACCOUNT} does not exist"
    ))
}

/// A count that a list or a read is asked for, within the service's range.
fn limited(
    value: Option<i64>,
    field: &str,
    default: usize,
    most: usize,
) -> Result<usize, ServiceError> {
    let Some(value) = value else {
        return Ok(default);
    };
    if value < 1 {
        let rule = "Member must have value greater than or equal to 1";
        return Err(ServiceError::constraint(&value.to_string(), field, rule));
    }
    usize::try_from(value)
        .ok()
        .filter(|v| *v <= most)
        .ok_or_else(|| {
            let rule = format!("Member must have value less than or equal to {most}");
            ServiceError::constraint(&value.to_string(), field, &rule)
        })
}

/// The store's errors in the service's words.
fn refuse(error: StoreError, stream: &str) -> ServiceError {
    match error {
        StoreError::NoStream { name } => no_stream(&name),
        StoreError::StreamExists { name } => ServiceError::ResourceInUse(format!(
            "Stream {name} under account {ACCOUNT} already exists."
        )),
        StoreError::TooManyShardsOrStreams | StoreError::Lineage(LineageError::TooMany) => {
            ServiceError::LimitExceeded(format!(
                "This request would exceed the limits of this endpoint: {error}"
            ))
        }
        StoreError::Lineage(LineageError::NoShard { shard }) => no_shard(shard, stream),
        StoreError::Lineage(LineageError::Closed { shard }) => {
            ServiceError::ResourceInUse(format!(
                "Shard {} in stream {stream} under account {ACCOUNT} has already been merged or split, and thus is not \
             eligible for merging or splitting.",
                shard_id(shard)
            ))
        }
        StoreError::Lineage(LineageError::NotAdjacent { left, right }) => {
            ServiceError::InvalidArgument(format!(
                "Shards {} and {} in stream {stream} under account {ACCOUNT} are not an adjacent pair of shards eligible \
             for merging",
                shard_id(left),
                shard_id(right)
            ))
        }
        StoreError::Lineage(LineageError::KeyOutside { key, start, end }) => {
            ServiceError::InvalidArgument(format!(
                "NewStartingHashKey {key} is not both greater than one plus the shard's StartingHashKey {start} and less \
             than its EndingHashKey {end}"
            ))
        }
        StoreError::Lineage(LineageError::TooFar { from, to }) => {
            ServiceError::InvalidArgument(format!(
                "TargetShardCount {to} has to be at least half and at most double of the {from} open shards"
            ))
        }
        other => {
            tracing::error!(error = %other, stream, "request not carried out");
            ServiceError::Internal(other.to_string())
        }
    }
}

/// The service answers operations that give nothing with no body at all.
fn nothing() -> Vec<u8> {
    Vec::new()
}

/// A request that names a stream and nothing else of interest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamesStream {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

impl NamesStream {
    fn stream(&self) -> StreamName<'_> {
        StreamName::new(self.stream_name.as_deref(), self.stream_arn.as_deref())
    }
}
