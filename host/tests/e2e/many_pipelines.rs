//! Many pipelines in one process.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use super::machine::{LIMIT, Machine, wait_for};

const PIPELINES: usize = 200;

/// Messages that are put before the first run, and again before the second.
const MESSAGES: usize = 40;

fn pipelines() -> String {
    let mut text = String::new();
    for n in 0..PIPELINES {
        let pipeline = format!(
            "---\nversion: 1\npipeline: many-{n}\n\
             source: {{ kinesis: {{ stream: shared, endpoint: local }} }}\n\
             flow: {{ lanes: 1 }}\n\
             steps: [{{ plugin: \"builtin:json-filter\", with: {{ at: \"\", is: {{ exists: true }} }} }}]\n\
             sinks: {{ out: {{ file: {{ path: out/ }} }} }}\n"
        );
        // Writing to a string cannot fail.
        let _ = write!(text, "{pipeline}");
    }
    text
}

/// The ids of a pipeline's lines, none of which may come twice.
fn ids(machine: &Machine, n: usize) -> BTreeSet<String> {
    let text = fs::read_to_string(machine.path(&format!("out/many-{n}.jsonl")));
    let mut ids = BTreeSet::new();
    for line in text.unwrap_or_default().split_inclusive('\n') {
        if let Some(line) = line.strip_suffix('\n') {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = line["id"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "many-{n}: {line} came twice");
        }
    }
    ids
}

/// Each has its own leases, plugin and sink; all of them come up, deliver everything, and stop in order; a second run goes
/// on where they were.
#[test]
fn two_hundred_pipelines_run_and_stop_in_one_process() {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "shared", "--shards", "1"]);
    let messages: Vec<(String, String)> = (0..MESSAGES)
        .map(|n| (format!("key-{n}"), n.to_string()))
        .collect();
    client.put("shared", &messages).unwrap();
    let yaml = machine.write("many.yaml", &pipelines());
    let mut run = machine.start(&["run", &yaml]);
    for n in 0..PIPELINES {
        wait_for(&format!("everything from pipeline {n}"), || {
            assert!(run.is_running(), "{}", run.story());
            (ids(&machine, n).len() == MESSAGES).then_some(())
        });
    }
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    client.put("shared", &messages).unwrap();
    machine.run(&["run", &yaml, "--until-tip"]);
    for n in 0..PIPELINES {
        assert_eq!(ids(&machine, n).len(), 2 * MESSAGES, "many-{n}");
    }
}
