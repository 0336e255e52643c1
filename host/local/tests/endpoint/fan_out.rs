//! Subscriptions, to the byte.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright_local::{Endpoint, Handle, ServiceLimits};
use tempfile::TempDir;

use crate::client::{Client, base64, text};
use crate::events::Events;

const FIRST: &str = "shardId-000000000000";

struct World {
    _folder: TempDir,
    endpoint: Handle,
    client: Client,
    consumer: Value,
}

impl World {
    /// A stream of one shard, with a consumer.
    fn new(limits: ServiceLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::new(folder.path()).limits(limits).serve().unwrap();
        let mut client = Client::new(endpoint.address());
        client.kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 1}));
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
        let register = json!({"StreamARN": arn, "ConsumerName": "c"});
        let answer = client.kinesis("RegisterStreamConsumer", &register);
        Self {
            _folder: folder,
            endpoint,
            client,
            consumer: answer["Consumer"]["ConsumerARN"].clone(),
        }
    }

    fn put(&mut self, data: &str) -> Value {
        let key = &data[..1];
        let record = json!({"StreamName": "s", "Data": base64(data), "PartitionKey": key});
        self.client.kinesis("PutRecord", &record)["SequenceNumber"].clone()
    }

    fn subscribe(&self, position: &Value) -> Result<Events, (u16, Value)> {
        Events::subscribe(self.endpoint.address(), &self.consumer, FIRST, position)
    }

    /// After what the clock lets through.
    fn subscribe_later(&self, position: &Value) -> Events {
        self.endpoint.clock().advance(Duration::from_secs(5));
        self.subscribe(position).unwrap()
    }

    fn split(&mut self) {
        let middle = (1_u128 << 127).to_string();
        let split = json!({"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": middle});
        self.client.kinesis("SplitShard", &split);
    }
}

fn trim_horizon() -> Value {
    json!({"Type": "TRIM_HORIZON"})
}

fn after(number: &Value) -> Value {
    json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number})
}

#[test]
fn records_are_pushed_as_they_come_and_a_subscription_goes_on_where_another_left_off() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    let number = world.put("a");
    let mut events = world.subscribe(&trim_horizon()).unwrap();
    let event = events.next_records().unwrap();
    let record = &event.records()[0];
    assert_eq!(
        (text(record).as_str(), &record["SequenceNumber"]),
        ("a", &number)
    );
    assert_eq!(record["PartitionKey"], "a");
    assert!(record["ApproximateArrivalTimestamp"].is_f64());
    assert_eq!(event.body["ContinuationSequenceNumber"], number);
    assert_eq!(event.body["MillisBehindLatest"], 0);
    let second = world.put("b");
    let event = events.next_records().unwrap();
    assert_eq!(
        (event.records().len(), text(&event.records()[0])),
        (1, "b".into())
    );
    assert_eq!(event.body["ContinuationSequenceNumber"], second);
    drop(events);

    world.put("c");
    for (position, expected) in [
        (after(&number), vec!["b", "c"]),
        (after(&second), vec!["c"]),
        (
            json!({"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": second}),
            vec!["b", "c"],
        ),
        (
            json!({"Type": "AT_TIMESTAMP", "Timestamp": 0}),
            vec!["a", "b", "c"],
        ),
    ] {
        let mut events = world.subscribe_later(&position);
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let event = events.next_records().unwrap();
            seen.extend(event.records().iter().map(text));
        }
        assert_eq!(seen, expected, "{position}");
    }
}

#[test]
fn an_event_without_records_says_where_to_go_on() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    world.put("before");
    let mut events = world.subscribe(&json!({"Type": "LATEST"})).unwrap();
    let event = events.next().unwrap().unwrap();
    assert_eq!(event.records().len(), 0);
    drop(events);
    world.put("after");
    let mut events = world.subscribe_later(&after(&event.body["ContinuationSequenceNumber"]));
    let event = events.next_records().unwrap();
    assert_eq!(
        event.records().iter().map(text).collect::<Vec<_>>(),
        ["after"]
    );
}

#[test]
fn a_shards_end_names_its_children_and_closes_the_stream_even_for_one_who_comes_later() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    world.put("a");
    let mut live = world.subscribe(&trim_horizon()).unwrap();
    assert_eq!(live.next_records().unwrap().records().len(), 1);
    world.split();
    for (mut events, records) in [(live, 0), (world.subscribe_later(&trim_horizon()), 1)] {
        if records > 0 {
            assert_eq!(events.next_records().unwrap().records().len(), records);
        }
        let last = events.next_records().unwrap();
        assert!(last.records().is_empty());
        assert!(last.body.get("ContinuationSequenceNumber").is_none());
        let children = last.body["ChildShards"].as_array().unwrap();
        let ids: Vec<_> = children.iter().map(|c| c["ShardId"].clone()).collect();
        assert_eq!(ids, ["shardId-000000000001", "shardId-000000000002"]);
        for child in children {
            assert_eq!(child["ParentShards"], json!([FIRST]));
            assert!(child["HashKeyRange"]["StartingHashKey"].is_string());
        }
        assert!(events.next().unwrap().is_none(), "closed");
    }
}

#[test]
fn one_subscription_per_consumer_and_shard_and_takeover_after_five_seconds() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    world.endpoint.clock().freeze(world.endpoint.clock().now());
    let mut first = world.subscribe(&trim_horizon()).unwrap();
    assert!(first.next().unwrap().unwrap().records().is_empty());
    let in_use = "Another active subscription exists for this consumer: 000000000000:s:shardId-000000000000:c";
    world.endpoint.clock().advance(Duration::from_millis(4999));
    let (status, body) = world.subscribe(&trim_horizon()).err().unwrap();
    assert_eq!(
        (status, &body["__type"]),
        (400, &json!("ResourceInUseException"))
    );
    assert_eq!(body["message"], in_use);

    world.endpoint.clock().advance(Duration::from_millis(1));
    let mut second = world.subscribe(&trim_horizon()).unwrap();
    let last = first.next().unwrap().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.is_exception),
        ("ResourceInUseException", true)
    );
    assert_eq!(last.body["message"], in_use);
    assert!(first.next().unwrap().is_none());
    world.put("a");
    assert_eq!(second.next_records().unwrap().records().len(), 1);
}

#[test]
fn a_consumer_is_the_same_under_an_arn_of_another_region_or_account() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    world.endpoint.clock().freeze(world.endpoint.clock().now());
    let _first = world.subscribe(&trim_horizon()).unwrap();
    let arn = world.consumer.as_str().unwrap();
    let other = arn.replace("eu-west-1:000000000000", "us-east-1:123456789012");
    world.consumer = json!(other);
    let (status, body) = world.subscribe(&trim_horizon()).err().unwrap();
    assert_eq!(
        (status, &body["__type"]),
        (400, &json!("ResourceInUseException"))
    );
}

/// Records of one event each, more than what connections buffer.
const BACKLOG: usize = 40;

/// A subscription that is as far behind, and of which nothing was read yet.
fn far_behind() -> (World, Events) {
    let mut world = World::new(ServiceLimits::DEFAULT);
    let data = "x".repeat(1_000_000);
    for _ in 0..BACKLOG {
        world.put(&data);
    }
    let events = world.subscribe(&trim_horizon()).unwrap();
    (world, events)
}

#[test]
fn a_subscription_that_is_far_behind_ends_when_it_is_taken_over() {
    let (world, mut first) = far_behind();
    let _second = world.subscribe_later(&trim_horizon());
    let mut seen = 0;
    let last = loop {
        let event = first.next().unwrap().unwrap();
        if event.is_exception {
            break event;
        }
        seen += event.records().len();
    };
    assert_eq!(last.kind, "ResourceInUseException");
    assert!(seen < BACKLOG, "all of them came first");
    assert!(first.next().unwrap().is_none());
}

#[test]
fn a_subscription_that_is_far_behind_does_not_hold_the_end_of_the_endpoint_up() {
    let (world, mut events) = far_behind();
    let World {
        endpoint,
        client: _client,
        _folder,
        ..
    } = world;
    let address = endpoint.address();
    let stopping = thread::spawn(move || endpoint.shutdown());
    while TcpStream::connect(address).is_ok() {
        thread::yield_now();
    }
    let mut seen = 0;
    while let Some(event) = events.next().unwrap() {
        seen += event.records().len();
    }
    assert!(seen < BACKLOG, "all of them came first");
    stopping.join().unwrap();
}

#[test]
fn a_subscription_lives_for_five_minutes() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    world.endpoint.clock().freeze(world.endpoint.clock().now());
    let mut events = world.subscribe(&trim_horizon()).unwrap();
    assert!(events.next().unwrap().unwrap().records().is_empty());
    world.endpoint.clock().advance(Duration::from_secs(299));
    world.put("a");
    assert_eq!(events.next_records().unwrap().records().len(), 1);
    world.endpoint.clock().advance(Duration::from_secs(1));
    assert!(events.next().unwrap().is_none(), "an orderly end");
}

#[test]
fn a_consumer_or_stream_that_goes_ends_its_subscription() {
    for (operation, by) in [
        ("DeregisterStreamConsumer", "ConsumerARN"),
        ("DeleteStream", "StreamName"),
    ] {
        let mut world = World::new(ServiceLimits::DEFAULT);
        let mut events = world.subscribe(&trim_horizon()).unwrap();
        assert!(events.next().unwrap().unwrap().records().is_empty());
        let name = if by == "StreamName" {
            json!("s")
        } else {
            world.consumer.clone()
        };
        world.client.kinesis(
            operation,
            &json!({by: name, "EnforceConsumerDeletion": true}),
        );
        let last = events.next().unwrap().unwrap();
        assert_eq!(
            (last.kind.as_str(), last.is_exception),
            ("ResourceNotFoundException", true),
            "{operation}"
        );
        assert!(events.next().unwrap().is_none());
    }
}

#[test]
fn what_cannot_be_subscribed_to_is_refused_in_the_services_words() {
    let world = World::new(ServiceLimits::DEFAULT);
    let refused = |consumer: &Value, shard: &str, position: &Value, kind: &str| {
        let address = world.endpoint.address();
        let (status, body) = Events::subscribe(address, consumer, shard, position)
            .err()
            .unwrap();
        assert_eq!(
            (status, body["__type"].as_str()),
            (400, Some(kind)),
            "{body}"
        );
        assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()));
    };
    let consumer = &world.consumer;
    let horizon = trim_horizon();
    let other = json!("arn:aws:kinesis:eu-west-1:000000000000:stream/s/consumer/other:1");
    refused(&other, FIRST, &horizon, "ResourceNotFoundException");
    refused(&json!("c"), FIRST, &horizon, "ValidationException");
    refused(
        consumer,
        "shardId-000000000009",
        &horizon,
        "ResourceNotFoundException",
    );
    refused(
        consumer,
        FIRST,
        &json!({"Type": "NOW"}),
        "ValidationException",
    );
    refused(consumer, FIRST, &json!({}), "ValidationException");
    refused(consumer, FIRST, &Value::Null, "ValidationException");
    refused(
        consumer,
        FIRST,
        &after(&json!("123")),
        "InvalidArgumentException",
    );
    refused(
        consumer,
        FIRST,
        &json!({"Type": "AT_TIMESTAMP"}),
        "InvalidArgumentException",
    );
    refused(
        consumer,
        FIRST,
        &json!({"Type": "AT_SEQUENCE_NUMBER"}),
        "InvalidArgumentException",
    );
    assert!(
        world.subscribe(&horizon).is_ok(),
        "none of these counts as one"
    );
}

#[test]
fn a_consumer_is_pushed_two_megabytes_a_second() {
    let throttled = ServiceLimits {
        throughput: true,
        write_bytes_per_s: 100 << 20,
        ..ServiceLimits::DEFAULT
    };
    let mut world = World::new(throttled);
    world.endpoint.clock().freeze(world.endpoint.clock().now());
    for _ in 0..5 {
        world.put(&"x".repeat(1 << 19));
    }
    // A second's worth comes at once, then nothing until the clock moves.
    let mut events = world.subscribe(&trim_horizon()).unwrap();
    let mut seen = 0;
    while seen < 4 {
        seen += events.next_records().unwrap().records().len();
    }
    let waiting = events.next().unwrap().unwrap();
    assert!(waiting.records().is_empty(), "the last one waits");
    assert_ne!(waiting.body["MillisBehindLatest"], 0);
    world.endpoint.clock().advance(Duration::from_secs(1));
    assert_eq!(events.next_records().unwrap().records().len(), 1);
}

#[test]
fn a_subscription_is_dropped_on_demand() {
    let mut world = World::new(ServiceLimits::DEFAULT);
    let plan =
        json!({"rules": [{"fault": "dropped_subscription", "events": 1, "times": 1}]}).to_string();
    let answer = world
        .client
        .send("PUT /_shardwright/faults HTTP/1.1\r\n", plan.as_bytes());
    assert_eq!(answer.unwrap().status, 200);
    world.put("a");
    let mut events = world.subscribe(&trim_horizon()).unwrap();
    assert_eq!(events.next_records().unwrap().records().len(), 1);
    assert!(events.next().is_err(), "broken off, not ended");
    let mut events = world.subscribe_later(&trim_horizon());
    assert_eq!(events.next_records().unwrap().records().len(), 1);
    world.put("b");
    assert_eq!(events.next_records().unwrap().records().len(), 1);
}
