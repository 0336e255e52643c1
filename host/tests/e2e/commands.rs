//! The commands beside `run`, as people use them together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::machine::{LIMIT, Machine, wait_for};
use super::output::whole_bytes;

/// Three terminals on one data directory, and none of them is the endpoint's own.
#[test]
fn produce_run_and_leases_work_together() {
    let machine = Machine::new();
    machine.run(&["stream", "create", "words", "--shards", "2"]);
    let pipeline = machine.write(
        "words.yaml",
        "version: 1\npipeline: words\nsource: { kinesis: { stream: words, endpoint: local, read: { poll: { interval: 50ms } } } }\n\
         steps: [{ plugin: \"builtin:word-count\" }]\nsinks: { out: { file: { path: out.jsonl, format: json } } }\n\
         checkpoint: { every: 100ms }\n",
    );
    let mut produce = machine.start(&[
        "produce",
        "--stream",
        "words",
        "--records-per-second",
        "300",
        "--words-per-record",
        "5",
        "--aggregate",
        "10",
    ]);
    let mut run = machine.start(&["run", &pipeline]);
    wait_for("counts", || {
        assert!(run.is_running(), "{}", run.story());
        (whole_bytes(&machine.path("out.jsonl")) > 0).then_some(())
    });
    wait_for("leases of both shards, with checkpoints", || {
        let table = machine.run(&["leases", &pipeline]);
        let mut lines = table.lines();
        assert_eq!(lines.next(), Some("leases in words"));
        let headings: Vec<&str> = lines.next()?.split_whitespace().collect();
        let expected = ["SHARD", "OWNER", "COUNTER", "CHECKPOINT", "LAG", "NOTE"];
        assert_eq!(headings, expected);
        let rows: Vec<Vec<&str>> = lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().collect())
            .collect();
        let is_under_way =
            |row: &Vec<&str>| row[1].starts_with("shardwright-") && row[3].contains('4');
        (rows.len() == 2 && rows.iter().all(is_under_way)).then_some(())
    });
    produce.terminate();
    assert!(produce.wait(LIMIT).success(), "{}", produce.story());
    run.terminate();
    assert!(run.wait(LIMIT).success(), "{}", run.story());
    machine.run(&["run", &pipeline, "--until-tip"]);

    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for line in std::fs::read_to_string(machine.path("out.jsonl"))
        .unwrap()
        .lines()
    {
        let line: Value = serde_json::from_str(line).unwrap();
        let word = line["data"]["word"].as_str().unwrap().to_owned();
        *counted.entry(word).or_default() += line["data"]["count"].as_u64().unwrap();
    }
    let counted: Vec<String> = counted
        .iter()
        .map(|(word, count)| format!("{word} {count}\n"))
        .collect();
    assert_eq!(counted.concat(), produce.stdout());
}

#[test]
fn a_stream_is_made_filled_resharded_and_looked_at() {
    let machine = Machine::new();
    let (_endpoint, _client) = machine.endpoint();
    machine.run(&["stream", "create", "s", "--shards", "1"]);
    assert_eq!(machine.run(&["stream", "list"]), "s\n");
    machine.run(&["stream", "put", "s", "--key", "k", "--data", "before"]);
    let split = machine.run(&["stream", "split", "s", "shardId-000000000000"]);
    assert_eq!(
        split.lines().filter(|line| line.contains("open")).count(),
        2,
        "{split}"
    );
    machine.run(&["stream", "put", "s", "--key", "k", "--data", "between"]);
    machine.run(&[
        "stream",
        "merge",
        "s",
        "shardId-000000000001",
        "shardId-000000000002",
    ]);
    let text = machine.write("text", "one\n\nthree\n");
    machine.run(&[
        "stream",
        "put",
        "s",
        "--from",
        &text,
        "--lines",
        "--key",
        "k",
        "--aggregate",
        "3",
    ]);
    let described = machine.run(&["stream", "describe", "s"]);
    assert_eq!(described.lines().count(), 5, "{described}");
    assert_eq!(
        described
            .lines()
            .filter(|line| line.contains("open"))
            .count(),
        1,
        "{described}"
    );

    let tail = machine.run(&["stream", "tail", "s", "--from-start", "--until-tip"]);
    let mut data: Vec<&str> = tail
        .lines()
        .map(|line| line.split("  ").nth(3).unwrap_or_default())
        .collect();
    assert_eq!(data.len(), 5, "{tail}");
    data.sort_unstable();
    assert_eq!(data, ["", "before", "between", "one", "three"]);

    let mut gone = machine.start(&["stream", "describe", "nowhere"]);
    assert_eq!(gone.wait(LIMIT).code(), Some(1));
    assert!(gone.stderr().starts_with("error: "), "{}", gone.stderr());
    assert!(gone.stderr().contains("nowhere"), "{}", gone.stderr());
}

/// Where nobody looks at a terminal, the demonstration prints lines, and what was counted is what was produced.
#[test]
fn the_demonstration_counts_what_it_produces() {
    let machine = Machine::new();
    let told = machine.run(&["demo", "--seconds", "3"]);
    assert!(!told.contains('\x1b'), "{told:?}");
    let mut words = 0;
    for line in told
        .lines()
        .skip_while(|line| !line.starts_with("WORD"))
        .skip(1)
    {
        if let [word, produced, counted] = line.split_whitespace().collect::<Vec<_>>()[..] {
            assert_eq!(produced, counted, "{word}");
            words += 1;
        }
    }
    assert_eq!(words, 5, "{told}");
}

/// The error names a flag that is there, and the flag helps.
#[test]
fn a_pool_that_is_too_small_names_the_flag_that_makes_it_larger() {
    let machine = Machine::new();
    machine.run(&["stream", "create", "words", "--shards", "1"]);
    let pipeline = machine.write(
        "words.yaml",
        "version: 1\npipeline: words\nsource: { kinesis: { stream: words, endpoint: local } }\n\
         flow: { lanes: 8 }\nsteps: [{ plugin: \"builtin:word-count\" }]\n\
         sinks: { out: { file: { path: out.jsonl } } }\n",
    );
    let run = ["run", &pipeline, "--until-tip", "--plugin-instances"];
    let mut small = machine.start(&[&run[..], &["7"]].concat());
    assert!(!small.wait(LIMIT).success());
    assert!(
        small.stderr().contains("raise --plugin-instances"),
        "{}",
        small.story()
    );
    machine.run(&[&run[..], &["8"]].concat());
}
