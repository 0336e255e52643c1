//! Splits, merges and new shard counts that come more quickly than a fleet follows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chance::pause;
use super::fleet::{Fleet, Servers};
use super::output::{Line, assert_complete_and_in_order, repeats};
use super::rows::Stored;

const FAILOVER: Duration = Duration::from_secs(6);

/// Between two reshards while nobody reads: enough for some records in every shard.
const BETWEEN: Duration = Duration::from_millis(400);

fn shard(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// SH-1 in the file: nothing of a shard comes after something of one that descends from it.
fn assert_parents_come_first(lines: &[Line], lineage: &BTreeMap<String, Vec<String>>) {
    let mut over: BTreeSet<&str> = BTreeSet::new();
    for line in lines {
        assert!(
            !over.contains(line.shard()),
            "{} came after a child of its shard had begun",
            line.id
        );
        let mut ancestors: Vec<&str> = vec![line.shard()];
        while let Some(shard) = ancestors.pop() {
            for parent in lineage.get(shard).into_iter().flatten() {
                if over.insert(parent) {
                    ancestors.push(parent);
                }
            }
        }
    }
}

fn follow(servers: &Servers) {
    let mut fleet = Fleet::new(servers, 2, FAILOVER);
    fleet.produce();
    pause(BETWEEN);
    // Four generations before anybody reads: 0 1 → 2 3 1 → 2 4 → 5 6 4 …
    fleet.stream(&["split", "load", &shard(0)]);
    pause(BETWEEN);
    fleet.stream(&["merge", "load", &shard(3), &shard(1)]);
    pause(BETWEEN);
    fleet.stream(&["split", "load", &shard(2)]);
    pause(BETWEEN);
    fleet.update_shard_count(6);
    for _ in 0..3 {
        fleet.start();
    }
    pause(BETWEEN);
    fleet.update_shard_count(3);
    pause(BETWEEN);
    fleet.update_shard_count(5);
    fleet.wait_for_even_shares();
    fleet.update_shard_count(3);
    fleet.wait_for_clean_rows();
    let even = fleet.wait_for_even_shares();
    let lineage = fleet.lineage();
    let rows = fleet.rows();
    let (produced, lines) = fleet.finish();
    assert_complete_and_in_order(&lines, &produced);
    assert_parents_come_first(&lines, &lineage);
    assert_eq!(repeats(&lines, &[]), [0], "a reshard repeats nothing");
    // SH-2: what has no row is closed and drained, and every open shard has one.
    let parents: BTreeSet<&String> = lineage.values().flatten().collect();
    let open: Vec<&String> = lineage.keys().filter(|id| !parents.contains(id)).collect();
    assert_eq!(open, rows.keys().collect::<Vec<_>>());
    for row in rows.values() {
        assert!(
            matches!(row.stored, Stored::At(..) | Stored::Start),
            "{row:?}"
        );
    }
    println!(
        "{} records, {} shards in all, {} open, even after {even:.2?}",
        produced.total(),
        lineage.len(),
        open.len()
    );
}

#[test]
fn a_fleet_follows_reshards_that_are_quicker_than_it() {
    follow(&Servers::Ours);
}

#[test]
fn a_fleet_on_servers_of_others_follows_reshards_that_are_quicker_than_it() {
    follow(&Servers::Others);
}
