//! A fleet that grows and shrinks in good order.

use std::time::Duration;

use super::fleet::{Fleet, Servers, middle_and_most};
use super::output::{assert_complete_and_in_order, repeats};

/// Long enough for a machine with other work: a lease that is lost for want of a processor is a repeat.
const FAILOVER: Duration = Duration::from_secs(6);

/// From one worker to six and back to three, each has its share to within one; and as leases are handed over, nothing is
/// delivered twice.
fn grow_and_shrink(servers: &Servers, shards: usize) {
    let mut fleet = Fleet::new(servers, shards, FAILOVER);
    fleet.produce();
    for workers in [1, 3, 6] {
        while fleet.workers.len() < workers {
            fleet.start();
        }
        fleet.tail.reset();
        let took = fleet.wait_for_even_shares();
        let gaps = middle_and_most(&fleet.tail.gaps());
        println!("{workers} workers: even after {took:.2?}; shards stood still for {gaps}");
    }
    fleet.tail.reset();
    while fleet.workers.len() > 3 {
        fleet.terminate(0);
    }
    let took = fleet.wait_for_even_shares();
    let gaps = middle_and_most(&fleet.tail.gaps());
    println!("3 of 6 stopped: even after {took:.2?}; shards stood still for {gaps}");
    let (produced, lines) = fleet.finish();
    assert_complete_and_in_order(&lines, &produced);
    assert_eq!(repeats(&lines, &[]), [0], "a handover repeats nothing");
    println!("{} records", produced.total());
}

#[test]
fn a_fleet_that_grows_and_shrinks_shares_out_evenly_and_repeats_nothing() {
    grow_and_shrink(&Servers::Ours, 16);
}

#[test]
fn a_fleet_on_servers_of_others_shares_out_evenly_and_repeats_nothing() {
    grow_and_shrink(&Servers::Others, 8);
}
