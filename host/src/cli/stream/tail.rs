//! `shardwright stream tail`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use shardwright_core::{HashRange, Opening, OutsideRange, StartAt, Window};

use crate::adapters::{AwsTarget, KinesisSource};
use crate::app::App;
use crate::cli::signals::Signals;
use crate::cli::{CliError, Service};
use crate::limits::GET_RECORDS_MAX;
use crate::ports::{ErrorKind, PortError, ShardIterator, ShardListing, StreamSource};

/// Between two rounds over all shards; it keeps to the service's five reads a second and shard.
const ROUND: Duration = Duration::from_millis(250);

/// Rounds in a row of which nothing comes but errors; then they are the answer. It is half a minute for a service that
/// refuses at once.
const FAILED_ROUNDS_MAX: u32 = 120;

#[derive(Args, Debug)]
pub(in crate::cli) struct Tail {
    /// The stream.
    name: String,

    /// Begins with the oldest record instead of the next one.
    #[arg(long)]
    from_start: bool,

    /// Stops at the tip instead of waiting for more.
    #[arg(long, requires = "from_start")]
    until_tip: bool,

    #[command(flatten)]
    service: Service,
}

impl Tail {
    pub(super) fn run(self, app: &mut App) -> Result<ExitCode, CliError> {
        let target = self.service.target(app)?;
        let app = &*app;
        app.io().block_on(async {
            let mut signals = Signals::listen().map_err(CliError::io("signals"))?;
            tokio::select! {
                result = self.follow(app, &target) => result,
                _ = signals.next() => Ok(ExitCode::SUCCESS),
            }
        })
    }

    async fn follow(&self, app: &App, target: &AwsTarget) -> Result<ExitCode, CliError> {
        let source = app.clients().stream_source(target, &self.name).await?;
        let start = if self.from_start {
            StartAt::TrimHorizon
        } else {
            StartAt::Latest
        };
        let mut iterators: BTreeMap<_, (ShardIterator, Window)> = BTreeMap::new();
        for shard in source.list_shards(ShardListing::All).await? {
            if self.from_start || !shard.is_closed() {
                let iterator = source.iterator(&shard.id, &start).await?;
                iterators.insert(shard.id, (iterator, window()));
            }
        }
        let mut round = tokio::time::interval(ROUND);
        let mut failed_rounds = 0;
        while !iterators.is_empty() {
            round.tick().await;
            let mut is_at_tip = true;
            let mut trouble = None;
            let mut is_any_read = false;
            for shard in iterators.keys().cloned().collect::<Vec<_>>() {
                let Some((iterator, mut window)) = iterators.remove(&shard) else {
                    continue;
                };
                let answer = match source.read(&iterator, GET_RECORDS_MAX).await {
                    Ok(answer) => answer,
                    Err(error)
                        if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Transient) =>
                    {
                        iterators.insert(shard, (iterator, window));
                        is_at_tip = false;
                        trouble = Some(error);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                is_any_read = true;
                is_at_tip &= answer.records.is_empty() && answer.millis_behind_latest == 0;
                window.push(answer.records);
                print(&mut window, shard.as_str())?;
                if let Some(next) = answer.next {
                    iterators.insert(shard, (next, window));
                    continue;
                }
                is_at_tip = false;
                for child in answer.children {
                    if let Entry::Vacant(place) = iterators.entry(child.id) {
                        let iterator = first(&source, place.key()).await?;
                        place.insert((iterator, self::window()));
                    }
                }
            }
            if is_at_tip && self.until_tip {
                break;
            }
            match trouble {
                Some(error) if !is_any_read => {
                    if failed_rounds == 0 {
                        eprintln!("{error}; trying again");
                    }
                    failed_rounds += 1;
                    if failed_rounds == FAILED_ROUNDS_MAX {
                        return Err(error.into());
                    }
                }
                Some(_) | None => failed_rounds = 0,
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn first(
    source: &KinesisSource,
    shard: &shardwright_core::ShardId,
) -> Result<ShardIterator, PortError> {
    source.iterator(shard, &StartAt::TrimHorizon).await
}

fn window() -> Window {
    Window::new(
        Opening {
            deaggregate: Some(OutsideRange::Keep),
            range: HashRange::FULL,
        },
        None,
    )
}

/// One line a user record: shard, position, key, payload.
fn print(window: &mut Window, shard: &str) -> Result<(), CliError> {
    let mut slots = Vec::new();
    window.open(u64::MAX, |admitted| slots.push(admitted.slot));
    let mut out = std::io::stdout().lock();
    for slot in slots {
        if let Some(message) = window.message(slot) {
            let data = String::from_utf8_lossy(message.data);
            writeln!(
                out,
                "{shard}  {}/{}  {}  {data}",
                message.sequence, message.sub_sequence, message.key
            )
            .map_err(CliError::io("standard output"))?;
        }
        window.resolve(slot);
    }
    window.fold();
    Ok(())
}
