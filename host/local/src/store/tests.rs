//! The engine against a model that is too simple to be wrong: a list of records per shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;

use super::engine::{Append, Change, Engine, Placed};
use super::read::{PageLimit, Span, first_since, read_page};
use super::state::Stream;
use super::{Batch, Store, schema};
use crate::clock::{Clock, Millis};
use crate::endpoint::SyncMode;
use crate::hash_key::HashKey;
use crate::limits;
use crate::sequence::SequenceNumber;

const HOUR: Millis = 3_600_000;
const STREAM: &str = "s";

#[derive(Clone, Debug)]
enum Step {
    /// Requests that are committed together; of each record its hash key and its size.
    Put(Vec<Vec<(HashKey, usize)>>),
    /// The n-th open shard at a fraction of its range.
    Split(usize, u8),
    Merge(usize),
    Rescale(u32),
    Wait(Millis),
    Retain(u32),
    Trim,
    Sweep,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    // Some records are as large as a block, so that blocks are cut within a request.
    let size = prop_oneof![8 => 0_usize..50, 1 => 30_000_usize..70_000];
    let request = vec((any::<HashKey>(), size), 1..6);
    prop_oneof![
        8 => vec(request, 1..4).prop_map(Step::Put),
        2 => (any::<usize>(), 1_u8..255).prop_map(|(n, at)| Step::Split(n, at)),
        2 => any::<usize>().prop_map(Step::Merge),
        1 => (1_u32..8).prop_map(Step::Rescale),
        3 => (0..10 * HOUR).prop_map(Step::Wait),
        1 => (24_u32..60).prop_map(Step::Retain),
        2 => Just(Step::Trim),
        1 => Just(Step::Sweep),
        1 => Just(Step::Reopen),
    ]
}

/// One record as the model keeps it: when it came, what it holds.
type Kept = (Millis, SequenceNumber, Vec<u8>);

/// What the store should have: all records ever put by shard, and how many of each are trimmed.
#[derive(Default)]
struct Model {
    shards: BTreeMap<u32, (Vec<Kept>, usize)>,
    counter: u64,
}

impl Model {
    fn trim(&mut self, now: Millis, hours: u32) {
        for (records, trimmed) in self.shards.values_mut() {
            let is_gone = |r: &Kept| r.0 + Millis::from(hours) * HOUR <= now;
            *trimmed += records[*trimmed..]
                .iter()
                .take_while(|r| is_gone(r))
                .count();
        }
    }
}

struct World {
    path: std::path::PathBuf,
    engine: Option<Engine>,
    reader: Connection,
    clock: Clock,
    model: Model,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("streams.db");
        let clock = Clock::default();
        clock.freeze(1_700_000_000_000);
        let mut engine = Engine::new(
            schema::open_writer(&path, SyncMode::Process).unwrap(),
            clock.clone(),
        )
        .unwrap();
        engine
            .change(Change::Create {
                name: STREAM.into(),
                shards: 2,
                on_demand: false,
                edits: Vec::new(),
            })
            .unwrap();
        let reader = schema::open_reader(&path).unwrap();
        Self {
            path,
            engine: Some(engine),
            reader,
            clock,
            model: Model::default(),
            _folder: folder,
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    fn stream(&mut self) -> Arc<Stream> {
        self.engine().streams().get(STREAM).unwrap()
    }

    fn apply(&mut self, step: Step) {
        let stream = self.stream();
        let open: Vec<_> = stream.open_shards().cloned().collect();
        match step {
            Step::Put(requests) => self.put(&requests),
            Step::Split(n, at) => {
                let shard = &open[n % open.len()];
                let key = shard.range.start
                    + (shard.range.end - shard.range.start) / 256 * HashKey::from(at);
                // A range too narrow to be split is refused, and nothing changes.
                let _refused = self.change(Change::Split {
                    stream: STREAM.into(),
                    shard: shard.number,
                    key,
                });
            }
            Step::Merge(n) if open.len() > 1 => {
                let mut by_start = open.clone();
                by_start.sort_by_key(|s| s.range.start);
                let at = n % (by_start.len() - 1);
                let (left, right) = (by_start[at].number, by_start[at + 1].number);
                self.change(Change::Merge {
                    stream: STREAM.into(),
                    left,
                    right,
                })
                .unwrap();
            }
            Step::Merge(_) => {}
            Step::Rescale(target) => {
                let _refused = self.change(Change::Rescale {
                    stream: STREAM.into(),
                    target,
                });
            }
            Step::Wait(by) => self.clock.advance(std::time::Duration::from_millis(by)),
            Step::Retain(hours) => {
                let now = self.clock.now();
                self.model.trim(now, stream.retention_hours);
                self.change(Change::Retain {
                    stream: STREAM.into(),
                    hours,
                })
                .unwrap();
                self.model.trim(now, hours);
            }
            Step::Trim => {
                self.engine().trim().unwrap();
                let now = self.clock.now();
                self.model.trim(now, stream.retention_hours);
            }
            Step::Sweep => {
                self.engine().sweep(3).unwrap();
            }
            Step::Reopen => {
                self.engine = None;
                let writer = schema::open_writer(&self.path, SyncMode::Process).unwrap();
                self.engine = Some(Engine::new(writer, self.clock.clone()).unwrap());
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), super::StoreError> {
        self.engine().change(change)
    }

    fn put(&mut self, requests: &[Vec<(HashKey, usize)>]) {
        let stream = self.stream();
        let mut appends = Vec::new();
        let mut bodies = Vec::new();
        for request in requests {
            let mut batch = Batch::default();
            for (hash, size) in request {
                self.model.counter += 1;
                let mut body = self.model.counter.to_le_bytes().to_vec();
                body.resize(8 + size, 7);
                batch.push(*hash, "key", &body);
                bodies.push((*hash, body));
            }
            appends.push(Append {
                stream: STREAM.into(),
                batch,
            });
        }
        let placed: Vec<Placed> = self
            .engine()
            .append(&appends)
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
        assert_eq!(placed.len(), bodies.len());
        let now = self.clock.now();
        for ((hash, body), placed) in bodies.into_iter().zip(placed) {
            let shard = stream.shard(placed.shard).unwrap();
            assert!(shard.is_open() && shard.range.contains(hash));
            let (records, _) = self.model.shards.entry(placed.shard).or_default();
            assert!(
                records
                    .last()
                    .is_none_or(|r| r.1.to_string() < placed.sequence.to_string())
            );
            records.push((now, placed.sequence, body));
        }
    }

    /// Reads every shard from start to end in pages of `limit`, and compares.
    fn check(&mut self, limit: PageLimit) {
        let stream = self.stream();
        check_lineage(&stream);
        for shard in &stream.shards {
            let (records, trimmed) = self.model.shards.remove(&shard.number).unwrap_or_default();
            let expected = &records[trimmed..];
            let end = shard.tail.next();
            assert_eq!(end, records.len() as u64 + 1);
            let mut span = Span {
                stream: stream.id,
                shard: shard.number,
                from: shard.tail.first(),
                end,
            };
            let mut seen = Vec::new();
            while span.from < end {
                let page = read_page(&self.reader, span, limit).unwrap();
                assert!(page.next > span.from && page.records().len() <= limit.records);
                let size: usize = page.records().map(|r| r.key.len() + r.data.len()).sum();
                assert!(size <= limit.bytes || page.records().len() == 1);
                for record in page.records() {
                    let sequence = shard.sequence(record.index, record.arrival_ms);
                    seen.push((record.arrival_ms, sequence, record.data.to_vec()));
                }
                span.from = page.next;
            }
            assert!(
                seen == expected,
                "shard {} read {} records, not {}",
                shard.number,
                seen.len(),
                expected.len()
            );
            self.check_times(&stream, shard.number, expected, trimmed);
            self.model.shards.insert(shard.number, (records, trimmed));
        }
    }

    /// The first record since a time is the one that the model has.
    fn check_times(&self, stream: &Stream, shard: u32, expected: &[Kept], trimmed: usize) {
        let first = trimmed as u64 + 1;
        let span = Span {
            stream: stream.id,
            shard,
            from: first,
            end: first + expected.len() as u64,
        };
        for at in expected.iter().map(|r| r.0).flat_map(|t| [t - 1, t, t + 1]) {
            let found = first_since(&self.reader, span, at).unwrap();
            let place = expected
                .iter()
                .position(|r| r.0 >= at)
                .map(|p| first + p as u64);
            assert_eq!(found, place, "since {at}");
        }
    }
}

/// Open shards cover all keys once; children are above their parents.
fn check_lineage(stream: &Stream) {
    let mut ranges: Vec<_> = stream.open_shards().map(|s| s.range).collect();
    ranges.sort_by_key(|r| r.start);
    assert_eq!(
        (ranges[0].start, ranges[ranges.len() - 1].end),
        (0, HashKey::MAX)
    );
    assert!(
        ranges
            .windows(2)
            .all(|pair| pair[0].end.checked_add(1) == Some(pair[1].start))
    );
    for child in &stream.shards {
        for parent in [child.parent, child.adjacent_parent]
            .into_iter()
            .flatten()
            .filter_map(|p| stream.shard(p))
        {
            assert!(!parent.is_open() && parent.number < child.number);
            let ending = parent.ending_sequence().unwrap().to_string();
            assert!(ending < child.starting_sequence().to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_is_read_until_it_is_trimmed(
        steps in vec(step(), 1..40), records in 1_usize..20, bytes in 1_usize..200_000,
    ) {
        let mut world = World::new();
        for step in steps {
            world.apply(step);
        }
        world.check(PageLimit { records, bytes });
        world.apply(Step::Reopen);
        world.check(PageLimit { records: 10_000, bytes: usize::MAX });
    }
}

/// Of every shard that has any, its number and how many rows it takes on disk.
fn rows_by_shard(reader: &Connection) -> Vec<(u32, u32)> {
    let text = "SELECT shard, count(*) FROM blocks GROUP BY stream, shard ORDER BY stream, shard";
    let mut statement = reader.prepare(text).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn while_records_expire_as_fast_as_they_are_put_every_shard_gives_its_space_back() {
    let mut world = World::new();
    world.apply(Step::Rescale(4));
    // A row in each of the four open shards, a minute after the one before.
    let row = |world: &mut World| {
        let quarter = 1 << 126;
        world.put(&[(0..4).map(|n| (n * quarter, 8)).collect()]);
        world.apply(Step::Wait(60_000));
    };
    for _ in 0..24 * 60 {
        row(&mut world);
    }
    let before = rows_by_shard(&world.reader);
    assert_eq!(before.len(), 4, "{before:?}");
    // From here on a row of each shard expires with each one that comes, and there is time to remove half of them.
    for _ in 0..400 {
        row(&mut world);
        world.apply(Step::Trim);
        world.engine().sweep(2).unwrap();
    }
    let behind = rows_by_shard(&world.reader);
    for ((shard, before), (_, now)) in before.iter().zip(&behind) {
        let removed = before + 400 - now;
        assert!(removed > 100, "{removed} of 400 rows of shard {shard}");
    }
    // As much as puts write is enough to catch up, and to stay there.
    for _ in 0..400 {
        row(&mut world);
        world.apply(Step::Trim);
        world.engine().sweep_as_written().unwrap();
    }
    for (shard, rows) in rows_by_shard(&world.reader) {
        assert!(rows <= 24 * 60 + 1, "{rows} rows of shard {shard}");
    }
    world.check(PageLimit {
        records: 10_000,
        bytes: usize::MAX,
    });
}

#[test]
fn much_that_expires_at_once_is_gone_without_another_round_of_upkeep() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("streams.db");
    let clock = Clock::default();
    clock.freeze(1_700_000_000_000);
    let store = Store::open(&path, SyncMode::Process, clock.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let create = Change::Create {
        name: STREAM.into(),
        shards: 1,
        on_demand: false,
        edits: Vec::new(),
    };
    runtime.block_on(store.change(create)).unwrap();
    // Each record takes a row of its own.
    let mut batch = Batch::default();
    for _ in 0..3 * limits::SWEEP_ROWS {
        batch.push(1, "key", &vec![7; 40_000]);
    }
    let stream = STREAM.to_owned();
    runtime
        .block_on(store.append(Append { stream, batch }))
        .unwrap();
    let reader = schema::open_reader(&path).unwrap();
    assert_eq!(rows_by_shard(&reader), [(0, 3 * limits::SWEEP_ROWS)]);

    clock.advance(std::time::Duration::from_hours(25));
    runtime.block_on(store.maintain()).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !rows_by_shard(&reader).is_empty() {
        assert!(std::time::Instant::now() < deadline, "rows are still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_deleted_streams_records_leave_the_database_and_a_new_one_of_its_name_is_empty() {
    let mut world = World::new();
    for _ in 0..20 {
        world.put(&[vec![(1, 60_000), (HashKey::MAX, 60_000)]]);
    }
    world
        .change(Change::Delete {
            name: STREAM.into(),
            forced: false,
        })
        .unwrap();
    world
        .change(Change::Create {
            name: STREAM.into(),
            shards: 2,
            on_demand: false,
            edits: Vec::new(),
        })
        .unwrap();
    while world.engine().sweep(7).unwrap() {}
    assert_eq!(rows_by_shard(&world.reader), []);
    world.model = Model::default();
    world.check(PageLimit {
        records: 10,
        bytes: 1000,
    });
}

#[test]
fn a_shard_is_forgotten_when_its_retention_has_passed_since_it_closed() {
    let mut world = World::new();
    world.put(&[vec![(1, 10)]]);
    world.apply(Step::Split(0, 128));
    let closed: Vec<_> = world
        .stream()
        .shards
        .iter()
        .filter(|s| !s.is_open())
        .map(|s| s.number)
        .collect();
    world.apply(Step::Wait(24 * HOUR - 1));
    world.apply(Step::Trim);
    assert!(world.stream().shard(closed[0]).is_some());
    world.apply(Step::Wait(1));
    world.apply(Step::Trim);
    assert!(world.stream().shard(closed[0]).is_none());
    world.apply(Step::Reopen);
    assert_eq!(world.stream().shards.len(), 3);
}
