//! Lists through all pages, and tables that KCL writes to as well.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use shardwright::ports::LeaseTable;
use shardwright_core::{Checkpoint, Incarnation, Lease, NewLease, ShardId};

use super::leases::{at, row, worker};
use super::{lease_table, new_lease, number, raw_tables, string};

pub(super) async fn suite(endpoint: &str) {
    a_list_goes_through_all_pages(endpoint).await;
    rows_that_are_no_leases_are_left_out(endpoint).await;
    rows_of_every_kcl_are_read(endpoint).await;
    latest_is_the_moment_of_the_first_take(endpoint).await;
}

type Item = HashMap<String, AttributeValue>;

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A page is at most 1 MB.
async fn a_list_goes_through_all_pages(endpoint: &str) {
    let leases = lease_table(endpoint, "many-pages").await;
    let padding = "x".repeat(20_000);
    let rows: Vec<Item> = (0..150)
        .map(|n| {
            item([
                ("leaseKey", string(&format!("shardId-{n:012}"))),
                ("leaseCounter", number(n)),
                ("checkpoint", string("TRIM_HORIZON")),
                ("notes", string(&padding)),
            ])
        })
        .collect();
    let raw = raw_tables(endpoint);
    for some in rows.chunks(25) {
        let puts = some
            .iter()
            .map(|row| {
                let put = PutRequest::builder().set_item(Some(row.clone())).build();
                WriteRequest::builder()
                    .put_request(put.expect("it is whole"))
                    .build()
            })
            .collect();
        let answer = raw
            .batch_write_item()
            .request_items("many-pages", puts)
            .send()
            .await
            .expect("it takes 25 rows of 20 KB");
        assert!(answer.unprocessed_items.unwrap_or_default().is_empty());
    }
    let first_page = raw
        .scan()
        .table_name("many-pages")
        .send()
        .await
        .expect("it answers");
    assert!(
        first_page.last_evaluated_key.is_some(),
        "the test needs more than one page"
    );

    let mut counters: Vec<u64> = leases
        .list()
        .await
        .expect("it lists")
        .iter()
        .map(|lease| lease.counter)
        .collect();
    counters.sort_unstable();
    assert_eq!(counters, (0..150).collect::<Vec<_>>());
}

async fn put(endpoint: &str, table: &str, rows: impl IntoIterator<Item = Item>) {
    let raw = raw_tables(endpoint);
    for row in rows {
        raw.put_item()
            .table_name(table)
            .set_item(Some(row))
            .send()
            .await
            .expect("it takes the row");
    }
}

async fn rows_that_are_no_leases_are_left_out(endpoint: &str) {
    let leases = lease_table(endpoint, "not-leases").await;
    let good = [
        ("leaseCounter", number(1)),
        ("checkpoint", string("LATEST")),
    ];
    let with = |key: &str, more: &[(&str, AttributeValue)]| {
        let mut row = item(good.clone());
        row.insert("leaseKey".to_owned(), string(key));
        for (name, value) in more {
            row.insert((*name).to_owned(), value.clone());
        }
        row
    };
    let rows = [
        with("good", &[]),
        with("good-3.5", &[("entityType", string("LEASE"))]),
        item([
            ("leaseKey", string("Leader")),
            ("entityType", string("LEADER")),
            ("ownerName", string("w1")),
            ("recordVersionNumber", string("5f0c")),
        ]),
        with("worker-1", &[("entityType", string("WORKER_METRIC_STATS"))]),
        with("future", &[("entityType", string("SOMETHING_NEW"))]),
        item([
            ("leaseKey", string("no-counter")),
            ("checkpoint", string("LATEST")),
        ]),
        item([
            ("leaseKey", string("no-checkpoint")),
            ("leaseCounter", number(1)),
        ]),
        with("bad-checkpoint", &[("checkpoint", string("LAST"))]),
        with("bad-counter", &[("leaseCounter", string("1"))]),
        with(
            "bad-range",
            &[
                ("startingHashKey", string("9")),
                ("endingHashKey", string("1")),
            ],
        ),
        with(
            "123456789012:orders:1700000000:shardId-000000000000",
            &[("streamName", string("123456789012:orders:1700000000"))],
        ),
    ];
    put(endpoint, "not-leases", rows).await;
    let mut keys: Vec<String> = leases
        .list()
        .await
        .expect("one bad row must not hide the others")
        .iter()
        .map(|lease| lease.shard.as_str().to_owned())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["good", "good-3.5"]);
    let leader = leases.get(&ShardId::from("Leader")).await;
    assert_eq!(leader.expect("it answers"), None);
    let error = leases.get(&ShardId::from("bad-checkpoint")).await;
    let error = error.expect_err("a row asked for by name is not passed over");
    assert!(error.what.contains("LAST"), "{}", error.what);

    // KCL's isLeaseTableEmpty_returnsTrue_whenOnlyNonLeaseEntitiesExist: the first rows are made then.
    let leases = lease_table(endpoint, "no-leases").await;
    let rows = [
        with("Leader", &[("entityType", string("LEADER"))]),
        with("worker-1", &[("entityType", string("WORKER_METRIC_STATS"))]),
        with("future", &[("entityType", string("SOMETHING_NEW"))]),
    ];
    put(endpoint, "no-leases", rows).await;
    assert_eq!(leases.list().await.expect("it lists"), []);
}

/// As in tables of KCL 1 to 3.5, one row in the middle of everything.
async fn rows_of_every_kcl_are_read(endpoint: &str) {
    let leases = lease_table(endpoint, "kcl").await;
    let rows = [
        // 1.x: no hash range, no switches, no sub-sequence number.
        item([
            ("leaseKey", string("shardId-000000000000")),
            ("leaseCounter", number(41)),
            ("leaseOwner", string("java-1")),
            (
                "checkpoint",
                string("49590338271490256608559692538361571095921575989136588898"),
            ),
        ]),
        // 3.x, in the middle of a handoff.
        item([
            ("leaseKey", string("shardId-000000000001")),
            ("leaseCounter", number(812)),
            ("leaseOwner", string("w2")),
            ("checkpointOwner", string("w1")),
            ("ownerSwitchesSinceCheckpoint", number(3)),
            ("checkpoint", string("4959")),
            ("checkpointSubSequenceNumber", number(12)),
            ("throughputKBps", AttributeValue::N("103.25".to_owned())),
            ("entityType", string("LEASE")),
            (
                "parentShardId",
                AttributeValue::Ss(vec!["shardId-000000000000".to_owned()]),
            ),
            (
                "pendingCheckpointState",
                AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([1, 2])),
            ),
        ]),
    ];
    put(endpoint, "kcl", rows).await;
    let old = row(&leases, "shardId-000000000000").await;
    assert_eq!(old.owner, Some(worker("java-1")));
    assert_eq!(
        old.checkpoint,
        at(
            "49590338271490256608559692538361571095921575989136588898",
            0
        )
    );
    assert_eq!(
        (old.hash_range, old.owner_switches, old.incarnation),
        (None, 0, None)
    );
    let new = row(&leases, "shardId-000000000001").await;
    assert_eq!(new.actual_owner(), Some(&worker("w1")));
    assert_eq!(new.checkpoint, at("4959", 12));
    assert_eq!(new.parents, [ShardId::from("shardId-000000000000")]);

    let held = leases
        .take(&old, &worker("me"), Incarnation(u128::MAX))
        .await
        .expect("a lease of KCL is taken by its counter");
    leases
        .checkpoint(&held, &Checkpoint::ShardEnd, &[])
        .await
        .expect("and checkpointed");
    let mine = row(&leases, "shardId-000000000000").await;
    assert_eq!(
        (mine.incarnation, mine.counter),
        (Some(Incarnation(u128::MAX)), 43)
    );
    assert!(mine.is_completed());
}

/// Whoever takes the row of a shard that nobody has checkpointed begins where the first owner did.
async fn latest_is_the_moment_of_the_first_take(endpoint: &str) {
    let leases = lease_table(endpoint, "latest").await;
    for (shard, checkpoint) in [("a", Checkpoint::Latest), ("b", Checkpoint::TrimHorizon)] {
        let new = NewLease {
            checkpoint,
            ..new_lease(shard)
        };
        leases.create(&new).await.expect("it is created");
    }
    let moment = 1_700_000_000_000;
    for later in [0, 60_000] {
        for shard in ["a", "b"] {
            let seen = row(&leases, shard).await.seen_at(moment + later);
            let incarnation = Incarnation(u128::from(later.unsigned_abs()));
            let taken = leases.take(&seen, &worker("w"), incarnation).await;
            taken.expect("nobody else is there");
        }
        assert_eq!(
            row(&leases, "a").await.latest_ms,
            Some(moment - 5_000),
            "less what a clock may be ahead"
        );
        assert_eq!(row(&leases, "b").await.latest_ms, None, "it says it itself");
    }

    // A take that goes by an older look at the row changes nothing of it.
    let blind = Lease {
        latest_ms: None,
        ..row(&leases, "a").await
    };
    let again = blind.seen_at(moment + 120_000);
    let taken = leases.take(&again, &worker("w"), Incarnation(7)).await;
    taken.expect("nobody else is there");
    assert_eq!(row(&leases, "a").await.latest_ms, Some(moment - 5_000));
}
