//! `SplitShard`, `MergeShards` and `UpdateShardCount`.

use serde::{Deserialize, Serialize};

use super::put::explicit_hash_key;
use super::{Call, Service, StreamName, refuse, shard_number, stream_arn};
use crate::store::Change;
use crate::wire::{ServiceError, decode, encode};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SplitAsked {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_split: String,
    new_starting_hash_key: String,
}

pub(super) async fn split(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: SplitAsked = decode(&call.body)?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    let change = Change::Split {
        stream: stream.name.clone(),
        shard: shard_number(&request.shard_to_split)?,
        key: explicit_hash_key(&request.new_starting_hash_key)?,
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
struct MergeAsked {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_to_merge: String,
    adjacent_shard_to_merge: String,
}

pub(super) async fn merge(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: MergeAsked = decode(&call.body)?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    let change = Change::Merge {
        stream: stream.name.clone(),
        left: shard_number(&request.shard_to_merge)?,
        right: shard_number(&request.adjacent_shard_to_merge)?,
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
struct UpdateShardCount {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    target_shard_count: i64,
    scaling_type: String,
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
    let request: UpdateShardCount = decode(&call.body)?;
    let stream = StreamName::new(
        request.stream_name.as_deref(),
        request.stream_arn.as_deref(),
    )
    .find(service)?;
    if request.scaling_type != "UNIFORM_SCALING" {
        let rule = "Member must satisfy enum value set: [UNIFORM_SCALING]";
        return Err(ServiceError::constraint(
            &request.scaling_type,
            "scalingType",
            rule,
        ));
    }
    let target = u32::try_from(request.target_shard_count)
        .ok()
        .filter(|t| *t > 0)
        .ok_or_else(|| {
            let rule = "Member must have value greater than or equal to 1";
            ServiceError::constraint(
                &request.target_shard_count.to_string(),
                "targetShardCount",
                rule,
            )
        })?;
    let current = stream.open_shards().count();
    let change = Change::Rescale {
        stream: stream.name.clone(),
        target,
    };
    service
        .store
        .change(change)
        .await
        .map_err(|error| refuse(error, &stream.name))?;
    encode(&ShardCountUpdated {
        stream_name: &stream.name,
        stream_arn: stream_arn(&call.region, &stream.name),
        current_shard_count: current,
        target_shard_count: target,
    })
}
