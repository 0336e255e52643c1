//! The operations of the Kinesis API, by group. One request in, one answer out; nothing here knows HTTP.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::faults::{Fault, Faults};
use crate::limits;
use crate::store::{Change, Edit, LineageError, SettingsError, Store, StoreError};
use crate::subscriptions::Subscriptions;
use crate::throughput::Limiter;
use crate::token::TokenError;
use crate::wire::{Encoding, ServiceError};

mod account;
mod admission;
mod channels;
mod constraints;
mod consumers;
mod distribution;
mod encryption;
mod get;
mod monitoring;
mod names;
mod policies;
mod put;
mod reshard;
mod resources;
mod retention;
mod shards;
mod streams;
mod subscribe;
mod tags;

use constraints::{limited, required, unless_dry_run};
use names::{
    NamesStream, StreamName, check_name, no_shard, no_stream, shard_id, shard_number, stream_arn,
};

pub(crate) use shards::ShardFilter;
pub(crate) use subscribe::{Subscription, subscribe};

/// The account that everything belongs to.
pub(crate) const ACCOUNT: &str = "000000000000";

/// What operations work on.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) limiter: Limiter,
    pub(crate) faults: Faults,
    pub(crate) subscriptions: Subscriptions,
    /// Records that went to shards by no key.
    pub(crate) spread: AtomicU64,
}

impl Service {
    /// Applies the retention as of now, and forgets what no longer matters.
    pub(crate) async fn upkeep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.limiter
            .with(|throughput, limits| throughput.forget_rested(limits, now));
        self.subscriptions.forget_ended(now);
        self.store.maintain().await
    }

    /// Makes a change; a refusal names `stream`.
    async fn change(&self, stream: &str, change: Change) -> Result<(), ServiceError> {
        let changed = self.store.change(change).await;
        changed.map_err(|error| refuse(error, stream))
    }

    /// Changes what is set on `stream`.
    async fn edit(&self, stream: &str, edit: Edit) -> Result<(), ServiceError> {
        let change = Change::Edit {
            stream: stream.into(),
            edit,
        };
        self.change(stream, change).await
    }
}

/// A request, told apart and not yet read.
#[derive(Debug)]
pub(crate) struct Call {
    /// The operation's name, as in `PutRecords`.
    pub(crate) operation: String,
    /// The region the client signed for; names the streams' ARNs and nothing else.
    pub(crate) region: String,
    pub(crate) encoding: Encoding,
    pub(crate) body: Bytes,
    /// What goes wrong on purpose while it is carried out.
    pub(crate) fault: Option<Fault>,
}

impl Call {
    /// Reads the request, whose strings may borrow from the call.
    fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ServiceError> {
        self.encoding.decode(&self.body)
    }

    /// Writes the answer as the request was written.
    fn encode<T: Serialize>(&self, answer: &T) -> Result<Vec<u8>, ServiceError> {
        self.encoding.encode(answer)
    }
}

/// Carries a call out and encodes its answer.
pub(crate) async fn dispatch(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    match call.operation.as_str() {
        "CreateStream" => streams::create(service, call).await,
        "DeleteStream" => streams::delete(service, call).await,
        "ListStreams" => streams::list(service, call),
        "DescribeStream" => streams::describe(service, call),
        "DescribeStreamSummary" => streams::describe_summary(service, call),
        "DescribeLimits" => account::describe_limits(service, call),
        "DescribeAccountSettings" => account::describe_settings(call),
        "UpdateAccountSettings" => account::update_settings(call),
        "UpdateStreamWarmThroughput" => account::update_warm_throughput(service, call),
        "UpdateStreamMode" => streams::update_mode(service, call).await,
        "UpdateStreamRecordDistributionStrategy" => distribution::update(service, call).await,
        "CreateChannel" => channels::create(call),
        "ListChannels" => channels::list(call),
        "DescribeChannel" | "UpdateChannel" | "DeleteChannel" => channels::find(call),
        "UpdateMaxRecordSize" => streams::update_record_size(service, call).await,
        "StartStreamEncryption" => encryption::start(service, call).await,
        "StopStreamEncryption" => encryption::stop(service, call).await,
        "EnableEnhancedMonitoring" => monitoring::enable(service, call).await,
        "DisableEnhancedMonitoring" => monitoring::disable(service, call).await,
        "PutResourcePolicy" => policies::put(service, call).await,
        "GetResourcePolicy" => policies::get(service, call),
        "DeleteResourcePolicy" => policies::delete(service, call).await,
        "IncreaseStreamRetentionPeriod" => retention::increase(service, call).await,
        "DecreaseStreamRetentionPeriod" => retention::decrease(service, call).await,
        "AddTagsToStream" => tags::add_to_stream(service, call).await,
        "RemoveTagsFromStream" => tags::remove_from_stream(service, call).await,
        "ListTagsForStream" => tags::list_for_stream(service, call),
        "TagResource" => tags::tag(service, call).await,
        "UntagResource" => tags::untag(service, call).await,
        "ListTagsForResource" => tags::list(service, call),
        "RegisterStreamConsumer" => consumers::register(service, call).await,
        "DescribeStreamConsumer" => consumers::describe(service, call),
        "ListStreamConsumers" => consumers::list(service, call),
        "DeregisterStreamConsumer" => consumers::deregister(service, call).await,
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
        StoreError::Settings(error) => refuse_settings(&error, stream),
        other => {
            tracing::error!(error = %other, stream, "request not carried out");
            ServiceError::Internal(other.to_string())
        }
    }
}

fn refuse_settings(error: &SettingsError, stream: &str) -> ServiceError {
    match error {
        SettingsError::ConsumerExists { consumer } => ServiceError::ResourceInUse(format!(
            "Consumer {consumer} under stream {stream} already exists for account {ACCOUNT}."
        )),
        SettingsError::NoConsumer { consumer } => names::no_consumer(consumer, stream),
        SettingsError::HasConsumers => ServiceError::ResourceInUse(format!(
            "DeleteStream can't delete {ACCOUNT}:{stream} because there are consumers associated with this data stream. \
             To delete {ACCOUNT}:{stream} anyway, set the EnforceConsumerDeletion parameter to true to force the \
             deletion of all the consumers that are associated with it."
        )),
        SettingsError::TooManyConsumers => ServiceError::LimitExceeded(format!(
            "This request would exceed the limit of {} consumers of stream {stream} under account {ACCOUNT}.",
            limits::CONSUMERS
        )),
        SettingsError::TooManyTags => ServiceError::InvalidArgument(format!(
            "This request would exceed the limit of {} tags of a resource.",
            limits::TAGS
        )),
    }
}

fn refuse_next_token(error: &TokenError) -> ServiceError {
    match error {
        TokenError::Invalid => ServiceError::InvalidArgument("Invalid NextToken.".into()),
        TokenError::Expired { .. } => {
            ServiceError::ExpiredNextToken("The NextToken has expired.".into())
        }
    }
}

/// The service answers operations that give nothing with no body at all.
fn nothing() -> Vec<u8> {
    Vec::new()
}
