//! What each answer of a service means, and what a person reads.

use shardwright::adapters::{AwsClients, AwsTarget, KinesisSource};
use shardwright::ports::{ErrorKind, ShardIterator, ShardListing, StreamSource};
use shardwright_core::{SequenceNumber, ShardId, StartAt};

use super::proxy::{Fault, Proxy};
use super::target;

/// Nothing is passed on: every call is answered by the script.
async fn scripted() -> (Proxy, KinesisSource) {
    let proxy = Proxy::to("http://127.0.0.1:1").await;
    let source = AwsClients::new()
        .stream_source(&target(proxy.endpoint()), "orders")
        .await
        .expect("a loopback endpoint needs nothing else");
    (proxy, source)
}

fn refusal(status: u16, code: &str) -> Fault {
    Fault::Answer {
        status,
        body: format!(r#"{{"__type":"com.amazonaws.kinesis#{code}","message":"scripted"}}"#),
    }
}

#[tokio::test]
async fn every_code_has_its_meaning_and_is_named() {
    let (proxy, source) = scripted().await;
    let iterator = ShardIterator("AAAA".to_owned());
    for (status, code, kind) in [
        (400, "ExpiredIteratorException", ErrorKind::ExpiredIterator),
        (400, "InvalidArgumentException", ErrorKind::ExpiredIterator),
        (
            400,
            "ProvisionedThroughputExceededException",
            ErrorKind::Throttled,
        ),
        (400, "LimitExceededException", ErrorKind::Throttled),
        (400, "KMSThrottlingException", ErrorKind::Throttled),
        (400, "ThrottlingException", ErrorKind::Throttled),
        (429, "SomethingNew", ErrorKind::Throttled),
        (400, "ResourceNotFoundException", ErrorKind::NotFound),
        (500, "InternalFailure", ErrorKind::Transient),
        (503, "ServiceUnavailable", ErrorKind::Transient),
        (500, "SomethingNew", ErrorKind::Transient),
        (400, "ResourceInUseException", ErrorKind::Transient),
        (400, "AccessDeniedException", ErrorKind::Fatal),
        (400, "UnrecognizedClientException", ErrorKind::Fatal),
        (400, "ExpiredTokenException", ErrorKind::Fatal),
        (403, "InvalidSignatureException", ErrorKind::Fatal),
        (400, "ValidationException", ErrorKind::Fatal),
        (400, "SomethingNew", ErrorKind::Fatal),
    ] {
        proxy.next("GetRecords", refusal(status, code));
        let error = source.read(&iterator, 10).await.expect_err("it is refused");
        assert_eq!(error.kind, kind, "{status} {code}");
        assert!(
            error.what.contains(code) && error.what.contains("orders"),
            "{}",
            error.what
        );
        assert_eq!(
            proxy.take_calls("GetRecords").len(),
            1,
            "{code}: the SDK must not try again by itself"
        );
    }
    proxy.next(
        "GetRecords",
        Fault::Answer {
            status: 502,
            body: "<html>".to_owned(),
        },
    );
    let error = source
        .read(&iterator, 10)
        .await
        .expect_err("a gateway answers");
    assert_eq!(error.kind, ErrorKind::Transient, "{}", error.what);
    proxy.next("GetRecords", Fault::Refuse);
    let error = source
        .read(&iterator, 10)
        .await
        .expect_err("the connection closes");
    assert_eq!(error.kind, ErrorKind::Transient, "{}", error.what);
}

#[tokio::test]
async fn a_wrong_argument_is_about_the_position_only_where_one_is_given() {
    let (proxy, source) = scripted().await;
    let shard = ShardId::from("shardId-000000000000");
    let number = SequenceNumber::parse("4711").expect("it is digits");
    for (start, kind) in [
        (
            StartAt::AtSequence(number.clone()),
            ErrorKind::InvalidPosition,
        ),
        (StartAt::AfterSequence(number), ErrorKind::InvalidPosition),
        (StartAt::TrimHorizon, ErrorKind::Fatal),
        (StartAt::AtTimestamp(i64::MAX / 2), ErrorKind::Fatal),
    ] {
        proxy.next("GetShardIterator", refusal(400, "InvalidArgumentException"));
        let error = source
            .iterator(&shard, &start)
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind, kind, "{start:?}");
    }
}

#[tokio::test]
async fn a_token_goes_alone_and_a_listing_that_does_not_end_is_not_asked_for_ever() {
    let (proxy, source) = scripted().await;
    let page = |token: &str| Fault::Answer {
        status: 200,
        body: format!(
            r#"{{"NextToken":{token},"Shards":[{{"ShardId":"s","HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"9"}},
               "SequenceNumberRange":{{"StartingSequenceNumber":"1","EndingSequenceNumber":"9223372036854775807"}}}}]}}"#
        ),
    };
    proxy.next("ListShards", page("\"t1\""));
    proxy.next("ListShards", page("\"t2\""));
    proxy.next("ListShards", page("null"));
    let shards = source
        .list_shards(ShardListing::AtLatest)
        .await
        .expect("it ends");
    assert_eq!(shards.len(), 3);
    assert!(shards[0].is_closed());
    let bodies: Vec<_> = proxy
        .take_calls("ListShards")
        .into_iter()
        .map(|call| call.body)
        .collect();
    assert_eq!(bodies[0]["ShardFilter"]["Type"], "AT_LATEST");
    assert_eq!(bodies[0]["StreamName"], "orders");
    assert_eq!(bodies[1], serde_json::json!({"NextToken": "t1"}));
    assert_eq!(bodies[2], serde_json::json!({"NextToken": "t2"}));
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_a_matter_of_time() {
    // Nothing listens on port 1.
    let nobody = AwsTarget {
        region: None,
        endpoint: Some("http://127.0.0.1:1".to_owned()),
    };
    let source = AwsClients::new()
        .stream_source(&nobody, "orders")
        .await
        .expect("nothing is sent yet");
    let error = source.summary().await.expect_err("nobody answers");
    assert_eq!(error.kind, ErrorKind::Transient);
    assert!(
        error.what.contains("DescribeStreamSummary of orders"),
        "{}",
        error.what
    );
}
