//! Every short history, and many long ones, of workers that share leases: answers lost, calls lost or delayed, processes
//! that stand still or die, clocks that run apart. The world checks the invariants at every step; its table is a model of
//! the port's documentation.
//!
//! LE-1, LE-2, CP-2, CP-3, SH-1, SH-2 and the rule that an owner stops dispatching before others take are checked in
//! `world.rs` and `table.rs`; here are the histories, and that whoever is left gets on (LV-1).

#![expect(
    clippy::expect_used,
    reason = "whatever goes wrong here fails the test"
)]

#[path = "lease_histories/checks.rs"]
mod checks;
#[path = "lease_histories/consumers.rs"]
mod consumers;
#[path = "lease_histories/process.rs"]
mod process;
#[path = "lease_histories/table.rs"]
mod table;
#[path = "lease_histories/world.rs"]
mod world;

use proptest::prelude::*;
use shardwright_core::{Checkpoint, Shard};

use world::{FAILOVER, Step, World, shard};

/// Steps of a history that is explored exhaustively. Each has 5 to 16 successors.
const DEPTH: u32 = 4;

fn one_shard() -> Vec<Shard> {
    vec![shard("a", &[], false)]
}

fn parent_and_child() -> Vec<Shard> {
    vec![
        shard("parent", &[], true),
        shard("child", &["parent"], false),
    ]
}

/// Goes through every history of `depth` steps and returns how many worlds were seen.
fn explore(world: &World, depth: u32, check: &impl Fn(&World)) -> u64 {
    if depth == 0 {
        check(world);
        return 1;
    }
    let mut seen = 1;
    for step in world.steps() {
        let mut next = world.clone();
        next.take_step(step);
        seen += explore(&next, depth - 1, check);
    }
    seen
}

/// Once nothing disturbs any more, exactly one process works on the open shard, and it stays with it.
fn settles(world: &World) {
    let mut world = world.clone();
    world.run_undisturbed(FAILOVER * 6);
    assert_eq!(
        world.dispatching().len(),
        1,
        "LV-1: {:?}",
        world.dispatching()
    );
    let takes = world.takes;
    world.run_undisturbed(FAILOVER * 6);
    assert_eq!(world.takes, takes, "LV-1: the lease goes back and forth");
}

/// A world in which the first process holds what it needs and the second looks on.
fn held(shards: Vec<Shard>, names: &[(&str, i64)]) -> World {
    let mut world = World::new(shards, &names[..1]);
    world.run_undisturbed(FAILOVER);
    for &(name, drift) in &names[1..] {
        world.start(shardwright_core::WorkerId::new(name), drift);
    }
    world
}

#[test]
fn two_workers_from_an_empty_table() {
    let world = World::new(one_shard(), &[("x", 50), ("y", -50)]);
    assert!(explore(&world, DEPTH, &|_| ()) > 1000);
}

#[test]
fn an_owner_with_a_slow_clock_and_a_taker_with_a_fast_one() {
    let world = held(one_shard(), &[("x", -50), ("y", 50)]);
    assert!(explore(&world, DEPTH, &|_| ()) > 1000);
}

#[test]
fn short_histories_settle() {
    let world = held(one_shard(), &[("x", -50), ("y", 50)]);
    assert!(explore(&world, 2, &settles) > 50);
}

#[test]
fn two_processes_of_one_name_never_take_each_others_writes_for_their_own_and_settle() {
    let world = held(one_shard(), &[("x", 0), ("x", 3)]);
    explore(&world, 3, &|_| ());
    explore(&world, 2, &settles);
}

#[test]
fn a_child_waits_for_its_parent_through_every_short_history() {
    let world = held(parent_and_child(), &[("x", 0), ("y", 20)]);
    explore(&world, 3, &|_| ());
    let mut world = world;
    world.take_step(Step::End(0));
    explore(&world, 3, &|_| ());
    explore(&world, 2, &|world| {
        let mut world = world.clone();
        world.run_undisturbed(FAILOVER * 4);
        let end = world.table.rows.get(&shard("parent", &[], true).id);
        let ended = world.processes.iter().any(|process| {
            process.is_alive
                && process
                    .consumers
                    .values()
                    .any(|consumer| consumer.has_ended)
        });
        assert!(
            end.is_none_or(|end| end.checkpoint == Checkpoint::ShardEnd) || !ended,
            "SH-2 gets done"
        );
    });
}

fn many_shards(count: usize) -> Vec<Shard> {
    let names: Vec<String> = (0..count).map(|number| format!("s{number:02}")).collect();
    names.iter().map(|name| shard(name, &[], false)).collect()
}

/// Every shard is worked on, by each process its share to within one, and it stays so.
fn is_shared_out(world: &World, shards: usize) {
    let mut world = world.clone();
    world.run_undisturbed(FAILOVER * 20);
    let check = |world: &World| {
        let shares = world.shares();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert_eq!(shares.iter().sum::<usize>(), shards, "LV-1: {shares:?}");
        assert!(most <= least.map(|least| least + 1).as_ref(), "{shares:?}");
    };
    check(&world);
    let takes = world.takes;
    world.run_undisturbed(FAILOVER * 10);
    check(&world);
    assert_eq!(world.takes, takes, "LV-1: leases go back and forth");
}

#[test]
fn a_fleet_shares_out_evenly_whoever_comes_and_goes() {
    let mut world = World::new(many_shards(16), &[("w1", 0)]);
    is_shared_out(&world, 16);
    for (name, drift) in [("w2", 20), ("w3", -20), ("w4", 5), ("w5", 0), ("w6", 50)] {
        world.start(shardwright_core::WorkerId::new(name), drift);
        world.run_undisturbed(FAILOVER * 6);
        is_shared_out(&world, 16);
    }
    assert_eq!(
        world.robberies, 0,
        "between our own workers leases are handed over"
    );
    for dead in [0, 3, 5] {
        world.processes[dead].is_alive = false;
        world.processes[dead].consumers.clear();
        is_shared_out(&world, 16);
        world.run_undisturbed(FAILOVER * 6);
    }
    assert_eq!(world.robberies, 0);
}

#[test]
fn workers_that_start_at_once_share_out_evenly() {
    let names: Vec<String> = (0..6).map(|number| format!("w{number}")).collect();
    let workers: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    for shards in [1, 5, 6, 7, 16, 40] {
        is_shared_out(&World::new(many_shards(shards), &workers), shards);
    }
}

#[test]
fn more_shards_than_calls_at_once_are_shared_out_by_those_who_come() {
    let mut world = World::new(many_shards(70), &[("w1", 0), ("w2", 10)]);
    world.run_undisturbed(FAILOVER * 2);
    world.start(shardwright_core::WorkerId::new("w3"), -10);
    world.run_undisturbed(FAILOVER * 6);
    let shares = world.shares();
    assert_eq!(shares.iter().sum::<usize>(), 70, "{shares:?}");
    assert!(
        shares.iter().all(|share| (23..=24).contains(share)),
        "{shares:?}"
    );
    assert_eq!(world.robberies, 0);
}

/// The lease of a living owner who never finishes goes to the one who asked for it, in the end.
#[test]
fn an_owner_that_cannot_finish_is_robbed_once_its_time_is_up() {
    let mut world = World::new(many_shards(2), &[("x", 0)]);
    world.run_undisturbed(FAILOVER);
    world.start(shardwright_core::WorkerId::new("y"), 0);
    let is_over = |world: &World| world.robberies > 0;
    let mut ticks = 0;
    while !is_over(&world) {
        // Whatever is told to stop does not.
        match world.next_call_on_the_way() {
            Some(step) => world.take_step(step),
            None => world.take_step(Step::Tick),
        }
        ticks += 1;
        assert!(ticks < 10_000, "it is never over");
    }
    assert!(
        world.real > (FAILOVER * 4).as_nanos() as u64,
        "it had its time"
    );
    is_shared_out(&world, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_fleet_keeps_the_invariants_and_shares_out_after_whatever_happened(
        choices in prop::collection::vec(any::<u16>(), 1..200),
        drifts in prop::collection::vec(-50_i64..=50, 3),
    ) {
        let workers = [("x", drifts[0]), ("y", drifts[1]), ("z", drifts[2])];
        let mut world = World::new(many_shards(5), &workers);
        let mut restarts = 0;
        for choice in choices {
            let steps = world.steps();
            let step = steps[usize::from(choice) % steps.len()];
            restarts += u32::from(matches!(step, Step::Restart(_)));
            if restarts > 4 && matches!(step, Step::Restart(_)) {
                continue;
            }
            world.take_step(step);
        }
        is_shared_out(&world, 5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn long_histories_keep_the_invariants_and_settle(
        choices in prop::collection::vec(any::<u16>(), 1..120),
        drifts in (-50_i64..=50, -50_i64..=50),
        twins: bool,
        lineage: bool,
    ) {
        let shards = if lineage { parent_and_child() } else { one_shard() };
        let second = if twins { "x" } else { "y" };
        let mut world = World::new(shards, &[("x", drifts.0), (second, drifts.1)]);
        let mut restarts = 0;
        for choice in choices {
            let steps = world.steps();
            let step = steps[usize::from(choice) % steps.len()];
            // A dead process costs the search more than it finds.
            restarts += u32::from(matches!(step, Step::Restart(_)));
            if restarts > 4 && matches!(step, Step::Restart(_)) {
                continue;
            }
            world.take_step(step);
        }
        if lineage {
            // Whoever holds the parent reads it to its end, and then the child is worked on.
            world.run_undisturbed(FAILOVER * 6);
            for p in world.dispatching() {
                world.take_step(Step::End(p));
            }
        }
        settles(&world);
    }
}
