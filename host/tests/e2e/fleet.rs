//! Several workers of one pipeline, what they write, and how long each shard stood still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::chance::pause;
use super::load::{Load, Produced};
use super::machine::{LIMIT, Machine, Process, wait_for};
use super::output::{Line, lines_after_kills};
use super::rows::{Row, Stored, rows};
use super::standins::Standins;
use super::wire::Client;

/// What a worker may have read and not checkpointed.
pub(super) const SPAN: u64 = 2_000;

/// Lanes of a shard, and messages of a batch.
pub(super) const LANES: usize = 4;
pub(super) const BATCH: usize = 100;

/// How often the output is looked at: gaps are as exact as this.
const TAIL: Duration = Duration::from_millis(10);

const STREAM: &str = "load";
const TABLE: &str = "fleet";

/// Who serves the stream and the lease table.
pub(super) enum Servers {
    Ours,
    Others,
}

/// Kept for the life of the fleet.
enum Serving {
    Ours(#[expect(dead_code, reason = "it serves until it is dropped")] Process),
    Others(#[expect(dead_code, reason = "they serve until they are dropped")] Standins),
}

pub(super) struct Fleet {
    pub(super) workers: Vec<Worker>,
    pub(super) tail: Tail,
    load: Option<Load>,
    pipeline: String,
    streams: Client,
    tables: Client,
    /// What commands on the stream need to find it.
    service: Vec<String>,
    machine: Machine,
    _serving: Serving,
}

pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) name: String,
}

impl Fleet {
    /// No workers yet, and a stream that nothing is written to.
    pub(super) fn new(servers: &Servers, shards: usize, failover: Duration) -> Self {
        let machine = Machine::new();
        let (serving, streams, tables, source, leases, service) = match servers {
            Servers::Ours => {
                let (endpoint, client) = machine.endpoint();
                let source = "endpoint: local".to_owned();
                (
                    Serving::Ours(endpoint),
                    client,
                    client,
                    source,
                    String::new(),
                    Vec::new(),
                )
            }
            Servers::Others => {
                let others = Standins::start(&machine);
                let client = |url: &str| Client::new(url["http://".len()..].parse().unwrap());
                let (streams, tables) = (client(&others.kinesis), client(&others.dynamodb));
                let source = format!("region: us-east-1, endpoint: \"{}\"", others.kinesis);
                let leases = format!(", endpoint: \"{}\"", others.dynamodb);
                let service = ["--endpoint", &others.kinesis, "--region", "us-east-1"];
                let service = service.map(str::to_owned).to_vec();
                (
                    Serving::Others(others),
                    streams,
                    tables,
                    source,
                    leases,
                    service,
                )
            }
        };
        let pipeline = machine.write(
            "fleet.yaml",
            &format!(
                "version: 1\npipeline: {TABLE}\nsource: {{ kinesis: {{ stream: {STREAM}, {source}, \
                 read: {{ poll: {{ interval: 50ms }} }}, leases: {{ failover: {}ms{leases} }} }} }}\n\
                 flow: {{ lanes: {LANES}, in_flight: {{ records: 1000 }}, span: {SPAN}, \
                 batch: {{ records: {BATCH}, wait: 20ms }} }}\n\
                 sinks: {{ out: {{ file: {{ path: out.jsonl }} }} }}\ncheckpoint: {{ every: 1s }}\n",
                failover.as_millis()
            ),
        );
        let out = machine.path("out.jsonl");
        let fleet = Self {
            workers: Vec::new(),
            tail: Tail::start(out),
            load: None,
            pipeline,
            streams,
            tables,
            service,
            machine,
            _serving: serving,
        };
        fleet.stream(&["create", STREAM, "--shards", &shards.to_string()]);
        fleet
    }

    /// `shardwright stream …`.
    pub(super) fn stream(&self, args: &[&str]) -> String {
        let service = self.service.iter().map(String::as_str);
        let args: Vec<&str> = ["stream"].into_iter().chain(args.iter().copied()).collect();
        self.machine
            .run(&args.into_iter().chain(service).collect::<Vec<_>>())
    }

    /// Begins to write to the stream.
    pub(super) fn produce(&mut self) {
        self.load = Some(Load::start(self.streams, STREAM));
    }

    /// Waits until what was acknowledged so far is delivered.
    pub(super) fn wait_until_caught_up(&self) {
        let acknowledged = self.load.as_ref().unwrap().acknowledged();
        wait_for("what was produced is delivered", || {
            (self.lines().len() as u64 >= acknowledged).then_some(())
        });
    }

    /// Starts one more worker, and waits until it has a name.
    pub(super) fn start(&mut self) {
        let process = self.machine.start(&["run", &self.pipeline]);
        let name = wait_for("the worker's name", || {
            let story = process.stderr();
            let mut words = story.split_whitespace();
            words.find_map(|word| word.strip_prefix("worker=").map(str::to_owned))
        });
        self.workers.push(Worker { process, name });
    }

    pub(super) fn rows(&self) -> BTreeMap<String, Row> {
        rows(&self.tables, TABLE)
    }

    /// The table as its other readers see it.
    pub(super) fn table(&self) -> (&Client, &'static str) {
        (&self.tables, TABLE)
    }

    /// How many leases each worker has, once there are leases and every one has an owner.
    pub(super) fn shares(&self) -> Option<BTreeMap<String, usize>> {
        let mut shares = BTreeMap::new();
        for row in self.rows().into_values() {
            *shares.entry(row.owner?).or_default() += 1;
        }
        (!shares.is_empty()).then_some(shares)
    }

    /// Waits until each of the workers has its share of the leases, to within one.
    pub(super) fn wait_for_even_shares(&mut self) -> Duration {
        let began = Instant::now();
        let names: Vec<String> = self
            .workers
            .iter()
            .map(|worker| worker.name.clone())
            .collect();
        let mut last = None;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("even shares", || {
                self.assert_all_run();
                pause(TAIL);
                last = self.shares();
                let shares = last.as_ref()?;
                let of = |name: &String| shares.get(name).copied().unwrap_or_default();
                let (least, most) = (names.iter().map(of).min()?, names.iter().map(of).max()?);
                let is_theirs = shares.keys().all(|owner| names.contains(owner));
                (is_theirs && most - least <= 1).then_some(())
            });
        }));
        assert!(found.is_ok(), "{names:?}: {last:?}");
        began.elapsed()
    }

    pub(super) fn assert_all_run(&mut self) {
        for worker in &mut self.workers {
            assert!(worker.process.is_running(), "{}", worker.process.story());
        }
    }

    /// Whether some lease is in the hands of the worker of that name.
    pub(super) fn owns(&self, name: &str) -> bool {
        let rows = self.rows();
        rows.values().any(|row| row.owner.as_deref() == Some(name))
    }

    /// The shards that a worker has taken.
    pub(super) fn owned_by(&self, name: &str) -> Vec<String> {
        let rows = self.rows().into_iter();
        let is_its = |(_, row): &(String, Row)| row.is_taken && row.owner.as_deref() == Some(name);
        rows.filter(is_its).map(|(shard, _)| shard).collect()
    }

    /// What has been delivered so far.
    pub(super) fn lines(&self) -> Vec<Line> {
        lines_after_kills(&self.machine.path("out.jsonl"))
    }

    /// Makes a lease another worker's behind its owner's back, as a thief does: the owner learns of it by its next write.
    pub(super) fn steal(&self, shard: &str, thief: &str) {
        let body = json!({
            "TableName": TABLE,
            "Key": { "leaseKey": { "S": shard } },
            "UpdateExpression":
                "SET leaseOwner = :thief, successor = :thief, leaseCounter = leaseCounter + :one",
            "ExpressionAttributeValues": { ":thief": { "S": thief }, ":one": { "N": "1" } },
        });
        self.tables.dynamodb("UpdateItem", &body).unwrap();
    }

    /// Stops one worker in good order.
    pub(super) fn terminate(&mut self, index: usize) {
        let mut worker = self.workers.remove(index);
        worker.process.terminate();
        let status = worker.process.wait(LIMIT);
        assert!(status.success(), "{status}: {}", worker.process.story());
    }

    /// Stops the load and every worker, has the rest handled, and gives what was produced and what came of it.
    pub(super) fn finish(mut self) -> (Produced, Vec<Line>) {
        let produced = self.load.take().unwrap().stop();
        while !self.workers.is_empty() {
            self.terminate(0);
        }
        self.machine.run(&["run", &self.pipeline, "--until-tip"]);
        let lines = lines_after_kills(&self.machine.path("out.jsonl"));
        (produced, lines)
    }

    /// The shards of the stream and their parents.
    pub(super) fn lineage(&self) -> BTreeMap<String, Vec<String>> {
        self.streams.shards(STREAM)
    }

    /// Doubles or halves the stream, and waits until that is done.
    pub(super) fn update_shard_count(&self, shards: usize) {
        let body = json!({
            "StreamName": STREAM, "TargetShardCount": shards, "ScalingType": "UNIFORM_SCALING"
        });
        wait_for("UpdateShardCount is accepted", || {
            self.streams.kinesis("UpdateShardCount", &body).ok()
        });
        wait_for("the stream is active again", || {
            let body = json!({ "StreamName": STREAM });
            let answer = self
                .streams
                .kinesis("DescribeStreamSummary", &body)
                .unwrap();
            let summary = &answer["StreamDescriptionSummary"];
            let is_done =
                summary["StreamStatus"] == "ACTIVE" && summary["OpenShardCount"] == shards;
            is_done.then_some(())
        });
    }

    /// Waits until every finished shard's row is gone.
    pub(super) fn wait_for_clean_rows(&mut self) {
        wait_for("rows of finished shards to go", || {
            self.assert_all_run();
            pause(TAIL);
            let rows = self.rows();
            let mut rows = rows.values();
            rows.all(|row| row.stored != Stored::ShardEnd).then_some(())
        });
    }
}

/// Watches what the workers write.
pub(super) struct Tail {
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last: Instant,
    gap: Duration,
}

impl Tail {
    fn start(out: PathBuf) -> Self {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, is_stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut read = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                look(&out, &mut read, &to);
                pause(TAIL);
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// Forgets the gaps up to now.
    pub(super) fn reset(&self) {
        for seen in self.seen.lock().unwrap().values_mut() {
            seen.gap = Duration::ZERO;
        }
    }

    /// The longest time that each shard gave nothing, in rising order. A shard that gives nothing now counts up to now.
    pub(super) fn gaps(&self) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap();
        let gap = |seen: &Seen| seen.gap.max(seen.last.elapsed());
        let mut gaps: Vec<Duration> = seen.values().map(gap).collect();
        gaps.sort_unstable();
        gaps
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Notes the shards of the lines that came since the last look.
fn look(out: &Path, read: &mut u64, seen: &Mutex<BTreeMap<String, Seen>>) {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut text = Vec::new();
    let news = std::fs::File::open(out).and_then(|mut file| {
        file.seek(SeekFrom::Start(*read))?;
        file.read_to_end(&mut text)
    });
    if news.is_err() {
        return;
    }
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1);
    *read += whole as u64;
    let now = Instant::now();
    let mut seen = seen.lock().unwrap();
    for line in String::from_utf8_lossy(&text[..whole]).lines() {
        let shard = line.split('/').nth(1).unwrap_or_default();
        let shard = seen.entry(shard.to_owned()).or_insert(Seen {
            last: now,
            gap: Duration::ZERO,
        });
        shard.gap = shard.gap.max(now - shard.last);
        shard.last = now;
    }
}

/// The middle and the greatest, for a note.
pub(super) fn middle_and_most(durations: &[Duration]) -> String {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(middle), Some(most)) => format!("p50 {middle:.2?}, max {most:.2?}"),
        _ => "none".to_owned(),
    }
}
