//! A worker that is killed, at any moment, again and again.

use std::time::Duration;

use super::chance::{Chance, rounds};
use super::load::Load;
use super::machine::{Machine, wait_for};
use super::output::{assert_complete_and_in_order, final_lines, lines, repeats, whole_bytes};
use super::rows::Watched;

const SPAN: u64 = 2_000;

const MIRROR: &str = "\
version: 1
pipeline: killed
source: { kinesis: { stream: load, endpoint: local, read: { poll: { interval: 50ms } } } }
flow: { lanes: 4, in_flight: { records: 1000 }, span: 2000, batch: { records: 100, wait: 20ms } }
sinks: { out: { file: { path: out.jsonl } } }
checkpoint: { every: 1h }
";

/// Checkpoints are never due by time here: it is the span that makes them.
///
/// Nothing is lost, the keys' first attempts are in order, no line is torn, no checkpoint moves back, and what a kill
/// makes to be delivered again stays within the span.
#[test]
fn a_worker_that_is_killed_again_and_again_loses_nothing() {
    let mut chance = Chance::new();
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "4"]);
    let pipeline = machine.write("killed.yaml", MIRROR);
    let out = machine.path("out.jsonl");
    let load = Load::start(client, "load");
    let mut watched = Watched::default();
    let mut cuts = Vec::new();
    for _ in 0..rounds(8) {
        let before = whole_bytes(&out);
        let mut run = machine.start(&["run", &pipeline]);
        // Three in four are killed while they work, the others at any moment from their start.
        if chance.below(4) > 0 {
            wait_for("progress", || {
                assert!(run.is_running(), "{}", run.story());
                (whole_bytes(&out) > before).then_some(())
            });
        }
        chance.pause(Duration::from_millis(1_200));
        run.kill();
        cuts.push(whole_bytes(&out));
        lines(&out);
        watched.look(&client, "killed");
    }
    let produced = load.stop();
    machine.run(&["run", &pipeline, "--until-tip"]);
    watched.look(&client, "killed");
    let lines = final_lines(&out);
    assert_complete_and_in_order(&lines, &produced);
    let repeats = repeats(&lines, &cuts);
    println!(
        "{} records, {} kills, repeats after each: {repeats:?}",
        produced.total(),
        cuts.len()
    );
    assert_eq!(watched.moved(), 4, "every shard has a checkpoint");
    assert_eq!(repeats[0], 0, "nothing is repeated before the first kill");
    assert!(
        repeats.iter().all(|repeats| *repeats <= SPAN),
        "{repeats:?}"
    );
}
