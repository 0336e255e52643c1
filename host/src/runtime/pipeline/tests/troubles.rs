//! What goes wrong beside the messages: tasks that panic, a pool without room, sinks that refuse everything.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shardwright_core::{Failure, FlushReason, Messages, Reply};

use super::*;
use crate::ports::{
    CallError, DeadLetter, DeadLetterSink, DeliveryError, Description, ErrorKind, Outgoing,
    PluginInstance, PortError, PortFuture,
};

/// A panic that waits to be sprung, once.
#[derive(Debug, Default)]
pub(super) struct Trip(AtomicBool);

impl Trip {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn spring(&self) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "sprung");
    }
}

/// What a plugin of these tests has of the process, and what it does wrong.
#[derive(Debug, Default)]
struct Troubles {
    /// Instances that may live.
    room: AtomicUsize,
    /// Calls that are to find no room.
    calls_without_room: AtomicUsize,
    /// How often there was none.
    refused: AtomicUsize,
    /// The next call rejects everything.
    rejects: AtomicBool,
    in_call: Trip,
    in_digest: Trip,
}

fn take_one(from: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

impl Troubles {
    fn no_room(&self) -> CallError {
        self.refused.fetch_add(1, Ordering::SeqCst);
        CallError::Exhausted {
            what: "the pool of the test is full".to_owned(),
            setting: "the test",
        }
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

struct Troubled {
    inner: Marked,
    troubles: Arc<Troubles>,
}

impl PreparedPlugin for Troubled {
    fn description(&self) -> &Description {
        self.inner.description()
    }

    fn digest(&self) -> &str {
        self.troubles.in_digest.spring();
        self.inner.digest()
    }

    fn instantiate<'a>(
        &'a self,
        origin: &'a str,
    ) -> PortFuture<'a, Result<Box<dyn PluginInstance>, CallError>> {
        Box::pin(async move {
            if !take_one(&self.troubles.room) {
                return Err(self.troubles.no_room());
            }
            let instance = TroubledInstance {
                inner: self.inner.instantiate(origin).await?,
                troubles: Arc::clone(&self.troubles),
            };
            Ok(Box::new(instance) as Box<dyn PluginInstance>)
        })
    }
}

struct TroubledInstance {
    inner: Box<dyn PluginInstance>,
    troubles: Arc<Troubles>,
}

impl Drop for TroubledInstance {
    fn drop(&mut self) {
        self.troubles.room.fetch_add(1, Ordering::SeqCst);
    }
}

type Answer = Result<Result<Reply, Failure>, CallError>;

impl PluginInstance for TroubledInstance {
    fn handle<'a>(&'a mut self, messages: &'a Messages) -> PortFuture<'a, Answer> {
        Box::pin(async move {
            self.troubles.in_call.spring();
            if take_one(&self.troubles.calls_without_room) {
                return Err(self.troubles.no_room());
            }
            if self.troubles.rejects.swap(false, Ordering::SeqCst) {
                let reason = "of the test".to_owned();
                return Ok(Err(Failure::Reject { reason }));
            }
            self.inner.handle(messages).await
        })
    }

    fn flush(&mut self, reason: FlushReason) -> PortFuture<'_, Answer> {
        self.inner.flush(reason)
    }
}

/// A sink that keeps what it gets, after it has refused everything for so many calls. What it is told it never takes.
#[derive(Debug, Default)]
struct Refusing {
    kept: Kept,
    refusals: AtomicUsize,
    refused: AtomicUsize,
    unfit: Option<&'static str>,
    in_sync: Trip,
}

impl Sink for Refusing {
    fn delivered_means(&self) -> &'static str {
        "it is kept in memory"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        Box::pin(async move {
            let fail = |kind, what: &str| PortError::new(kind, what);
            if take_one(&self.refusals) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let denied = fail(ErrorKind::Fatal, "AccessDeniedException");
                return Err(DeliveryError::of_all(emissions.len(), &denied));
            }
            let is_unfit = |data: &[u8]| {
                let number = data.split(|byte| *byte == b' ').next();
                number == self.unfit.map(str::as_bytes)
            };
            let (mut fit, mut failed) = (Vec::new(), Vec::new());
            for (index, emission) in emissions.iter().enumerate() {
                if is_unfit(emission.data) {
                    failed.push((index, fail(ErrorKind::Unfit, "too large")));
                } else {
                    fit.push(*emission);
                }
            }
            self.kept.deliver(&fit).await?;
            if failed.is_empty() {
                return Ok(());
            }
            Err(DeliveryError { failed })
        })
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        Box::pin(async {
            self.in_sync.spring();
            self.kept.sync().await
        })
    }
}

#[derive(Default)]
struct Graves(Mutex<Vec<DeadLetter>>);

impl DeadLetterSink for Graves {
    fn put(&self, letters: Vec<DeadLetter>) -> PortFuture<'_, Result<(), PortError>> {
        self.0.lock().unwrap().extend(letters);
        Box::pin(async { Ok(()) })
    }
}

/// A pipeline of one plugin, four lanes, one try and short leases.
struct Bench {
    scene: Scene,
    troubles: Arc<Troubles>,
    sink: Arc<Refusing>,
    graves: Arc<Graves>,
}

impl Bench {
    fn start(troubles: Troubles, sink: Refusing) -> Self {
        let yaml = "version: 1\npipeline: troubled\n\
             source: { kinesis: { stream: numbers, endpoint: local, leases: { failover: 1s }, \
             read: { poll: { interval: 10ms } } } }\n\
             flow: { lanes: 4, batch: { records: 7, wait: 1ms } }\n\
             steps: [{ plugin: \"builtin:discard\" }]\nsinks: { out: stdout }\n\
             on_failure: { retry: { attempts: 1, backoff: 10ms..20ms } }\ncheckpoint: { every: 100ms }\n";
        let loaded = config::load_text(Path::new("troubled.yaml"), yaml, &|_name| None);
        let (troubles, sink) = (Arc::new(troubles), Arc::new(sink));
        let graves = Arc::<Graves>::default();
        let plugin = Troubled {
            inner: Marked::new("m"),
            troubles: Arc::clone(&troubles),
        };
        let scene = Scene::start(GenerationParts {
            pipeline: Arc::new(loaded.unwrap().remove(0)),
            plugins: vec![Arc::new(plugin)],
            sinks: vec![Arc::<Refusing>::clone(&sink)],
            dead_letters: Arc::<Graves>::clone(&graves),
        });
        Self {
            scene,
            troubles,
            sink,
            graves,
        }
    }

    fn delivered(&self) -> Vec<u64> {
        let lines = self.sink.kept.lines();
        lines.iter().map(|line| parts(line).0).collect()
    }

    fn is_all_delivered(&self) -> bool {
        let delivered: BTreeSet<u64> = self.delivered().into_iter().collect();
        delivered.len() == self.scene.numbers.len()
    }

    /// DL-1 and OR-1: nothing was given up, and each came once, in its key's order.
    async fn end_in_order(self) {
        let count = self.scene.numbers.len();
        let (sink, graves) = (Arc::clone(&self.sink), Arc::clone(&self.graves));
        let delivered = self.delivered();
        self.scene.end().await;
        assert_eq!(sink.kept.len(), count, "nothing is repeated");
        assert_eq!(graves.0.lock().unwrap().len(), 0, "nothing is given up");
        let mut last = BTreeMap::new();
        for number in delivered {
            let before = last.insert(Numbers::key_of(number), number);
            assert!(
                before.is_none_or(|before| before < number),
                "OR-1: {number}"
            );
        }
    }
}

fn with_room(room: usize) -> Troubles {
    Troubles {
        room: AtomicUsize::new(room),
        ..Troubles::default()
    }
}

/// LV-1: whatever task of a shard panics, its place and its lease are given up, and whoever takes it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_gives_its_shard_up() {
    let bench = Bench::start(with_room(100), Refusing::default());
    let (troubles, sink) = (&bench.troubles, &bench.sink);
    let trip_reads = || bench.scene.numbers.trip.set();
    let trip_shell = || {
        troubles.rejects.store(true, Ordering::SeqCst);
        troubles.in_digest.set();
    };
    let trips: [(&str, &dyn Fn()); 4] = [
        ("a lane", &|| troubles.in_call.set()),
        ("the fetcher", &trip_reads),
        ("a sync", &|| sink.in_sync.set()),
        ("the consumer itself", &trip_shell),
    ];
    for (who, trip) in trips {
        bench.scene.numbers.add(30);
        until("all are delivered", || bench.is_all_delivered()).await;
        let before = bench.scene.tenures();
        trip();
        bench.scene.numbers.add(30);
        until(&format!("{who}: the shard's place is given up"), || {
            bench.scene.running.reports().is_empty()
        })
        .await;
        assert_eq!(bench.scene.running.in_flight(), Usage::default(), "{who}");
        until(&format!("{who}: all are delivered"), || {
            bench.is_all_delivered()
        })
        .await;
        assert_ne!(bench.scene.tenures(), before, "{who}: the lease is kept");
    }
    assert_eq!(bench.graves.0.lock().unwrap().len(), 0);
    bench.scene.end().await;
}

/// TN-1: that others have all of the pool is no fault of the messages. They wait, and no try is counted.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_instances_messages_wait_and_none_is_given_up() {
    let bench = Bench::start(with_room(0), Refusing::default());
    bench.scene.numbers.add(100);
    // Every lane has found no room more than once.
    until("no room", || bench.troubles.refused() >= 12).await;
    assert_eq!(bench.sink.kept.len(), 0);
    // For one lane, then for all, and then there is none for some calls.
    bench.troubles.room.fetch_add(1, Ordering::SeqCst);
    until("a first delivery", || bench.sink.kept.len() > 0).await;
    bench.troubles.room.fetch_add(3, Ordering::SeqCst);
    until("all are delivered", || bench.is_all_delivered()).await;
    bench.troubles.calls_without_room.store(5, Ordering::SeqCst);
    bench.scene.numbers.add(100);
    until("all are delivered", || bench.is_all_delivered()).await;
    assert_eq!(bench.troubles.calls_without_room.load(Ordering::SeqCst), 0);
    bench.end_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_what_waits_for_room_when_others_let_go() {
    let mut bench = Bench::start(with_room(0), Refusing::default());
    bench.scene.numbers.add(20);
    until("no room", || bench.troubles.refused() >= 4).await;
    bench.scene.running.drain();
    bench.troubles.room.fetch_add(4, Ordering::SeqCst);
    bench.scene.running.ended().await.unwrap();
    assert!(bench.is_all_delivered());
    assert_eq!(bench.graves.0.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_a_wait_for_room() {
    let bench = Bench::start(with_room(0), Refusing::default());
    bench.scene.numbers.add(20);
    until("no room", || bench.troubles.refused() >= 4).await;
    for row in bench.scene.table.rows.lock().unwrap().values_mut() {
        row.owner = Some(WorkerId::new("another"));
        row.counter += 1;
    }
    until("the shard's place is given up", || {
        bench.scene.running.reports().is_empty()
    })
    .await;
    bench.scene.running.abort();
}

/// A policy that is wrong stalls the pipeline, and costs no message.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_everything_is_waited_for() {
    let sink = Refusing {
        refusals: AtomicUsize::new(40),
        ..Refusing::default()
    };
    let bench = Bench::start(with_room(100), sink);
    bench.scene.numbers.add(100);
    until("all are delivered", || bench.is_all_delivered()).await;
    assert_eq!(bench.sink.refused.load(Ordering::SeqCst), 40);
    bench.end_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_can_never_take_is_given_up_at_once_and_alone() {
    let sink = Refusing {
        unfit: Some("13"),
        ..Refusing::default()
    };
    let bench = Bench::start(with_room(100), sink);
    bench.scene.numbers.add(100);
    until("all others are delivered", || bench.delivered().len() == 99).await;
    until("it is given up", || {
        bench.graves.0.lock().unwrap().len() == 1
    })
    .await;
    assert!(!bench.delivered().contains(&13));
    let letter = bench.graves.0.lock().unwrap().remove(0);
    assert_eq!((&*letter.data, letter.error), (&b"13"[..], "delivery"));
    bench.scene.end().await;
}
