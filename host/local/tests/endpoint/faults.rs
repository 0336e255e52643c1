//! Faults on demand, as a client meets them.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwright_local::{Endpoint, FaultPlan, Handle};
use tempfile::TempDir;

use crate::client::{Client, base64, read_shard, text};

const FIRST: &str = "shardId-000000000000";

/// An endpoint with a stream, and then with these faults.
fn serve(seed: u64, rules: &[&str]) -> (TempDir, Handle, Client) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).serve().unwrap();
    let mut client = Client::new(endpoint.address());
    client.kinesis("CreateStream", &json!({"StreamName": "s", "ShardCount": 1}));
    endpoint.shutdown();
    let plan = FaultPlan {
        seed,
        rules: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
    };
    let endpoint = Endpoint::new(folder.path()).faults(plan).serve().unwrap();
    let client = Client::new(endpoint.address());
    (folder, endpoint, client)
}

fn put(client: &mut Client, data: &str) -> io::Result<u16> {
    let record = json!({"StreamName": "s", "Data": base64(data), "PartitionKey": "k"});
    Ok(client.try_kinesis("PutRecord", &record)?.status)
}

fn plan(client: &mut Client, verb: &str, plan: &Value) -> (u16, Value) {
    let head = format!("{verb} /_shardwright/faults HTTP/1.1\r\n");
    let answer = client.send(&head, plan.to_string().as_bytes()).unwrap();
    (answer.status, answer.body)
}

/// What the shard holds, with the faults ended.
fn content(client: &mut Client) -> Vec<String> {
    plan(client, "PUT", &json!({}));
    let records = read_shard(client, "s", &json!(FIRST));
    records.iter().map(text).collect()
}

#[test]
fn errors_are_the_services_and_nothing_is_done() {
    for (rule, status, kind) in [
        ("throttle", 400, "ProvisionedThroughputExceededException"),
        ("server_error", 500, "InternalFailure"),
        ("unavailable", 503, "ServiceUnavailable"),
    ] {
        let rule = format!("{rule},operation=PutRecord,times=1");
        let (_folder, _endpoint, mut client) = serve(0, &[&rule]);
        let record = json!({"StreamName": "s", "Data": base64("a"), "PartitionKey": "k"});
        let answer = client.try_kinesis("PutRecord", &record).unwrap();
        assert_eq!((answer.status, answer.kind()), (status, kind));
        assert_eq!(put(&mut client, "b").unwrap(), 200);
        assert_eq!(content(&mut client), ["b"]);
    }
}

#[test]
fn a_reset_does_nothing_and_a_lost_answer_hides_what_was_done() {
    for (rule, expected) in [
        ("reset", vec!["b"]),
        ("applied_but_timed_out,ms=20", vec!["a", "b"]),
    ] {
        let rule = format!("{rule},operation=PutRecord,times=1");
        let (_folder, _endpoint, mut client) = serve(0, &[&rule]);
        let error = put(&mut client, "a").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{rule}");
        assert_eq!(put(&mut client, "b").unwrap(), 200);
        assert_eq!(content(&mut client), expected, "{rule}");
    }
}

#[test]
fn a_duplicated_read_gives_the_same_records_again_and_an_expired_iterator_says_so() {
    let rules = [
        "expired_iterator,times=1",
        "duplicated_read,times=1",
        "latency,ms=30,operation=GetRecords",
    ];
    let (_folder, _endpoint, mut client) = serve(0, &rules);
    for data in ["a", "b"] {
        put(&mut client, data).unwrap();
    }
    let request = json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"});
    let mut iterator = client.kinesis("GetShardIterator", &request)["ShardIterator"].clone();
    let get = |iterator: &Value| json!({"ShardIterator": iterator, "Limit": 1});
    client.refused("GetRecords", &get(&iterator), "ExpiredIteratorException");
    let mut seen = Vec::new();
    let begun = Instant::now();
    for _ in 0..3 {
        let page = client.kinesis("GetRecords", &get(&iterator));
        seen.push(text(&page["Records"][0]));
        iterator = page["NextShardIterator"].clone();
    }
    assert_eq!(seen, ["a", "a", "b"]);
    assert!(begun.elapsed() >= Duration::from_millis(90));
}

#[test]
fn a_part_of_a_put_is_refused_and_the_others_are_there() {
    let (_folder, _endpoint, mut client) = serve(3, &["partial_throttle,times=1"]);
    let record = |i| json!({"Data": base64(&format!("{i}")), "PartitionKey": "k"});
    let request = json!({"StreamName": "s", "Records": (0..20).map(record).collect::<Vec<_>>()});
    let answer = client.kinesis("PutRecords", &request);
    let outcomes = answer["Records"].as_array().unwrap();
    let is_put = |at: &usize| outcomes[*at].get("SequenceNumber").is_some();
    let expected: Vec<_> = (0..20).filter(is_put).map(|i| i.to_string()).collect();
    assert!((1..20).contains(&expected.len()));
    assert_eq!(answer["FailedRecordCount"], 20 - expected.len());
    assert_eq!(content(&mut client), expected);
}

#[test]
fn a_seed_gives_its_faults_again() {
    let (_folder, _endpoint, mut client) = serve(0, &[]);
    let mut run = |seed: u64| {
        let rules = json!({"seed": seed, "rules": [{"fault": "throttle", "operation": "PutRecord", "rate": 0.5}]});
        assert_eq!(plan(&mut client, "PUT", &rules).0, 200);
        let statuses: Vec<_> = (0..30).map(|_| put(&mut client, "x").unwrap()).collect();
        let (_, shown) = plan(&mut client, "GET", &json!({}));
        let throttled = statuses.iter().filter(|s| **s == 400).count();
        assert_eq!(shown["rules"][0]["happened"], throttled);
        statuses
    };
    let first = run(11);
    assert_eq!(run(11), first);
    assert_ne!(run(12), first);
    let (status, _) = plan(
        &mut client,
        "PUT",
        &json!({"rules": [{"fault": "earthquake"}]}),
    );
    assert_eq!(status, 400);
}

#[test]
fn tables_meet_faults_that_name_their_operation() {
    let (_folder, _endpoint, mut client) =
        serve(0, &["applied_but_timed_out,operation=CreateTable,times=1"]);
    let table = json!({"TableName": "table", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]});
    assert!(client.try_dynamodb("CreateTable", &table).is_err());
    assert_eq!(
        client.dynamodb("ListTables", &json!({}))["TableNames"],
        json!(["table"])
    );
}

#[test]
fn requests_that_wait_on_purpose_keep_no_others_out() {
    let (_folder, endpoint, mut client) = serve(0, &["latency,ms=60000,operation=PutRecords"]);
    // Together as large as all bodies may be that are held at once.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let mut connection = TcpStream::connect(endpoint.address()).unwrap();
            let head = "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n\
                        content-length: 16777216\r\n\r\n";
            connection.write_all(head.as_bytes()).unwrap();
            connection
        })
        .collect();
    while plan(&mut client, "GET", &json!({})).1["rules"][0]["happened"] != waiting.len() {
        thread::yield_now();
    }
    let begun = Instant::now();
    client.kinesis("ListStreams", &json!({}));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it waited for them"
    );
}
