//! From the start of a process to its first delivery.

use std::time::{Duration, Instant};

use super::chance::rounds;
use super::machine::{LIMIT, Machine, wait_for};
use super::output::whole_bytes;

/// Two seconds is what is promised of a machine that has nothing else to do; a test may share one.
const BOUND: Duration = Duration::from_secs(15);

/// A new application on a stream with data delivers its first record soon after its process was started.
#[test]
fn a_new_application_delivers_within_seconds() {
    let machine = Machine::new();
    machine.run(&["stream", "create", "ready", "--shards", "4"]);
    let text = machine.write("text", &"one two three\n".repeat(1_000));
    machine.run(&["stream", "put", "ready", "--from", &text, "--lines"]);
    let mut taken = [Vec::new(), Vec::new()];
    for number in 0..2 * rounds(3) {
        let pipeline = machine.write(
            "new.yaml",
            &format!(
                "version: 1\npipeline: new-{number}\nsource: {{ kinesis: {{ stream: ready, endpoint: local }} }}\n\
                 steps: [{{ plugin: \"builtin:word-count\" }}]\nsinks: {{ out: {{ file: {{ path: {number}.jsonl }} }} }}\n"
            ),
        );
        let out = machine.path(&format!("{number}.jsonl"));
        // The first of each two compiles the plugin, the second finds it compiled.
        let mut command = machine.command(&["run", &pipeline]);
        command.env(
            "XDG_CACHE_HOME",
            machine.path(&format!("cache-{}", number / 2)),
        );
        let began = Instant::now();
        let mut run = machine.spawn(command);
        wait_for("a first line", || {
            assert!(run.is_running(), "{}", run.story());
            (whole_bytes(&out) > 0).then_some(())
        });
        taken[number as usize % 2].push(began.elapsed());
        run.terminate();
        assert!(run.wait(LIMIT).success(), "{}", run.story());
    }
    for taken in &mut taken {
        taken.sort();
    }
    let [compiled_first, compiled_before] = taken;
    println!(
        "from start to first delivery: {compiled_first:?}; compiled before: {compiled_before:?}"
    );
    assert!(compiled_first[0] < BOUND, "{compiled_first:?}");
}
