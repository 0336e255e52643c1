//! Passing leases on: to workers of ours that ask for them, and in KCL 3's handoffs.

use super::sharing::{all_of, asked, kcls, ours, renewed};
use super::*;

#[test]
fn an_owner_drains_and_checkpoints_before_it_hands_over() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    bench.now = bench.now + FAILOVER / 3;
    let renewal = bench.tell(CoordinatorEvent::Tick);
    assert!(matches!(&renewal[..], [CoordinatorEffect::Write(_)]));
    let thief = WorkerId::new("thief");
    let answer = |counter, tenure: &Tenure| CoordinatorEvent::Written {
        tenure: tenure.clone(),
        outcome: Ok(RowAfter {
            counter,
            successor: Some(thief.clone()),
        }),
    };
    let effects = bench.tell(answer(7, &tenure));
    let stop = CoordinatorEffect::StopConsumer {
        tenure: tenure.clone(),
        why: StopReason::Drain,
    };
    assert!(effects.contains(&stop), "{effects:?}");
    // Another answer does not make it two.
    bench.now = bench.now + FAILOVER / 3;
    bench.tell(CoordinatorEvent::Tick);
    let effects = bench.tell(answer(8, &tenure));
    assert!(!effects.contains(&stop), "{effects:?}");
    let delta = CheckpointDelta {
        from: at(1),
        to: at(5),
    };
    let effects = bench.tell(CoordinatorEvent::Checkpoint {
        tenure: tenure.clone(),
        delta,
    });
    let changes = |effects: &[CoordinatorEffect]| {
        let writes = effects.iter().filter_map(|effect| match effect {
            CoordinatorEffect::Write(write) => Some(write.change.clone()),
            _ => None,
        });
        writes.collect::<Vec<_>>()
    };
    let last = LeaseChange::Checkpoint {
        to: at(5),
        children: Vec::new(),
    };
    assert_eq!(changes(&effects), [last]);
    assert_eq!(
        bench.tell(CoordinatorEvent::ConsumerStopped(tenure.clone())),
        []
    );
    let effects = bench.tell(answer(9, &tenure));
    let to = Some(thief.clone());
    assert_eq!(changes(&effects), [LeaseChange::Release { to }]);
    bench.tell(answer(10, &tenure));
    let view = &bench.machine.snapshot().leases[0];
    assert_eq!(view.owner.as_ref(), Some(&thief));
    assert!(bench.machine.held.is_empty());
    let handed = Lease {
        counter: 10,
        owner: Some(thief.clone()),
        successor: Some(thief.clone()),
        incarnation: Some(tenure.incarnation),
        incarnation_owner: Some(WorkerId::new("me")),
        ..row("a", None, at(5))
    };
    let effects = bench.relist(Duration::from_secs(1), vec![handed]);
    assert_eq!(takes(&effects), [] as [&str; 0], "it is the successor's");
}

#[test]
fn an_owner_that_does_not_hand_over_in_time_is_robbed() {
    let mut rows = all_of(2, |shard| ours(shard, "other", 7));
    rows[1].successor = Some(WorkerId::new("me"));
    let (mut bench, _) = Bench::with_rows(rows.clone());
    for _ in 0..3 {
        rows = renewed(&rows);
        let effects = bench.relist(FAILOVER, rows.clone());
        assert_eq!(takes(&effects), [] as [&str; 0]);
    }
    rows = renewed(&rows);
    let effects = bench.relist(Duration::from_millis(501), rows);
    assert_eq!(takes(&effects), ["shard-1"]);
}

/// A successor that died between asking and taking must not keep the lease from the others for ever.
#[test]
fn a_successor_that_never_comes_is_forgotten() {
    let mut rows = all_of(4, |shard| ours(shard, "other", 7));
    for row in &mut rows {
        row.successor = Some(WorkerId::new("dead"));
    }
    let (mut bench, _) = Bench::with_rows(rows.clone());
    for _ in 0..4 {
        rows = renewed(&rows);
        let effects = bench.relist(FAILOVER, rows.clone());
        assert_eq!(asked(&effects), [] as [String; 0]);
    }
    rows = renewed(&rows);
    let effects = bench.relist(Duration::from_millis(501), rows);
    assert_eq!(asked(&effects).len(), 1);
}

/// KCL: testInitializeSkipsPendingCheckpointLeases. A handoff to me is left alone until it is over or has expired; one from
/// me, of before I was started again, is another's lease.
#[test]
fn a_row_in_a_handoff_is_left_alone_until_it_expires() {
    for (from, to) in [("other", "me"), ("me", "other"), ("x", "y")] {
        let mut handed_over = row("a", Some(to), at(1));
        handed_over.checkpoint_owner = Some(WorkerId::new(from));
        let rows = || vec![handed_over.clone()];
        let (mut bench, effects) = Bench::with_rows(rows());
        assert_eq!(takes(&effects), [] as [&str; 0]);
        let effects = bench.relist(FAILOVER, rows());
        assert_eq!(takes(&effects), [] as [&str; 0], "{from} may be alive");
        let effects = bench.relist(Duration::from_millis(501), rows());
        assert_eq!(takes(&effects), ["a"]);
    }
}

/// KCL: `renewLease_testGracefulShutdown_updateLeaseWhenDetectedShutdown`, and what follows from it: the old owner drains,
/// checkpoints, and lets the new one begin. It learns of the handoff by its own writes or by a listing, whichever is first.
#[test]
fn an_owner_drains_when_kcl_hands_its_lease_to_another() {
    for is_listed in [false, true] {
        let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
        let tenure = started(&bench.grant(&effects)).remove(0);
        let java = WorkerId::new("java");
        let written = |counter| CoordinatorEvent::Written {
            tenure: tenure.clone(),
            outcome: Ok(RowAfter {
                counter,
                successor: Some(java.clone()),
            }),
        };
        let effects = if is_listed {
            let mut in_handoff = bench.machine.rows.get(&tenure.shard).unwrap().clone();
            in_handoff.owner = Some(java.clone());
            in_handoff.checkpoint_owner = Some(WorkerId::new("me"));
            bench.relist(Duration::from_secs(1), vec![in_handoff])
        } else {
            bench.now = bench.now + FAILOVER / 3;
            bench.tell(CoordinatorEvent::Tick);
            bench.tell(written(7))
        };
        let stop = CoordinatorEffect::StopConsumer {
            tenure: tenure.clone(),
            why: StopReason::Drain,
        };
        assert!(effects.contains(&stop), "{effects:?}");
        // It is kept alive meanwhile.
        bench.now = bench.now + FAILOVER / 3;
        let effects = bench.tell(CoordinatorEvent::Tick);
        let Some(CoordinatorEffect::Write(renewal)) = effects.first() else {
            panic!("{effects:?}");
        };
        assert_eq!(renewal.change, LeaseChange::Renew);
        bench.tell(written(renewal.held.counter + 1));
        let effects = bench.tell(CoordinatorEvent::ConsumerStopped(tenure.clone()));
        let [CoordinatorEffect::Write(release)] = &effects[..] else {
            panic!("{effects:?}");
        };
        let to = Some(java.clone());
        assert_eq!(release.change, LeaseChange::Release { to });
        bench.tell(written(release.held.counter + 1));
        assert!(bench.machine.held.is_empty());
        let theirs = Lease {
            counter: release.held.counter + 1,
            ..kcls("a", "java", 0)
        };
        let effects = bench.relist(Duration::from_secs(1), vec![theirs]);
        assert_eq!(takes(&effects), [] as [&str; 0]);
    }
}
