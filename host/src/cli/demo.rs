//! `shardwright demo`: a stream, a producer, the word-count pipeline and a live view, in one process and with no AWS.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use shardwright_core::pipeline::{Endpoint, Pipeline, Place};
use tokio::time::Instant;

use super::CliError;
use super::put::Putter;
use super::signals::Signals;
use super::table::Table;
use super::words::{Produced, Rate, produce};
use crate::app::{App, AppError};
use crate::config;
use crate::ports::{DeliveryError, ErrorKind, Outgoing, PortError, PortFuture, Sink};
use crate::runtime::RunningPipeline;

const STREAM: &str = "demo-words";
const SHARDS: u32 = 2;
const AGGREGATE: usize = 40;
const RATE: Rate = Rate {
    records_per_second: 1_000,
    words_per_record: 10,
};

/// The pipeline of the demonstration, which `shardwright run` would take as well.
const PIPELINE: &str = "\
version: 1
pipeline: demo-word-count
source:
  kinesis:
    stream: demo-words
    endpoint: local
    start: trim-horizon
    read: { poll: { interval: 200ms } }
steps:
  - plugin: builtin:word-count
sinks:
  counts: { stdout: {} }
checkpoint: { every: 1s }
";

/// Characters of a checkpoint that are shown: a row then fits into 80.
const CHECKPOINT_CHARS: usize = 24;

/// Between two pictures on a terminal.
const REDRAW: Duration = Duration::from_millis(250);

/// Between two lines elsewhere.
const LINE: Duration = Duration::from_secs(1);

/// How long the end waits for the pipeline to reach the tip of its stream.
const TIP_LIMIT: Duration = Duration::from_secs(15);

#[derive(Args, Debug)]
#[command(after_help = "\
Puts 1,000 user records of 10 words a second in KPL containers into a local stream, counts the words in a WebAssembly
plugin, and compares both counts at the end.")]
pub(super) struct Demo {
    /// For how long; by default until Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// Adds up what the plugin emits, instead of a sink that writes it.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn snapshot(&self) -> BTreeMap<String, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(serde::Deserialize)]
struct Count {
    word: String,
    count: u64,
}

impl Sink for Counts {
    fn delivered_means(&self) -> &'static str {
        "it is added up in memory"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        let mut failed = Vec::new();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, emission) in emissions.iter().enumerate() {
            match serde_json::from_slice::<Count>(emission.data) {
                Ok(Count { word, count }) => *counts.entry(word).or_default() += count,
                Err(error) => failed.push((
                    index,
                    PortError::new(ErrorKind::Fatal, format!("not a count: {error}")),
                )),
            }
        }
        drop(counts);
        let result = if failed.is_empty() {
            Ok(())
        } else {
            Err(DeliveryError { failed })
        };
        Box::pin(std::future::ready(result))
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Demo {
    pub(super) fn run(self, mut app: App) -> Result<ExitCode, CliError> {
        let target = app.target(&Place {
            region: None,
            endpoint: Endpoint::Local,
        })?;
        let local_url = app.local_url()?;
        app.io().block_on(async {
            let admin = app.clients().stream_admin(&target).await?;
            if !admin.exists(STREAM).await? {
                admin.create(STREAM, SHARDS).await?;
            }
            Ok::<_, PortError>(())
        })?;
        let named = app.data().name_worker().map_err(AppError::from)?;
        let counts = Arc::new(Counts::default());
        let pipeline = app.start_with_sink(
            pipeline()?,
            named.id(),
            &(Arc::clone(&counts) as Arc<dyn Sink>),
        )?;
        let (produced, result) = app.io().block_on(async {
            let mut putter = Putter::new(app.clients(), &target, STREAM, Some(AGGREGATE)).await?;
            let mut signals = Signals::listen().map_err(CliError::io("signals"))?;
            let until = self
                .seconds
                .map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let stop = async {
                signals.next().await;
            };
            let mut view = View::new(&local_url);
            let produced = produce(&mut putter, RATE, until, stop, |produced| {
                view.show(&pipeline, produced, &counts.snapshot());
            })
            .await?;
            let wait = async {
                while !pipeline.is_at_tip() {
                    tokio::time::sleep(REDRAW).await;
                    view.show(&pipeline, &produced, &counts.snapshot());
                }
            };
            let result = tokio::time::timeout(TIP_LIMIT, wait).await;
            Ok::<_, CliError>((produced, result))
        })?;
        app.stop(vec![pipeline])?;
        if result.is_err() {
            return Err(CliError::Other(format!(
                "the pipeline did not reach the tip within {TIP_LIMIT:?}"
            )));
        }
        compare(&produced, &counts.snapshot())
    }
}

fn pipeline() -> Result<Pipeline, CliError> {
    let loaded = config::load_text(Path::new("demo.yaml"), PIPELINE, &|_name| None)
        .map_err(CliError::Problems)?;
    loaded
        .into_iter()
        .next()
        .ok_or_else(|| CliError::Other("the demonstration has no pipeline".to_owned()))
}

/// What was put and what was counted, side by side. An earlier run that was cut off leaves records to this one.
fn compare(produced: &Produced, counted: &BTreeMap<String, u64>) -> Result<ExitCode, CliError> {
    println!();
    let mut table = Table::new(["WORD", "PRODUCED", "COUNTED"]);
    for (word, count) in &produced.words {
        let seen = counted.get(*word).copied().unwrap_or_default();
        table.row([(*word).to_owned(), count.to_string(), seen.to_string()]);
    }
    table.print()?;
    println!(
        "Stopped; checkpoints are written and leases released. The stream stays in the data directory."
    );
    Ok(ExitCode::SUCCESS)
}

/// The live view: a picture that is drawn over on a terminal, a line a second elsewhere.
struct View {
    url: String,
    is_terminal: bool,
    shown: Option<Instant>,
    began: Instant,
    lines: usize,
    last: (Instant, u64),
    rate: f64,
}

impl View {
    fn new(url: &str) -> Self {
        let now = Instant::now();
        Self {
            url: url.to_owned(),
            is_terminal: std::io::stdout().is_terminal(),
            shown: None,
            began: now,
            lines: 0,
            last: (now, 0),
            rate: 0.0,
        }
    }

    fn show(
        &mut self,
        pipeline: &RunningPipeline,
        produced: &Produced,
        counts: &BTreeMap<String, u64>,
    ) {
        let now = Instant::now();
        let interval = if self.is_terminal { REDRAW } else { LINE };
        if self
            .shown
            .is_some_and(|shown| now.duration_since(shown) < interval)
        {
            return;
        }
        self.shown = Some(now);
        let reports = pipeline.reports();
        let resolved: u64 = reports.values().map(|report| report.status.resolved).sum();
        let elapsed = now.duration_since(self.last.0).as_secs_f64();
        if elapsed >= 1.0 {
            self.rate = resolved.saturating_sub(self.last.1) as f64 / elapsed;
            self.last = (now, resolved);
        }
        let lag = reports
            .values()
            .filter_map(|report| report.status.millis_behind_latest)
            .max();
        let lag = lag.map_or("-".to_owned(), |millis| format!("{millis} ms"));
        let picture = if self.is_terminal {
            self.picture(pipeline, produced, counts, resolved, &lag)
        } else {
            let top = top(counts, 3)
                .map(|(word, count)| format!("{word} {count}"))
                .collect::<Vec<_>>()
                .join(", ");
            format!(
                "{:>4.0} s  produced {}  handled {resolved}  {:.0} records/s  behind {lag}  {top}\n",
                now.duration_since(self.began).as_secs_f64(),
                produced.records,
                self.rate
            )
        };
        let mut out = std::io::stdout().lock();
        if self.is_terminal && self.lines > 0 {
            // Up to the first line of the last picture, and everything below it away.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = picture.lines().count();
        // A terminal that is gone is no reason to stop; the signal that comes with it is.
        let _ = out.write_all(picture.as_bytes());
        let _ = out.flush();
    }

    fn picture(
        &self,
        pipeline: &RunningPipeline,
        produced: &Produced,
        counts: &BTreeMap<String, u64>,
        resolved: u64,
        lag: &str,
    ) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Shardwright demo: {STREAM} at {}, Ctrl-C stops it",
            self.url
        );
        let _ = writeln!(
            text,
            "produced {} records   handled {resolved}   {:.0} records/s   behind {lag}\n",
            produced.records, self.rate
        );
        let mut words = Table::new(["TOP WORDS", "COUNT"]);
        for (word, count) in top(counts, 5) {
            words.row([word.clone(), count.to_string()]);
        }
        let reports = pipeline.reports();
        let mut shards = Table::new(["SHARD", "HANDLED", "IN FLIGHT", "CHECKPOINT"]);
        for (shard, report) in &reports {
            shards.row([
                shard.to_string(),
                report.status.resolved.to_string(),
                report.status.usage.records.to_string(),
                shortened(&report.checkpoint.to_string()),
            ]);
        }
        for line in words
            .lines()
            .into_iter()
            .chain([String::new()])
            .chain(shards.lines())
        {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// A checkpoint in the room that a terminal has: the picture is drawn over only if no line of it wraps. Its last digits
/// are those that move.
fn shortened(checkpoint: &str) -> String {
    match checkpoint.char_indices().nth_back(CHECKPOINT_CHARS - 1) {
        Some((start, _)) if start > 0 => format!("…{}", &checkpoint[start..]),
        _ => checkpoint.to_owned(),
    }
}

fn top(counts: &BTreeMap<String, u64>, many: usize) -> impl Iterator<Item = (&String, &u64)> {
    let mut all: Vec<_> = counts.iter().collect();
    all.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    all.into_iter().take(many)
}
