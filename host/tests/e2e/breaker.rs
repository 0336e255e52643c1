//! A plugin that fails everything: it is told, it eats nothing, and it is not waited for by whoever stops.

use std::collections::BTreeSet;

use super::machine::{LIMIT, Machine, wait_for};
use super::neighbours::hostile;

const PAUSED: &str = "a plugin fails everything";

/// Messages that the plugin sleeps over, longer than it may wait or not.
const MESSAGES: usize = 30;

fn pipeline(wait: &str, breaker: &str) -> String {
    format!(
        "version: 1\npipeline: paused\n\
         source: {{ kinesis: {{ stream: naps, endpoint: local, read: {{ poll: {{ interval: 50ms }} }} }} }}\n\
         flow: {{ lanes: 4, batch: {{ wait: 10ms }} }}\n\
         steps: [{{ plugin: {}, limits: {{ wait: {wait} }} }}]\n\
         sinks: {{ out: {{ file: {{ path: out.jsonl }} }} }}\n\
         on_failure: {{ retry: {{ attempts: 3, backoff: 10ms..50ms }}, breaker: {breaker}, \
         dead_letter: {{ file: {{ path: dead.jsonl }} }} }}\n",
        hostile()
    )
}

fn machine_with_messages() -> (Machine, impl Drop) {
    let machine = Machine::new();
    let (endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "naps", "--shards", "2"]);
    let messages: Vec<(String, String)> = (0..MESSAGES)
        .map(|key| (format!("key-{key}"), "sleep 40".to_owned()))
        .collect();
    client.put("naps", &messages).unwrap();
    (machine, endpoint)
}

/// The keys of the messages that were given up: one that a checkpoint had not passed is given up again by the next run.
fn dead_letters(machine: &Machine) -> BTreeSet<String> {
    let letters = std::fs::read_to_string(machine.path("dead.jsonl")).unwrap_or_default();
    let keys = letters.lines().map(|letter| {
        let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
        letter["key"].as_str().unwrap().to_owned()
    });
    keys.collect()
}

/// What a shard may give up before it is paused: fewer messages than it takes.
const GIVEN_UP_MAX: usize = 2 * 4;

/// Nothing more is given up while it fails everything; once it is mended, everything is done, and with its tries to itself.
#[test]
fn a_plugin_that_fails_everything_pauses_its_pipeline_until_it_is_mended() {
    let (machine, _endpoint) = machine_with_messages();
    let yaml = machine.write("paused.yaml", &pipeline("20ms", "{ messages: 5 }"));
    let mut run = machine.start(&["run", &yaml]);
    wait_for("the pause is told", || {
        assert!(run.is_running(), "{}", run.story());
        let told = run.stderr();
        let line = told.lines().find(|line| line.contains(PAUSED))?;
        let is_clear = ["paused", "step=1", "hostile", "limits.wait"];
        assert!(is_clear.iter().all(|word| line.contains(word)), "{line}");
        Some(())
    });
    machine.write("paused.yaml", &pipeline("5s", "{ messages: 5 }"));
    wait_for("it goes on once the plugin is mended", || {
        assert!(run.is_running(), "{}", run.story());
        run.stderr()
            .contains("the plugin answers again")
            .then_some(())
    });
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    machine.run(&["run", &yaml, "--until-tip"]);
    assert!(dead_letters(&machine).len() <= GIVEN_UP_MAX);
}

/// Whoever waits for the end hears that it will not come, and what is left is there for the next run. Without a breaker
/// everything is given up, as it was asked to be.
#[test]
fn a_run_to_the_tip_does_not_wait_for_a_broken_plugin() {
    let (machine, _endpoint) = machine_with_messages();
    let yaml = machine.write("paused.yaml", &pipeline("20ms", "{ messages: 5 }"));
    let mut run = machine.start(&["run", &yaml, "--until-tip"]);
    assert_eq!(run.wait(LIMIT).code(), Some(1), "{}", run.story());
    let told = run.stderr();
    let last = told.lines().last().unwrap_or_default();
    assert!(
        last.contains("`paused` is paused: step 1 fails everything"),
        "{told}"
    );
    assert!(dead_letters(&machine).len() <= GIVEN_UP_MAX);
    let yaml = machine.write("paused.yaml", &pipeline("20ms", "none"));
    machine.run(&["run", &yaml, "--until-tip"]);
    assert_eq!(dead_letters(&machine).len(), MESSAGES);
}
