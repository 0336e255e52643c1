//! Several pipelines in a process, and several processes on a data directory.

use super::machine::{LIMIT, Machine, wait_for};
use super::output::whole_bytes;
use super::rows::rows;

fn pipeline(name: &str, stream: &str) -> String {
    format!(
        "version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: {stream}, endpoint: local, \
         read: {{ poll: {{ interval: 50ms }} }}, leases: {{ failover: 3s }} }} }}\nflow: {{ lanes: 2 }}\n\
         sinks: {{ out: {{ file: {{ path: out/ }} }} }}\n"
    )
}

fn lines(machine: &Machine, name: &str) -> usize {
    let text = std::fs::read_to_string(machine.path(&format!("out/{name}.jsonl")));
    text.unwrap_or_default().lines().count()
}

#[test]
fn two_pipelines_run_in_one_process() {
    let machine = Machine::new();
    let (_endpoint, _client) = machine.endpoint();
    let text = machine.write("text", &"a line\n".repeat(500));
    for stream in ["one", "two"] {
        machine.run(&["stream", "create", stream, "--shards", "2"]);
        machine.run(&["stream", "put", stream, "--from", &text, "--lines"]);
    }
    // Two of one stream, and one of another.
    let all = [
        pipeline("first", "one"),
        pipeline("second", "one"),
        pipeline("third", "two"),
    ]
    .join("---\n");
    let file = machine.write("all.yaml", &all);
    machine.run(&["run", &file, "--until-tip"]);
    for name in ["first", "second", "third"] {
        assert_eq!(lines(&machine, name), 500, "{name}");
    }
}

/// A second process on the same data directory has a name of its own, and ends when the first one has the shards.
#[test]
fn a_second_process_is_another_worker() {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "one", "--shards", "2"]);
    let text = machine.write("text", &"a line\n".repeat(500));
    machine.run(&["stream", "put", "one", "--from", &text, "--lines"]);
    let file = machine.write("one.yaml", &pipeline("shared", "one"));
    let mut first = machine.start(&["run", &file]);
    wait_for("the first worker's lines", || {
        assert!(first.is_running(), "{}", first.story());
        (whole_bytes(&machine.path("out/shared.jsonl")) > 0).then_some(())
    });
    let mut second = machine.start(&["run", &file, "--until-tip"]);
    assert!(second.wait(LIMIT).success(), "{}", second.story());
    let name = |story: &str| {
        let mut names = story
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("worker="));
        names.next_back().unwrap_or_default().to_owned()
    };
    let names = [name(&first.stderr()), name(&second.stderr())];
    assert!(
        names[0].ends_with("-0") && names[1].ends_with("-1"),
        "{names:?}"
    );
    for (shard, row) in rows(&client, "shared") {
        assert!(row.owner.is_none_or(|owner| owner == names[0]), "{shard}");
    }
    first.terminate();
    assert!(first.wait(LIMIT).success(), "{}", first.story());
    assert_eq!(lines(&machine, "shared"), 500);
    // The name is as stable as the directory.
    let again = machine.run_told(&["run", &file, "--until-tip"]);
    assert_eq!(name(&again), names[0]);
    assert_eq!(lines(&machine, "shared"), 500);
}
