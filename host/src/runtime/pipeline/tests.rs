//! Generations that take over while records come in: plugins and sinks of these tests, everything else as it runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use shardwright_core::FlushReason;
use shardwright_core::pipeline::Pipeline;

use super::*;
use crate::adapters::SystemClock;
use crate::config;
use crate::ports::{PreparedPlugin, Sink};
use crate::runtime::coordinator::tests::MemoryTable;
use crate::runtime::{GenerationParts, PipelineParts};

mod plugin;
mod stream;
mod troubles;

use plugin::{Kept, Marked, Nowhere, Said};
use stream::Numbers;

/// Long enough for a slow machine, so that it is only ever reached by a test that fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut looks = tokio::time::interval(LOOK);
    let wait = async {
        while !holds() {
            looks.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "not within {PATIENCE:?}: {what}"
    );
}

/// A pipeline of two steps with so many lanes; its plugins are those of the test.
fn pipeline(lanes: u64) -> Arc<Pipeline> {
    let yaml = format!(
        "version: 1\npipeline: marked\n\
         source: {{ kinesis: {{ stream: numbers, endpoint: local, read: {{ poll: {{ interval: 10ms }} }} }} }}\n\
         flow: {{ lanes: {lanes}, batch: {{ records: 7, wait: 1ms }} }}\n\
         steps: [{{ plugin: \"builtin:discard\" }}, {{ plugin: \"builtin:discard\" }}]\n\
         sinks: {{ out: stdout }}\ncheckpoint: {{ every: 100ms }}\n"
    );
    let loaded = config::load_text(Path::new("marked.yaml"), &yaml, &|_name| None);
    Arc::new(loaded.unwrap().remove(0))
}

fn generation(lanes: u64, plugins: &[&Arc<Marked>; 2], sink: &Arc<Kept>) -> GenerationParts {
    let plugins = plugins.map(|plugin| Arc::<Marked>::clone(plugin) as Arc<dyn PreparedPlugin>);
    GenerationParts {
        pipeline: pipeline(lanes),
        plugins: plugins.to_vec(),
        sinks: vec![Arc::<Kept>::clone(sink) as Arc<dyn Sink>],
        dead_letters: Arc::new(Nowhere),
    }
}

/// A pipeline that runs, and what it reads and writes.
struct Scene {
    numbers: Arc<Numbers>,
    table: Arc<MemoryTable>,
    running: RunningPipeline,
}

impl Scene {
    fn start(first: GenerationParts) -> Self {
        let numbers = Arc::new(Numbers::default());
        let table = Arc::new(MemoryTable::default());
        let here = Handle::current();
        let parts = PipelineParts {
            source: Arc::<Numbers>::clone(&numbers),
            generation: first,
            io: here.clone(),
            guests: here,
            clock: Arc::new(SystemClock),
        };
        let leases: Arc<dyn LeaseTable> = Arc::<MemoryTable>::clone(&table);
        Self {
            running: RunningPipeline::start(parts, leases, WorkerId::new("worker")),
            numbers,
            table,
        }
    }

    fn tenures(&self) -> Vec<String> {
        let rows = self.table.rows.lock().unwrap();
        rows.values()
            .map(|row| format!("{:?} {:?}", row.owner, row.incarnation))
            .collect()
    }

    async fn end(mut self) {
        self.running.drain();
        self.running.ended().await.unwrap();
    }
}

/// The number and the marks of what was delivered: `7 g1 g1`.
fn parts(line: &str) -> (u64, Vec<&str>) {
    let mut words = line.split(' ');
    let number = words.next().unwrap().parse().unwrap();
    (number, words.collect())
}

/// HR-1: what one batch went through is of one generation. Nothing is lost, nothing repeated, each key stays in order, no
/// lease changes hands, and of each generation that was left nothing is kept.
#[tokio::test(flavor = "multi_thread")]
async fn generations_take_over_under_load() {
    let sink = Arc::new(Kept::default());
    let plugin = |n: u64| Arc::new(Marked::new(&format!("g{n}")));
    let (a, b) = (plugin(0), plugin(0));
    let scene = Scene::start(generation(3, &[&a, &b], &sink));
    let mut left: Vec<Weak<Marked>> = vec![Arc::downgrade(&a), Arc::downgrade(&b)];
    drop((a, b));
    scene.numbers.add(100);
    until("a first delivery", || sink.len() > 0).await;
    let tenures = scene.tenures();
    for n in 1..=30 {
        scene.numbers.add(40);
        let (a, b) = (plugin(n), plugin(n));
        let lanes = if n % 5 == 0 { 1 + n % 4 } else { 3 };
        scene.running.swap(generation(lanes, &[&a, &b], &sink));
        left.extend([Arc::downgrade(&a), Arc::downgrade(&b)]);
        if n % 3 > 0 {
            // Every third one comes while the one before is still taking over.
            let newest = format!("{n}");
            until("a delivery of the newest", || {
                scene.numbers.add(1);
                sink.last_mark() == Some(format!("g{newest}"))
            })
            .await;
        }
    }
    let count = scene.numbers.len();
    until("everything is delivered", || sink.len() >= count).await;
    let newest = left.split_off(left.len() - 2);
    until("what was left is dropped", || {
        left.iter().all(|plugin| plugin.strong_count() == 0)
    })
    .await;
    assert!(newest.iter().all(|plugin| plugin.strong_count() > 0));
    assert_eq!(scene.tenures(), tenures);
    scene.end().await;

    let lines = sink.lines();
    assert_eq!(lines.len(), count, "nothing is repeated");
    let mut last: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for line in &lines {
        let (number, marks) = parts(line);
        assert_eq!(marks.len(), 2);
        assert_eq!(marks[0], marks[1], "HR-1: {line}");
        let generation: u64 = marks[0][1..].parse().unwrap();
        let key = Numbers::key_of(number);
        if let Some((before, earlier)) = last.insert(key, (number, generation)) {
            assert!(before < number, "OR-1: {number} came after {before}");
            assert!(earlier <= generation, "{line} came after g{earlier}");
        }
    }
}

/// What a generation holds is asked for; what it then still holds is delivered to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_generation_holds_is_flushed_or_goes_to_the_next() {
    let sink = Arc::new(Kept::default());
    let holds = Arc::new(Marked::holding("old"));
    let passes = Arc::new(Marked::new("second"));
    let scene = Scene::start(generation(2, &[&holds, &passes], &sink));
    scene.numbers.add(60);
    until("all are held", || holds.said.handled() == 60).await;
    // The second step is the same: it keeps its instances, and is not asked.
    let next = Arc::new(Marked::new("new"));
    scene.running.swap(generation(2, &[&next, &passes], &sink));
    until("all are delivered", || sink.len() >= 60).await;
    let said: Said = holds.said.snapshot();
    assert!(!said.flushes.is_empty());
    assert!(
        said.flushes
            .iter()
            .all(|reason| *reason == FlushReason::Reload),
        "{:?}",
        said.flushes
    );
    assert_eq!(passes.said.snapshot().flushes, []);
    assert_eq!(passes.said.snapshot().instances, 2, "one for each lane");
    scene.end().await;
    let mut lines = sink.lines();
    lines.sort_by_key(|line| parts(line).0);
    assert_eq!(lines.len(), 60);
    for line in lines {
        let (number, marks) = parts(&line);
        let expected = if number % 2 == 0 { "old" } else { "new" };
        assert_eq!(marks, [expected, "second"]);
    }
}

/// What went to a sink that the next generation does not have is made durable before the sink is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_left_is_finished_first() {
    let (a, b) = (Arc::new(Marked::new("a")), Arc::new(Marked::new("b")));
    let mut sink = Arc::new(Kept::default());
    let scene = Scene::start(generation(2, &[&a, &b], &sink));
    let mut delivered = 0;
    for _ in 0..10 {
        scene.numbers.add(30);
        until("a delivery", || sink.len() > 0).await;
        let next = Arc::new(Kept::default());
        scene.running.swap(generation(2, &[&a, &b], &next));
        let last = Arc::downgrade(&sink);
        let state = sink.state();
        drop(sink);
        until("the sink is dropped", || last.strong_count() == 0).await;
        let state = state.lock().unwrap();
        assert_eq!(
            state.synced,
            state.lines.len(),
            "a sink was dropped unsynced"
        );
        delivered += state.lines.len();
        sink = next;
    }
    let count = scene.numbers.len();
    until("everything is delivered", || {
        delivered + sink.len() >= count
    })
    .await;
    assert_eq!(
        a.said.snapshot().instances,
        2,
        "a plugin that stays keeps its instances"
    );
    scene.end().await;
    assert_eq!(delivered + sink.len(), count);
}
