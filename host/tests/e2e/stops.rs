//! Workers that are told to stop.

use std::time::Duration;

use super::chance::{Chance, rounds};
use super::load::Load;
use super::machine::{Machine, wait_for};
use super::output::{assert_complete_and_in_order, final_lines, repeats, whole_bytes};
use super::rows::rows;

/// What `run --help` leaves a stop: below the 30 seconds after which orchestrators kill.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The plugin acks each message and emits it again, so that what a stop must wait for is in guests too.
const PIPELINE: &str = "\
version: 1
pipeline: stopped
source: { kinesis: { stream: load, endpoint: local, read: { poll: { interval: 50ms } } } }
flow: { lanes: 4 }
sinks: { out: { file: { path: out.jsonl } } }
";

/// SIGTERM under load ends with status 0, every lease is given back, and not one record is delivered twice.
#[test]
fn a_worker_that_is_told_to_stop_repeats_nothing() {
    let mut chance = Chance::new();
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "4"]);
    let pipeline = machine.write("stopped.yaml", PIPELINE);
    let out = machine.path("out.jsonl");
    let load = Load::start(client, "load");
    let mut cuts = Vec::new();
    for _ in 0..rounds(10) {
        let before = whole_bytes(&out);
        let mut run = machine.start(&["run", &pipeline]);
        wait_for("progress", || {
            assert!(run.is_running(), "{}", run.story());
            (whole_bytes(&out) > before).then_some(())
        });
        chance.pause(Duration::from_secs(1));
        run.terminate();
        let status = run.wait(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "{}", run.story());
        for (shard, row) in rows(&client, "stopped") {
            assert_eq!(row.owner, None, "{shard} is still owned");
        }
        cuts.push(whole_bytes(&out));
    }
    let produced = load.stop();
    machine.run(&["run", &pipeline, "--until-tip"]);
    let lines = final_lines(&out);
    assert_complete_and_in_order(&lines, &produced);
    assert_eq!(repeats(&lines, &cuts), vec![0; cuts.len() + 1]);
    println!("{} records, {} stops", produced.total(), cuts.len());
}

/// A signal before anything has begun is one to stop, too.
#[test]
fn a_worker_that_is_told_to_stop_while_it_starts_ends_well() {
    let mut chance = Chance::new();
    let machine = Machine::new();
    let (_endpoint, _client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "1"]);
    let pipeline = machine.write("stopped.yaml", PIPELINE);
    for _ in 0..rounds(3) {
        let mut run = machine.start(&["run", &pipeline]);
        wait_for("that it says it runs", || {
            run.stderr().contains("running").then_some(())
        });
        chance.pause(Duration::from_millis(50));
        run.terminate();
        assert_eq!(run.wait(STOP_LIMIT).code(), Some(0), "{}", run.story());
    }
}
