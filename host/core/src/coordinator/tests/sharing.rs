//! Which leases a worker takes, asks for, steals and hands over, as the rows that it sees say.

use super::*;
use crate::lease_write::{CheckpointDelta, LostReason, WriteFailure};

/// A row of a worker that hands over: one of ours.
pub(super) fn ours(shard: &str, owner: &str, counter: u64) -> Lease {
    Lease {
        counter,
        incarnation: Some(Incarnation(9)),
        incarnation_owner: Some(WorkerId::new(owner)),
        ..row(shard, Some(owner), at(1))
    }
}

/// A row of a KCL worker.
pub(super) fn kcls(shard: &str, owner: &str, counter: u64) -> Lease {
    Lease {
        counter,
        ..row(shard, Some(owner), at(1))
    }
}

/// The same rows, whose owners have renewed them meanwhile.
pub(super) fn renewed(rows: &[Lease]) -> Vec<Lease> {
    let mut rows = rows.to_vec();
    for row in rows.iter_mut().filter(|row| row.owner.is_some()) {
        row.counter += 1;
    }
    rows
}

pub(super) fn asked(effects: &[CoordinatorEffect]) -> Vec<String> {
    let shards = effects.iter().filter_map(|effect| match effect {
        CoordinatorEffect::Announce { seen } => Some(seen.shard.to_string()),
        _ => None,
    });
    shards.collect()
}

/// A worker that sees these rows, and that their owners are alive.
fn among_the_living(rows: &[Lease]) -> (Bench, Vec<CoordinatorEffect>) {
    let (mut bench, first) = Bench::with_rows(rows.to_vec());
    assert_eq!(
        asked(&first),
        [] as [String; 0],
        "nobody is proven alive yet"
    );
    let effects = bench.relist(Duration::from_secs(4), renewed(rows));
    (bench, effects)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("shard-{number}")).collect()
}

pub(super) fn all_of(count: usize, row: impl Fn(&str) -> Lease) -> Vec<Lease> {
    names(count).iter().map(|name| row(name)).collect()
}

#[test]
fn a_thousand_leases_are_taken_and_renewed() {
    let rows = all_of(1000, |shard| row(shard, None, at(1)));
    let (mut bench, mut effects) = Bench::with_rows(rows);
    let mut begun = 0;
    while !takes(&effects).is_empty() {
        assert!(takes(&effects).len() <= 32, "as many as a table bears");
        effects = bench.grant(&effects);
        begun += started(&effects).len();
    }
    assert_eq!(begun, 1000);
    for _ in 0..3 {
        bench.now = bench.now + FAILOVER / 3;
        let is_write = |effect: &&CoordinatorEffect| matches!(effect, CoordinatorEffect::Write(_));
        assert_eq!(bench.renew(&[]).iter().filter(is_write).count(), 1000);
    }
}

/// KCL: testNonGreedyTake.
#[test]
fn takes_no_more_than_its_share_of_what_is_free() {
    let mut rows = all_of(10, |shard| row(shard, None, at(1)));
    for (number, name) in ["shard-0", "shard-1", "shard-2"].iter().enumerate() {
        rows[number] = ours(name, "other", 7);
    }
    let (_, effects) = Bench::with_rows(rows);
    assert_eq!(takes(&effects).len(), 5, "{effects:?}");
}

/// KCL: testVeryOldLeaseTaker. What nobody has taken for three lease durations is beyond shares, but not beyond
/// `max_leases`.
#[test]
fn takes_more_than_its_share_of_what_nobody_takes() {
    let rows = |counter| {
        let mut rows = all_of(10, |shard| row(shard, None, at(1)));
        rows[0] = ours("shard-0", "other", counter);
        rows
    };
    for (max_leases, then) in [(usize::MAX, 4), (7, 2)] {
        let (mut bench, effects) = Bench::with_settings(max_leases, rows(7));
        bench.grant(&effects);
        assert_eq!(takes(&effects).len(), 5);
        let free = |bench: &Bench, counter| {
            let mut rows = rows(counter);
            rows.retain(|row| !bench.machine.held.contains_key(&row.shard));
            let held = bench.machine.held.keys();
            rows.extend(held.filter_map(|shard| bench.machine.rows.get(shard).cloned()));
            rows
        };
        for step in 8..11 {
            let rows = free(&bench, step);
            let effects = bench.relist(FAILOVER, rows);
            assert_eq!(takes(&effects), [] as [&str; 0], "after {step}");
            bench.renew(&effects);
        }
        let rows = free(&bench, 11);
        let effects = bench.relist(Duration::from_secs(1), rows);
        assert_eq!(takes(&effects).len(), then, "at most {max_leases}");
    }
}

/// KCL: testSteal, for victims that know nothing of handing over: one a round, from whoever has most.
#[test]
fn steals_one_lease_a_round_from_kcl() {
    let mut rows = all_of(6, |shard| kcls(shard, "java-5", 7));
    rows[3] = kcls("shard-3", "java-1", 7);
    let (mut bench, effects) = among_the_living(&rows);
    let first = takes(&effects).join(" ");
    assert_eq!(takes(&effects).len(), 1);
    assert_ne!(first, "shard-3", "its owner has no more than a share");
    assert_eq!(asked(&effects), [] as [String; 0]);
    bench.grant(&effects);
    let mut rows = renewed(&renewed(&rows));
    for row in &mut rows {
        if row.shard.as_str() == first {
            *row = bench.machine.rows.get(&row.shard).unwrap().clone();
        }
    }
    let effects = bench.relist(Duration::from_secs(1), rows.clone());
    assert_eq!(takes(&effects).len(), 1, "of its share of two, another");
    assert!(!takes(&effects).contains(&"shard-3"));
    let second = takes(&effects).join(" ");
    bench.grant(&effects);
    let mut rows = renewed(&rows);
    for row in &mut rows {
        if [&first, &second].contains(&&row.shard.to_string()) {
            *row = bench.machine.rows.get(&row.shard).unwrap().clone();
        }
    }
    let effects = bench.relist(Duration::from_secs(1), rows);
    assert_eq!(takes(&effects), [] as [&str; 0], "it has its share");
}

#[test]
fn asks_one_of_ours_for_half_of_what_it_lacks_and_robs_nobody() {
    let rows = all_of(8, |shard| ours(shard, "other", 7));
    let (mut bench, effects) = among_the_living(&rows);
    assert_eq!(takes(&effects), [] as [&str; 0]);
    let wanted = asked(&effects);
    assert_eq!(
        wanted.len(),
        2,
        "of the four that are its share: {effects:?}"
    );
    let mut rows = renewed(&renewed(&rows));
    for shard in &wanted {
        let shard = ShardId::from(shard.as_str());
        let outcome = Ok(true);
        bench.tell(CoordinatorEvent::Announced {
            shard: shard.clone(),
            outcome,
        });
        let row = rows.iter_mut().find(|row| row.shard == shard);
        row.expect("it is one of them").successor = Some(WorkerId::new("me"));
    }
    assert!(
        !bench.machine.snapshot().is_settled,
        "it is about to get some"
    );
    let effects = bench.relist(Duration::from_secs(1), rows.clone());
    assert_eq!(asked(&effects), [] as [String; 0], "first things first");
    assert_eq!(takes(&effects), [] as [&str; 0]);
    for row in rows.iter_mut().filter(|row| row.successor.is_some()) {
        row.owner = Some(WorkerId::new("me"));
        row.counter += 1;
    }
    let effects = bench.relist(Duration::from_secs(1), rows.clone());
    let mut taken = takes(&effects);
    taken.sort_unstable();
    let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(
        taken, wanted,
        "what was handed over is taken, and nothing else"
    );
}

/// KCL: testNoStealWhenOffByOne.
#[test]
fn an_odd_lease_does_not_go_back_and_forth() {
    let mut rows = all_of(3, |shard| ours(shard, "other", 7));
    rows[0] = ours("shard-0", "me", 7);
    let (mut bench, effects) = Bench::with_rows(rows.clone());
    bench.grant(&effects);
    rows[0] = bench.machine.rows.get(&rows[0].shard).unwrap().clone();
    let mut seen = renewed(&rows);
    seen[0] = rows[0].clone();
    let effects = bench.relist(Duration::from_secs(2), seen);
    assert_eq!(asked(&effects), [] as [String; 0]);
    assert_eq!(takes(&effects), [] as [&str; 0]);
}

/// KCL: testNoStealWhenExpiredLeases. What is free is taken first, be it all that the worker lacks or not.
#[test]
fn nothing_is_stolen_while_something_is_free() {
    for of_whom in [ours, kcls] {
        let rows = all_of(5, |shard| of_whom(shard, "other", 7));
        let expired = of_whom("expired", "gone", 7);
        for free in [row("free", None, at(1)), expired] {
            let mut before = rows.clone();
            before.push(free.clone());
            if free.owner.is_none() {
                before.pop();
            }
            let (mut bench, _) = Bench::with_rows(before.clone());
            let mut after = renewed(&rows);
            after.push(free.clone());
            let effects = bench.relist(FAILOVER + Duration::from_millis(501), after);
            assert_eq!(takes(&effects), [free.shard.as_str()]);
            assert_eq!(asked(&effects), [] as [String; 0]);
        }
    }
}

#[test]
fn what_is_being_handed_over_is_not_stolen() {
    let mut rows = all_of(3, |shard| ours(shard, "other", 7));
    rows[0].successor = Some(WorkerId::new("third"));
    rows[1].checkpoint_owner = Some(WorkerId::new("java"));
    rows[2].owner = Some(WorkerId::new("third"));
    rows[2].successor = Some(WorkerId::new("third"));
    for _ in 0..8 {
        let (_, effects) = among_the_living(&rows);
        assert_eq!(asked(&effects), [] as [String; 0]);
        assert_eq!(takes(&effects), [] as [&str; 0]);
    }
}

#[test]
fn asks_for_no_more_than_max_leases() {
    let rows = all_of(9, |shard| ours(shard, "other", 7));
    let (mut bench, _) = Bench::with_settings(1, rows.clone());
    let effects = bench.relist(Duration::from_secs(4), renewed(&rows));
    assert_eq!(asked(&effects).len(), 1);
}

/// A merge of what is left to count: a finished shard's lease evens out the count, and an open one the work.
#[test]
fn asks_for_open_shards_as_long_as_the_other_has_more_of_them() {
    let rows: Vec<Lease> = (0..8)
        .map(|number| {
            let mut row = ours(&format!("shard-{number}"), "other", 7);
            if number < 6 {
                row.checkpoint = Checkpoint::ShardEnd;
            }
            row
        })
        .collect();
    let (_, effects) = among_the_living(&rows);
    let wanted = asked(&effects);
    assert_eq!(wanted.len(), 2);
    let is_open = |shard: &&String| shard.as_str() >= "shard-6";
    assert_eq!(wanted.iter().filter(is_open).count(), 1, "{wanted:?}");
}

/// KCL: testNotTakeUpdatedLease.
#[test]
fn a_row_that_has_moved_since_it_was_read_is_not_taken() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let Some(CoordinatorEffect::Take { seen, incarnation }) = effects.last() else {
        panic!("{effects:?}");
    };
    let tenure = Tenure {
        shard: seen.shard.clone(),
        incarnation: *incarnation,
    };
    let lost = WriteFailure::Lost {
        owner: Some(WorkerId::new("quicker")),
        counter: Some(6),
    };
    let outcome = Err(lost);
    assert_eq!(
        bench.tell(CoordinatorEvent::Taken {
            tenure,
            latest_ms: None,
            outcome
        }),
        []
    );
    let theirs = || vec![ours("a", "quicker", 6)];
    let effects = bench.relist(Duration::from_secs(1), theirs());
    assert_eq!(takes(&effects), [] as [&str; 0]);
}

/// KCL: testLeaseLoss and testUpdateLostLease.
#[test]
fn a_lease_that_another_has_taken_is_let_go_of_at_once() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    let delta = CheckpointDelta {
        from: at(1),
        to: at(2),
    };
    let checkpoint = |tenure: &Tenure| CoordinatorEvent::Checkpoint {
        tenure: tenure.clone(),
        delta: delta.clone(),
    };
    assert_eq!(bench.tell(checkpoint(&tenure)).len(), 1);
    let thief = Some(WorkerId::new("thief"));
    let outcome = Err(WriteFailure::Lost {
        owner: thief.clone(),
        counter: Some(9),
    });
    let effects = bench.tell(CoordinatorEvent::Written {
        tenure: tenure.clone(),
        outcome,
    });
    let why = StopReason::Lost(LostReason::Taken {
        owner: thief,
        counter: Some(9),
    });
    let stop = CoordinatorEffect::StopConsumer {
        tenure: tenure.clone(),
        why,
    };
    assert_eq!(effects, [stop]);
    assert_eq!(
        bench.tell(checkpoint(&tenure)),
        [],
        "nothing is written any more"
    );
    assert_eq!(bench.tell(CoordinatorEvent::ConsumerStopped(tenure)), []);
    assert!(bench.machine.held.is_empty());
}

/// Retention took what nobody had read: the children must not wait for an end that nobody can write.
#[test]
fn a_shard_that_retention_has_taken_gives_way_to_what_follows() {
    let mut child = row("child", None, Checkpoint::TrimHorizon);
    child.parents = vec![ShardId::from("gone")];
    let (mut bench, effects) = Bench::with_rows(vec![row("gone", None, at(1)), child]);
    let tenures = started(&bench.grant(&effects));
    assert_eq!(tenures.len(), 1, "SH-1");
    let mut effects = Vec::new();
    for listing in 0..2 {
        assert!(effects.is_empty(), "one listing is not enough");
        let mut asked = Vec::new();
        for _ in 0..20 {
            bench.now = bench.now + FAILOVER / 3;
            asked.extend(bench.renew(&[]));
            if asked.contains(&CoordinatorEffect::List) {
                asked.retain(|effect| *effect != CoordinatorEffect::List);
                let rows = bench.machine.rows.leases().cloned().collect();
                bench.tell(CoordinatorEvent::Listed(Ok(rows)));
            }
        }
        let lists = |effect: &CoordinatorEffect| {
            matches!(effect, CoordinatorEffect::ListShards(ShardListing::All))
        };
        assert!(asked.iter().any(lists), "listing {listing}: {asked:?}");
        effects = bench.tell(CoordinatorEvent::ShardsListed {
            which: ShardListing::All,
            outcome: Ok(vec![open_shard("child", &["gone"])]),
        });
    }
    let stop = CoordinatorEffect::StopConsumer {
        tenure: tenures[0].clone(),
        why: StopReason::Drain,
    };
    assert_eq!(effects, [stop]);
    bench.tell(CoordinatorEvent::ConsumerStopped(tenures[0].clone()));
    let rows: Vec<Lease> = bench.machine.rows.leases().cloned().collect();
    let effects = bench.relist(Duration::from_secs(1), rows);
    let gone = ShardId::from("gone");
    assert!(
        effects.contains(&CoordinatorEffect::Delete(gone.clone())),
        "{effects:?}"
    );
    let effects = bench.tell(CoordinatorEvent::Deleted {
        shard: gone,
        outcome: Ok(()),
    });
    assert_eq!(started(&effects).len(), 1, "{effects:?}");
}
