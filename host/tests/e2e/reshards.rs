//! Splits and merges under load.

use std::collections::{BTreeMap, BTreeSet};

use super::load::Load;
use super::machine::{LIMIT, Machine, wait_for};
use super::output::{assert_complete_and_in_order, final_lines, lines, repeats};
use super::rows::{Row, Stored, rows};
use super::wire::Client;

const MIRROR: &str = "\
version: 1
pipeline: reshard
source: { kinesis: { stream: load, endpoint: local, read: { poll: { interval: 50ms } } } }
flow: { lanes: 4 }
sinks: { out: { file: { path: out.jsonl } } }
checkpoint: { every: 500ms }
";

fn shard(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// SH-1 as far as an observer can see it: whoever sees a child's record sees its parents' rows at their end afterwards.
struct Family<'a> {
    client: &'a Client,
    parents: BTreeMap<String, Vec<String>>,
}

impl Family<'_> {
    fn look(&mut self, machine: &Machine) -> BTreeSet<String> {
        let seen: BTreeSet<String> = lines(&machine.path("out.jsonl"))
            .iter()
            .map(|line| line.shard().to_owned())
            .collect();
        let rows = rows(self.client, "reshard");
        for shard in &seen {
            let Some(Row { parents, .. }) = rows.get(shard) else {
                continue;
            };
            for parent in parents {
                let parent_row = rows.get(parent);
                assert!(
                    parent_row.is_none_or(|row| row.stored == Stored::ShardEnd),
                    "{shard} began before {parent} was at its end: {parent_row:?}"
                );
            }
            self.parents.insert(shard.clone(), parents.clone());
        }
        seen
    }
}

#[test]
fn a_reshard_under_load_loses_nothing_and_keeps_the_order_of_keys() {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "2"]);
    let pipeline = machine.write("reshard.yaml", MIRROR);
    let load = Load::start(client, "load");
    let mut run = machine.start(&["run", &pipeline]);
    let mut family = Family {
        client: &client,
        parents: BTreeMap::new(),
    };
    let mut wait_for_shards = |shards: &[u32]| {
        wait_for("records of all these shards", || {
            assert!(run.is_running(), "{}", run.story());
            let seen = family.look(&machine);
            shards
                .iter()
                .all(|number| seen.contains(&shard(*number)))
                .then_some(())
        });
    };
    wait_for_shards(&[0, 1]);
    machine.run(&["stream", "split", "load", &shard(0)]);
    wait_for_shards(&[2, 3]);
    // The upper half of the first and the second lie side by side.
    machine.run(&["stream", "merge", "load", &shard(3), &shard(1)]);
    wait_for_shards(&[4]);
    // A child that splits again at once, while its parents may still be drained.
    machine.run(&["stream", "split", "load", &shard(4)]);
    machine.run(&["stream", "merge", "load", &shard(5), &shard(6)]);
    wait_for_shards(&[7]);
    let produced = load.stop();
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    machine.run(&["run", &pipeline, "--until-tip"]);

    let seen = family.look(&machine);
    let lines = final_lines(&machine.path("out.jsonl"));
    assert_complete_and_in_order(&lines, &produced);
    assert_eq!(repeats(&lines, &[]), [0]);
    // SH-1 in the file itself: nothing of a parent comes after something of its child.
    let mut begun = BTreeSet::new();
    for line in &lines {
        begun.insert(line.shard());
        let child = family.parents.iter().find(|(child, parents)| {
            begun.contains(child.as_str()) && parents.iter().any(|parent| parent == line.shard())
        });
        assert!(
            child.is_none(),
            "{} came after its child {child:?} had begun",
            line.id
        );
    }
    // SH-2 and the rows: what is closed and drained is at its end, and what is open is not.
    let rows = rows(&client, "reshard");
    for number in [2, 7] {
        let row = &rows[&shard(number)];
        assert!(matches!(row.stored, Stored::At(..)), "{number}: {row:?}");
    }
    for number in [0, 1, 3, 4, 5, 6] {
        let stored = rows.get(&shard(number)).map(|row| &row.stored);
        assert!(
            stored.is_none_or(|stored| *stored == Stored::ShardEnd),
            "{number}: {stored:?}"
        );
    }
    println!(
        "{} records of {} shards, rows: {rows:?}",
        produced.total(),
        seen.len()
    );
}
