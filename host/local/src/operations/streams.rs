//! Streams themselves: making, deleting, listing, describing, and their mode and record size.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::refuse_warm_throughput;
use super::constraints::one_of;
use super::shards::ShardShown;
use super::tags::{TagsAsked, check_tags};
use super::{
    Call, NamesStream, Service, StreamName, check_name, limited, required, shard_number, stream_arn,
};
use super::{distribution, encryption};
use crate::limits;
use crate::service_limits::ServiceLimits;
use crate::store::{Change, Edit, Stream};
use crate::wire::{ServiceError, Timestamp};

/// Shards that an on-demand stream starts with, as the service has it.
const ON_DEMAND_SHARDS: u32 = 4;

const PROVISIONED: &str = "PROVISIONED";
const ON_DEMAND: &str = "ON_DEMAND";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModeAsked {
    stream_mode: Option<String>,
}

impl ModeAsked {
    fn on_demand(self) -> Result<bool, ServiceError> {
        let field = "streamModeDetails.streamMode";
        let mode = required(self.stream_mode, field)?;
        Ok(one_of(&mode, field, &[PROVISIONED, ON_DEMAND])? == ON_DEMAND)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ModeShown {
    stream_mode: &'static str,
}

impl ModeShown {
    fn of(stream: &Stream) -> Self {
        let stream_mode = if stream.on_demand {
            ON_DEMAND
        } else {
            PROVISIONED
        };
        Self { stream_mode }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    stream_name: Option<String>,
    shard_count: Option<i64>,
    stream_mode_details: Option<ModeAsked>,
    tags: Option<TagsAsked>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_mibps: Option<i64>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib: Option<i64>,
    record_distribution_strategy: Option<String>,
}

pub(super) async fn create(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Create = call.decode()?;
    let name = required(request.stream_name, "streamName")?;
    check_name(&name, "streamName")?;
    let mode = request.stream_mode_details.map(ModeAsked::on_demand);
    let on_demand = mode.transpose()?.unwrap_or(false);
    let shards = match request.shard_count {
        Some(count) if count < 1 => {
            let rule = "Member must have value greater than or equal to 1";
            let count = count.to_string();
            return Err(ServiceError::constraint(&count, "shardCount", rule));
        }
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
        Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
    };
    refuse_warm_throughput(request.warm_mibps)?;
    let tags = request.tags.map(check_tags).transpose()?;
    let tags = tags.map(|tags| Edit::Tag { on: None, tags });
    let size = request.record_kib.map(record_kib).transpose()?;
    let size = size.map(|kib| Edit::RecordSize { kib });
    let strategy = request.record_distribution_strategy.as_deref();
    let strategy = strategy.map(distribution::spreads).transpose()?;
    distribution::check_mode(strategy == Some(true), on_demand)?;
    let strategy = strategy.map(|spreads| Edit::Spread { spreads });
    let change = Change::Create {
        name: name.clone(),
        shards,
        on_demand,
        edits: tags.into_iter().chain(size).chain(strategy).collect(),
    };
    service.change(&name, change).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    enforce_consumer_deletion: Option<bool>,
}

pub(super) async fn delete(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Delete = call.decode()?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let change = Change::Delete {
        name: stream.name.clone(),
        forced: request.enforce_consumer_deletion == Some(true),
    };
    service.change(&stream.name, change).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateMode {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    stream_mode_details: Option<ModeAsked>,
    #[serde(rename = "WarmThroughputMiBps")]
    warm_mibps: Option<i64>,
}

pub(super) async fn update_mode(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: UpdateMode = call.decode()?;
    let arn = required(request.stream_arn, "streamARN")?;
    let mode = required(request.stream_mode_details, "streamModeDetails")?;
    let on_demand = mode.on_demand()?;
    refuse_warm_throughput(request.warm_mibps)?;
    let stream = StreamName::new(None, Some(&arn)).find(service)?;
    let change = Change::Mode {
        stream: stream.name.clone(),
        on_demand,
    };
    service.change(&stream.name, change).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateRecordSize {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    kib: Option<i64>,
}

pub(super) async fn update_record_size(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    let request: UpdateRecordSize = call.decode()?;
    let kib = record_kib(required(request.kib, "maxRecordSizeInKiB")?)?;
    let stream = StreamName::new(None, request.stream_arn.as_deref()).find(service)?;
    service.edit(&stream.name, Edit::RecordSize { kib }).await?;
    Ok(super::nothing())
}

/// The most bytes of data and key in a record of `stream`: what was set on it, or else what holds for all.
pub(super) fn record_bytes(stream: &Stream, limits: &ServiceLimits) -> u64 {
    let set = stream.settings.record_kib.map(|kib| u64::from(kib) * 1024);
    set.unwrap_or(limits.record_bytes)
}

fn record_kib(asked: i64) -> Result<u32, ServiceError> {
    let range = limits::RECORD_KIB;
    let kib = u32::try_from(asked).ok().filter(|kib| range.contains(kib));
    kib.ok_or_else(|| {
        let rule = if asked < i64::from(*range.start()) {
            format!(
                "Member must have value greater than or equal to {}",
                range.start()
            )
        } else {
            format!(
                "Member must have value less than or equal to {}",
                range.end()
            )
        };
        ServiceError::constraint(&asked.to_string(), "maxRecordSizeInKiB", &rule)
    })
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
    mode_details: ModeShown,
    #[serde(rename = "StreamCreationTimestamp")]
    creation_timestamp: Timestamp,
}

/// The token is the last name that was given: names are in order.
pub(super) fn list(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: List = call.decode()?;
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
    call.encode(&ListAnswer {
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
        mode_details: ModeShown::of(stream),
        creation_timestamp: Timestamp(stream.created_ms),
    }
}

/// Changes are done before they are answered, so no other status is ever seen.
const ACTIVE: &str = "ACTIVE";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnhancedMonitoring<'a> {
    shard_level_metrics: &'a BTreeSet<String>,
}

/// What both descriptions have.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description<'a> {
    #[serde(flatten)]
    summary: Summary,
    retention_period_hours: u32,
    enhanced_monitoring: [EnhancedMonitoring<'a>; 1],
    encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
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
        #[serde(rename = "MaxRecordSizeInKiB")]
        record_kib: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        record_distribution_strategy: Option<&'static str>,
    },
}

fn description<'a>(stream: &'a Stream, region: &str, shards: ShardsDescribed) -> Description<'a> {
    let encryption = stream.settings.encryption.as_ref();
    Description {
        summary: summary(stream, region),
        retention_period_hours: stream.retention_hours,
        enhanced_monitoring: [EnhancedMonitoring {
            shard_level_metrics: &stream.settings.shard_metrics,
        }],
        encryption_type: encryption::described(stream),
        key_id: encryption.map(|encryption| encryption.key.as_str()),
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
struct DescribeAnswer<'a> {
    stream_description: Description<'a>,
}

pub(super) fn describe(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Describe = call.decode()?;
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
    call.encode(&DescribeAnswer {
        stream_description: description(&stream, &call.region, listed),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeSummaryAnswer<'a> {
    stream_description_summary: Description<'a>,
}

pub(super) fn describe_summary(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: NamesStream = call.decode()?;
    let stream = request.stream().find(service)?;
    let counted = ShardsDescribed::Counted {
        open_shard_count: stream.open_shards().count(),
        consumer_count: stream.settings.consumers.len(),
        record_kib: record_bytes(&stream, &service.limiter.limits()) / 1024,
        record_distribution_strategy: distribution::described(&stream),
    };
    call.encode(&DescribeSummaryAnswer {
        stream_description_summary: description(&stream, &call.region, counted),
    })
}
