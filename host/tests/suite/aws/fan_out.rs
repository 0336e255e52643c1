//! The SDK subscribes to the local endpoint, as an adapter of ours will: `SubscribeToShard` to the shard's end.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};

use super::{Local, raw_streams};

const SHARD: &str = "shardId-000000000000";

struct World {
    local: Local,
    client: Client,
    consumer: String,
}

impl World {
    async fn new() -> Self {
        let local = Local::serve();
        let client = raw_streams(&local.handle.url());
        let created = client.create_stream().stream_name("s").shard_count(1);
        created.send().await.expect("a stream");
        let summary = client.describe_stream_summary().stream_name("s");
        let summary = summary.send().await.expect("a summary");
        let arn = summary
            .stream_description_summary
            .expect("a summary")
            .stream_arn;
        let registered = client.register_stream_consumer().stream_arn(arn);
        let registered = registered.consumer_name("c").send().await;
        let consumer = registered
            .expect("a consumer")
            .consumer
            .expect("a consumer");
        Self {
            local,
            client,
            consumer: consumer.consumer_arn,
        }
    }

    async fn put(&self, data: &str) -> String {
        let put = self.client.put_record().stream_name("s").partition_key("k");
        let put = put.data(Blob::new(data)).send().await;
        put.expect("a record").sequence_number
    }

    async fn subscribe(
        &self,
        kind: ShardIteratorType,
        number: Option<&str>,
    ) -> Result<SubscribeToShardOutput, aws_sdk_kinesis::Error> {
        let position = StartingPosition::builder().r#type(kind);
        let position = position.set_sequence_number(number.map(str::to_owned));
        let subscribed = self
            .client
            .subscribe_to_shard()
            .consumer_arn(&self.consumer);
        let position = position.build().expect("a position");
        let subscribed = subscribed.shard_id(SHARD).starting_position(position);
        subscribed.send().await.map_err(Into::into)
    }
}

/// The next event with records or children; nothing at the stream's end.
async fn next(output: &mut SubscribeToShardOutput) -> Option<SubscribeToShardEvent> {
    loop {
        let event = output.event_stream.recv().await.expect("no error")?;
        let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else {
            panic!("{event:?}");
        };
        if !event.records.is_empty() || event.child_shards.is_some() {
            return Some(event);
        }
    }
}

fn data(event: &SubscribeToShardEvent) -> Vec<String> {
    let text = |blob: &Blob| String::from_utf8_lossy(blob.as_ref()).into_owned();
    event.records.iter().map(|r| text(&r.data)).collect()
}

#[tokio::test]
async fn it_is_pushed_records_resumes_and_is_told_of_the_shards_end() {
    let world = World::new().await;
    world.put("a").await;
    let mut first = world
        .subscribe(ShardIteratorType::TrimHorizon, None)
        .await
        .expect("it begins");
    let event = next(&mut first).await.expect("an event");
    assert_eq!(data(&event), ["a"]);
    let left_off = event.continuation_sequence_number;
    drop(first);

    world.put("b").await;
    world.local.handle.clock().advance(Duration::from_secs(5));
    let mut second = world
        .subscribe(ShardIteratorType::AfterSequenceNumber, Some(&left_off))
        .await
        .expect("it goes on");
    assert_eq!(data(&next(&mut second).await.expect("an event")), ["b"]);
    let split = world
        .client
        .split_shard()
        .stream_name("s")
        .shard_to_split(SHARD);
    let split = split.new_starting_hash_key((1_u128 << 127).to_string());
    split.send().await.expect("a split");
    let last = next(&mut second).await.expect("the end");
    let children = last.child_shards.expect("it has children");
    let children: Vec<_> = children.iter().map(|c| c.shard_id.as_str()).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    assert!(next(&mut second).await.is_none());

    world.local.handle.clock().advance(Duration::from_secs(5));
    let mut drain = world
        .subscribe(ShardIteratorType::TrimHorizon, None)
        .await
        .expect("a closed shard is read");
    assert_eq!(data(&next(&mut drain).await.expect("an event")), ["a", "b"]);
    assert!(
        next(&mut drain)
            .await
            .expect("the end")
            .child_shards
            .is_some()
    );
}

#[tokio::test]
async fn who_comes_too_soon_is_refused_and_who_comes_later_takes_over() {
    let world = World::new().await;
    let mut first = world
        .subscribe(ShardIteratorType::Latest, None)
        .await
        .expect("it begins");
    let refused = world.subscribe(ShardIteratorType::Latest, None).await;
    let refused = refused.expect_err("it is within five seconds");
    assert_eq!(refused.code(), Some("ResourceInUseException"));
    world.local.handle.clock().advance(Duration::from_secs(5));
    let mut second = world
        .subscribe(ShardIteratorType::Latest, None)
        .await
        .expect("it takes over");
    let ended = loop {
        match first.event_stream.recv().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end says why"),
            Err(error) => break error,
        }
    };
    let modelled = ended.into_service_error();
    assert!(modelled.is_resource_in_use_exception(), "{modelled:?}");
    world.put("a").await;
    assert_eq!(data(&next(&mut second).await.expect("an event")), ["a"]);
}
