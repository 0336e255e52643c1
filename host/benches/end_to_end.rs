//! What a record costs from end to end: CPU-seconds of the real binary, beside a loop on the same SDK that does no more
//! than it must.
//!
//! A stand-in for Kinesis holds the streams, each consumer is a process of its own, and only that process's time counts.
//! Consumers take turns, and the least of each counts: on a machine that does other things too, that is the only figure
//! that can be set beside another. Run it with `cargo bench --bench end_to_end`; with `-- --write` the tables go into
//! `docs/performance.md` too.

#[path = "end_to_end/consumer.rs"]
mod consumer;
#[path = "end_to_end/floor.rs"]
mod floor;
#[path = "end_to_end/page.rs"]
mod page;
#[path = "end_to_end/process.rs"]
mod process;
#[path = "end_to_end/servers.rs"]
mod servers;
#[path = "end_to_end/streams.rs"]
mod streams;
#[path = "end_to_end/tables.rs"]
mod tables;

use clap::{Parser, ValueEnum};

use floor::Floor;
use servers::Servers;

#[derive(Debug, Parser)]
#[command(
    name = "end_to_end",
    about = "CPU-seconds a million user records cost, from the stream to the handler",
    after_help = "\
Examples:
  cargo bench --bench end_to_end
  cargo bench --bench end_to_end -- handlers plain --runs 5 --write
  cargo bench --bench end_to_end -- shards --kinesis local
  cargo bench --bench end_to_end -- --kinesis http://127.0.0.1:4567     streams that are there are not loaded again"
)]
struct Args {
    /// Which tables; by default all.
    #[arg(value_enum)]
    tables: Vec<Table>,

    /// What serves the streams: `ferrokinesis`, found by the environment variable FERROKINESIS or on the PATH; `local`,
    /// the binary's own endpoint; or the URL of a server that runs.
    #[arg(long, default_value = "ferrokinesis", value_name = "SERVER")]
    kinesis: String,

    /// Runs of each consumer and stream; the least of each counts.
    #[arg(long, default_value_t = 3)]
    runs: u32,

    /// User records in the smaller stream of each pair; the larger one has four times as many.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    records: u64,

    /// Kinesis records that a read of containers asks for. 1,000 containers of 40 are some 5 MB; a service gives 10 MB at
    /// most, and ferrokinesis knows no such bound.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    max_records: u32,

    /// Only handlers with this name take part.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Puts the tables into `docs/performance.md` as well.
    #[arg(long)]
    write: bool,

    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,

    #[command(subcommand)]
    floor: Option<Internal>,
}

#[derive(Debug, clap::Subcommand)]
enum Internal {
    /// The loop on the SDK.
    #[command(hide = true)]
    Floor(Floor),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// No-op, word count, JSON filter and a mirror to a file, over 4 shards.
    Handlers,
    /// Records that are no containers.
    Plain,
    /// 1, 4 and 64 shards.
    Shards,
    /// Batches of 50 to 5,000.
    Batches,
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if let Some(Internal::Floor(floor)) = &args.floor {
        return floor.run();
    }
    if !args.bench {
        // `cargo test --benches` runs it too, and wants to know only that it works.
        args.records = 1_000;
        args.runs = 1;
        "local".clone_into(&mut args.kinesis);
    }
    let all = args.tables.is_empty();
    let has = |table| all || args.tables.contains(&table);
    let servers = Servers::start(&args.kinesis)?;
    let bench = tables::Bench::new(&servers, &args)?;
    if has(Table::Handlers) {
        bench.handlers()?;
    }
    if has(Table::Plain) {
        bench.plain()?;
    }
    if has(Table::Shards) {
        bench.shards()?;
    }
    if has(Table::Batches) {
        bench.batches()?;
    }
    Ok(())
}
