//! The service's limits, once they are asked for. The clock stands still, so that nothing depends on the machine's speed.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright_local::{Endpoint, Handle, ServiceLimits};
use tempfile::TempDir;

use crate::client::{Client, base64, read_from};

const FIRST: &str = "shardId-000000000000";

fn serve(limits: ServiceLimits, shards: u32) -> (TempDir, Handle, Client) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).limits(limits).serve().unwrap();
    endpoint.clock().freeze(endpoint.clock().now());
    let mut client = Client::new(endpoint.address());
    let create = json!({"StreamName": "s", "ShardCount": shards});
    client.kinesis("CreateStream", &create);
    (folder, endpoint, client)
}

fn throttled() -> ServiceLimits {
    ServiceLimits {
        throughput: true,
        ..ServiceLimits::DEFAULT
    }
}

fn records(count: usize, bytes: usize) -> Value {
    let record = |i| json!({"Data": base64(&"x".repeat(bytes)), "PartitionKey": format!("{i}")});
    json!({"StreamName": "s", "Records": (0..count).map(record).collect::<Vec<_>>()})
}

fn iterator(client: &mut Client) -> Value {
    let request = json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"});
    client.kinesis("GetShardIterator", &request)["ShardIterator"].clone()
}

#[test]
fn no_rate_is_limited_unless_asked_for() {
    let (_folder, _endpoint, mut client) = serve(ServiceLimits::DEFAULT, 1);
    for _ in 0..5 {
        assert_eq!(
            client.kinesis("PutRecords", &records(500, 1))["FailedRecordCount"],
            0
        );
    }
    let iterator = iterator(&mut client);
    for _ in 0..10 {
        client.kinesis("GetRecords", &json!({"ShardIterator": iterator}));
    }
}

#[test]
fn a_shard_takes_a_thousand_records_a_second_and_each_one_too_many_fails_by_itself() {
    let (_folder, endpoint, mut client) = serve(throttled(), 2);
    let mut written = 0;
    for _ in 0..5 {
        let answer = client.kinesis("PutRecords", &records(500, 10));
        let outcomes = answer["Records"].as_array().unwrap();
        assert_eq!(outcomes.len(), 500);
        let failed: Vec<_> = outcomes
            .iter()
            .filter(|o| o.get("ErrorCode").is_some())
            .collect();
        assert_eq!(answer["FailedRecordCount"], failed.len());
        for outcome in &failed {
            assert_eq!(
                outcome["ErrorCode"],
                "ProvisionedThroughputExceededException"
            );
            let message = outcome["ErrorMessage"].as_str().unwrap();
            assert!(
                message.starts_with("Rate exceeded for shard shardId-00000000000")
                    && message.ends_with(" in stream s under account 000000000000."),
                "{message}"
            );
            assert!(outcome.get("SequenceNumber").is_none() && outcome.get("ShardId").is_none());
        }
        written += 500 - failed.len();
    }
    assert_eq!(written, 2000);
    let record = json!({"StreamName": "s", "Data": "", "PartitionKey": "k"});
    client.refused(
        "PutRecord",
        &record,
        "ProvisionedThroughputExceededException",
    );
    endpoint.clock().advance(Duration::from_millis(1));
    client.kinesis("PutRecord", &record);
    client.refused(
        "PutRecord",
        &record,
        "ProvisionedThroughputExceededException",
    );
    endpoint.clock().advance(Duration::from_secs(1));
    let answer = client.kinesis("PutRecords", &records(500, 10));
    assert_eq!(answer["FailedRecordCount"], 0);
}

#[test]
fn a_shard_takes_a_megabyte_a_second() {
    let (_folder, endpoint, mut client) = serve(throttled(), 1);
    let answer = client.kinesis("PutRecords", &records(12, 100_000));
    assert_eq!(answer["FailedRecordCount"], 2);
    // What fits is taken, whatever was refused before it.
    assert_eq!(
        client.kinesis("PutRecords", &records(2, 40_000))["FailedRecordCount"],
        1
    );
    endpoint.clock().advance(Duration::from_secs(1));
    assert_eq!(
        client.kinesis("PutRecords", &records(10, 100_000))["FailedRecordCount"],
        0
    );
    let iterator = iterator(&mut client);
    assert_eq!(read_from(&mut client, &iterator).len(), 10 + 1 + 10);
}

#[test]
fn a_shard_is_read_five_times_a_second() {
    let (_folder, endpoint, mut client) = serve(throttled(), 2);
    let get = json!({"ShardIterator": iterator(&mut client)});
    for _ in 0..2 {
        for _ in 0..5 {
            client.kinesis("GetRecords", &get);
        }
        let answer = client.try_kinesis("GetRecords", &get).unwrap();
        assert_eq!(
            (answer.status, answer.kind()),
            (400, "ProvisionedThroughputExceededException")
        );
        assert_eq!(
            answer.body["message"],
            "Rate exceeded for Shard - 000000000000/s/shardId-000000000000"
        );
        endpoint.clock().advance(Duration::from_secs(1));
    }
}

#[test]
fn after_ten_megabytes_a_shard_is_not_read_for_five_seconds() {
    let (_folder, endpoint, mut client) = serve(throttled(), 1);
    for _ in 0..10 {
        let answer = client.kinesis("PutRecords", &records(10, 100_000));
        assert_eq!(answer["FailedRecordCount"], 0);
        endpoint.clock().advance(Duration::from_secs(1));
    }
    let get = json!({"ShardIterator": iterator(&mut client)});
    let page = client.kinesis("GetRecords", &get);
    assert_eq!(page["Records"].as_array().unwrap().len(), 100);
    endpoint.clock().advance(Duration::from_millis(4700));
    client.refused("GetRecords", &get, "ProvisionedThroughputExceededException");
    endpoint.clock().advance(Duration::from_millis(300));
    client.kinesis("GetRecords", &get);
}

#[test]
fn limits_are_set_while_the_endpoint_runs() {
    let (_folder, _endpoint, mut client) = serve(ServiceLimits::DEFAULT, 1);
    let limits = |client: &mut Client, verb: &str, body: &Value| {
        let head = format!("{verb} /_shardwright/limits HTTP/1.1\r\n");
        client.send(&head, body.to_string().as_bytes()).unwrap()
    };
    let answer = limits(&mut client, "GET", &json!({}));
    assert_eq!(answer.body["throughput"], false);
    assert_eq!(answer.body["write_records_per_s"], 1000);
    let change = json!({"throughput": true, "write_records_per_s": 2, "record_bytes": 20, "put_records_bytes": 50});
    let answer = limits(&mut client, "PUT", &change);
    assert_eq!(
        (answer.status, &answer.body["record_bytes"]),
        (200, &json!(20))
    );
    client.refused("PutRecords", &records(1, 20), "ValidationException");
    client.refused("PutRecords", &records(3, 18), "InvalidArgumentException");
    assert_eq!(
        client.kinesis("PutRecords", &records(3, 10))["FailedRecordCount"],
        1
    );
    assert_eq!(
        limits(&mut client, "PUT", &json!({"reads_per_s": 0})).status,
        400
    );
    assert_eq!(limits(&mut client, "PUT", &json!({"speed": 1})).status, 400);
    assert_eq!(
        limits(&mut client, "GET", &json!({})).body["put_records_bytes"],
        50
    );
    limits(&mut client, "PUT", &json!({"throughput": false}));
    assert_eq!(
        client.kinesis("PutRecords", &records(3, 10))["FailedRecordCount"],
        0
    );
}
