//! Streams themselves: making, deleting, listing, describing, retention.

use serde::{Deserialize, Serialize};

use super::shards::ShardShown;
use super::{
    Call, NamesStream, Service, StreamName, check_name, limited, no_stream, refuse, shard_number,
    stream_arn,
};
use crate::limits;
use crate::store::{Change, Stream};
use crate::wire::{ServiceError, Timestamp, decode, encode};

/// Shards that an on-demand stream starts with, as the service has it.
const ON_DEMAND_SHARDS: u32 = 4;

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum StreamMode {
    Provisioned,
    OnDemand,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamModeDetails {
    stream_mode: StreamMode,
}

impl StreamModeDetails {
    fn of(stream: &Stream) -> Self {
        let stream_mode = if stream.on_demand {
            StreamMode::OnDemand
        } else {
            StreamMode::Provisioned
        };
        Self { stream_mode }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    stream_name: String,
    shard_count: Option<i64>,
    stream_mode_details: Option<StreamModeDetails>,
}

pub(super) async fn create(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Create = decode(&call.body)?;
    check_name(&request.stream_name)?;
    let on_demand = matches!(
        request.stream_mode_details,
        Some(StreamModeDetails {
            stream_mode: StreamMode::OnDemand
        })
    );
    let shards = match request.shard_count {
        None if on_demand => ON_DEMAND_SHARDS,
        None => {
            return Err(ServiceError::InvalidArgument(
                "ShardCount has to be given for a provisioned stream.".into(),
            ));
        }
        Some(_) if on_demand => {
            return Err(ServiceError::InvalidArgument(
                "ShardCount must not be given for an on-demand stream.".into(),
            ));
        }
        Some(count) if count < 1 => {
            let rule = "Member must have value greater than or equal to 1";
            return Err(ServiceError::constraint(
                &count.to_string(),
                "shardCount",
                rule,
            ));
        }
        Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
    };
    let name = request.stream_name;
    let change = Change::Create {
        name: name.clone(),
        shards,
        on_demand,
    };
    service
        .store
        .change(change)
        .await
        .map_err(|error| refuse(error, &name))?;
    Ok(super::nothing())
}

pub(super) async fn delete(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: NamesStream = decode(&call.body)?;
    let stream = request.stream().find(service)?;
    let change = Change::Delete {
        name: stream.name.clone(),
    };
    service
        .store
        .change(change)
        .await
        .map_err(|error| refuse(error, &stream.name))?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    limit: Option<i64>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer {
    stream_names: Vec<String>,
    stream_summaries: Vec<Summary>,
    has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    #[serde(rename = "StreamName")]
    name: String,
    #[serde(rename = "StreamARN")]
    arn: String,
    #[serde(rename = "StreamStatus")]
    status: &'static str,
    #[serde(rename = "StreamModeDetails")]
    mode_details: StreamModeDetails,
    #[serde(rename = "StreamCreationTimestamp")]
    creation_timestamp: Timestamp,
}

/// The token is the last name that was given: names are in order.
pub(super) fn list(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: List = decode(&call.body)?;
    let most = limited(
        request.limit,
        "limit",
        limits::LIST_STREAMS,
        limits::LIST_MAX,
    )?;
    let after = request.next_token.or(request.exclusive_start_stream_name);
    let streams = service.store.streams().all();
    let mut rest = streams
        .iter()
        .filter(|s| after.as_ref().is_none_or(|after| s.name > *after))
        .peekable();
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let has_more_streams = rest.peek().is_some();
    encode(&ListAnswer {
        stream_names: page.iter().map(|s| s.name.clone()).collect(),
        next_token: page
            .last()
            .filter(|_| has_more_streams)
            .map(|s| s.name.clone()),
        stream_summaries: page
            .into_iter()
            .map(|stream| summary(stream, &call.region))
            .collect(),
        has_more_streams,
    })
}

fn summary(stream: &Stream, region: &str) -> Summary {
    Summary {
        name: stream.name.clone(),
        arn: stream_arn(region, &stream.name),
        status: ACTIVE,
        mode_details: StreamModeDetails::of(stream),
        creation_timestamp: Timestamp(stream.created_ms),
    }
}

/// Changes are done before they are answered, so no other status is ever seen.
const ACTIVE: &str = "ACTIVE";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnhancedMonitoring {
    shard_level_metrics: [&'static str; 0],
}

/// What both descriptions have.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(flatten)]
    summary: Summary,
    retention_period_hours: u32,
    enhanced_monitoring: [EnhancedMonitoring; 1],
    encryption_type: &'static str,
    #[serde(flatten)]
    shards: ShardsDescribed,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShardsDescribed {
    #[serde(rename_all = "PascalCase")]
    Listed {
        shards: Vec<ShardShown>,
        has_more_shards: bool,
    },
    #[serde(rename_all = "PascalCase")]
    Counted {
        open_shard_count: usize,
        consumer_count: usize,
    },
}

fn description(stream: &Stream, region: &str, shards: ShardsDescribed) -> Description {
    Description {
        summary: summary(stream, region),
        retention_period_hours: stream.retention_hours,
        enhanced_monitoring: [EnhancedMonitoring {
            shard_level_metrics: [],
        }],
        encryption_type: "NONE",
        shards,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Describe {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    limit: Option<i64>,
    exclusive_start_shard_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAnswer {
    stream_description: Description,
}

pub(super) fn describe(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Describe = decode(&call.body)?;
    let most = limited(
        request.limit,
        "limit",
        limits::DESCRIBE_SHARDS,
        limits::LIST_MAX,
    )?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    let after = request
        .exclusive_start_shard_id
        .as_deref()
        .map(shard_number)
        .transpose()?;
    let mut rest = stream
        .shards
        .iter()
        .filter(|s| after.is_none_or(|after| s.number > after))
        .peekable();
    let shards = rest
        .by_ref()
        .take(most)
        .map(|shard| ShardShown::new(shard))
        .collect();
    let listed = ShardsDescribed::Listed {
        shards,
        has_more_shards: rest.peek().is_some(),
    };
    encode(&DescribeAnswer {
        stream_description: description(&stream, &call.region, listed),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeSummaryAnswer {
    stream_description_summary: Description,
}

pub(super) fn describe_summary(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: NamesStream = decode(&call.body)?;
    let stream = request.stream().find(service)?;
    let counted = ShardsDescribed::Counted {
        open_shard_count: stream.open_shards().count(),
        consumer_count: 0,
    };
    encode(&DescribeSummaryAnswer {
        stream_description_summary: description(&stream, &call.region, counted),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retain {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    retention_period_hours: i64,
}

pub(super) async fn increase_retention(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    retain(service, call, |hours, current| hours >= current).await
}

pub(super) async fn decrease_retention(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    retain(service, call, |hours, current| hours <= current).await
}

async fn retain(
    service: &Service,
    call: &Call,
    is_right_way: impl Fn(u32, u32) -> bool,
) -> Result<Vec<u8>, ServiceError> {
    let request: Retain = decode(&call.body)?;
    let name = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .name()?;
    let stream = service
        .store
        .streams()
        .get(name)
        .ok_or_else(|| no_stream(name))?;
    let asked = request.retention_period_hours;
    let hours = u32::try_from(asked).ok().filter(|hours| limits::RETENTION_HOURS.contains(hours)).ok_or_else(|| {
        let (least, most) = (limits::RETENTION_HOURS.start(), limits::RETENTION_HOURS.end());
        let message = format!("Retention period has to be from {least} to {most} hours. Specified value was {asked}");
        ServiceError::InvalidArgument(message)
    })?;
    if !is_right_way(hours, stream.retention_hours) {
        let current = stream.retention_hours;
        let message = format!(
            "{} from {current} hours to {hours} is the other way round.",
            call.operation
        );
        return Err(ServiceError::InvalidArgument(message));
    }
    let change = Change::Retain {
        stream: stream.name.clone(),
        hours,
    };
    service
        .store
        .change(change)
        .await
        .map_err(|error| refuse(error, &stream.name))?;
    Ok(super::nothing())
}
