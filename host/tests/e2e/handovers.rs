//! What a handover costs, beside what it replaces.

use std::time::Duration;

use super::fleet::{Fleet, SPAN, Servers, middle_and_most};
use super::output::{assert_complete_and_in_order, repeats};

const FAILOVER: Duration = Duration::from_secs(6);
const SHARDS: usize = 16;

/// A second worker gets half of the shards: handed over, nothing is delivered twice; stolen, what came since the
/// checkpoints is, and no more than the span.
#[test]
fn a_handover_repeats_nothing_and_a_theft_no_more_than_the_span() {
    let mut fleet = Fleet::new(&Servers::Ours, SHARDS, FAILOVER);
    fleet.produce();
    fleet.start();
    fleet.wait_for_even_shares();
    fleet.tail.reset();
    fleet.start();
    let took = fleet.wait_for_even_shares();
    let gaps = middle_and_most(&fleet.tail.gaps());
    let handed_over = repeats(&fleet.lines(), &[])[0];
    println!("handed over within {took:.2?}: shards stood still for {gaps}; {handed_over} repeats");
    assert_eq!(handed_over, 0, "a handover repeats nothing");

    let thief = fleet.workers[1].name.clone();
    fleet.terminate(1);
    fleet.wait_for_even_shares();
    // The first worker takes what the second has left only after the failover time, and may then be given as much again by each
    // shard it loses, one after the other, as long as there is a backlog.
    fleet.wait_until_caught_up();
    let stolen: Vec<String> = fleet.rows().into_keys().take(SHARDS / 2).collect();
    fleet.tail.reset();
    for shard in &stolen {
        fleet.steal(shard, &thief);
    }
    fleet.start();
    assert_eq!(
        fleet.workers[1].name, thief,
        "the name is as stable as its directory"
    );
    fleet.wait_for_even_shares();
    let gaps = middle_and_most(&fleet.tail.gaps());
    let (produced, lines) = fleet.finish();
    assert_complete_and_in_order(&lines, &produced);
    let repeats = repeats(&lines, &[])[0];
    println!(
        "stolen: shards stood still for {gaps}; {repeats} repeats of {} records",
        produced.total()
    );
    assert!(repeats <= SPAN, "{repeats}");
}
