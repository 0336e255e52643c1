//! The SDK as a user's program has it, against the local endpoint: puts, reads and a subscription over HTTP/1.1, and over
//! TLS with the HTTP/2 that both ends agree on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Config, Credentials, Region, SharedHttpClient};
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    PutRecordsRequestEntry, ShardIteratorType, StartingPosition, SubscribeToShardEvent,
    SubscribeToShardEventStream,
};
use aws_smithy_http_client::{Builder, tls};
use shardwright_local::{Certificate, Endpoint};
use tokio::net::{TcpListener, TcpStream};

const SHARD: &str = "shardId-000000000000";
const KEY: &str = "ключ";
/// What the KPL made of several user records.
const CONTAINER: &str = include_str!("../../../local/tests/sdk/container.hex");

/// Passes connections on, and counts them.
struct Passage {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Passage {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(upstream).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn client(endpoint: &str, http: Option<SharedHttpClient>) -> Client {
    let mut config = Config::builder()
        .behavior_version_latest()
        .region(Region::new("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::from_keys("local", "local", None));
    config.set_http_client(http);
    Client::from_conf(config.build())
}

/// Trusts this certificate and no other.
fn trusting(certificate: &Path) -> SharedHttpClient {
    let certificate = std::fs::read(certificate).expect("the endpoint's certificate");
    let roots = tls::TrustStore::empty().with_pem_certificate(certificate);
    let context = tls::TlsContext::builder().with_trust_store(roots);
    Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::AwsLc,
        ))
        .tls_context(context.build().expect("a trust store"))
        .build_https()
}

fn container() -> Vec<u8> {
    let digits: Vec<u8> = CONTAINER.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex digits");
        u8::from_str_radix(pair, 16).expect("hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Puts records of every kind, and gives what they hold.
async fn put(client: &Client, stream: &str) -> Vec<Vec<u8>> {
    let data = vec![
        (0..=255).collect(),
        Vec::new(),
        vec![7; 1_000_000],
        container(),
    ];
    let first = client.put_record().stream_name(stream).partition_key(KEY);
    let first = first.data(Blob::new(data[0].clone())).send().await;
    assert_eq!(first.expect("a record is put").shard_id, SHARD);
    let entries = data[1..].iter().map(|data| {
        let entry = PutRecordsRequestEntry::builder().partition_key(KEY);
        let entry = entry.explicit_hash_key("17").data(Blob::new(data.clone()));
        entry.build().expect("a whole entry")
    });
    let rest = client.put_records().stream_name(stream);
    let rest = rest.set_records(Some(entries.collect())).send().await;
    assert_eq!(rest.expect("records are put").failed_record_count, Some(0));
    data
}

/// Reads all there is, from the oldest and from a time before it.
async fn read(client: &Client, stream: &str, expected: &[Vec<u8>]) {
    let before = SystemTime::now() - Duration::from_hours(1);
    for kind in [
        ShardIteratorType::TrimHorizon,
        ShardIteratorType::AtTimestamp,
    ] {
        let iterator = client.get_shard_iterator().stream_name(stream);
        let iterator = iterator.shard_id(SHARD).shard_iterator_type(kind);
        let iterator = iterator.timestamp(before.into()).send().await;
        let iterator = iterator.expect("an iterator").shard_iterator;
        let page = client.get_records().set_shard_iterator(iterator);
        let page = page.send().await.expect("a page");
        let data: Vec<_> = page.records.iter().map(|r| r.data.as_ref()).collect();
        assert_eq!(data, expected);
        assert!(
            page.records
                .iter()
                .all(|r| r.partition_key.as_deref() == Some(KEY))
        );
        assert_eq!(page.millis_behind_latest, Some(0));
    }
}

/// Is pushed all there is, what is put meanwhile, and the shard's end.
async fn subscribe(client: &Client, stream: &str, expected: &[Vec<u8>]) {
    let summary = client.describe_stream_summary().stream_name(stream);
    let summary = summary.send().await.expect("a stream");
    let arn = summary.stream_description_summary.map(|s| s.stream_arn);
    let consumer = client.register_stream_consumer().set_stream_arn(arn);
    let consumer = consumer.consumer_name("c").send().await;
    let consumer = consumer.expect("a consumer").consumer.expect("a consumer");
    let position = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon);
    let subscribed = client
        .subscribe_to_shard()
        .consumer_arn(consumer.consumer_arn)
        .shard_id(SHARD)
        .starting_position(position.build().expect("a position"));
    let mut events = subscribed
        .send()
        .await
        .expect("a subscription")
        .event_stream;
    let mut pushed: Vec<Vec<u8>> = Vec::new();
    let mut last: Option<SubscribeToShardEvent> = None;
    let mut is_split = false;
    while let Some(event) = events.recv().await.expect("no error") {
        let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else {
            panic!("{event:?}");
        };
        pushed.extend(event.records.iter().map(|r| r.data.as_ref().to_vec()));
        if pushed.len() == expected.len() && !is_split {
            is_split = true;
            let record = client.put_record().stream_name(stream).partition_key(KEY);
            let record = record.data(Blob::new("meanwhile")).send().await;
            record.expect("a record is put beside a subscription");
            let split = client.split_shard().stream_name(stream);
            let split = split.shard_to_split(SHARD).new_starting_hash_key("9");
            split.send().await.expect("a split beside a subscription");
        }
        last = Some(event);
    }
    let (meanwhile, before) = pushed.split_last().expect("records were pushed");
    assert_eq!(before, expected);
    assert_eq!(meanwhile, b"meanwhile");
    let children = last.and_then(|event| event.child_shards);
    let children = children.expect("the end names the children");
    let children: Vec<_> = children.iter().map(|c| c.shard_id.as_str()).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
}

async fn holds(client: &Client, stream: &str) {
    let created = client.create_stream().stream_name(stream).shard_count(1);
    created.send().await.expect("a stream");
    let expected = put(client, stream).await;
    read(client, stream, &expected).await;
    subscribe(client, stream, &expected).await;
    let none = client.describe_stream().stream_name("no-such-stream");
    let refused = none.send().await.expect_err("no such stream");
    assert_eq!(refused.code(), Some("ResourceNotFoundException"));
}

#[tokio::test]
async fn the_sdk_puts_reads_and_subscribes_over_http_1_and_over_http_2_with_tls() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let endpoint = Endpoint::new(folder.path()).certificate(Certificate::SelfSigned);
    let served = endpoint.serve().expect("nobody else serves a new folder");

    let clear = Passage::to(served.address()).await;
    holds(&client(&format!("http://{}", clear.address), None), "clear").await;
    assert!(
        clear.connections() > 1,
        "a connection of HTTP/1.1 answers nothing while it holds a subscription"
    );

    let secured = Passage::to(served.address()).await;
    let (_, certificate) = served.tls().expect("it has a certificate");
    let http = Some(trusting(certificate));
    holds(
        &client(&format!("https://{}", secured.address), http),
        "secured",
    )
    .await;
    assert_eq!(
        secured.connections(),
        1,
        "calls beside a subscription in one connection are HTTP/2"
    );
}
