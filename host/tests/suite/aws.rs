//! The AWS adapters against servers of both protocols. Each suite is one function, run for every server.

mod errors;
mod fan_out;
mod handover;
mod leases;
mod lost_replies;
mod proxy;
mod rows;
mod sdk;
mod sink;
mod source;

use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use shardwright::adapters::{AwsClients, AwsTarget, DynamoLeaseTable};
use shardwright::ports::LeaseTable;
use shardwright_core::{Checkpoint, HashRange, NewLease, ShardId};

/// A server's endpoint as a pipeline would name it.
fn target(endpoint: &str) -> AwsTarget {
    AwsTarget {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
    }
}

/// The lease table of one case, created.
async fn lease_table(endpoint: &str, table: &str) -> DynamoLeaseTable {
    let leases = AwsClients::new()
        .lease_table(&target(endpoint), table)
        .await
        .expect("a loopback endpoint needs nothing else");
    leases.ensure().await.expect("it can be created");
    leases
}

/// The table as another program sees it.
fn raw_tables(endpoint: &str) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::from_keys("shardwright", "shardwright", None))
            .build(),
    )
}

/// The stream as another program sees it.
fn raw_streams(endpoint: &str) -> aws_sdk_kinesis::Client {
    aws_sdk_kinesis::Client::from_conf(
        aws_sdk_kinesis::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::from_keys("shardwright", "shardwright", None))
            .build(),
    )
}

fn new_lease(shard: &str) -> NewLease {
    NewLease {
        shard: ShardId::from(shard),
        checkpoint: Checkpoint::TrimHorizon,
        parents: Vec::new(),
        hash_range: Some(HashRange::FULL),
    }
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The local endpoint, of a folder of its own.
struct Local {
    handle: shardwright_local::Handle,
    _folder: tempfile::TempDir,
}

impl Local {
    fn serve() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let handle = shardwright_local::Endpoint::new(folder.path())
            .serve()
            .expect("nobody else serves a new folder");
        Self {
            handle,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn the_lease_table_holds_on_the_local_endpoint() {
    let server = Local::serve();
    let endpoint = server.handle.url();
    leases::suite(&endpoint).await;
    handover::suite(&endpoint).await;
    lost_replies::suite(&endpoint).await;
    rows::suite(&endpoint).await;
}

#[tokio::test]
async fn a_stream_is_read_on_the_local_endpoint() {
    let server = Local::serve();
    source::suite(&server.handle.url(), &source::LOCAL).await;
}

#[tokio::test]
async fn a_stream_is_written_on_the_local_endpoint() {
    let server = Local::serve();
    sink::suite(&server.handle.url()).await;
}

#[tokio::test]
async fn an_iterator_expires_on_the_local_endpoint() {
    let server = Local::serve();
    let clock = server.handle.clock();
    source::an_expired_iterator_is_told_from_a_wrong_one(&server.handle.url(), |by| {
        clock.advance(by);
    })
    .await;
}
