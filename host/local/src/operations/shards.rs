//! `ListShards`, and how a shard is shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Call, Service, StreamName, limited, no_stream, required, shard_id, shard_number};
use crate::clock::Millis;
use crate::limits;
use crate::sequence::SequenceNumber;
use crate::store::{Shard, Stream};
use crate::token::{ListingToken, Token};
use crate::wire::{ServiceError, Timestamp};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HashKeyRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: SequenceNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<SequenceNumber>,
}

/// A shard in a listing.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardShown {
    shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

impl ShardShown {
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            shard_id: shard_id(shard.number),
            parent_shard_id: shard.parent.map(shard_id),
            adjacent_parent_shard_id: shard.adjacent_parent.map(shard_id),
            hash_key_range: hash_key_range(shard),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: shard.starting_sequence(),
                ending_sequence_number: shard.ending_sequence(),
            },
        }
    }
}

pub(super) fn hash_key_range(shard: &Shard) -> HashKeyRange {
    HashKeyRange {
        starting_hash_key: shard.range.start.to_string(),
        ending_hash_key: shard.range.end.to_string(),
    }
}

/// Which shards a listing gives.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum ShardFilter {
    /// All after this one.
    AfterShard(u32),
    /// Those that were open at the trim horizon.
    AtTrimHorizon,
    /// All within the retention: every shard that is listed at all.
    FromTrimHorizon,
    /// Those that are open.
    AtLatest,
    /// Those that were open at that time; one before the trim horizon is the trim horizon.
    AtTimestamp(Millis),
    /// Those that were open at that time or later.
    FromTimestamp(Millis),
}

impl ShardFilter {
    /// The shards of `stream` that it lets through, by number.
    pub(crate) fn apply(self, stream: &Stream, now: Millis) -> Vec<&Arc<Shard>> {
        let filter = match self {
            Self::AtTimestamp(at) if at < stream.trim_horizon(now) => Self::AtTrimHorizon,
            other => other,
        };
        let listed: BTreeSet<_> = stream.shards.iter().map(|s| s.number).collect();
        let is_listed = |parent: Option<u32>| parent.is_some_and(|p| listed.contains(&p));
        let lets_through = |shard: &Shard| match filter {
            Self::AfterShard(after) => shard.number > after,
            // Shards that closed before the horizon are not listed, so these are the ones whose parents are not: told by
            // lineage and not by time, since a shard may be made and closed in one millisecond.
            Self::AtTrimHorizon => !is_listed(shard.parent) && !is_listed(shard.adjacent_parent),
            Self::FromTrimHorizon => true,
            Self::AtLatest => shard.is_open(),
            Self::AtTimestamp(at) => {
                shard.created_ms <= at && shard.closed_ms.is_none_or(|closed| closed >= at)
            }
            Self::FromTimestamp(at) => shard.closed_ms.is_none_or(|closed| closed >= at),
        };
        stream.shards.iter().filter(|s| lets_through(s)).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FilterAsked {
    r#type: Option<String>,
    shard_id: Option<String>,
    timestamp: Option<Timestamp>,
}

impl FilterAsked {
    fn resolve(self) -> Result<ShardFilter, ServiceError> {
        let kind = required(self.r#type, "shardFilter.type")?;
        let missing = |what: &str| {
            ServiceError::InvalidArgument(format!(
                "ShardFilter of type {kind} has to have a {what}."
            ))
        };
        let at = || {
            self.timestamp
                .map(|t| t.0)
                .ok_or_else(|| missing("Timestamp"))
        };
        match kind.as_str() {
            "AFTER_SHARD_ID" => Ok(ShardFilter::AfterShard(shard_number(
                self.shard_id.as_deref().ok_or_else(|| missing("ShardId"))?,
            )?)),
            "AT_TRIM_HORIZON" => Ok(ShardFilter::AtTrimHorizon),
            "FROM_TRIM_HORIZON" => Ok(ShardFilter::FromTrimHorizon),
            "AT_LATEST" => Ok(ShardFilter::AtLatest),
            "AT_TIMESTAMP" => Ok(ShardFilter::AtTimestamp(at()?)),
            "FROM_TIMESTAMP" => Ok(ShardFilter::FromTimestamp(at()?)),
            other => {
                let rule = "Member must satisfy enum value set: [AFTER_SHARD_ID, AT_TRIM_HORIZON, FROM_TRIM_HORIZON, \
                            AT_LATEST, AT_TIMESTAMP, FROM_TIMESTAMP]";
                Err(ServiceError::constraint(other, "shardFilter.type", rule))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<i64>,
    stream_creation_timestamp: Option<Timestamp>,
    shard_filter: Option<FilterAsked>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer {
    shards: Vec<ShardShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Where a listing begins.
struct Listing {
    stream: Arc<Stream>,
    after: Option<u32>,
    filter: Option<ShardFilter>,
}

pub(super) fn list(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: ListShards = call.decode()?;
    let most = limited(
        request.max_results,
        "maxResults",
        limits::LIST_SHARDS,
        limits::LIST_MAX,
    )?;
    let Listing {
        stream,
        after,
        filter,
    } = begin(service, request)?;
    let filtered = filter
        .unwrap_or(ShardFilter::FromTrimHorizon)
        .apply(&stream, service.clock.now());
    let mut rest = filtered
        .into_iter()
        .filter(|s| after.is_none_or(|after| s.number > after))
        .peekable();
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let next_token = match (page.last(), rest.peek()) {
        (Some(last), Some(_)) => Some(
            ListingToken {
                name: stream.name.clone(),
                stream: stream.id,
                after: last.number,
                filter,
                made_ms: service.clock.now(),
            }
            .seal(),
        ),
        _ => None,
    };
    call.encode(&ListAnswer {
        shards: page
            .into_iter()
            .map(|shard| ShardShown::new(shard))
            .collect(),
        next_token,
    })
}

fn begin(service: &Service, request: ListShards) -> Result<Listing, ServiceError> {
    let Some(token) = &request.next_token else {
        let stream = StreamName::new(
            request.stream_name.as_deref(),
            request.stream_arn.as_deref(),
        )
        .find(service)?;
        if request
            .stream_creation_timestamp
            .is_some_and(|t| t.0 / 1000 != stream.created_ms / 1000)
        {
            return Err(no_stream(&stream.name));
        }
        let after = request
            .exclusive_start_shard_id
            .as_deref()
            .map(shard_number)
            .transpose()?;
        let filter = request.shard_filter.map(FilterAsked::resolve).transpose()?;
        return Ok(Listing {
            stream,
            after,
            filter,
        });
    };
    for (given, field) in [
        (request.stream_name.is_some(), "StreamName"),
        (
            request.stream_creation_timestamp.is_some(),
            "StreamCreationTimestamp",
        ),
        (
            request.exclusive_start_shard_id.is_some(),
            "ExclusiveStartShardId",
        ),
        (request.shard_filter.is_some(), "ShardFilter"),
    ] {
        if given {
            return Err(ServiceError::InvalidArgument(format!(
                "NextToken and {field} cannot be provided together."
            )));
        }
    }
    let token = ListingToken::open(token, &service.clock)
        .map_err(|error| super::refuse_next_token(&error))?;
    let stream = service
        .store
        .streams()
        .get(&token.name)
        .filter(|s| s.id == token.stream);
    let stream = stream.ok_or_else(|| no_stream(&token.name))?;
    Ok(Listing {
        stream,
        after: Some(token.after),
        filter: token.filter,
    })
}
