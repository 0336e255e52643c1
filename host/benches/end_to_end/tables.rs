//! What is compared with what, and how it is printed: Markdown, a row for each consumer.

use std::fmt::Write as _;
use std::time::Duration;

use super::Args;
use super::consumer::{Consumer, Consumers, JSON_FILTER, MIRROR, NO_OP, WORD_COUNT};
use super::page::Page;
use super::process::Cost;
use super::servers::Servers;
use super::streams::{Stream, Streams};

const MIB: f64 = (1 << 20) as f64;

/// How many times larger the larger stream of a pair is.
const LARGER: u64 = 4;

pub(crate) struct Bench<'a> {
    args: &'a Args,
    server: &'a str,
    streams: Streams<'a>,
    consumers: Consumers<'a>,
}

/// The least that a consumer took of each.
#[derive(Clone, Copy, Debug)]
struct Least {
    cpu: Duration,
    wall: Duration,
    rss: u64,
}

impl Least {
    fn new() -> Self {
        Self {
            cpu: Duration::MAX,
            wall: Duration::MAX,
            rss: u64::MAX,
        }
    }

    fn take(&mut self, cost: Cost) {
        self.cpu = self.cpu.min(cost.cpu);
        self.wall = self.wall.min(cost.wall);
        self.rss = self.rss.min(cost.rss);
    }
}

/// A consumer on a pair of streams.
#[derive(Clone, Debug)]
struct Pair {
    label: String,
    consumer: Consumer,
    shards: u32,
    smaller: Least,
    larger: Least,
}

impl Pair {
    fn new(consumer: Consumer, shards: u32) -> Self {
        Self {
            label: consumer.name(),
            consumer,
            shards,
            smaller: Least::new(),
            larger: Least::new(),
        }
    }

    /// CPU-seconds of as many records again as the smaller stream has, once everything has begun.
    fn further(&self) -> f64 {
        let further = self.larger.cpu.as_secs_f64() - self.smaller.cpu.as_secs_f64();
        further / (LARGER - 1) as f64
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn new(servers: &'a Servers, args: &'a Args) -> anyhow::Result<Self> {
        Ok(Self {
            args,
            server: &servers.name,
            streams: Streams::new(servers)?,
            consumers: Consumers::new(servers, args.max_records),
        })
    }

    pub(crate) fn handlers(&self) -> anyhow::Result<()> {
        let consumers = [NO_OP, WORD_COUNT, JSON_FILTER, MIRROR].into_iter();
        let consumers = consumers.filter(|consumer| {
            let only = self.args.only.as_deref();
            only.is_none_or(|only| consumer.name().contains(only))
        });
        let floors = [Consumer::Floor, Consumer::FetchOnly].into_iter();
        let pairs = floors
            .chain(consumers)
            .map(|consumer| Pair::new(consumer, 4));
        let pairs = self.measure(pairs.collect())?;
        let title = "Handlers: containers of 40 user records, 4 shards";
        let table = self.table(title, &pairs, |_| 0)?;
        Page::of(self.args.write).put("handlers", &table)
    }

    pub(crate) fn shards(&self) -> anyhow::Result<()> {
        let shards = [4, 1, 64].into_iter();
        let pairs = shards.flat_map(|shards| {
            [Consumer::Floor, NO_OP].map(|consumer| Pair {
                label: format!("{}, {shards} shards", consumer.name()),
                ..Pair::new(consumer, shards)
            })
        });
        let pairs = self.measure(pairs.collect())?;
        let title = "Shards: containers of 40 user records";
        let mut table = self.table(title, &pairs, |index| index - index % 2)?;
        let further: Vec<f64> = pairs.iter().map(Pair::further).collect();
        writeln!(
            table,
            "No-op, a further {} at 64 shards against 4: {:.2}.\n",
            count(self.args.records),
            further[5] / further[1]
        )?;
        Page::of(self.args.write).put("shards", &table)
    }

    pub(crate) fn batches(&self) -> anyhow::Result<()> {
        let sizes = [50, 500, 1_000, 5_000].into_iter();
        let consumers = sizes.map(Consumer::no_op_in_batches_of);
        let consumers = std::iter::once(Consumer::Floor).chain(consumers);
        let pairs = consumers.map(|consumer| Pair::new(consumer, 4));
        let pairs = self.measure(pairs.collect())?;
        let title = "Batch sizes: containers of 40 user records, 4 shards";
        let table = self.table(title, &pairs, |_| 0)?;
        Page::of(self.args.write).put("batches", &table)
    }

    pub(crate) fn plain(&self) -> anyhow::Result<()> {
        let stream = Stream {
            shards: 4,
            records: self.args.records,
            is_aggregated: false,
        };
        self.streams.ensure(stream)?;
        let consumers = [Consumer::Floor, NO_OP];
        let mut least = consumers.map(|_| Least::new());
        for _ in 0..self.args.runs {
            for (consumer, least) in consumers.into_iter().zip(&mut least) {
                least.take(self.run(consumer, stream)?);
            }
        }
        let mut table = String::from(
            "### Plain records, 4 shards, from cold\n\n\
             | consumer | CPU-s | of the floor | wall s | peak RSS MiB |\n|---|---|---|---|---|\n",
        );
        for (consumer, each) in consumers.iter().zip(&least) {
            writeln!(
                table,
                "| {} | {:.2} | {:.2} | {:.1} | {:.0} |",
                consumer.name(),
                each.cpu.as_secs_f64(),
                each.cpu.as_secs_f64() / least[0].cpu.as_secs_f64(),
                each.wall.as_secs_f64(),
                each.rss as f64 / MIB,
            )?;
        }
        self.say_what_was_run(&mut table)?;
        Page::of(self.args.write).put("plain", &table)
    }

    /// Every consumer on both streams of its pair, in turns.
    fn measure(&self, mut pairs: Vec<Pair>) -> anyhow::Result<Vec<Pair>> {
        for _ in 0..self.args.runs {
            for pair in &mut pairs {
                let (smaller, larger) = self.streams_of(pair.shards);
                self.streams.ensure(smaller)?;
                self.streams.ensure(larger)?;
                pair.smaller.take(self.run(pair.consumer, smaller)?);
                pair.larger.take(self.run(pair.consumer, larger)?);
            }
        }
        Ok(pairs)
    }

    fn streams_of(&self, shards: u32) -> (Stream, Stream) {
        let smaller = Stream {
            shards,
            records: self.args.records,
            is_aggregated: true,
        };
        let larger = Stream {
            records: self.args.records * LARGER,
            ..smaller
        };
        (smaller, larger)
    }

    fn run(&self, consumer: Consumer, stream: Stream) -> anyhow::Result<Cost> {
        let cost = self.consumers.run(consumer, stream)?;
        eprintln!(
            "{:<32} {:<22} {:>7.2} CPU-s {:>7.2} s {:>6.0} MiB",
            consumer.name(),
            stream.name(),
            cost.cpu.as_secs_f64(),
            cost.wall.as_secs_f64(),
            cost.rss as f64 / MIB,
        );
        Ok(cost)
    }

    fn table(
        &self,
        title: &str,
        pairs: &[Pair],
        floor_of: impl Fn(usize) -> usize,
    ) -> anyhow::Result<String> {
        let mut table = format!(
            "### {title}\n\n| consumer | first {0}, CPU-s | of the floor | each further {0}, CPU-s | of the floor | \
             wall s, {1} | peak RSS MiB, {1} |\n|---|---|---|---|---|---|---|\n",
            count(self.args.records),
            count(self.args.records * LARGER),
        );
        for (index, pair) in pairs.iter().enumerate() {
            let floor = &pairs[floor_of(index)];
            let (first, further) = (pair.smaller.cpu.as_secs_f64(), pair.further());
            writeln!(
                table,
                "| {} | {first:.2} | {:.2} | {further:.2} | {:.2} | {:.1} | {:.0} |",
                pair.label,
                first / floor.smaller.cpu.as_secs_f64(),
                further / floor.further(),
                pair.larger.wall.as_secs_f64(),
                pair.larger.rss as f64 / MIB,
            )?;
        }
        self.say_what_was_run(&mut table)?;
        Ok(table)
    }

    fn say_what_was_run(&self, table: &mut String) -> std::fmt::Result {
        writeln!(
            table,
            "\n(Least of {} runs; user records of 100 bytes, each with a key of its own; streams by {}, reads of {} containers.)\n",
            self.args.runs, self.server, self.args.max_records
        )
    }
}

fn count(records: u64) -> String {
    if records.is_multiple_of(1_000_000) {
        format!("{} M", records / 1_000_000)
    } else {
        records.to_string()
    }
}
