//! What clients see that boto3's own checks (see `boto3.rs`) do not reach.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shardwright_local::{Endpoint, Handle, SyncMode};
use tempfile::TempDir;

use crate::client::{Client, base64, read_from, read_shard, shard_ids, text};

const FIRST: &str = "shardId-000000000000";

fn serve() -> (TempDir, Handle, Client) {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::new(folder.path()).serve().unwrap();
    let client = Client::new(endpoint.address());
    (folder, endpoint, client)
}

fn create(client: &mut Client, stream: &str, shards: u32) {
    client.kinesis(
        "CreateStream",
        &json!({"StreamName": stream, "ShardCount": shards}),
    );
}

fn put(client: &mut Client, stream: &str, data: &str) -> Value {
    client.kinesis(
        "PutRecord",
        &json!({"StreamName": stream, "Data": base64(data), "PartitionKey": data}),
    )
}

fn iterator(client: &mut Client, request: &Value) -> Value {
    client.kinesis("GetShardIterator", request)["ShardIterator"].clone()
}

#[test]
fn requests_that_are_none_are_refused_in_the_services_words() {
    let (_folder, _endpoint, mut client) = serve();
    create(&mut client, "s", 1);
    client.refused("NoSuchOperation", &json!({}), "UnknownOperationException");
    client.refused(
        "CreateStream",
        &json!({"ShardCount": 1}),
        "ValidationException",
    );
    client.refused(
        "CreateStream",
        &json!({"StreamName": "not a name", "ShardCount": 1}),
        "ValidationException",
    );
    client.refused(
        "CreateStream",
        &json!({"StreamName": "n", "ShardCount": 0}),
        "ValidationException",
    );
    client.refused(
        "CreateStream",
        &json!({"StreamName": "n", "ShardCount": 1_000_000}),
        "LimitExceededException",
    );
    client.refused("DescribeStream", &json!({}), "InvalidArgumentException");
    client.refused(
        "DescribeStream",
        &json!({"StreamName": "other"}),
        "ResourceNotFoundException",
    );
    client.refused(
        "PutRecord",
        &json!({"StreamName": "s", "Data": "?", "PartitionKey": "k"}),
        "SerializationException",
    );
    client.refused(
        "PutRecord",
        &json!({"StreamName": "s", "Data": "", "PartitionKey": ""}),
        "ValidationException",
    );
    let long = "ä".repeat(257);
    client.refused(
        "PutRecord",
        &json!({"StreamName": "s", "Data": "", "PartitionKey": long}),
        "ValidationException",
    );
    let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/t";
    client.refused(
        "DescribeStream",
        &json!({"StreamName": "s", "StreamARN": arn}),
        "InvalidArgumentException",
    );
    client.refused(
        "ListShards",
        &json!({"NextToken": "x", "StreamName": "s"}),
        "InvalidArgumentException",
    );
    client.refused(
        "ListShards",
        &json!({"NextToken": "x"}),
        "InvalidArgumentException",
    );
    let filter = json!({"StreamName": "s", "ShardFilter": {"Type": "AT_TIMESTAMP"}});
    client.refused("ListShards", &filter, "InvalidArgumentException");

    let head = "POST / HTTP/1.1\r\nx-amz-target: Kinesis_20131202.ListStreams\r\n";
    let answer = client.send(head, b"{not json").unwrap();
    assert_eq!(
        (answer.status, answer.kind()),
        (400, "SerializationException")
    );
    let answer = client.send("POST / HTTP/1.1\r\n", b"{}").unwrap();
    assert_eq!(
        (answer.status, answer.kind()),
        (400, "UnknownOperationException")
    );
    assert_eq!(
        client.send(head, b"").unwrap().body["StreamNames"],
        json!(["s"])
    );
}

#[test]
fn a_body_beyond_the_bound_is_refused_before_it_is_read() {
    let (_folder, endpoint, mut client) = serve();
    let head = "POST / HTTP/1.1\r\nx-amz-target: Kinesis_20131202.PutRecords\r\ncontent-length: 16777217\r\n";
    let mut raw = TcpStream::connect(endpoint.address()).unwrap();
    std::io::Write::write_all(&mut raw, format!("{head}host: x\r\n\r\n").as_bytes()).unwrap();
    raw.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut start = [0; 12];
    std::io::Read::read_exact(&mut raw, &mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    create(&mut client, "s", 1);
}

#[test]
fn concurrent_writers_get_rising_numbers_and_every_acknowledged_record_is_read() {
    let (_folder, endpoint, mut client) = serve();
    create(&mut client, "s", 4);
    let address = endpoint.address();
    let writer = move |writer: usize| {
        let mut client = Client::new(address);
        for request in 0..20 {
            let record = |i| {
                let name = format!("{writer}-{:05}", request * 100 + i);
                json!({"Data": base64(&name), "PartitionKey": name})
            };
            let records: Vec<_> = (0..100).map(record).collect();
            let answer = client.kinesis(
                "PutRecords",
                &json!({"StreamName": "s", "Records": records}),
            );
            assert_eq!(answer["FailedRecordCount"], 0);
        }
    };
    let writers: Vec<_> = (0..8).map(|w| thread::spawn(move || writer(w))).collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let mut seen = BTreeMap::new();
    for shard in shard_ids(&mut client, &json!({"StreamName": "s"})) {
        let records = read_shard(&mut client, "s", &shard);
        let numbers: Vec<_> = records
            .iter()
            .map(|r| r["SequenceNumber"].as_str().unwrap())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        let mut last = BTreeMap::new();
        for name in records.iter().map(text) {
            let (writer, number) = name.split_once('-').unwrap();
            // A writer's records reach a shard in the order in which it sent them.
            assert!(
                last.insert(writer.to_owned(), number.to_owned())
                    .is_none_or(|before| before.as_str() < number)
            );
            *seen.entry(name).or_insert(0) += 1;
        }
    }
    assert_eq!(seen.len(), 8 * 2000);
    assert!(seen.values().all(|count| *count == 1));
}

/// A stream whose shards were split, merged and split again, at seconds 100, 200 and 300 after `start`.
fn resharded(endpoint: &Handle, client: &mut Client) -> u64 {
    let start = 1_800_000_000;
    let at = |second: u64| {
        endpoint
            .clock()
            .freeze(UNIX_EPOCH + Duration::from_secs(start + second));
    };
    at(0);
    create(client, "s", 1);
    let middle = (1_u128 << 127).to_string();
    let split = |shard: &str| json!({"StreamName": "s", "ShardToSplit": shard, "NewStartingHashKey": middle});
    at(100);
    client.kinesis("SplitShard", &split(FIRST));
    at(200);
    let merge = json!({"StreamName": "s", "ShardToMerge": "shardId-000000000001",
        "AdjacentShardToMerge": "shardId-000000000002"});
    client.kinesis("MergeShards", &merge);
    at(300);
    client.kinesis("SplitShard", &split("shardId-000000000003"));
    at(400);
    start
}

#[test]
fn every_shard_filter_gives_the_shards_that_its_definition_names() {
    let (_folder, endpoint, mut client) = serve();
    let start = resharded(&endpoint, &mut client);
    let mut listed = |filter: Value| -> Vec<u32> {
        let ids = shard_ids(
            &mut client,
            &json!({"StreamName": "s", "ShardFilter": filter}),
        );
        ids.iter()
            .map(|id| id.as_str().unwrap()[8..].parse().unwrap())
            .collect()
    };
    let time = |kind: &str, second: u64| json!({"Type": kind, "Timestamp": start + second});
    assert_eq!(
        listed(json!({"Type": "FROM_TRIM_HORIZON"})),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(listed(json!({"Type": "AT_TRIM_HORIZON"})), [0]);
    assert_eq!(listed(json!({"Type": "AT_LATEST"})), [4, 5]);
    assert_eq!(
        listed(json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000002"})),
        [3, 4, 5]
    );
    assert_eq!(listed(time("AT_TIMESTAMP", 50)), [0]);
    assert_eq!(listed(time("AT_TIMESTAMP", 150)), [1, 2]);
    assert_eq!(listed(time("AT_TIMESTAMP", 250)), [3]);
    assert_eq!(listed(time("AT_TIMESTAMP", 350)), [4, 5]);
    assert_eq!(listed(time("FROM_TIMESTAMP", 50)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(listed(time("FROM_TIMESTAMP", 150)), [1, 2, 3, 4, 5]);
    assert_eq!(listed(time("FROM_TIMESTAMP", 350)), [4, 5]);
    // Before the stream was made: its trim horizon.
    assert_eq!(
        listed(json!({"Type": "AT_TIMESTAMP", "Timestamp": start - 50})),
        [0]
    );
}

#[test]
fn the_trim_horizon_moves_through_the_lineage_as_shards_expire() {
    let (_folder, endpoint, mut client) = serve();
    let start = resharded(&endpoint, &mut client);
    for (second, horizon, all) in [
        (150, vec![1, 2], vec![1, 2, 3, 4, 5]),
        (250, vec![3], vec![3, 4, 5]),
        (350, vec![4, 5], vec![4, 5]),
    ] {
        let at = json!({"freeze_ms": (start + 24 * 3600 + second) * 1000}).to_string();
        let answer = client
            .send("PUT /_shardwright/clock HTTP/1.1\r\n", at.as_bytes())
            .unwrap();
        assert_eq!(answer.status, 200);
        for (filter, expected) in [("AT_TRIM_HORIZON", horizon), ("FROM_TRIM_HORIZON", all)] {
            let ids = shard_ids(
                &mut client,
                &json!({"StreamName": "s", "ShardFilter": {"Type": filter}}),
            );
            let numbers: Vec<u32> = ids
                .iter()
                .map(|id| id.as_str().unwrap()[8..].parse().unwrap())
                .collect();
            assert_eq!(numbers, expected, "{filter} at {second}");
        }
    }
    let request = json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"});
    client.refused("GetShardIterator", &request, "ResourceNotFoundException");
}

#[test]
fn a_listing_keeps_its_filter_from_page_to_page_and_its_token_expires() {
    let (_folder, endpoint, mut client) = serve();
    create(&mut client, "s", 7);
    endpoint.clock().freeze(SystemTime::now());
    let filter = json!({"Type": "AFTER_SHARD_ID", "ShardId": FIRST});
    let mut page = client.kinesis(
        "ListShards",
        &json!({"StreamName": "s", "MaxResults": 4, "ShardFilter": filter}),
    );
    assert_eq!(page["Shards"].as_array().unwrap().len(), 4);
    let token = page["NextToken"].clone();
    page = client.kinesis("ListShards", &json!({"NextToken": token, "MaxResults": 4}));
    let ids: Vec<_> = page["Shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["ShardId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["shardId-000000000005", "shardId-000000000006"]);
    assert_eq!(page["NextToken"], Value::Null);
    endpoint.clock().advance(Duration::from_secs(301));
    client.refused(
        "ListShards",
        &json!({"NextToken": token}),
        "ExpiredNextTokenException",
    );
}

#[test]
fn a_closed_shard_ends_with_a_null_iterator_and_its_children_for_every_way_to_begin() {
    let (_folder, _endpoint, mut client) = serve();
    create(&mut client, "s", 2);
    let last = put(&mut client, "s", "a");
    let latest =
        |shard: &Value| json!({"StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST"});
    let before = iterator(&mut client, &latest(&last["ShardId"]));
    let merge = json!({"StreamName": "s", "ShardToMerge": FIRST, "AdjacentShardToMerge": "shardId-000000000001"});
    client.kinesis("MergeShards", &merge);
    let after = iterator(&mut client, &latest(&last["ShardId"]));
    let number = json!({"StreamName": "s", "ShardId": last["ShardId"], "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
        "StartingSequenceNumber": last["SequenceNumber"]});
    let behind = iterator(&mut client, &number);
    for iterator in [before, after, behind] {
        let page = client.kinesis("GetRecords", &json!({"ShardIterator": iterator}));
        assert_eq!(page["Records"], json!([]));
        // There, and null: a field that is missing would be read the same, but the service sends it.
        assert_eq!(
            page.as_object().unwrap().get("NextShardIterator"),
            Some(&Value::Null)
        );
        let child = &page["ChildShards"][0];
        assert_eq!(child["ShardId"], "shardId-000000000002");
        assert_eq!(
            child["ParentShards"],
            json!([FIRST, "shardId-000000000001"])
        );
        assert_eq!(
            child["HashKeyRange"]["EndingHashKey"],
            u128::MAX.to_string()
        );
    }
}

#[test]
fn rescaling_gives_uniform_ranges_from_any_count_to_any_within_double_and_half() {
    let (_folder, _endpoint, mut client) = serve();
    for (from, to) in [(1, 2), (2, 3), (3, 2), (4, 7), (7, 4), (5, 5)] {
        let name = format!("s{from}-{to}");
        create(&mut client, &name, from);
        let rescale =
            json!({"StreamName": name, "TargetShardCount": to, "ScalingType": "UNIFORM_SCALING"});
        client.kinesis("UpdateShardCount", &rescale);
        create(&mut client, &format!("{name}-fresh"), to);
        let mut open = |stream: &str| -> Vec<Value> {
            let request = json!({"StreamName": stream, "ShardFilter": {"Type": "AT_LATEST"}});
            let answer = client.kinesis("ListShards", &request);
            let mut ranges: Vec<_> = answer["Shards"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["HashKeyRange"].clone())
                .collect();
            ranges.sort_by_key(|r| {
                r["StartingHashKey"]
                    .as_str()
                    .unwrap()
                    .parse::<u128>()
                    .unwrap()
            });
            ranges
        };
        assert_eq!(
            open(&name),
            open(&format!("{name}-fresh")),
            "from {from} to {to}"
        );
    }
}

#[test]
fn everything_is_there_after_a_restart_and_iterators_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut url = None;
    let mut left = Value::Null;
    for round in 0..3 {
        let sync = if round == 1 {
            SyncMode::Full
        } else {
            SyncMode::Process
        };
        let endpoint = Endpoint::new(folder.path()).sync(sync).serve().unwrap();
        assert_eq!(
            *url.get_or_insert(endpoint.url()),
            endpoint.url(),
            "the port stays the same"
        );
        let mut client = Client::new(endpoint.address());
        if round == 0 {
            create(&mut client, "s", 1);
            let request =
                json!({"StreamName": "s", "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"});
            left = iterator(&mut client, &request);
            let table = json!({"TableName": "table", "BillingMode": "PAY_PER_REQUEST",
                "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}]});
            client.dynamodb("CreateTable", &table);
        }
        put(&mut client, "s", &format!("round {round}"));
        let item = json!({"TableName": "table", "Item": {"k": {"S": round.to_string()}}});
        client.dynamodb("PutItem", &item);
        let read: Vec<_> = read_from(&mut client, &left).iter().map(text).collect();
        assert_eq!(
            read,
            (0..=round)
                .map(|r| format!("round {r}"))
                .collect::<Vec<_>>()
        );
        let scan = client.dynamodb("Scan", &json!({"TableName": "table"}));
        assert_eq!(scan["Count"], round + 1);
        endpoint.shutdown();
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A connection over HTTP/2 whose client has said that its one request is the last, and has all of the answer.
fn answered_over_http2(endpoint: &Handle) -> TcpStream {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GO_AWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let mut connection = TcpStream::connect(endpoint.address()).unwrap();
    connection
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // POST, http and / are in HPACK's table; a header in full is a 0, its name and its value.
    let mut headers = vec![0x83, 0x86, 0x84, 0];
    for text in ["x-amz-target", "Kinesis_20131202.ListStreams"] {
        headers.push(u8::try_from(text.len()).unwrap());
        headers.extend(text.bytes());
    }
    let said = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &headers),
        frame(DATA, END_STREAM, 1, b"{}"),
        frame(GO_AWAY, 0, 0, &[0; 8]),
    ];
    connection.write_all(&said.concat()).unwrap();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).unwrap();
        let [_, high, low, kind, flags, ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        connection.read_exact(&mut payload).unwrap();
        if kind == DATA && flags & END_STREAM != 0 {
            return connection;
        }
    }
}

/// What else comes, until the other side closes or says nothing for a while.
fn rest(connection: &mut TcpStream) -> Result<usize, ErrorKind> {
    connection
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let read = connection.read_to_end(&mut Vec::new());
    read.map_err(|error| error.kind())
}

#[test]
fn a_client_of_http_2_closes_its_connection_itself_even_after_its_last_answer() {
    let (_folder, endpoint, _client) = serve();
    let mut connection = answered_over_http2(&endpoint);
    assert_eq!(rest(&mut connection), Err(ErrorKind::WouldBlock));
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut connection), Ok(0));

    // It holds up no end of the endpoint, though.
    let mut connection = answered_over_http2(&endpoint);
    assert_eq!(rest(&mut connection), Err(ErrorKind::WouldBlock));
    let begun = Instant::now();
    endpoint.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(rest(&mut connection), Ok(0));
}
