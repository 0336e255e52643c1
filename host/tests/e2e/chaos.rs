//! A fleet whose workers are killed, stopped and frozen at random.

use std::time::{Duration, Instant};

use super::chance::{Chance, pause, rounds};
use super::fleet::{BATCH, Fleet, LANES, SPAN, Servers, middle_and_most};
use super::machine::wait_for;
use super::output::{assert_complete_and_in_order, repeats};
use super::rows::Watched;

const FAILOVER: Duration = Duration::from_secs(3);
const WORKERS: usize = 3;

/// What a worker says of a shard that it has lost.
const SAYS: &str = "its batches are dropped";

#[derive(Debug, Default)]
struct Times {
    /// From the kill to the moment when no lease is the killed worker's any more.
    killed: Vec<Duration>,
    stopped: Vec<Duration>,
    frozen: Vec<Duration>,
    /// The longest pause of a shard in each of these.
    pauses: [Vec<Duration>; 3],
}

fn wait_until_it_owns_nothing(fleet: &Fleet, name: &str, began: Instant) -> Duration {
    wait_for("its leases are others'", || {
        pause(Duration::from_millis(20));
        (!fleet.owns(name)).then_some(())
    });
    began.elapsed()
}

/// Thaws a worker whose leases are others' by now. Nobody else moves meanwhile, so that whatever changes is its doing:
/// it writes nothing to the rows that it had (LE-3), delivers no more than the batches in its hands, and says so.
fn assert_it_lets_go(fleet: &Fleet, victim: usize, had: &[String]) {
    let others = || fleet.workers.iter().enumerate();
    let others = || others().filter(|(index, _)| *index != victim);
    others().for_each(|(_, other)| other.process.freeze());
    let rows_of = || -> Vec<_> {
        let rows = fleet.rows().into_iter();
        rows.filter(|(shard, _)| had.contains(shard)).collect()
    };
    // What they had sent before they were frozen is carried out all the same.
    let mut rows = rows_of();
    wait_for("nothing of theirs is on its way any more", || {
        pause(Duration::from_millis(200));
        let before = std::mem::replace(&mut rows, rows_of());
        (rows == before).then_some(())
    });
    let delivered = fleet.lines().len();
    let frozen = &fleet.workers[victim].process;
    let known = frozen.stderr().len();
    frozen.thaw();
    wait_for("it says of every shard that it drops its batches", || {
        let story = frozen.stderr();
        let says = |shard: &String| {
            let mut lines = story[known..].lines();
            lines.any(|line| line.contains(SAYS) && line.contains(shard.as_str()))
        };
        had.iter().all(says).then_some(())
    });
    let (rows_after, delivered_after) = (rows_of(), fleet.lines().len());
    others().for_each(|(_, other)| other.process.thaw());
    assert_eq!(rows_after, rows, "rows that are another's");
    let most = had.len() * LANES * BATCH;
    assert!(
        delivered_after - delivered <= most,
        "{delivered} and then {delivered_after} lines, though {most} at most were in its hands"
    );
}

/// Nothing is lost, first attempts are in order per key, no checkpoint moves back, and what each event repeats is bounded.
fn kill_stop_and_freeze(servers: &Servers, shards: usize, few: u64) {
    let mut chance = Chance::new();
    let mut fleet = Fleet::new(servers, shards, FAILOVER);
    fleet.produce();
    for _ in 0..WORKERS {
        fleet.start();
    }
    fleet.wait_for_even_shares();
    let mut watched = Watched::default();
    let mut times = Times::default();
    let mut disturbances = 0;
    for round in 0..rounds(few) {
        let victim = chance.below(WORKERS as u64) as usize;
        chance.pause(Duration::from_secs(1));
        fleet.tail.reset();
        let began = Instant::now();
        // Each of the three in turn, so that a short run has them all.
        let kind = (round % 3) as usize;
        match kind {
            0 => {
                disturbances += 1;
                let mut killed = fleet.workers.remove(victim);
                killed.process.kill();
                times
                    .killed
                    .push(wait_until_it_owns_nothing(&fleet, &killed.name, began));
                fleet.start();
            }
            1 => {
                let name = fleet.workers[victim].name.clone();
                fleet.terminate(victim);
                times
                    .stopped
                    .push(wait_until_it_owns_nothing(&fleet, &name, began));
                fleet.start();
            }
            _ => {
                disturbances += 1;
                let had = fleet.owned_by(&fleet.workers[victim].name);
                let frozen = &fleet.workers[victim];
                frozen.process.freeze();
                times
                    .frozen
                    .push(wait_until_it_owns_nothing(&fleet, &frozen.name, began));
                assert_it_lets_go(&fleet, victim, &had);
            }
        }
        fleet.wait_for_even_shares();
        times.pauses[kind].extend(fleet.tail.gaps().last());
        let (client, table) = fleet.table();
        watched.look(client, table);
    }
    let (produced, lines) = fleet.finish();
    assert_complete_and_in_order(&lines, &produced);
    let repeats = repeats(&lines, &[])[0];
    println!(
        "{} records, {repeats} repeats in {disturbances} kills and freezes\n\
         until others have them: killed {}, stopped {}, frozen {}\n\
         longest pause of a shard: killed {}, stopped {}, frozen {}",
        produced.total(),
        middle_and_most(&times.killed),
        middle_and_most(&times.stopped),
        middle_and_most(&times.frozen),
        middle_and_most(&times.pauses[0]),
        middle_and_most(&times.pauses[1]),
        middle_and_most(&times.pauses[2]),
    );
    assert!(repeats <= SPAN * disturbances, "{repeats}");
}

#[test]
fn a_fleet_whose_workers_are_killed_stopped_and_frozen_loses_nothing() {
    kill_stop_and_freeze(&Servers::Ours, 16, 3);
}

#[test]
fn a_fleet_on_servers_of_others_whose_workers_are_killed_stopped_and_frozen_loses_nothing() {
    kill_stop_and_freeze(&Servers::Others, 8, 3);
}
