//! Every operation of the lease table, won and lost.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use futures_util::future::join_all;
use shardwright::adapters::{AwsClients, DynamoLeaseTable};
use shardwright::ports::{CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError};
use shardwright_core::{
    Checkpoint, HashRange, HeldLease, Incarnation, Lease, NewLease, Position, SequenceNumber,
    ShardId, WorkerId,
};

use super::{lease_table, new_lease, number, raw_tables, string, target};

pub(super) async fn suite(endpoint: &str) {
    a_table_is_made_once_by_many(endpoint).await;
    a_table_of_another_kind_is_refused(endpoint).await;
    a_new_row_reads_back_and_is_made_once(endpoint).await;
    one_take_of_a_counter_wins(endpoint).await;
    a_take_counts_switches_and_ends_a_handoff(endpoint).await;
    a_write_under_a_lost_counter_changes_nothing(endpoint).await;
    a_checkpoint_replaces_what_kcl_keeps_beside_it(endpoint).await;
    a_released_lease_has_no_owner(endpoint).await;
    two_processes_of_one_name_do_not_share_a_lease(endpoint).await;
    a_deleted_row_is_a_lost_lease(endpoint).await;
}

pub(super) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

pub(super) fn at(sequence: &str, sub_sequence: u64) -> Checkpoint {
    Checkpoint::At(Position {
        sequence: SequenceNumber::parse(sequence).expect("a test names digits"),
        sub_sequence,
    })
}

/// Creates a row and takes it.
pub(super) async fn taken(
    leases: &DynamoLeaseTable,
    shard: &str,
    owner: &str,
    incarnation: u128,
) -> HeldLease {
    leases
        .create(&new_lease(shard))
        .await
        .expect("it is created");
    let seen = row(leases, shard).await;
    leases
        .take(&seen, &worker(owner), Incarnation(incarnation))
        .await
        .expect("nobody else is there")
}

pub(super) async fn row(leases: &DynamoLeaseTable, shard: &str) -> Lease {
    leases
        .get(&ShardId::from(shard))
        .await
        .expect("the table answers")
        .expect("the row is there")
}

/// The owner and the counter that a lost write has found.
pub(super) fn lost<T: std::fmt::Debug>(
    outcome: Result<T, LeaseWriteError>,
) -> (Option<String>, Option<u64>) {
    match outcome {
        Err(LeaseWriteError::Lost { owner, counter, .. }) => {
            (owner.map(|owner| owner.as_str().to_owned()), counter)
        }
        other => panic!("the lease should be lost: {other:?}"),
    }
}

async fn a_table_is_made_once_by_many(endpoint: &str) {
    let clients = AwsClients::new();
    let outcomes = join_all((0..4).map(|_| async {
        let leases = clients
            .lease_table(&target(endpoint), "made-by-many")
            .await?;
        leases.ensure().await?;
        leases.list().await
    }))
    .await;
    for outcome in outcomes {
        assert_eq!(outcome.expect("each of them can use it"), []);
    }
    let made = raw_tables(endpoint)
        .describe_table()
        .table_name("made-by-many")
        .send()
        .await
        .expect("it is there")
        .table
        .expect("it is described");
    let billing = made
        .billing_mode_summary
        .and_then(|summary| summary.billing_mode);
    assert_eq!(billing, Some(BillingMode::PayPerRequest));
    assert_eq!(made.attribute_definitions.map(|all| all.len()), Some(1));
}

async fn a_table_of_another_kind_is_refused(endpoint: &str) {
    raw_tables(endpoint)
        .create_table()
        .table_name("users")
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("email")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .expect("it is whole"),
        )
        .key_schema(
            KeySchemaElement::builder()
                .attribute_name("email")
                .key_type(KeyType::Hash)
                .build()
                .expect("it is whole"),
        )
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .expect("it is created");
    let leases = AwsClients::new()
        .lease_table(&target(endpoint), "users")
        .await
        .expect("nothing is sent yet");
    let error = leases.ensure().await.expect_err("it is no lease table");
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.what.contains("email"), "{}", error.what);
}

async fn a_new_row_reads_back_and_is_made_once(endpoint: &str) {
    let leases = lease_table(endpoint, "new-rows").await;
    let child = NewLease {
        shard: ShardId::from("shardId-000000000003"),
        checkpoint: Checkpoint::TrimHorizon,
        parents: vec![
            ShardId::from("shardId-000000000001"),
            ShardId::from("shardId-000000000002"),
        ],
        hash_range: HashRange::parse("0", "85070591730234615865843651857942052863").ok(),
    };
    assert_eq!(
        leases.create(&child).await.expect("it is created"),
        CreateOutcome::Created
    );
    let read = row(&leases, "shardId-000000000003").await;
    let expected = Lease::created(child.clone());
    assert_eq!(read, expected);
    assert_eq!(leases.list().await.expect("it lists"), [expected]);

    let held = leases
        .take(&read, &worker("a"), Incarnation(1))
        .await
        .expect("it is free");
    assert_eq!(
        leases.create(&child).await.expect("it answers"),
        CreateOutcome::AlreadyThere
    );
    assert_eq!(
        row(&leases, "shardId-000000000003").await.counter,
        held.counter
    );

    let gone = leases.get(&ShardId::from("shardId-000000000099")).await;
    assert_eq!(gone.expect("it answers"), None);
}

async fn one_take_of_a_counter_wins(endpoint: &str) {
    let leases = lease_table(endpoint, "one-winner").await;
    leases.create(&new_lease("s")).await.expect("it is created");
    let names: Vec<WorkerId> = (0..16).map(|n| worker(&format!("w{n}"))).collect();
    for round in 0..5_u128 {
        let seen = row(&leases, "s").await;
        let outcomes = join_all(
            (0..16_u128)
                .zip(&names)
                .map(|(n, name)| leases.take(&seen, name, Incarnation(round * 16 + n))),
        )
        .await;
        let winners: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().ok())
            .collect();
        assert_eq!(winners.len(), 1, "in round {round}");
        for outcome in outcomes.iter().filter(|outcome| outcome.is_err()) {
            let lost = matches!(outcome, Err(LeaseWriteError::Lost { .. }));
            assert!(lost, "{outcome:?}");
        }
        let found = row(&leases, "s").await;
        assert_eq!(found.owner.as_ref(), Some(&winners[0].owner));
        assert_eq!(found.incarnation, Some(winners[0].incarnation));
        assert_eq!(
            (found.counter, winners[0].counter),
            (seen.counter + 1, seen.counter + 1)
        );
    }
}

async fn a_take_counts_switches_and_ends_a_handoff(endpoint: &str) {
    let leases = lease_table(endpoint, "switches").await;
    let first = taken(&leases, "s", "a", 1).await;
    assert_eq!(
        row(&leases, "s").await.owner_switches,
        0,
        "from nobody is no switch"
    );
    let seen = row(&leases, "s").await;
    leases
        .take(&seen, &worker("a"), Incarnation(2))
        .await
        .expect("a takes it again");
    assert_eq!(
        row(&leases, "s").await.owner_switches,
        0,
        "from myself is none either"
    );
    let seen = row(&leases, "s").await;
    leases
        .take(&seen, &worker("b"), Incarnation(3))
        .await
        .expect("b steals it");
    let stolen = row(&leases, "s").await;
    assert_eq!(stolen.owner_switches, 1);
    assert_eq!(stolen.counter, first.counter + 2);

    hand_over(endpoint, "switches", "s", "b", "c").await;
    let seen = row(&leases, "s").await;
    assert_eq!(seen.actual_owner(), Some(&worker("b")));
    leases
        .take(&seen, &worker("d"), Incarnation(4))
        .await
        .expect("d takes it");
    let found = row(&leases, "s").await;
    assert_eq!(
        found.checkpoint_owner, None,
        "KCL 3 would take b for the owner"
    );
    assert_eq!((found.owner, found.owner_switches), (Some(worker("d")), 2));
}

async fn a_write_under_a_lost_counter_changes_nothing(endpoint: &str) {
    let leases = lease_table(endpoint, "fence").await;
    let old = taken(&leases, "s", "a", 1).await;
    let seen_by_late = row(&leases, "s").await;
    let seen = row(&leases, "s").await;
    let new = leases
        .take(&seen, &worker("b"), Incarnation(2))
        .await
        .expect("b steals it");
    let new_counter = leases.renew(&new).await.expect("b holds it").counter;
    let before = row(&leases, "s").await;

    let found = (Some("b".to_owned()), Some(new_counter));
    let shard_end = Checkpoint::ShardEnd;
    assert_eq!(lost(leases.renew(&old).await), found);
    assert_eq!(lost(leases.checkpoint(&old, &shard_end, &[]).await), found);
    assert_eq!(lost(leases.release(&old, None).await), found);
    assert_eq!(
        lost(
            leases
                .take(&seen_by_late, &worker("c"), Incarnation(3))
                .await
        ),
        found
    );
    // Its own earlier counter is no better than another's.
    assert_eq!(lost(leases.checkpoint(&new, &shard_end, &[]).await), found);
    assert_eq!(row(&leases, "s").await, before);
}

/// What KCL writes before a checkpoint of two phases.
const PENDING: [&str; 3] = [
    "pendingCheckpoint",
    "pendingCheckpointSubSequenceNumber",
    "pendingCheckpointState",
];

async fn a_checkpoint_replaces_what_kcl_keeps_beside_it(endpoint: &str) {
    let leases = lease_table(endpoint, "checkpoints").await;
    let before = taken(&leases, "s", "java", 1).await;
    raw_tables(endpoint)
        .update_item()
        .table_name("checkpoints")
        .key("leaseKey", string("s"))
        .update_expression(
            "SET pendingCheckpoint = :p, pendingCheckpointSubSequenceNumber = :one, \
             pendingCheckpointState = :state, throughputKBps = :x, ownerSwitchesSinceCheckpoint = :one",
        )
        .expression_attribute_values(":p", string("4711"))
        .expression_attribute_values(":state", AttributeValue::B(Blob::new(b"of its application")))
        .expression_attribute_values(":x", string("103.25"))
        .expression_attribute_values(":one", number(1))
        .send()
        .await
        .expect("KCL may write this");
    // Whoever takes the lease begins at what is committed; what is pending stays for a Java worker after it.
    let seen = row(&leases, "s").await;
    assert_eq!(seen.counter, before.counter);
    let mut held = leases
        .take(&seen, &worker("a"), Incarnation(2))
        .await
        .expect("it is as it was seen");
    held.counter = leases.renew(&held).await.expect("it is held").counter;
    leases.release(&held, None).await.expect("it is held");
    let seen = row(&leases, "s").await;
    assert_eq!(seen.checkpoint, Checkpoint::TrimHorizon);
    let raw = raw_row(endpoint, "checkpoints", "s").await;
    assert!(
        PENDING.iter().all(|name| raw.contains_key(*name)),
        "{raw:?}"
    );
    let mut held = leases
        .take(&seen, &worker("a"), Incarnation(3))
        .await
        .expect("it is free");

    let middle = at(
        "49590338271490256608559692538361571095921575989136588898",
        17,
    );
    held.counter = leases
        .checkpoint(&held, &middle, &[])
        .await
        .expect("it is held")
        .counter;
    let found = row(&leases, "s").await;
    assert_eq!((found.checkpoint, found.owner_switches), (middle, 0));
    let raw = raw_row(endpoint, "checkpoints", "s").await;
    for gone in PENDING {
        assert!(!raw.contains_key(gone), "{gone} is left");
    }
    assert_eq!(
        raw.get("throughputKBps"),
        Some(&string("103.25")),
        "a foreign attribute is lost"
    );
    assert_eq!(raw.get("checkpointSubSequenceNumber"), Some(&number(17)));

    let children = [
        ShardId::from("c2"),
        ShardId::from("c1"),
        ShardId::from("c1"),
    ];
    held.counter = leases
        .checkpoint(&held, &Checkpoint::ShardEnd, &children)
        .await
        .expect("it is held")
        .counter;
    let found = row(&leases, "s").await;
    assert!(found.is_completed());
    assert_eq!(found.counter, held.counter, "a checkpoint is a renewal");
    let mut ids: Vec<_> = found.children.iter().map(ShardId::as_str).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["c1", "c2"]);
    let raw = raw_row(endpoint, "checkpoints", "s").await;
    assert_eq!(raw.get("checkpoint"), Some(&string("SHARD_END")));
    assert_eq!(raw.get("checkpointSubSequenceNumber"), Some(&number(0)));
}

async fn a_released_lease_has_no_owner(endpoint: &str) {
    let leases = lease_table(endpoint, "releases").await;
    let held = taken(&leases, "s", "a", 1).await;
    leases.release(&held, None).await.expect("it is held");
    let found = row(&leases, "s").await;
    assert_eq!(
        (found.owner.clone(), found.counter),
        (None, held.counter + 1)
    );
    // An owner that is null or empty would break Java's index and its readers.
    assert!(
        !raw_row(endpoint, "releases", "s")
            .await
            .contains_key("leaseOwner")
    );
    leases
        .take(&found, &worker("b"), Incarnation(2))
        .await
        .expect("it is free");
}

async fn two_processes_of_one_name_do_not_share_a_lease(endpoint: &str) {
    let leases = lease_table(endpoint, "one-name").await;
    let first = taken(&leases, "s", "same", 1).await;
    let seen = row(&leases, "s").await;
    let second = leases
        .take(&seen, &worker("same"), Incarnation(2))
        .await
        .expect("a namesake takes it");
    // The row is now at the very counter that the first would write, under its own name.
    assert_eq!(second.counter, first.counter + 1);
    let found = (Some("same".to_owned()), Some(second.counter));
    assert_eq!(lost(leases.renew(&first).await), found);
    assert_eq!(
        lost(
            leases
                .checkpoint(&first, &Checkpoint::TrimHorizon, &[])
                .await
        ),
        found
    );
    assert_eq!(lost(leases.release(&first, None).await), found);
    let third = leases.take(&seen, &worker("same"), Incarnation(3)).await;
    assert_eq!(
        lost(third),
        found,
        "the take of the second is not the third's"
    );
    leases.renew(&second).await.expect("the second holds it");
}

async fn a_deleted_row_is_a_lost_lease(endpoint: &str) {
    let leases = lease_table(endpoint, "deleted").await;
    let held = taken(&leases, "s", "a", 1).await;
    let seen = row(&leases, "s").await;
    leases.delete(&held.shard).await.expect("it is deleted");
    leases.delete(&held.shard).await.expect("twice is no error");
    assert_eq!(lost(leases.renew(&held).await), (None, None));
    assert_eq!(
        lost(leases.checkpoint(&held, &Checkpoint::ShardEnd, &[]).await),
        (None, None)
    );
    assert_eq!(lost(leases.release(&held, None).await), (None, None));
    assert_eq!(
        lost(leases.take(&seen, &worker("b"), Incarnation(2)).await),
        (None, None)
    );
    assert_eq!(
        leases.list().await.expect("it lists"),
        [],
        "no write has made it anew"
    );
    // KCL's assignLease_unAssignedLeaseGetsDeleted: nor when nobody owned it.
    leases.create(&new_lease("s")).await.expect("it is created");
    let seen = row(&leases, "s").await;
    leases.delete(&seen.shard).await.expect("it is deleted");
    assert_eq!(
        lost(leases.take(&seen, &worker("b"), Incarnation(3)).await),
        (None, None)
    );
    assert_eq!(leases.list().await.expect("it lists"), []);
}

/// As KCL 3's leader begins a graceful handoff.
pub(super) async fn hand_over(endpoint: &str, table: &str, shard: &str, from: &str, to: &str) {
    raw_tables(endpoint)
        .update_item()
        .table_name(table)
        .key("leaseKey", string(shard))
        .update_expression("SET leaseOwner = :to, checkpointOwner = :from")
        .expression_attribute_values(":to", string(to))
        .expression_attribute_values(":from", string(from))
        .send()
        .await
        .expect("KCL may write this");
}

pub(super) async fn raw_row(
    endpoint: &str,
    table: &str,
    shard: &str,
) -> std::collections::HashMap<String, AttributeValue> {
    raw_tables(endpoint)
        .get_item()
        .table_name(table)
        .key("leaseKey", string(shard))
        .consistent_read(true)
        .send()
        .await
        .expect("it answers")
        .item
        .expect("it is there")
}
