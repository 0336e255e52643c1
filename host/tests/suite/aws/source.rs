//! Reading a stream: summary, listings, iterators, reads, resharding.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use shardwright::adapters::{AwsClients, KinesisSource};
use shardwright::ports::{
    ErrorKind, ReadAnswer, Record, ShardIterator, ShardListing, StreamSource,
};
use shardwright_core::{ChildShard, HashRange, SequenceNumber, Shard, ShardId, StartAt};
use tokio::time::{Instant, interval};

use super::{raw_streams, target};

/// How a server differs from the service, as far as a test must know.
pub(super) struct Server {
    /// Whether the last read of a shard names its children.
    pub(super) names_children: bool,
    /// Whether listings look at the filter.
    pub(super) filters: bool,
    /// What it says to a sequence number that cannot be; none: it takes it.
    pub(super) bogus_number: Option<ErrorKind>,
    /// What it says to an iterator that it never made.
    pub(super) bogus_iterator: ErrorKind,
}

pub(super) const LOCAL: Server = Server {
    names_children: true,
    filters: true,
    bogus_number: Some(ErrorKind::InvalidPosition),
    bogus_iterator: ErrorKind::ExpiredIterator,
};

pub(super) async fn suite(endpoint: &str, server: &Server) {
    a_stream_describes_itself(endpoint).await;
    a_stream_is_read_from_each_of_the_five_places(endpoint).await;
    what_cannot_be_found_is_told_apart(endpoint, server).await;
    a_split_and_a_merge_are_read_to_their_ends(endpoint, server).await;
    a_listing_goes_through_all_pages(endpoint).await;
}

/// Streams become ready in well under a second; a machine whose cores are busy takes longer.
const READY_MAX: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(50);

/// A stream, created and active.
pub(super) async fn stream(endpoint: &str, name: &str, shards: i32) -> KinesisSource {
    raw_streams(endpoint)
        .create_stream()
        .stream_name(name)
        .shard_count(shards)
        .send()
        .await
        .expect("it is created");
    let source = AwsClients::new()
        .stream_source(&target(endpoint), name)
        .await
        .expect("a loopback endpoint needs nothing else");
    let open_shards = u32::try_from(shards).expect("it is positive");
    ready(endpoint, &source, name, open_shards).await;
    source
}

/// Waits until a stream has so many open shards and may be changed again, which is later than that it can be read.
async fn ready(endpoint: &str, source: &KinesisSource, name: &str, open_shards: u32) {
    let give_up = Instant::now() + READY_MAX;
    let mut look = interval(READY_POLL);
    loop {
        look.tick().await;
        let raw = raw_streams(endpoint)
            .describe_stream_summary()
            .stream_name(name)
            .send()
            .await
            .expect("it is there");
        let status = raw
            .stream_description_summary
            .map(|summary| summary.stream_status);
        let summary = source.summary().await.expect("it is there");
        if summary.open_shards == open_shards && status == Some(StreamStatus::Active) {
            assert!(summary.is_active);
            return;
        }
        assert!(
            Instant::now() < give_up,
            "it does not get ready: {summary:?}"
        );
    }
}

async fn put(endpoint: &str, stream: &str, data: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let entries: Vec<_> = data
        .into_iter()
        .map(|(key, data)| {
            PutRecordsRequestEntry::builder()
                .partition_key(key)
                .data(Blob::new(data))
                .build()
                .expect("it is whole")
        })
        .collect();
    let answer = raw_streams(endpoint)
        .put_records()
        .stream_name(stream)
        .set_records(Some(entries))
        .send()
        .await
        .expect("it takes records");
    assert_eq!(answer.failed_record_count.unwrap_or(0), 0);
}

/// Reads on until a read is empty at the tip or the shard ends.
pub(super) async fn read_all(
    source: &KinesisSource,
    shard: &ShardId,
    start: &StartAt,
) -> (Vec<Record>, ReadAnswer) {
    let mut iterator = source.iterator(shard, start).await.expect("it is there");
    let mut records = Vec::new();
    loop {
        let mut answer = source.read(&iterator, 10_000).await.expect("it answers");
        let was_empty = answer.records.is_empty();
        records.append(&mut answer.records);
        match answer.next.clone() {
            Some(next) if !was_empty || answer.millis_behind_latest > 0 => iterator = next,
            _ => return (records, answer),
        }
    }
}

fn only_shard(shards: &[Shard]) -> &ShardId {
    assert_eq!(shards.len(), 1);
    &shards[0].id
}

async fn a_stream_describes_itself(endpoint: &str) {
    let source = stream(endpoint, "described", 3).await;
    let summary = source.summary().await.expect("it is there");
    assert!(
        summary.arn.ends_with(":stream/described"),
        "{}",
        summary.arn
    );
    assert_eq!(summary.open_shards, 3);
    assert!(
        summary.created_ms > 1_700_000_000_000,
        "{}",
        summary.created_ms
    );
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let mut ranges: Vec<HashRange> = shards.iter().map(|shard| shard.hash_range).collect();
    ranges.sort_unstable();
    assert_eq!((ranges[0].start, ranges[2].end), (0, u128::MAX));
    for (one, next) in ranges.iter().zip(&ranges[1..]) {
        assert_eq!(one.end + 1, next.start);
    }
    assert!(
        shards
            .iter()
            .all(|shard| shard.parents.is_empty() && !shard.is_closed())
    );
}

async fn a_stream_is_read_from_each_of_the_five_places(endpoint: &str) {
    let source = stream(endpoint, "five-places", 1).await;
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let shard = only_shard(&shards);
    let latest = source
        .iterator(shard, &StartAt::Latest)
        .await
        .expect("it is there");
    let first: Vec<(String, Vec<u8>)> = (0..40_u8)
        .map(|n| (format!("key-{n}"), vec![n; usize::from(n)]))
        .collect();
    put(endpoint, "five-places", first.clone()).await;

    let (records, last) = read_all(&source, shard, &StartAt::TrimHorizon).await;
    assert!(last.next.is_some(), "the shard is open");
    let read: Vec<(String, Vec<u8>)> = records
        .iter()
        .map(|record| (record.key.to_string(), record.data.to_vec()))
        .collect();
    assert_eq!(read, first);
    assert!(
        records
            .windows(2)
            .all(|two| two[0].sequence < two[1].sequence)
    );
    assert!(
        records
            .iter()
            .all(|record| record.arrival_ms > 1_700_000_000_000)
    );

    let texts = |records: &[Record]| -> Vec<String> {
        records
            .iter()
            .map(|record| record.sequence.as_str().to_owned())
            .collect()
    };
    let middle = records[17].sequence.clone();
    let (from, _) = read_all(&source, shard, &StartAt::AtSequence(middle.clone())).await;
    assert_eq!(texts(&from), texts(&records[17..]));
    let (after, _) = read_all(&source, shard, &StartAt::AfterSequence(middle)).await;
    assert_eq!(texts(&after), texts(&records[18..]));
    let long_ago = StartAt::AtTimestamp(records[0].arrival_ms - 60_000);
    let (from_time, _) = read_all(&source, shard, &long_ago).await;
    assert_eq!(texts(&from_time), texts(&records));

    let answer = source.read(&latest, 10_000).await.expect("it answers");
    assert_eq!(
        texts(&answer.records),
        texts(&records),
        "LATEST is where the tip was"
    );
    let from_start = source
        .iterator(shard, &StartAt::TrimHorizon)
        .await
        .expect("it is there");
    let few = source.read(&from_start, 7).await.expect("it answers");
    assert_eq!(texts(&few.records), texts(&records[..7]));
    let next = few.next.expect("the shard is open");
    let rest = source
        .read(&next, u32::MAX)
        .await
        .expect("a limit beyond the service's is cut");
    assert_eq!(texts(&rest.records), texts(&records[7..]));
}

async fn what_cannot_be_found_is_told_apart(endpoint: &str, server: &Server) {
    let kind_of = |outcome: Result<ShardIterator, shardwright::ports::PortError>| {
        let error = outcome.expect_err("it cannot be found");
        assert!(error.what.contains("not-found"), "{}", error.what);
        error.kind
    };
    let nowhere = AwsClients::new()
        .stream_source(&target(endpoint), "not-found-stream")
        .await
        .expect("nothing is sent yet");
    let error = nowhere
        .summary()
        .await
        .expect_err("there is no such stream");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.what.contains("not-found-stream"), "{}", error.what);
    let error = nowhere
        .list_shards(ShardListing::All)
        .await
        .expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::NotFound);

    let source = stream(endpoint, "not-found", 1).await;
    let other = ShardId::from("shardId-000000000077");
    let outcome = source.iterator(&other, &StartAt::TrimHorizon).await;
    assert_eq!(kind_of(outcome), ErrorKind::NotFound);

    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let bogus = StartAt::AfterSequence(SequenceNumber::parse("1234567").expect("it is digits"));
    let outcome = source.iterator(only_shard(&shards), &bogus).await;
    assert_eq!(
        outcome.is_err().then(|| kind_of(outcome)),
        server.bogus_number
    );

    let made_up = ShardIterator("AAAAAAAAAAE=".to_owned());
    let error = source
        .read(&made_up, 10)
        .await
        .expect_err("it never made that");
    assert_eq!(error.kind, server.bogus_iterator, "{}", error.what);
}

async fn a_split_and_a_merge_are_read_to_their_ends(endpoint: &str, server: &Server) {
    let source = stream(endpoint, "reshards", 1).await;
    let raw = raw_streams(endpoint);
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let parent = only_shard(&shards).clone();
    put(endpoint, "reshards", [("a".to_owned(), b"before".to_vec())]).await;
    raw.split_shard()
        .stream_name("reshards")
        .shard_to_split(parent.as_str())
        .new_starting_hash_key((u128::MAX / 2 + 1).to_string())
        .send()
        .await
        .expect("it splits");
    ready(endpoint, &source, "reshards", 2).await;

    let (records, last) = read_all(&source, &parent, &StartAt::TrimHorizon).await;
    assert_eq!(
        records.len(),
        1,
        "what was put before the split is read before the end"
    );
    assert_eq!(last.next, None, "the shard is closed and read");
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    assert_eq!(shards.len(), 3);
    let mut children: Vec<&Shard> = shards
        .iter()
        .filter(|shard| shard.parents == [parent.clone()])
        .collect();
    children.sort_unstable_by_key(|shard| shard.hash_range);
    assert_eq!(children.len(), 2);
    assert!(
        shards
            .iter()
            .find(|shard| shard.id == parent)
            .is_some_and(Shard::is_closed)
    );
    assert_children(&last.children, &children, server);
    let (left, right) = (children[0].id.clone(), children[1].id.clone());
    if server.filters {
        let open = source
            .list_shards(ShardListing::AtLatest)
            .await
            .expect("it lists");
        let open: BTreeSet<_> = open.into_iter().map(|shard| shard.id).collect();
        assert_eq!(open, BTreeSet::from([left.clone(), right.clone()]));
    }
    for which in [
        ShardListing::AtTrimHorizon,
        ShardListing::AtTimestamp(records[0].arrival_ms),
    ] {
        let listed = source
            .list_shards(which)
            .await
            .expect("the filter is taken");
        assert!(listed.iter().any(|shard| shard.id == parent), "{which:?}");
    }

    raw.merge_shards()
        .stream_name("reshards")
        .shard_to_merge(left.as_str())
        .adjacent_shard_to_merge(right.as_str())
        .send()
        .await
        .expect("it merges");
    ready(endpoint, &source, "reshards", 1).await;
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let merged: Vec<&Shard> = shards
        .iter()
        .filter(|shard| shard.parents.len() == 2)
        .collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(
        merged[0].parents.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&left, &right])
    );
    assert_eq!(merged[0].hash_range, HashRange::FULL);
    for half in [&left, &right] {
        let (_, last) = read_all(&source, half, &StartAt::TrimHorizon).await;
        assert_eq!(last.next, None);
        assert_children(&last.children, &merged, server);
    }
}

fn assert_children(named: &[ChildShard], listed: &[&Shard], server: &Server) {
    if !server.names_children {
        assert_eq!(named, []);
        return;
    }
    let facts = |id: &ShardId, parents: &[ShardId], range: HashRange| {
        let parents: BTreeSet<ShardId> = parents.iter().cloned().collect();
        (id.clone(), parents, range)
    };
    let named: BTreeSet<_> = named
        .iter()
        .map(|child| facts(&child.id, &child.parents, child.hash_range))
        .collect();
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|shard| facts(&shard.id, &shard.parents, shard.hash_range))
        .collect();
    assert_eq!(named, listed);
}

/// `advance` moves the server's clock.
pub(super) async fn an_expired_iterator_is_told_from_a_wrong_one(
    endpoint: &str,
    advance: impl Fn(Duration),
) {
    let source = stream(endpoint, "expiring", 1).await;
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let shard = only_shard(&shards);
    put(endpoint, "expiring", [("a".to_owned(), b"1".to_vec())]).await;
    let iterator = source
        .iterator(shard, &StartAt::TrimHorizon)
        .await
        .expect("it is there");
    let read = source.read(&iterator, 10).await.expect("it is fresh");
    let last = read.records[0].sequence.clone();
    let next = read.next.expect("the shard is open");
    advance(Duration::from_secs(301));
    let error = source.read(&next, 10).await.expect_err("it has expired");
    assert_eq!(error.kind, ErrorKind::ExpiredIterator);
    put(endpoint, "expiring", [("a".to_owned(), b"2".to_vec())]).await;
    let (records, _) = read_all(&source, shard, &StartAt::AfterSequence(last)).await;
    assert_eq!(records.len(), 1);
    assert_eq!(&*records[0].data, b"2");
}

/// A page holds 100 to 1,000. A stream begins with at most 1,000 on some servers, so the rest comes by a split.
async fn a_listing_goes_through_all_pages(endpoint: &str) {
    let source = stream(endpoint, "many-shards", 1_000).await;
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let first = shards.iter().min_by_key(|shard| shard.hash_range);
    let first = first.expect("there are 1,000");
    raw_streams(endpoint)
        .split_shard()
        .stream_name("many-shards")
        .shard_to_split(first.id.as_str())
        .new_starting_hash_key((first.hash_range.end / 2).to_string())
        .send()
        .await
        .expect("it splits");
    ready(endpoint, &source, "many-shards", 1_001).await;
    let shards = source
        .list_shards(ShardListing::All)
        .await
        .expect("it lists");
    let ids: BTreeSet<_> = shards.iter().map(|shard| shard.id.clone()).collect();
    assert_eq!((shards.len(), ids.len()), (1_002, 1_002));
}
