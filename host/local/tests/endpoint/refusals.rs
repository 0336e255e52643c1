//! What is refused, with which words: the field that is wrong, and what is only tried.

use serde_json::{Value, json};
use shardwright_local::{Endpoint, Handle};
use tempfile::TempDir;

use crate::client::{Client, base64, read_shard};

const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";

/// An endpoint with a stream of two shards.
fn serve() -> (TempDir, Handle, Client) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).serve().unwrap();
    let mut client = Client::new(endpoint.address());
    client.kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 2}));
    (folder, endpoint, client)
}

/// The message of a request that is refused with this error.
fn message(client: &mut Client, operation: &str, request: &Value, kind: &str) -> String {
    client.refused(operation, request, kind);
    let answer = client.try_kinesis(operation, request).unwrap();
    answer.body["message"].as_str().unwrap().to_owned()
}

fn wrong_field(client: &mut Client, operation: &str, request: &Value) -> String {
    let message = message(client, operation, request, "ValidationException");
    let (_, rest) = message.split_once(" at '").unwrap();
    rest.split_once('\'').unwrap().0.to_owned()
}

#[test]
fn the_record_and_the_field_that_are_wrong_are_named() {
    let (_folder, _endpoint, mut client) = serve();
    let good = json!({"Data": "", "PartitionKey": "k"});
    let large = base64(&"x".repeat(1 << 20));
    for (wrong, field) in [
        (json!({"PartitionKey": "k"}), "data"),
        (json!({"Data": large, "PartitionKey": "k"}), "data"),
        (json!({"Data": ""}), "partitionKey"),
        (json!({"Data": "", "PartitionKey": ""}), "partitionKey"),
        (
            json!({"Data": "", "PartitionKey": "k".repeat(257)}),
            "partitionKey",
        ),
        (
            json!({"Data": "", "PartitionKey": "k", "ExplicitHashKey": "01"}),
            "explicitHashKey",
        ),
        (
            json!({"Data": "", "PartitionKey": "k", "ExplicitHashKey": "1".repeat(40)}),
            "explicitHashKey",
        ),
    ] {
        let records = json!({"StreamName": "s", "Records": [good, good, wrong]});
        let found = wrong_field(&mut client, "PutRecords", &records);
        assert_eq!(found, format!("records.3.member.{field}"));
        let mut alone = wrong;
        alone["StreamName"] = json!("s");
        assert_eq!(wrong_field(&mut client, "PutRecord", &alone), field);
    }
    let split =
        |key: &str| json!({"StreamName": "s", "ShardToSplit": FIRST, "NewStartingHashKey": key});
    for key in ["-1", "x", &"1".repeat(40)] {
        let field = wrong_field(&mut client, "SplitShard", &split(key));
        assert_eq!(field, "newStartingHashKey", "{key}");
    }
    let beyond = "9".repeat(39);
    let said = message(
        &mut client,
        "SplitShard",
        &split(&beyond),
        "InvalidArgumentException",
    );
    assert!(said.starts_with("Invalid NewStartingHashKey."), "{said}");
}

#[test]
fn a_position_that_contradicts_itself_or_the_shard_is_refused_for_what_is_wrong_with_it() {
    let (_folder, _endpoint, mut client) = serve();
    let put = |key: &str| json!({"StreamName": "s", "Data": "", "PartitionKey": "k", "ExplicitHashKey": key});
    let last = u128::MAX.to_string();
    let (first, second) = (
        client.kinesis("PutRecord", &put("0")),
        client.kinesis("PutRecord", &put(&last)),
    );
    assert_eq!(
        (&first["ShardId"], &second["ShardId"]),
        (&json!(FIRST), &json!(SECOND))
    );
    let ask = |kind: &str, number: &Value| {
        json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": kind,
            "StartingSequenceNumber": number})
    };
    let mut said = |kind: &str, number: &Value| {
        let operation = "GetShardIterator";
        message(
            &mut client,
            operation,
            &ask(kind, number),
            "InvalidArgumentException",
        )
    };
    for kind in ["TRIM_HORIZON", "LATEST"] {
        let said = said(kind, &first["SequenceNumber"]);
        let end = format!("Request specified {kind} and also a StartingSequenceNumber.");
        assert!(said.ends_with(&end), "{said}");
    }
    assert_eq!(
        said("AT_SEQUENCE_NUMBER", &second["SequenceNumber"]),
        format!(
            "Invalid StartingSequenceNumber. It encodes {SECOND}, while it was used in a call to a shard with {FIRST}"
        )
    );
    let none = said("AFTER_SEQUENCE_NUMBER", &json!("123"));
    assert!(none.ends_with(" is invalid."), "{none}");
    for text in ["", "x", "01", &"1".repeat(130)] {
        let request = ask("AT_SEQUENCE_NUMBER", &json!(text));
        let field = wrong_field(&mut client, "GetShardIterator", &request);
        assert_eq!(field, "startingSequenceNumber", "{text}");
    }
    client.kinesis(
        "GetShardIterator",
        &ask("AT_SEQUENCE_NUMBER", &first["SequenceNumber"]),
    );
}

#[test]
fn what_is_only_tried_is_checked_and_not_done() {
    let (_folder, _endpoint, mut client) = serve();
    let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/s";
    let register = json!({"StreamARN": arn, "ConsumerName": "c"});
    let consumer =
        client.kinesis("RegisterStreamConsumer", &register)["Consumer"]["ConsumerARN"].clone();
    let position =
        json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = client.kinesis("GetShardIterator", &position)["ShardIterator"].clone();
    let record = json!({"Data": "", "PartitionKey": "k"});
    for (operation, request) in [
        (
            "PutRecord",
            json!({"StreamName": "s", "Data": "", "PartitionKey": "k"}),
        ),
        (
            "PutRecords",
            json!({"StreamName": "s", "Records": [record]}),
        ),
        ("GetShardIterator", position),
        ("GetRecords", json!({"ShardIterator": iterator})),
        (
            "SubscribeToShard",
            json!({"ConsumerARN": consumer, "ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}}),
        ),
    ] {
        let mut tried = request.clone();
        tried["DryRun"] = json!(true);
        // Twice: a subscription that had begun would be in the way of the second.
        for _ in 0..2 {
            client.refused(operation, &tried, "DryRunOperationException");
        }
        tried["ShardId"] = json!("shardId-000000000009");
        tried["StreamName"] = json!("other");
        tried["ShardIterator"] = json!("x");
        let answer = client.try_kinesis(operation, &tried).unwrap();
        assert_ne!(answer.kind(), "DryRunOperationException", "{operation}");
    }
    for shard in [FIRST, SECOND] {
        assert!(read_shard(&mut client, "s", &json!(shard)).is_empty());
    }
}

#[test]
fn where_keys_do_not_matter_a_record_comes_without_one_and_goes_so() {
    let (_folder, _endpoint, mut client) = serve();
    let create = json!({"StreamName": "auto", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    client.kinesis("CreateStream", &create);
    let without = json!({"StreamName": "auto", "Data": base64("a")});
    client.refused("PutRecord", &without, "ValidationException");
    let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/auto";
    let update = json!({"StreamARN": arn, "RecordDistributionStrategy": "AUTO"});
    client.kinesis("UpdateStreamRecordDistributionStrategy", &update);
    let shard = client.kinesis("PutRecord", &without)["ShardId"].clone();
    let records = read_shard(&mut client, "auto", &shard);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].get("PartitionKey"), None);
    let entries = json!([{"Data": base64("b")}, {"Data": base64("c"), "PartitionKey": "k"}]);
    let answer = client.kinesis(
        "PutRecords",
        &json!({"StreamName": "auto", "Records": entries}),
    );
    assert_eq!(answer["FailedRecordCount"], 0);
    let keyed = read_shard(&mut client, "auto", &answer["Records"][1]["ShardId"]);
    assert!(keyed.iter().any(|record| record["PartitionKey"] == "k"));
}

#[test]
fn a_list_can_be_asked_for_much_and_gives_a_page() {
    let (_folder, _endpoint, mut client) = serve();
    client.kinesis(
        "CreateStream",
        &json!({"StreamName": "wide", "ShardCount": 1001}),
    );
    for number in 0..99 {
        let create = json!({"StreamName": format!("n{number}"), "ShardCount": 1});
        client.kinesis("CreateStream", &create);
    }
    let much = json!({"StreamName": "wide", "MaxResults": 10_000});
    let page = client.kinesis("ListShards", &much);
    assert_eq!(page["Shards"].as_array().unwrap().len(), 1000);
    assert!(page["NextToken"].is_string());
    let more = json!({"StreamName": "wide", "MaxResults": 10_001});
    client.refused("ListShards", &more, "ValidationException");
    let described = client.kinesis(
        "DescribeStream",
        &json!({"StreamName": "wide", "Limit": 10_000}),
    );
    let described = &described["StreamDescription"];
    assert_eq!(described["Shards"].as_array().unwrap().len(), 100);
    assert_eq!(described["HasMoreShards"], true);
    let streams = client.kinesis("ListStreams", &json!({"Limit": 10_000}));
    assert_eq!(streams["StreamNames"].as_array().unwrap().len(), 100);
    assert_eq!(streams["HasMoreStreams"], true);
}
