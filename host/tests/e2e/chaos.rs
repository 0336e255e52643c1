//! A fleet whose workers are killed, stopped and frozen at random.

use std::time::{Duration, Instant};

use super::chance::{Chance, pause, rounds};
use super::fleet::{Fleet, SPAN, Servers, middle_and_most};
use super::machine::wait_for;
use super::output::{assert_complete_and_in_order, repeats};
use super::rows::Watched;

const FAILOVER: Duration = Duration::from_secs(3);
const WORKERS: usize = 3;

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
                let frozen = &fleet.workers[victim];
                frozen.process.freeze();
                times
                    .frozen
                    .push(wait_until_it_owns_nothing(&fleet, &frozen.name, began));
                let known = frozen.process.stderr().len();
                frozen.process.thaw();
                wait_for("it says that its leases are lost", || {
                    frozen.process.stderr()[known..]
                        .contains("lease lost")
                        .then_some(())
                });
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
