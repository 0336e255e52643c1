//! A pipeline whose plugin does its worst, and one beside it in the same process that must not notice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::chance::{pause, rounds};
use super::load::Load;
use super::machine::{Machine, Process, wait_for};
use super::output::{Line, assert_complete_and_in_order, final_lines, lines, lines_from};
use super::rows::rows;
use super::wire::Client;

/// How long each neighbour is watched.
fn watched() -> Duration {
    Duration::from_millis(1_500 * rounds(1))
}

const HEALTHY: &str = "\
version: 1
pipeline: healthy
source: { kinesis: { stream: load, endpoint: local, read: { poll: { interval: 20ms } }, leases: { failover: 3s } } }
flow: { lanes: 4, batch: { wait: 10ms } }
steps: [{ plugin: \"builtin:json-filter\", with: { at: \"\", is: { ge: 0 } } }]
sinks: { out: { file: { path: healthy.jsonl } } }
";

/// What the guest is told to do, and what the host must say of it.
const MISDEEDS: [(&str, &str); 10] = [
    ("panic on purpose", "trap"),
    ("exit 3", "exit"),
    ("spin", "limits.time"),
    ("sleep 3600000", "limits.wait"),
    ("recurse", "trap"),
    ("allocate", "limits.memory"),
    ("forge data-ends", "its reply is invalid"),
    ("forge failure-index", "its reply is invalid"),
    ("log 100000", "lines were cut"),
    ("stderr 100000", "lines were cut"),
];

/// The hostile guest, built from source.
pub(super) fn hostile() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/build.sh");
    let built = Command::new("sh")
        .arg(script)
        .arg("hostile")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    String::from_utf8(built.stdout).unwrap().trim().to_owned()
}

/// When each line of a file was first seen.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeMap<(String, u64), Instant>>,
}

impl Watch {
    fn start(out: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let out = out.to_owned();
        let thread = thread::spawn(move || {
            let mut seen = BTreeMap::new();
            let mut from = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                let at = Instant::now();
                // What was seen is not read again: whoever watches must not be the load.
                for Line {
                    key, number, end, ..
                } in lines_from(&out, from)
                {
                    seen.entry((key, number)).or_insert(at);
                    from = end;
                }
                pause(Duration::from_millis(2));
            }
            seen
        });
        Self { stop, thread }
    }

    fn stop(self) -> BTreeMap<(String, u64), Instant> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What was seen of the healthy pipeline.
struct Figures {
    records_per_second: f64,
    p50: Duration,
    p99: Duration,
    /// What the process said of the neighbour.
    report: String,
}

/// Runs the healthy pipeline under load, with a neighbour that is told to do this; none stays idle.
fn beside(misdeed: Option<(&str, &str)>) -> Figures {
    let machine = Machine::new();
    let (_endpoint, client) = machine.endpoint();
    for stream in ["load", "commands"] {
        machine.run(&["stream", "create", stream, "--shards", "2"]);
    }
    let healthy = machine.write("healthy.yaml", HEALTHY);
    let neighbour = machine.write(
        "neighbour.yaml",
        &format!(
            "version: 1\npipeline: neighbour\n\
             source: {{ kinesis: {{ stream: commands, endpoint: local, read: {{ poll: {{ interval: 50ms }} }} }} }}\n\
             flow: {{ lanes: 8, batch: {{ records: 4, wait: 10ms }} }}\n\
             steps: [{{ plugin: {}, limits: {{ memory: 32MiB, time: 200ms, wait: 200ms }} }}]\n\
             sinks: {{ out: {{ file: {{ path: neighbour.jsonl }} }} }}\n\
             on_failure: {{ retry: {{ attempts: 2, backoff: 10ms..50ms }}, dead_letter: {{ file: {{ path: dead.jsonl }} }} }}\n",
            hostile()
        ),
    );
    let mut run = machine.start(&["run", &healthy, &neighbour]);
    let out = machine.path("healthy.jsonl");
    wait_for("both pipelines hold their leases", || {
        assert!(run.is_running(), "{}", run.story());
        let held = |table| {
            rows(&client, table)
                .values()
                .filter(|row| row.owner.is_some())
                .count()
        };
        (held("healthy") == 2 && held("neighbour") == 2).then_some(())
    });
    let load = Load::start(client, "load");
    let watch = Watch::start(&out);
    if let Some((misdeed, _)) = misdeed {
        let records: Vec<_> = (0..400)
            .map(|key| (format!("key-{key}"), misdeed.to_owned()))
            .collect();
        client.put("commands", &records).unwrap();
    }
    let began = Instant::now();
    pause(watched());
    let seconds = began.elapsed().as_secs_f64();
    let delivered = lines(&out).len();
    let produced = load.stop();
    wait_for("the healthy pipeline has all of the load", || {
        (lines(&out).len() as u64 >= produced.total()).then_some(())
    });
    let seen = watch.stop();
    let report = misdeed.map(|(_, report)| {
        wait_for(
            &format!("a line about the neighbour with {report:?}"),
            || {
                let told = run.stderr();
                let mut told = told.lines();
                told.find(|line| line.contains("neighbour") && line.contains(report))
                    .map(str::to_owned)
            },
        )
    });
    assert_host_lives(&mut run, &client);
    // What the neighbour still has under way may be more than a stop waits for.
    run.kill();
    assert_complete_and_in_order(&final_lines(&out), &produced);
    let mut late: Vec<Duration> = produced
        .sent
        .iter()
        .filter_map(|(place, sent)| {
            seen.get(place)
                .map(|at| at.saturating_duration_since(*sent))
        })
        .collect();
    late.sort();
    assert!(!late.is_empty());
    Figures {
        records_per_second: delivered as f64 / seconds,
        p50: late[late.len() / 2],
        p99: late[late.len() * 99 / 100],
        report: report.unwrap_or_default(),
    }
}

/// It runs, and every lease is still its own and was never lost.
fn assert_host_lives(run: &mut Process, client: &Client) {
    assert!(run.is_running(), "{}", run.story());
    let told = run.stderr();
    assert!(!told.contains("the lease is lost"), "{told}");
    for table in ["healthy", "neighbour"] {
        let rows = rows(client, table);
        assert!(rows.values().all(|row| row.owner.is_some()), "{rows:?}");
    }
}

/// TN-1 in one process. With `--nocapture` it prints a table.
#[test]
fn a_hostile_neighbour_is_reported_and_not_felt() {
    let alone = beside(None);
    println!("| the neighbour is told to | records/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|");
    let row = |what: &str, figures: &Figures| {
        println!(
            "| {what} | {:.0} | {} | {} |",
            figures.records_per_second,
            figures.p50.as_millis(),
            figures.p99.as_millis()
        );
    };
    row("do nothing", &alone);
    for (misdeed, report) in MISDEEDS {
        let figures = beside(Some((misdeed, report)));
        row(misdeed, &figures);
        println!("    {}", figures.report);
    }
}
