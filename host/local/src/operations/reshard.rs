//! `SplitShard`, `MergeShards` and `UpdateShardCount`.

use serde::{Deserialize, Serialize};

use super::constraints::one_of;
use super::put::hash_key;
use super::{ACCOUNT, Call, Service, StreamName, required, shard_number, stream_arn};
use crate::store::{Change, Stream};
use crate::wire::ServiceError;

/// The service itself scales streams that are on demand.
fn check_provisioned(stream: &Stream) -> Result<(), ServiceError> {
    if !stream.on_demand {
        return Ok(());
    }
    Err(ServiceError::Validation(format!(
        "Stream {} under account {ACCOUNT} is in on-demand mode: its shards cannot be split, merged or scaled.",
        stream.name
    )))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitAsked {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_split: Option<String>,
    new_starting_hash_key: Option<String>,
}

pub(super) async fn split(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: SplitAsked = call.decode()?;
    let shard = required(request.shard_to_split, "shardToSplit")?;
    let key = required(request.new_starting_hash_key, "newStartingHashKey")?;
    let key = hash_key(&key, "NewStartingHashKey", || "newStartingHashKey".into())?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    check_provisioned(&stream)?;
    let change = Change::Split {
        stream: stream.name.clone(),
        shard: shard_number(&shard)?,
        key,
    };
    service.change(&stream.name, change).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MergeAsked {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_merge: Option<String>,
    adjacent_shard_to_merge: Option<String>,
}

pub(super) async fn merge(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: MergeAsked = call.decode()?;
    let left = required(request.shard_to_merge, "shardToMerge")?;
    let right = required(request.adjacent_shard_to_merge, "adjacentShardToMerge")?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    check_provisioned(&stream)?;
    let change = Change::Merge {
        stream: stream.name.clone(),
        left: shard_number(&left)?,
        right: shard_number(&right)?,
    };
    service.change(&stream.name, change).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateShardCount {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    target_shard_count: Option<i64>,
    scaling_type: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShardCountUpdated<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_count: usize,
    target_shard_count: u32,
}

pub(super) async fn update_shard_count(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    let request: UpdateShardCount = call.decode()?;
    let scaling = required(request.scaling_type, "scalingType")?;
    one_of(&scaling, "scalingType", &["UNIFORM_SCALING"])?;
    let target = required(request.target_shard_count, "targetShardCount")?;
    if target < 1 {
        let rule = "Member must have value greater than or equal to 1";
        let target = target.to_string();
        return Err(ServiceError::constraint(&target, "targetShardCount", rule));
    }
    let target = u32::try_from(target).unwrap_or(u32::MAX);
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    check_provisioned(&stream)?;
    let current = stream.open_shards().count();
    let change = Change::Rescale {
        stream: stream.name.clone(),
        target,
    };
    service.change(&stream.name, change).await?;
    call.encode(&ShardCountUpdated {
        stream_name: &stream.name,
        stream_arn: stream_arn(&call.region, &stream.name),
        current_shard_count: current,
        target_shard_count: target,
    })
}
