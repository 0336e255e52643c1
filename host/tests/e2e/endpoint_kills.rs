//! The local endpoint's process is killed under those who use it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::chance::{Chance, rounds};
use super::load::Load;
use super::machine::{LIMIT, Machine, wait_for};
use super::output::{assert_complete_and_in_order, final_lines, whole_bytes};
use super::rows::Watched;

/// Killed while a producer of this test, `produce` and `run` go on: no acknowledged put is lost, and no checkpoint moves back.
#[test]
fn an_acknowledged_put_survives_the_endpoint_that_took_it() {
    let mut chance = Chance::new();
    let machine = Machine::new();
    let (mut endpoint, client) = machine.endpoint();
    let url = client.url();
    for stream in ["load", "words"] {
        machine.run(&["stream", "create", stream, "--shards", "2"]);
    }
    let source = |stream| {
        format!(
            "source: {{ kinesis: {{ stream: {stream}, endpoint: \"{url}\", read: {{ poll: {{ interval: 50ms, pace: none }} }} }} }}"
        )
    };
    let pipelines = format!(
        "version: 1\npipeline: mirror\n{}\nsinks: {{ out: {{ file: {{ path: out.jsonl }} }} }}\ncheckpoint: {{ every: 500ms }}\n\
         ---\nversion: 1\npipeline: count\n{}\nsteps: [{{ plugin: \"builtin:word-count\" }}]\n\
         sinks: {{ out: {{ file: {{ path: counts.jsonl, format: json }} }} }}\n",
        source("load"),
        source("words")
    );
    let pipelines = machine.write("pipelines.yaml", &pipelines);
    let out = machine.path("out.jsonl");
    let load = Load::start(client, "load");
    let mut words = machine.start(&[
        "produce",
        "--stream",
        "words",
        "--records-per-second",
        "500",
        "--words-per-record",
        "3",
        "--aggregate",
        "20",
        "--endpoint",
        &url,
    ]);
    let mut run = machine.start(&["run", &pipelines]);
    let mut watched = Watched::default();
    let kills = rounds(5);
    for _ in 0..kills {
        let before = whole_bytes(&out);
        wait_for("progress", || {
            assert!(run.is_running(), "{}", run.story());
            assert!(words.is_running(), "{}", words.story());
            (whole_bytes(&out) > before).then_some(())
        });
        chance.pause(Duration::from_secs(1));
        endpoint.kill();
        chance.pause(Duration::from_millis(500));
        endpoint = machine.start(&["local", "--port", &client.port()]);
        endpoint.wait_for_client();
        watched.look(&client, "mirror");
    }
    let produced = load.stop();
    words.terminate();
    assert!(words.wait(LIMIT).success(), "{}", words.story());
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    machine.run(&["run", &pipelines, "--until-tip"]);

    assert_complete_and_in_order(&final_lines(&out), &produced);
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for line in std::fs::read_to_string(machine.path("counts.jsonl"))
        .unwrap()
        .lines()
    {
        let line: Value = serde_json::from_str(line).unwrap();
        let word = line["data"]["word"].as_str().unwrap().to_owned();
        *counted.entry(word).or_default() += line["data"]["count"].as_u64().unwrap();
    }
    for line in words.stdout().lines() {
        let (word, count) = line.split_once(' ').unwrap();
        // A put whose answer was lost is put again, and counted twice.
        assert!(
            counted[word] >= count.parse().unwrap(),
            "{word}: {count} were acknowledged, {counted:?}"
        );
    }
    println!(
        "{} records, {kills} kills, {} requests sent again",
        produced.total(),
        produced.retried
    );
}

/// With `endpoint: local`, whoever holds the endpoint may be killed: the others find it again with one of them.
#[test]
fn another_process_takes_the_endpoint_over() {
    let mut chance = Chance::new();
    let machine = Machine::new();
    let (endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "load", "--shards", "2"]);
    let pipeline = machine.write(
        "pipeline.yaml",
        "version: 1\npipeline: takeover\nsource: { kinesis: { stream: load, endpoint: local, read: { poll: { interval: 50ms } } } }\n\
         sinks: { out: { file: { path: out.jsonl } } }\ncheckpoint: { every: 500ms }\n",
    );
    let out = machine.path("out.jsonl");
    let load = Load::start(client, "load");
    let tail = ["stream", "tail", "load"];
    let run = ["run", pipeline.as_str()];
    // The one that is killed is started again as what it was, and only then the next one is looked for.
    let mut users = vec![
        (endpoint, None),
        (machine.start(&run), Some(&run[..])),
        (machine.start(&tail), Some(&tail[..])),
    ];
    let mut watched = Watched::default();
    for _ in 0..rounds(4) {
        let before = whole_bytes(&out);
        wait_for("progress", || {
            for (user, _) in &mut users {
                assert!(user.is_running(), "{}", user.story());
            }
            (whole_bytes(&out) > before).then_some(())
        });
        chance.pause(Duration::from_millis(500));
        let (_, holder) = wait_for("a holder", || {
            let pid = holder(&machine)?;
            let index = users.iter().position(|(user, _)| user.id() == pid)?;
            Some((pid, index))
        });
        let (mut killed, again) = users.remove(holder);
        killed.kill();
        if let Some(again) = again {
            users.push((machine.start(again), Some(again)));
        }
        wait_for("another holder", || client.is_answered().then_some(()));
        watched.look(&client, "takeover");
    }
    let produced = load.stop();
    for (user, _) in &mut users {
        user.terminate();
        assert!(user.wait(LIMIT).success(), "{}", user.story());
    }
    machine.run(&["run", &pipeline, "--until-tip"]);
    assert_complete_and_in_order(&final_lines(&out), &produced);
}

/// The process that holds the endpoint, or last did.
fn holder(machine: &Machine) -> Option<u32> {
    let named = std::fs::read_to_string(machine.path("data/endpoint.lock")).ok()?;
    let named: Value = serde_json::from_str(&named).ok()?;
    Some(named["pid"].as_u64()? as u32)
}
