//! `shardwright stream`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use shardwright_core::pipeline::{Endpoint, Place};
use shardwright_core::{HashRange, Shard, ShardId};

use super::put::Putter;
use super::signals::Signals;
use super::table::Table;
use super::{CliError, Service};
use crate::adapters::AwsTarget;
use crate::app::App;
use crate::ports::{ShardListing, StreamSource};

mod tail;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  shardwright stream create words --shards 4
  shardwright stream put words --data 'hello world' --key greeting
  shardwright stream put words --from book.txt --lines --aggregate 40
  shardwright stream tail words
  shardwright stream split words shardId-000000000000")]
pub(super) enum Stream {
    /// Creates a stream.
    Create {
        /// Its name.
        name: String,
        /// How many shards it begins with.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        shards: u32,
        #[command(flatten)]
        service: Service,
    },
    /// Puts records, and returns when all are acknowledged.
    Put(Put),
    /// Lists streams.
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Shows a stream's shards.
    Describe {
        /// The stream.
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Prints user records as they come, containers opened.
    Tail(tail::Tail),
    /// Splits a shard in two.
    Split {
        /// The stream.
        name: String,
        /// The shard, which must be open.
        shard: String,
        /// The first hash key of the upper half; by default the middle.
        #[arg(long, value_name = "HASH_KEY")]
        at: Option<u128>,
        #[command(flatten)]
        service: Service,
    },
    /// Merges two open shards that lie side by side.
    Merge {
        /// The stream.
        name: String,
        /// One shard.
        shard: String,
        /// Its neighbour.
        neighbour: String,
        #[command(flatten)]
        service: Service,
    },
}

#[derive(Args, Debug)]
pub(super) struct Put {
    /// The stream.
    name: String,

    /// One record's payload.
    #[arg(
        long,
        requires = "key",
        conflicts_with = "from",
        required_unless_present = "from"
    )]
    data: Option<String>,

    /// Its partition key. With --from, the key of every record; by default each has its own: the file's name and its
    /// number there.
    #[arg(long)]
    key: Option<String>,

    /// Files whose bytes are put: one record each, or one for each line.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,

    /// Puts each line as a record, without its line ending. Empty lines are records too.
    #[arg(long, requires = "from")]
    lines: bool,

    /// Packs this many user records into a KPL container.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    aggregate: Option<u32>,

    #[command(flatten)]
    service: Service,
}

impl Service {
    /// Where requests go; `local` finds or starts the data directory's endpoint.
    pub(super) fn target(&self, app: &mut App) -> Result<AwsTarget, CliError> {
        let endpoint = match self.endpoint.as_str() {
            "local" => Endpoint::Local,
            "aws" => Endpoint::Aws,
            url => Endpoint::Url(url.into()),
        };
        let region = self.region.as_deref().map(Into::into);
        Ok(app.target(&Place { region, endpoint })?)
    }
}

impl Stream {
    pub(super) fn run(self, mut app: App) -> Result<ExitCode, CliError> {
        match self {
            Self::Create {
                name,
                shards,
                service,
            } => {
                let target = service.target(&mut app)?;
                app.io().block_on(async {
                    app.clients()
                        .stream_admin(&target)
                        .await?
                        .create(&name, shards)
                        .await?;
                    println!("stream {name}: {shards} shards");
                    Ok(ExitCode::SUCCESS)
                })
            }
            Self::List { service } => {
                let target = service.target(&mut app)?;
                let names = app
                    .io()
                    .block_on(async { app.clients().stream_admin(&target).await?.list().await })?;
                let mut out = std::io::stdout().lock();
                for name in names {
                    writeln!(out, "{name}").map_err(CliError::io("standard output"))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Put(put) => put.run(&mut app),
            Self::Tail(tail) => tail.run(&mut app),
            Self::Describe { name, service } => {
                let target = service.target(&mut app)?;
                describe(&shards(&app, &target, &name)?)
            }
            Self::Split {
                name,
                shard,
                at,
                service,
            } => {
                let target = service.target(&mut app)?;
                let all = shards(&app, &target, &name)?;
                let range = open_range(&all, &name, &shard)?;
                let at = at.unwrap_or(range.start + (range.end - range.start) / 2 + 1);
                app.io().block_on(async {
                    let admin = app.clients().stream_admin(&target).await?;
                    admin.split(&name, &ShardId::new(shard), at).await
                })?;
                describe(&shards(&app, &target, &name)?)
            }
            Self::Merge {
                name,
                shard,
                neighbour,
                service,
            } => {
                let target = service.target(&mut app)?;
                let all = shards(&app, &target, &name)?;
                let is_lower = open_range(&all, &name, &shard)?.start
                    < open_range(&all, &name, &neighbour)?.start;
                let (lower, upper) = if is_lower {
                    (shard, neighbour)
                } else {
                    (neighbour, shard)
                };
                app.io().block_on(async {
                    let admin = app.clients().stream_admin(&target).await?;
                    admin
                        .merge(&name, &ShardId::new(lower), &ShardId::new(upper))
                        .await
                })?;
                describe(&shards(&app, &target, &name)?)
            }
        }
    }
}

fn shards(app: &App, target: &AwsTarget, stream: &str) -> Result<Vec<Shard>, CliError> {
    Ok(app.io().block_on(async {
        let source = app.clients().stream_source(target, stream).await?;
        source.list_shards(ShardListing::All).await
    })?)
}

fn open_range(all: &[Shard], stream: &str, shard: &str) -> Result<HashRange, CliError> {
    let found = all.iter().find(|known| known.id.as_str() == shard);
    let found =
        found.ok_or_else(|| CliError::Other(format!("stream {stream} has no shard {shard}")))?;
    if found.is_closed() {
        return Err(CliError::Other(format!(
            "{shard} is closed already; `stream describe {stream}` shows the open ones"
        )));
    }
    Ok(found.hash_range)
}

fn describe(shards: &[Shard]) -> Result<ExitCode, CliError> {
    let mut table = Table::new(["SHARD", "STATE", "PARENTS", "SHARE", "HASH KEYS FROM"]);
    for shard in shards {
        let parents: Vec<&str> = shard.parents.iter().map(ShardId::as_str).collect();
        let width = (shard.hash_range.end - shard.hash_range.start) as f64 / u128::MAX as f64;
        table.row([
            shard.id.to_string(),
            if shard.is_closed() { "closed" } else { "open" }.to_owned(),
            if parents.is_empty() {
                "-".to_owned()
            } else {
                parents.join(" ")
            },
            format!("{:.1}%", width * 100.0),
            shard.hash_range.start.to_string(),
        ]);
    }
    table.print()
}

impl Put {
    fn run(self, app: &mut App) -> Result<ExitCode, CliError> {
        let target = self.service.target(app)?;
        let app = &*app;
        app.io().block_on(async {
            let aggregate = self.aggregate.map(|records| records as usize);
            let mut putter = Putter::new(app.clients(), &target, &self.name, aggregate).await?;
            let mut signals = Signals::listen().map_err(CliError::io("signals"))?;
            let code = tokio::select! {
                put = self.put_all(&mut putter) => {
                    put?;
                    ExitCode::SUCCESS
                }
                name = signals.next() => {
                    eprintln!("{name}: stopping before everything was put");
                    ExitCode::FAILURE
                }
            };
            let totals = putter.totals();
            println!(
                "{} user records in {} records, {} bytes, acknowledged",
                totals.user_records, totals.records, totals.bytes
            );
            Ok(code)
        })
    }

    async fn put_all(&self, putter: &mut Putter) -> Result<(), CliError> {
        if let (Some(data), Some(key)) = (&self.data, &self.key) {
            putter.add(key, data.as_bytes()).await?;
        }
        for file in &self.from {
            let bytes = std::fs::read(file).map_err(CliError::io(file.display().to_string()))?;
            if self.lines {
                for (number, line) in lines(&bytes).enumerate() {
                    putter.add(&self.key_of(file, number), line).await?;
                }
            } else {
                putter.add(&self.key_of(file, 0), &bytes).await?;
            }
        }
        Ok(putter.flush().await?)
    }

    fn key_of(&self, file: &Path, number: usize) -> String {
        match &self.key {
            Some(key) => key.clone(),
            None => format!(
                "{}-{number}",
                file.file_name().unwrap_or_default().to_string_lossy()
            ),
        }
    }
}

/// The lines of a file, as `wc -l` counts them: what follows the last line ending is a line only if it is not empty.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_empty = bytes.is_empty();
    body.split(|byte| *byte == b'\n').filter(move |_| !is_empty)
}
