//! The coordinator by itself: what it asks for and when. What several of them do to each other is in
//! `tests/lease_histories.rs`.

use std::time::Duration;

mod auditing;
mod cleaning;
mod creating;
mod draining;
mod handing_over;
mod sharing;

use super::*;
use crate::lease::{HeldLease, Incarnation, NewLease};
use crate::lease_write::{CheckpointDelta, LeaseChange, RowAfter, Tenure, WriteFailure};
use crate::limits::BLOCKED_SYNC_INTERVAL;
use crate::position::{Checkpoint, Position, SequenceNumber};
use crate::shard::{ChildShard, HashRange};

const FAILOVER: Duration = Duration::from_secs(10);

fn at(number: u64) -> Checkpoint {
    Checkpoint::At(Position {
        sequence: SequenceNumber::parse(number.to_string()).unwrap(),
        sub_sequence: 0,
    })
}

fn row(shard: &str, owner: Option<&str>, checkpoint: Checkpoint) -> Lease {
    Lease {
        owner: owner.map(WorkerId::new),
        counter: 5,
        ..Lease::created(NewLease {
            shard: ShardId::from(shard),
            checkpoint,
            parents: Vec::new(),
            hash_range: Some(HashRange::FULL),
        })
    }
}

fn open_shard(id: &str, parents: &[&str]) -> Shard {
    Shard {
        id: ShardId::from(id),
        parents: parents
            .iter()
            .map(|&parent| ShardId::from(parent))
            .collect(),
        hash_range: HashRange::FULL,
        starting_sequence: SequenceNumber::parse("1").unwrap(),
        ending_sequence: None,
    }
}

fn after(counter: u64) -> RowAfter {
    RowAfter {
        counter,
        successor: None,
    }
}

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        what: "the table is away".into(),
    }
}

/// A coordinator named `me`, and a clock.
struct Bench {
    machine: Coordinator,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::of_at_most(usize::MAX)
    }

    fn of_at_most(max_leases: usize) -> Self {
        Self {
            machine: Coordinator::new(LeaseSettings {
                worker: WorkerId::new("me"),
                initial: InitialPosition::TrimHorizon,
                timing: LeaseTiming { failover: FAILOVER },
                max_leases,
                seed: 1,
            }),
            now: Instant::from_nanos(1_000_000_000_000),
        }
    }

    /// One whose first listing showed these rows, and whose shards are in order.
    fn with_rows(rows: Vec<Lease>) -> (Self, Vec<CoordinatorEffect>) {
        Self::with_settings(usize::MAX, rows)
    }

    fn with_settings(max_leases: usize, rows: Vec<Lease>) -> (Self, Vec<CoordinatorEffect>) {
        let mut bench = Self::of_at_most(max_leases);
        bench.tell(CoordinatorEvent::Started);
        bench.tell(CoordinatorEvent::TableReady(Ok(())));
        let effects = bench.tell(CoordinatorEvent::Listed(Ok(rows)));
        bench.tell(CoordinatorEvent::ShardsListed {
            which: ShardListing::All,
            outcome: Ok(Vec::new()),
        });
        (bench, effects)
    }

    fn tell(&mut self, event: CoordinatorEvent) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        self.machine.handle(self.now, event, &mut effects);
        effects.retain(|effect| !matches!(effect, CoordinatorEffect::Happened(_)));
        effects
    }

    fn relist(&mut self, after: Duration, rows: Vec<Lease>) -> Vec<CoordinatorEffect> {
        self.now = self.now + after;
        self.tell(CoordinatorEvent::Tick);
        self.tell(CoordinatorEvent::Listed(Ok(rows)))
    }

    /// Time has passed, and the table has carried out every fenced write that this worker asks for, or has asked for in
    /// these effects; the effects of all that.
    fn renew(&mut self, effects: &[CoordinatorEffect]) -> Vec<CoordinatorEffect> {
        let mut writes: Vec<CoordinatorEffect> = effects.to_vec();
        writes.extend(self.tell(CoordinatorEvent::Tick));
        let mut after_them = writes.clone();
        for effect in writes {
            if let CoordinatorEffect::Write(write) = effect {
                let outcome = Ok(after(write.held.counter + 1));
                let tenure = write.held.tenure();
                after_them.extend(self.tell(CoordinatorEvent::Written { tenure, outcome }));
            }
        }
        after_them
    }

    /// The table grants every take among these effects.
    fn grant(&mut self, effects: &[CoordinatorEffect]) -> Vec<CoordinatorEffect> {
        let mut after = Vec::new();
        for effect in effects {
            if let CoordinatorEffect::Take { seen, incarnation } = effect {
                let held = HeldLease {
                    shard: seen.shard.clone(),
                    owner: WorkerId::new("me"),
                    counter: seen.counter + 1,
                    incarnation: *incarnation,
                };
                let tenure = held.tenure();
                let outcome = Ok(held);
                after.extend(self.tell(CoordinatorEvent::Taken {
                    tenure,
                    latest_ms: None,
                    outcome,
                }));
            }
        }
        after
    }

    fn states(&self) -> Vec<(String, LeaseState)> {
        let leases = self.machine.snapshot().leases.into_iter();
        leases
            .map(|lease| (lease.shard.to_string(), lease.state))
            .collect()
    }
}

fn takes(effects: &[CoordinatorEffect]) -> Vec<&str> {
    let shards = effects.iter().filter_map(|effect| match effect {
        CoordinatorEffect::Take { seen, .. } => Some(seen.shard.as_str()),
        _ => None,
    });
    shards.collect()
}

fn started(effects: &[CoordinatorEffect]) -> Vec<Tenure> {
    let starts = effects.iter().filter_map(|effect| match effect {
        CoordinatorEffect::StartConsumer(start) => Some(start.tenure.clone()),
        _ => None,
    });
    starts.collect()
}

#[test]
fn an_empty_table_gets_the_first_rows_and_they_are_taken_without_another_listing() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.tell(CoordinatorEvent::Started),
        [CoordinatorEffect::EnsureTable]
    );
    assert_eq!(
        bench.tell(CoordinatorEvent::TableReady(Ok(()))),
        [CoordinatorEffect::List]
    );
    let which = ShardListing::AtTrimHorizon;
    assert_eq!(
        bench.tell(CoordinatorEvent::Listed(Ok(Vec::new()))),
        [CoordinatorEffect::ListShards(which)]
    );
    let outcome = Ok(vec![open_shard("a", &[])]);
    let effects = bench.tell(CoordinatorEvent::ShardsListed { which, outcome });
    assert_eq!(
        effects,
        [CoordinatorEffect::List],
        "somebody may have begun"
    );
    let effects = bench.tell(CoordinatorEvent::Listed(Ok(Vec::new())));
    let new = NewLease {
        shard: ShardId::from("a"),
        checkpoint: Checkpoint::TrimHorizon,
        parents: Vec::new(),
        hash_range: Some(HashRange::FULL),
    };
    assert_eq!(effects, [CoordinatorEffect::Create(new)]);
    let created = CoordinatorEvent::Created {
        shard: ShardId::from("a"),
        outcome: Ok(true),
    };
    let effects = bench.tell(created);
    assert_eq!(takes(&effects), ["a"]);
    assert_eq!(started(&bench.grant(&effects)).len(), 1);
    assert!(bench.machine.snapshot().is_settled);
}

#[test]
fn at_the_start_takes_its_own_and_nobodys_at_once_but_no_living_workers() {
    let rows = vec![
        row("mine", Some("me"), at(1)),
        row("nobodys", None, at(1)),
        row("theirs", Some("other"), at(1)),
        row("finished", None, Checkpoint::ShardEnd),
    ];
    let (_, effects) = Bench::with_rows(rows);
    assert_eq!(takes(&effects), ["mine", "nobodys"]);
}

#[test]
fn takes_anothers_lease_only_after_it_has_stood_still_for_longer_than_the_failover_time() {
    let theirs = || vec![row("theirs", Some("other"), at(1))];
    let (mut bench, _) = Bench::with_rows(theirs());
    assert_eq!(takes(&bench.relist(FAILOVER, theirs())), [] as [&str; 0]);
    let effects = bench.relist(Duration::from_millis(501), theirs());
    assert_eq!(takes(&effects), ["theirs"]);
}

#[test]
fn a_moving_counter_is_a_living_owner() {
    let moved = |counter| {
        let mut row = row("theirs", Some("other"), at(1));
        row.counter = counter;
        vec![row]
    };
    let (mut bench, _) = Bench::with_rows(moved(5));
    let is_unproven = |bench: &Bench| matches!(bench.states()[0].1, LeaseState::Unproven { .. });
    assert!(is_unproven(&bench));
    let effects = bench.relist(FAILOVER * 3, moved(6));
    assert_eq!(takes(&effects), [] as [&str; 0]);
    assert_eq!(bench.states()[0].1, LeaseState::Alive);
}

/// Found with a lease table that answered too late: a worker that had lost its leases by the clock saw its own late writes
/// move them, took that for another's life, and believed every shard to be in good hands.
#[test]
fn a_row_that_only_this_process_moves_is_in_nobody_elses_hands() {
    let (mut bench, effects) = Bench::with_rows(vec![row("mine", None, at(1))]);
    let incarnation = effects.iter().find_map(|effect| match effect {
        CoordinatorEffect::Take { incarnation, .. } => Some(*incarnation),
        _ => None,
    });
    bench.grant(&effects);
    let late = |counter| {
        let mut row = row("mine", Some("me"), at(1));
        row.counter = counter;
        row.incarnation = incarnation;
        vec![row]
    };
    bench.relist(FAILOVER + Duration::from_secs(1), late(6));
    bench.relist(Duration::from_secs(1), late(7));
    let state = bench.states()[0].1;
    assert_ne!(state, LeaseState::Alive);
    assert_ne!(state, LeaseState::Mine);
}

#[test]
fn a_merged_child_is_not_created_while_a_parent_has_no_lease() {
    let parents = || vec![ShardId::from("left"), ShardId::from("right")];
    let (mut bench, effects) = Bench::with_rows(vec![row("left", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    let ended = |tenure: &Tenure| CoordinatorEvent::ShardEnded {
        tenure: tenure.clone(),
        from: at(1),
        children: vec![ChildShard {
            id: ShardId::from("child"),
            parents: parents(),
            hash_range: HashRange::FULL,
        }],
    };
    // The listing knows the child but not its other parent: retention has taken that, so nobody waits for it.
    bench.machine.shards = Some(vec![open_shard("child", &["left", "right"])]);
    let effects = bench.tell(ended(&tenure));
    assert!(
        matches!(&effects[..], [CoordinatorEffect::Create(child)] if child.shard.as_str() == "child")
    );

    let (mut bench, effects) = Bench::with_rows(vec![row("left", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    bench.machine.shards = Some(vec![open_shard("right", &[])]);
    assert_eq!(bench.tell(ended(&tenure)), [], "SH-1");
    // It is looked for again until the other parent has a row, and then the child is made, and the end written.
    bench.now = bench.now + BLOCKED_SYNC_INTERVAL;
    let effects = bench.tell(CoordinatorEvent::Tick);
    let which = ShardListing::All;
    assert!(
        effects.contains(&CoordinatorEffect::ListShards(which)),
        "{effects:?}"
    );
    bench.tell(CoordinatorEvent::ShardsListed {
        which,
        outcome: Ok(vec![open_shard("right", &[])]),
    });
    let mut left = bench.machine.rows.get(&tenure.shard).unwrap().clone();
    left.owner = Some(WorkerId::new("me"));
    let rows = vec![left, row("right", Some("other"), at(1))];
    let mut effects = bench.relist(Duration::from_millis(501), rows);
    effects.extend(bench.tell(CoordinatorEvent::Tick));
    let child = effects.iter().find_map(|effect| match effect {
        CoordinatorEffect::Create(child) => Some(child.shard.clone()),
        _ => None,
    });
    assert_eq!(child, Some(ShardId::from("child")), "{effects:?}");
    let effects = bench.tell(CoordinatorEvent::Created {
        shard: ShardId::from("child"),
        outcome: Ok(true),
    });
    let is_end = |effect: &CoordinatorEffect| {
        matches!(effect, CoordinatorEffect::Write(write)
            if matches!(write.change, LeaseChange::Checkpoint { to: Checkpoint::ShardEnd, .. }))
    };
    assert!(effects.iter().any(is_end), "{effects:?}");
}

#[test]
fn children_exist_before_the_end_is_written_and_are_taken_after_it() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    let child = ChildShard {
        id: ShardId::from("b"),
        parents: vec![ShardId::from("a")],
        hash_range: HashRange::FULL,
    };
    let effects = bench.tell(CoordinatorEvent::ShardEnded {
        tenure: tenure.clone(),
        from: at(1),
        children: vec![child],
    });
    assert!(
        matches!(&effects[..], [CoordinatorEffect::Create(_)]),
        "SH-2: {effects:?}"
    );
    let created = CoordinatorEvent::Created {
        shard: ShardId::from("b"),
        outcome: Ok(true),
    };
    let effects = bench.tell(created);
    let end = |effect: &CoordinatorEffect| match effect {
        CoordinatorEffect::Write(write) => matches!(
            &write.change,
            LeaseChange::Checkpoint { to: Checkpoint::ShardEnd, children } if children.len() == 1
        ),
        _ => false,
    };
    assert!(effects.iter().any(end), "{effects:?}");
    // Another may take the child first; this worker holds it until the parent's end is durable.
    let held_back = started(&bench.grant(&effects));
    assert_eq!(held_back, [], "SH-1");
    let effects = bench.tell(CoordinatorEvent::Written {
        tenure,
        outcome: Ok(after(7)),
    });
    assert_eq!(started(&effects).len(), 1, "{effects:?}");
}

#[test]
fn a_drain_releases_after_the_consumer_has_stopped() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let tenure = started(&bench.grant(&effects)).remove(0);
    let effects = bench.tell(CoordinatorEvent::Drain);
    let why = StopReason::Drain;
    let stop = CoordinatorEffect::StopConsumer {
        tenure: tenure.clone(),
        why,
    };
    assert_eq!(effects, [stop]);
    let effects = bench.tell(CoordinatorEvent::ConsumerStopped(tenure.clone()));
    let [CoordinatorEffect::Write(write)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(write.change, LeaseChange::Release { to: None });
    let outcome = Ok(after(7));
    let effects = bench.tell(CoordinatorEvent::Written { tenure, outcome });
    assert_eq!(effects, [CoordinatorEffect::Finished]);
}

/// KCL: testUpdateRegainedLease. A consumer may still say things when its lease was lost and taken again meanwhile.
#[test]
fn a_consumer_of_an_earlier_acquisition_is_not_listened_to() {
    let (mut bench, effects) = Bench::with_rows(vec![row("a", None, at(1))]);
    let first = started(&bench.grant(&effects)).remove(0);
    let delta = CheckpointDelta {
        from: at(1),
        to: at(2),
    };
    let checkpoint = |tenure: &Tenure| CoordinatorEvent::Checkpoint {
        tenure: tenure.clone(),
        delta: delta.clone(),
    };
    let lost = CoordinatorEvent::Written {
        tenure: first.clone(),
        outcome: Err(WriteFailure::Lost {
            owner: Some(WorkerId::new("thief")),
            counter: Some(9),
        }),
    };
    assert_eq!(bench.tell(checkpoint(&first)).len(), 1);
    bench.tell(lost.clone());
    bench.tell(CoordinatorEvent::ConsumerStopped(first.clone()));
    let given_up = Lease {
        counter: 10,
        ..row("a", None, at(1))
    };
    let effects = bench.relist(Duration::from_secs(1), vec![given_up]);
    let second = started(&bench.grant(&effects)).remove(0);
    assert_ne!(first, second);
    for late in [
        checkpoint(&first),
        CoordinatorEvent::ShardEnded {
            tenure: first.clone(),
            from: at(1),
            children: Vec::new(),
        },
        lost,
        CoordinatorEvent::ConsumerStopped(first),
    ] {
        assert_eq!(bench.tell(late.clone()), [], "{late:?}");
    }
    let effects = bench.tell(checkpoint(&second));
    let [CoordinatorEffect::Write(write)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(write.held.tenure(), second);
}

#[test]
fn gives_up_when_the_table_is_refused_at_the_start_and_tries_again_when_it_is_away() {
    let mut bench = Bench::new();
    bench.tell(CoordinatorEvent::Started);
    let away = trouble(TroubleKind::Transient);
    assert_eq!(bench.tell(CoordinatorEvent::TableReady(Err(away))), []);
    bench.now = bench.machine.next_deadline().expect("a next try");
    assert_eq!(
        bench.tell(CoordinatorEvent::Tick),
        [CoordinatorEffect::EnsureTable]
    );
    let refused = trouble(TroubleKind::Fatal);
    assert_eq!(
        bench.tell(CoordinatorEvent::TableReady(Err(refused.clone()))),
        [CoordinatorEffect::GiveUp(refused)]
    );
}
