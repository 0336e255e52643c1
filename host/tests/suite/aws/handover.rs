//! How a lease is passed on, as the rows show it: to one of our workers that asks for it, and in KCL's handoffs.

use shardwright::adapters::DynamoLeaseTable;
use shardwright::ports::LeaseTable;
use shardwright_core::{HeldLease, Incarnation, Lease, RowAfter};

use super::leases::{at, hand_over, lost, raw_row, row, taken, worker};
use super::{lease_table, number, raw_tables, string};

pub(super) async fn suite(endpoint: &str) {
    an_owner_learns_who_asks_and_hands_over(endpoint).await;
    an_announcement_is_for_one_acquisition_and_one_successor(endpoint).await;
    a_lease_that_kcl_has_is_not_asked_for(endpoint).await;
    a_handoff_is_kept_alive_and_finished(endpoint).await;
    a_handoff_between_others_is_a_lost_lease(endpoint).await;
}

async fn an_owner_learns_who_asks_and_hands_over(endpoint: &str) {
    let leases = lease_table(endpoint, "asked").await;
    let mut held = taken(&leases, "s", "a", 1).await;
    let renewed = leases.renew(&held).await.expect("a holds it");
    assert_eq!(
        (renewed.counter, renewed.successor),
        (held.counter + 1, None)
    );
    held.counter = renewed.counter;
    let seen = row(&leases, "s").await;
    assert!(
        leases
            .announce(&seen, &worker("b"))
            .await
            .expect("it answers")
    );
    let asked = row(&leases, "s").await;
    assert_eq!(
        asked.counter, held.counter,
        "the owner's next write is its own"
    );
    assert_eq!(asked.heir(), Some(&worker("b")));
    // Each of the owner's writes tells.
    let renewed = leases.renew(&held).await.expect("a still holds it");
    assert_eq!(renewed.successor, Some(worker("b")));
    held.counter = renewed.counter;
    let moved = leases.checkpoint(&held, &at("5", 0), &[]).await;
    let moved = moved.expect("and checkpoints");
    assert_eq!(moved.successor, Some(worker("b")));
    held.counter = moved.counter;
    let release = leases.release(&held, Some(&worker("b"))).await;
    release.expect("and lets go");

    let handed = row(&leases, "s").await;
    assert_eq!(
        (handed.owner.clone(), handed.counter),
        (Some(worker("b")), held.counter + 1)
    );
    assert!(handed.is_handed_over() && !handed.is_ours());
    assert_eq!(
        lost(leases.renew(&held).await),
        (Some("b".to_owned()), Some(handed.counter))
    );
    let heirs = take(&leases, &handed, "b", 2).await;
    let settled = row(&leases, "s").await;
    assert!(settled.is_ours() && settled.heir().is_none());
    assert_eq!(
        (settled.checkpoint, settled.counter),
        (at("5", 0), heirs.counter)
    );
    let raw = raw_row(endpoint, "asked", "s").await;
    assert!(!raw.contains_key("successor"), "{raw:?}");
}

async fn an_announcement_is_for_one_acquisition_and_one_successor(endpoint: &str) {
    let leases = lease_table(endpoint, "asked-once").await;
    taken(&leases, "s", "a", 1).await;
    let first = row(&leases, "s").await;
    assert!(
        leases
            .announce(&first, &worker("b"))
            .await
            .expect("it answers")
    );
    assert!(
        leases
            .announce(&first, &worker("b"))
            .await
            .expect("twice is once")
    );
    assert!(
        !leases
            .announce(&first, &worker("c"))
            .await
            .expect("it answers")
    );
    // Who has seen that the first is named, and that nothing comes of it, may take its place.
    let named = row(&leases, "s").await;
    assert!(
        leases
            .announce(&named, &worker("c"))
            .await
            .expect("it answers")
    );
    take(&leases, &row(&leases, "s").await, "a", 2).await;
    let again = row(&leases, "s").await;
    assert!(
        !leases
            .announce(&named, &worker("c"))
            .await
            .expect("it answers")
    );
    assert_eq!(
        row(&leases, "s").await,
        again,
        "another acquisition is not touched"
    );
}

/// KCL takes by the counter and leaves our attributes where they are: they are not the new owner's.
async fn a_lease_that_kcl_has_is_not_asked_for(endpoint: &str) {
    let leases = lease_table(endpoint, "asked-kcl").await;
    taken(&leases, "s", "a", 1).await;
    let seen = row(&leases, "s").await;
    assert!(
        leases
            .announce(&seen, &worker("b"))
            .await
            .expect("it answers")
    );
    raw_tables(endpoint)
        .update_item()
        .table_name("asked-kcl")
        .key("leaseKey", string("s"))
        .update_expression("SET leaseCounter = :n, leaseOwner = :java")
        .expression_attribute_values(":n", number(seen.counter + 1))
        .expression_attribute_values(":java", string("java"))
        .send()
        .await
        .expect("KCL may write this");
    let found = row(&leases, "s").await;
    assert!(!found.is_ours() && !found.is_handed_over() && found.heir().is_none());
    assert!(
        !leases
            .announce(&found, &worker("b"))
            .await
            .expect("it answers")
    );
    take(&leases, &found, "b", 2).await;
    let raw = raw_row(endpoint, "asked-kcl", "s").await;
    assert!(!raw.contains_key("successor"), "{raw:?}");
}

async fn take(leases: &DynamoLeaseTable, seen: &Lease, by: &str, incarnation: u128) -> HeldLease {
    leases
        .take(seen, &worker(by), Incarnation(incarnation))
        .await
        .expect("nobody was quicker")
}

async fn a_handoff_is_kept_alive_and_finished(endpoint: &str) {
    let leases = lease_table(endpoint, "handoff").await;
    let mut held = taken(&leases, "s", "a", 1).await;
    hand_over(endpoint, "handoff", "s", "a", "b").await;
    let learnt = |after: RowAfter| {
        assert_eq!(after.successor, Some(worker("b")), "who waits for it");
        after.counter
    };
    held.counter = learnt(leases.renew(&held).await.expect("a still processes"));
    let found = row(&leases, "s").await;
    assert_eq!(
        (found.owner, found.checkpoint_owner, found.counter),
        (Some(worker("b")), Some(worker("a")), held.counter)
    );
    let checkpoint = leases.checkpoint(&held, &at("5", 0), &[]).await;
    held.counter = learnt(checkpoint.expect("and checkpoints"));
    held.counter = learnt(leases.renew(&held).await.expect("and renews"));
    leases.release(&held, None).await.expect("and lets go");
    let found = row(&leases, "s").await;
    assert_eq!(
        (found.owner, found.checkpoint_owner),
        (Some(worker("b")), None)
    );
    assert_eq!(
        (found.counter, found.checkpoint),
        (held.counter + 1, at("5", 0))
    );
}

async fn a_handoff_between_others_is_a_lost_lease(endpoint: &str) {
    let leases = lease_table(endpoint, "handoff-of-others").await;
    let held = taken(&leases, "s", "a", 1).await;
    // A handoff does not move the counter.
    hand_over(endpoint, "handoff-of-others", "s", "x", "y").await;
    let found = (Some("x".to_owned()), Some(held.counter));
    assert_eq!(lost(leases.renew(&held).await), found);
    assert_eq!(lost(leases.release(&held, None).await), found);
}
