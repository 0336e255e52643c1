//! `shardwright produce`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::put::Putter;
use super::signals::Signals;
use super::words::{Rate, produce};
use super::{CliError, Service};
use crate::app::App;

#[derive(Args, Debug)]
#[command(after_help = "\
Prints how often each word was put, sorted, at its end: what a word count of the stream must come to.

Example:
  shardwright produce --stream words --records-per-second 1000 --words-per-record 10 --aggregate 40 --seconds 30")]
pub(super) struct Produce {
    #[command(flatten)]
    service: Service,

    /// The stream; it must be there.
    #[arg(long)]
    stream: String,

    /// User records a second.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    records_per_second: u32,

    /// Words in each.
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    words_per_record: u32,

    /// For how long; by default until SIGINT or SIGTERM.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,

    /// Packs this many user records into a KPL container.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    aggregate: Option<u32>,
}

impl Produce {
    pub(super) fn run(self, mut app: App) -> Result<ExitCode, CliError> {
        let target = self.service.target(&mut app)?;
        app.io().block_on(async {
            let aggregate = self.aggregate.map(|records| records as usize);
            let mut putter = Putter::new(app.clients(), &target, &self.stream, aggregate).await?;
            let mut signals = Signals::listen().map_err(CliError::io("signals"))?;
            let until = self
                .seconds
                .map(|seconds| Instant::now() + Duration::from_secs(seconds));
            let rate = Rate {
                records_per_second: self.records_per_second,
                words_per_record: self.words_per_record,
            };
            let stop = async {
                signals.next().await;
            };
            let produced = produce(&mut putter, rate, until, stop, |_| {}).await?;
            let totals = putter.totals();
            let mut out = std::io::stdout().lock();
            let print = (|| {
                for (word, count) in &produced.words {
                    writeln!(out, "{word} {count}")?;
                }
                Ok(())
            })();
            print.map_err(CliError::io("standard output"))?;
            eprintln!(
                "{} user records in {} records acknowledged",
                totals.user_records, totals.records
            );
            Ok(ExitCode::SUCCESS)
        })
    }
}
