//! Writing to a stream: what fails alone, what is held back, and order.

use std::collections::HashMap;

use shardwright::adapters::{AwsClients, KinesisSink};
use shardwright::ports::{
    DeliveryError, EmissionId, ErrorKind, Outgoing, ShardListing, Sink, StreamSource,
};
use shardwright_core::pipeline::Order;
use shardwright_core::{ShardId, StartAt};

use super::proxy::{Call, Fault, Proxy};
use super::source::{read_all, stream};
use super::target;

pub(super) async fn suite(endpoint: &str) {
    records_of_one_key_arrive_in_order_through_failures(endpoint).await;
    a_record_that_fails_holds_back_its_key_alone(endpoint).await;
    without_order_nothing_is_held_back(endpoint).await;
    a_record_that_no_stream_takes_fails_alone(endpoint).await;
    a_stream_that_is_not_there_fails_all(endpoint).await;
    a_target_that_refuses_to_be_used_is_no_fault_of_the_records(endpoint).await;
}

async fn sink(endpoint: &str, stream: &str, order: Order) -> KinesisSink {
    AwsClients::new()
        .sink(&target(endpoint), stream, order)
        .await
        .expect("a loopback endpoint needs nothing else")
}

/// Emissions of `(key, data)`, numbered.
fn outgoing<'a>(shard: &'a ShardId, made: &'a [(String, Vec<u8>)]) -> Vec<Outgoing<'a>> {
    (0..)
        .zip(made)
        .map(|(n, (key, data))| Outgoing {
            id: EmissionId {
                stream: "source",
                shard,
                from: ("4711", 3),
                to: None,
                n,
            },
            key,
            data,
        })
        .collect()
}

fn made(of: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    of.iter()
        .map(|(key, data)| ((*key).to_owned(), data.as_bytes().to_vec()))
        .collect()
}

fn failures(outcome: Result<(), DeliveryError>) -> Vec<(usize, ErrorKind)> {
    let Err(error) = outcome else {
        return Vec::new();
    };
    error
        .failed
        .iter()
        .map(|(index, error)| (*index, error.kind))
        .collect()
}

/// The partition keys of each request.
fn keys(calls: &[Call]) -> Vec<Vec<String>> {
    let key = |record: &serde_json::Value| {
        record["PartitionKey"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    calls
        .iter()
        .map(|call| {
            call.body["Records"]
                .as_array()
                .into_iter()
                .flatten()
                .map(key)
                .collect()
        })
        .collect()
}

/// An answer to `PutRecords` in which those with a code have failed.
fn answer(codes: &[Option<&str>]) -> Fault {
    let results: Vec<_> = (0..)
        .zip(codes)
        .map(|(n, code)| match code {
            Some(code) => serde_json::json!({"ErrorCode": code, "ErrorMessage": "scripted"}),
            None => serde_json::json!({"SequenceNumber": format!("{}", 100 + n), "ShardId": "shardId-000000000000"}),
        })
        .collect();
    let failed = codes.iter().flatten().count();
    Fault::Answer {
        status: 200,
        body: serde_json::json!({"FailedRecordCount": failed, "Records": results}).to_string(),
    }
}

async fn records_of_one_key_arrive_in_order_through_failures(endpoint: &str) {
    let source = stream(endpoint, "ordered", 1).await;
    let proxy = Proxy::to(endpoint).await;
    let sink = sink(proxy.endpoint(), "ordered", Order::PerKey).await;
    let shard = ShardId::from("shardId-000000000000");
    let made: Vec<(String, Vec<u8>)> = (0..60_usize)
        .map(|n| {
            (
                format!("key-{}", n % (1 + n % 7)),
                n.to_string().into_bytes(),
            )
        })
        .collect();
    // Some requests are lost on their way, some on their way back, some are refused.
    for fault in [
        Fault::Refuse,
        Fault::LoseReply,
        Fault::Answer {
            status: 400,
            body: r#"{"__type":"ProvisionedThroughputExceededException","message":"slow down"}"#
                .to_owned(),
        },
        Fault::LoseReply,
        Fault::Truncate,
    ] {
        proxy.next("PutRecords", fault);
    }
    let mut pending = made.clone();
    let mut tries = 0;
    while !pending.is_empty() {
        tries += 1;
        assert!(tries < 20, "{} are left after 20 tries", pending.len());
        let outcome = sink.deliver(&outgoing(&shard, &pending)).await;
        let failed = failures(outcome);
        assert!(
            failed
                .iter()
                .all(|(_, kind)| matches!(kind, ErrorKind::Transient | ErrorKind::Throttled)),
            "{failed:?}"
        );
        pending = failed
            .iter()
            .map(|&(index, _)| pending[index].clone())
            .collect();
    }
    assert_eq!(proxy.faults_left(), 0);
    for call in keys(&proxy.take_calls("PutRecords")) {
        let mut once = call.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            call.len(),
            "a request has a key twice: {call:?}"
        );
    }

    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let (records, _) = read_all(&source, &shards[0].id, &StartAt::TrimHorizon).await;
    let mut by_key: HashMap<&str, Vec<usize>> = HashMap::new();
    for record in &records {
        let n = String::from_utf8_lossy(&record.data)
            .parse()
            .expect("it is a number");
        let of_key = by_key.entry(&record.key).or_default();
        // A record whose acknowledgement was lost is there again, before anything that follows it.
        if of_key.last() != Some(&n) {
            of_key.push(n);
        }
    }
    for (key, read) in by_key {
        let sent: Vec<usize> = (0..made.len()).filter(|&n| made[n].0 == key).collect();
        assert_eq!(read, sent, "{key}");
    }
}

async fn a_record_that_fails_holds_back_its_key_alone(endpoint: &str) {
    let proxy = Proxy::to(endpoint).await;
    let sink = sink(proxy.endpoint(), "scripted", Order::PerKey).await;
    let shard = ShardId::from("shardId-000000000000");
    let made = made(&[
        ("a", "1"),
        ("b", "1"),
        ("a", "2"),
        ("b", "2"),
        ("c", "1"),
        ("", "x"),
        ("b", "3"),
        ("", "y"),
    ]);
    let emissions = outgoing(&shard, &made);
    let throttled = Some("ProvisionedThroughputExceededException");
    // a, b, c and the two without a key; then a.
    proxy.next(
        "PutRecords",
        answer(&[None, throttled, None, Some("InternalFailure"), None]),
    );
    proxy.next("PutRecords", answer(&[None]));
    let failed = failures(sink.deliver(&emissions).await);
    assert_eq!(
        failed,
        [
            (1, ErrorKind::Throttled),
            (3, ErrorKind::Transient),
            (5, ErrorKind::Transient),
            (6, ErrorKind::Transient),
        ]
    );
    let calls = keys(&proxy.take_calls("PutRecords"));
    assert_eq!(
        calls,
        [vec!["a", "b", "c", "4711/3/5", "4711/3/7"], vec!["a"]]
    );
}

async fn without_order_nothing_is_held_back(endpoint: &str) {
    let proxy = Proxy::to(endpoint).await;
    let sink = sink(proxy.endpoint(), "scripted", Order::Unordered).await;
    let shard = ShardId::from("shardId-000000000000");
    let made = made(&[("a", "1"), ("a", "2"), ("a", "3")]);
    proxy.next("PutRecords", answer(&[None, Some("InternalFailure"), None]));
    let failed = failures(sink.deliver(&outgoing(&shard, &made)).await);
    assert_eq!(failed, [(1, ErrorKind::Transient)]);
    assert_eq!(keys(&proxy.take_calls("PutRecords")).len(), 1);

    // An answer that does not fit the request says nothing about any of them.
    proxy.next("PutRecords", answer(&[None]));
    let failed = failures(sink.deliver(&outgoing(&shard, &made)).await);
    assert_eq!(failed, [0, 1, 2].map(|index| (index, ErrorKind::Transient)));
}

async fn a_record_that_no_stream_takes_fails_alone(endpoint: &str) {
    let source = stream(endpoint, "too-large", 1).await;
    let sink = sink(endpoint, "too-large", Order::PerKey).await;
    let shard = ShardId::from("shardId-000000000000");
    let made = [
        ("a".to_owned(), vec![b'1'; 10]),
        // Above what any stream takes, and above what this one takes.
        ("b".to_owned(), vec![b'2'; 11 * 1024 * 1024]),
        ("c".to_owned(), vec![b'3'; 2 * 1024 * 1024]),
        ("d".to_owned(), vec![b'4'; 10]),
        ("x".repeat(257), vec![b'5'; 10]),
    ];
    let failed = failures(sink.deliver(&outgoing(&shard, &made)).await);
    assert_eq!(failed, [1, 2, 4].map(|index| (index, ErrorKind::Unfit)));
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let (records, _) = read_all(&source, &shards[0].id, &StartAt::TrimHorizon).await;
    let mut keys: Vec<&str> = records.iter().map(|record| &*record.key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "d"]);
}

/// A refusal of the whole request.
fn refusal(code: &str) -> Fault {
    Fault::Answer {
        status: 400,
        body: format!(r#"{{"__type":"{code}","message":"scripted"}}"#),
    }
}

async fn a_target_that_refuses_to_be_used_is_no_fault_of_the_records(endpoint: &str) {
    let proxy = Proxy::to(endpoint).await;
    let sink = sink(proxy.endpoint(), "scripted", Order::PerKey).await;
    let shard = ShardId::from("shardId-000000000000");
    let small = made(&[("a", "1"), ("b", "1")]);
    let large = [("a".to_owned(), vec![b'1'; 2 * 1024 * 1024])];
    // What is wrong with a request is the record's fault only where one is alone in it that not every stream takes.
    for (code, alone) in [
        ("AccessDeniedException", ErrorKind::Fatal),
        ("ExpiredTokenException", ErrorKind::Fatal),
        ("KMSDisabledException", ErrorKind::Fatal),
        ("UnrecognizedClientException", ErrorKind::Fatal),
        ("SomethingNew", ErrorKind::Fatal),
        ("InvalidArgumentException", ErrorKind::Unfit),
        ("ValidationException", ErrorKind::Unfit),
    ] {
        proxy.next("PutRecords", refusal(code));
        let failed = failures(sink.deliver(&outgoing(&shard, &small)).await);
        let both = [0, 1].map(|index| (index, ErrorKind::Fatal));
        assert_eq!(failed, both, "{code}");
        proxy.next("PutRecords", refusal(code));
        let failed = failures(sink.deliver(&outgoing(&shard, &large)).await);
        assert_eq!(failed, [(0, alone)], "{code}");
        proxy.next("PutRecords", answer(&[Some(code), None]));
        let failed = failures(sink.deliver(&outgoing(&shard, &small)).await);
        let [(0, kind)] = failed[..] else {
            panic!("{code}: {failed:?}");
        };
        assert_ne!(kind, ErrorKind::Unfit, "{code}");
    }
}

async fn a_stream_that_is_not_there_fails_all(endpoint: &str) {
    let sink = sink(endpoint, "not-there", Order::PerKey).await;
    let shard = ShardId::from("shardId-000000000000");
    let made = made(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let error = sink
        .deliver(&outgoing(&shard, &made))
        .await
        .expect_err("there is none");
    assert!(error.to_string().contains("not-there"), "{error}");
    assert_eq!(
        failures(Err(error)),
        [
            (0, ErrorKind::NotFound),
            (1, ErrorKind::NotFound),
            (2, ErrorKind::Transient)
        ]
    );
    sink.sync().await.expect("there is nothing to wait for");
}
