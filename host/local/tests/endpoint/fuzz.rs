//! Requests that nobody should send: 10,000 of them, and each is answered in the service's shape.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use shardwright_local::Endpoint;

use crate::client::{Client, Raw};

const CASES: u32 = 10_000;
const STREAM_ARN: &str = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";

/// Requests about settings of streams and of the account, right or nearly.
fn settings() -> Vec<(&'static str, Value)> {
    let encryption = json!({"StreamName": "s", "EncryptionType": "KMS", "KeyId": "k"});
    let metrics = json!({"StreamName": "s", "ShardLevelMetrics": ["IncomingBytes", "ALL"]});
    let policy = json!({"ResourceARN": STREAM_ARN, "Policy": "{\"Statement\":[]}"});
    vec![
        ("StartStreamEncryption", encryption.clone()),
        ("StopStreamEncryption", encryption),
        ("EnableEnhancedMonitoring", metrics.clone()),
        ("DisableEnhancedMonitoring", metrics),
        ("PutResourcePolicy", policy.clone()),
        ("GetResourcePolicy", policy.clone()),
        ("DeleteResourcePolicy", policy),
        ("DescribeAccountSettings", json!({})),
        (
            "UpdateAccountSettings",
            json!({"MinimumThroughputBillingCommitment": {"Status": "DISABLED"}}),
        ),
        (
            "UpdateMaxRecordSize",
            json!({"StreamARN": STREAM_ARN, "MaxRecordSizeInKiB": 1024}),
        ),
        (
            "UpdateStreamWarmThroughput",
            json!({"StreamName": "s", "WarmThroughputMiBps": 1}),
        ),
        (
            "UpdateStreamRecordDistributionStrategy",
            json!({"StreamARN": STREAM_ARN, "RecordDistributionStrategy": "USER_PARTITION_KEY"}),
        ),
        (
            "CreateChannel",
            json!({"ChannelName": "c", "ServiceExecutionRoleARN": "r"}),
        ),
        (
            "DescribeChannel",
            json!({"ChannelARN": "arn:aws:kinesis:eu-west-1:000000000000:channel/c"}),
        ),
        ("ListChannels", json!({"MaxResults": 2})),
    ]
}

/// A request that is right, or nearly: what is done to it then makes it wrong somewhere, and not everywhere at once.
fn templates() -> Vec<(&'static str, Value)> {
    let shard = "shardId-000000000000";
    let resource = json!({"ResourceARN": STREAM_ARN, "Tags": {"k": "v"}, "TagKeys": ["k"]});
    let named = json!({"StreamName": "s", "StreamARN": STREAM_ARN});
    let consumer = json!({"StreamARN": STREAM_ARN, "ConsumerName": "c", "Tags": {"k": "v"}, "MaxResults": 2,
        "ConsumerARN": format!("{STREAM_ARN}/consumer/c:1"), "NextToken": "t", "StreamCreationTimestamp": 1.5});
    let tags = json!({"StreamName": "s", "Tags": {"k": "v"}, "TagKeys": ["k"], "Limit": 2, "ExclusiveStartTagKey": "a"});
    let mode = json!({"StreamARN": STREAM_ARN, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    let entry = json!({"Data": "aGk=", "PartitionKey": "k", "ExplicitHashKey": "7"});
    vec![
        (
            "CreateStream",
            json!({"StreamName": "t", "ShardCount": 1, "Tags": {"k": "v"},
            "StreamModeDetails": {"StreamMode": "PROVISIONED"}}),
        ),
        (
            "DeleteStream",
            json!({"StreamName": "t", "EnforceConsumerDeletion": true}),
        ),
        (
            "ListStreams",
            json!({"Limit": 3, "ExclusiveStartStreamName": "a", "NextToken": "b"}),
        ),
        (
            "DescribeStream",
            json!({"StreamName": "s", "Limit": 3, "ExclusiveStartShardId": shard}),
        ),
        ("DescribeStreamSummary", named.clone()),
        ("DescribeLimits", json!({})),
        ("UpdateStreamMode", mode),
        (
            "IncreaseStreamRetentionPeriod",
            json!({"StreamName": "s", "RetentionPeriodHours": 25}),
        ),
        (
            "DecreaseStreamRetentionPeriod",
            json!({"StreamName": "s", "RetentionPeriodHours": 24}),
        ),
        ("AddTagsToStream", tags.clone()),
        ("RemoveTagsFromStream", tags.clone()),
        ("ListTagsForStream", tags),
        ("TagResource", resource.clone()),
        ("UntagResource", resource.clone()),
        ("ListTagsForResource", resource),
        ("RegisterStreamConsumer", consumer.clone()),
        ("DescribeStreamConsumer", consumer.clone()),
        ("ListStreamConsumers", consumer.clone()),
        ("DeregisterStreamConsumer", consumer),
        (
            "ListShards",
            json!({"StreamName": "s", "MaxResults": 3, "ExclusiveStartShardId": shard,
            "StreamCreationTimestamp": 1.5, "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": 1.5, "ShardId": shard}}),
        ),
        ("ListShards", json!({"NextToken": "dG9rZW4"})),
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "aGk=", "PartitionKey": "k", "ExplicitHashKey": "7",
            "SequenceNumberForOrdering": "1"}),
        ),
        (
            "PutRecords",
            json!({"StreamName": "s", "Records": [entry, entry, entry]}),
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": "7", "Timestamp": 1.5}),
        ),
        (
            "GetRecords",
            json!({"ShardIterator": "dG9rZW4", "Limit": 5, "StreamARN": STREAM_ARN}),
        ),
        (
            "SplitShard",
            json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": "7777"}),
        ),
        (
            "MergeShards",
            json!({"StreamName": "s", "ShardToMerge": shard, "AdjacentShardToMerge": "shardId-000000000001"}),
        ),
        (
            "UpdateShardCount",
            json!({"StreamName": "s", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}),
        ),
        // Of a consumer that never is, so that it is always answered with a refusal and not with an event stream.
        (
            "SubscribeToShard",
            json!({"ConsumerARN": format!("{STREAM_ARN}/consumer/none:1"), "ShardId": shard,
            "StartingPosition": {"Type": "AT_TIMESTAMP", "Timestamp": 1.5, "SequenceNumber": "7"}}),
        ),
        ("NoSuchOperation", named),
    ]
}

#[derive(Clone, Debug)]
enum Damage {
    /// Another value in a place.
    Replace(Index, Value),
    /// A member that nobody knows, or knows already.
    Add(Index, String, Value),
    /// So many lists around a place.
    Nest(Index, usize),
    /// The encoded bytes end here.
    Cut(Index),
    /// A byte of them is another.
    Flip(Index, u8),
    /// Bytes come in between.
    Insert(Index, Vec<u8>),
}

const WORDS: &[&str] = &[
    "",
    "s",
    "t",
    "LATEST",
    "KMS",
    "2.5",
    "-1",
    STREAM_ARN,
    "shardId-999999999999",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..30).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (0_usize..100_000).prop_map(|n| "x".repeat(n).into()),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((any::<String>(), inner), 0..5)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (any::<Index>(), value()).prop_map(|(at, value)| Damage::Replace(at, value)),
        2 => (any::<Index>(), any::<String>(), value()).prop_map(|(at, name, value)| Damage::Add(at, name, value)),
        1 => (any::<Index>(), 1_usize..600).prop_map(|(at, depth)| Damage::Nest(at, depth)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Flip(at, byte)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

/// How many places a document has: itself, and those of its members.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum::<usize>(),
        _ => 0,
    }
}

/// The n-th place.
fn place(value: &mut Value, mut n: usize) -> &mut Value {
    if n == 0 {
        return value;
    }
    n -= 1;
    let members: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for member in members {
        let size = size(member);
        if n < size {
            return place(member, n);
        }
        n -= size;
    }
    unreachable!("a place that the document does not have")
}

/// The body that is sent.
fn damaged(mut request: Value, damages: &[Damage], is_cbor: bool) -> Vec<u8> {
    for damage in damages {
        let (Damage::Replace(at, _) | Damage::Add(at, ..) | Damage::Nest(at, _)) = damage else {
            continue;
        };
        let n = at.index(size(&request));
        let place = place(&mut request, n);
        match damage {
            Damage::Replace(_, value) => *place = value.clone(),
            Damage::Add(_, name, value) => {
                if let Value::Object(members) = place {
                    members.insert(name.clone(), value.clone());
                }
            }
            Damage::Nest(_, depth) => {
                for _ in 0..*depth {
                    *place = Value::Array(vec![place.take()]);
                }
            }
            _ => {}
        }
    }
    let mut body = if is_cbor {
        cbor4ii::serde::to_vec(Vec::new(), &request).unwrap()
    } else {
        serde_json::to_vec(&request).unwrap()
    };
    for damage in damages {
        match damage {
            Damage::Cut(at) => body.truncate(at.index(body.len() + 1)),
            Damage::Flip(at, byte) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            Damage::Insert(at, bytes) => {
                let at = at.index(body.len() + 1);
                body.splice(at..at, bytes.iter().copied());
            }
            _ => {}
        }
    }
    body
}

#[derive(serde::Deserialize)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
    message: String,
}

/// What is wrong with an answer, if anything.
fn complaint(answer: &Raw, is_cbor: bool) -> Option<String> {
    if answer.content_type != content_type(is_cbor) {
        return Some(format!("it is in {}", answer.content_type));
    }
    if answer.status == 200 {
        return None;
    }
    let refusal: Option<Refusal> = if is_cbor {
        cbor4ii::serde::from_slice(&answer.body).ok()
    } else {
        serde_json::from_slice(&answer.body).ok()
    };
    match refusal {
        None => Some(format!("{} without the shape of an error", answer.status)),
        Some(refusal) if answer.status != 400 || refusal.message.is_empty() => Some(format!(
            "{} {}: {}",
            answer.status, refusal.kind, refusal.message
        )),
        Some(refusal) if !refusal.kind.ends_with("Exception") => Some(refusal.kind),
        Some(_) => None,
    }
}

fn content_type(is_cbor: bool) -> &'static str {
    if is_cbor {
        "application/x-amz-cbor-1.1"
    } else {
        "application/x-amz-json-1.1"
    }
}

#[test]
fn ten_thousand_damaged_requests_are_answered_in_the_services_shape() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).serve().unwrap();
    let address = endpoint.address();
    Client::new(address).kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 2}));
    let templates = [templates(), settings()].concat();
    let case = (0..templates.len(), any::<bool>(), vec(damage(), 1..4));
    let client = std::cell::RefCell::new(Client::new(address));
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        ..Config::default()
    });
    runner
        .run(&case, |(template, is_cbor, damages)| {
            let (operation, request) = &templates[template];
            let body = damaged(request.clone(), &damages, is_cbor);
            let head = format!(
                "POST / HTTP/1.1\r\ncontent-type: {}\r\nx-amz-target: Kinesis_20131202.{operation}\r\n",
                content_type(is_cbor)
            );
            let answer = client.borrow_mut().send_raw(&head, &body);
            let answer = answer.map_err(|error| TestCaseError::fail(format!("{operation}: {error}")))?;
            let complaint = complaint(&answer, is_cbor);
            prop_assert!(complaint.is_none(), "{operation}: {}", complaint.unwrap());
            Ok(())
        })
        .unwrap();
    let streams = Client::new(address).kinesis("ListStreams", &json!({}));
    assert!(
        streams["StreamNames"]
            .as_array()
            .unwrap()
            .contains(&json!("s"))
    );
}
