//! `shardwright leases`.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use shardwright_core::pipeline::{Endpoint, Place};
use shardwright_core::{Checkpoint, InitialPosition, Lease, ShardId, StartAt};

use super::signals::Signals;
use super::{CliError, Service, pipelines};
use crate::app::App;
use crate::ports::{ErrorKind, LeaseTable, StreamSource};

mod fleet;

use fleet::Counters;

/// Between two looks at a table that is watched: each is one scan.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Of how many looks one finds out about the lags: each takes a read of every shard, of the five a second that there are.
const LOOKS_PER_LAG: u32 = 10;

/// What makes a terminal begin a new page.
const NEW_PAGE: &str = "\x1b[H\x1b[J";

#[derive(Args, Debug)]
#[command(after_help = "\
LAG is how old the oldest record after the checkpoint is, as the stream tells it; it costs one read of one record a shard.
GIVES and GETS count the leases that a worker is about to hand over, and that are about to be handed to it.

Examples:
  shardwright leases pipeline.yaml
  shardwright leases pipeline.yaml --watch
  shardwright leases orders --stream orders --region eu-west-1 --endpoint aws")]
pub(super) struct Leases {
    /// A pipeline's file, or the name of a lease table.
    pipeline: String,

    /// With a table's name: the stream, for the lag.
    #[arg(long)]
    stream: Option<String>,

    /// Look again every second until SIGINT; a counter that stands still is shown so. Lags are found out every ten.
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    service: Service,
}

/// Where a pipeline keeps its leases, and what it reads.
struct Subject {
    table: String,
    table_place: Place,
    stream: Option<(String, Place)>,
    start: InitialPosition,
}

impl Leases {
    pub(super) fn run(self, mut app: App) -> Result<ExitCode, CliError> {
        let mut views = Vec::new();
        for subject in self.subjects()? {
            views.push(View::open(&mut app, subject)?);
        }
        app.io().block_on(async {
            let listening = self.watch.then(Signals::listen).transpose();
            let mut signals = listening.map_err(CliError::io("signals"))?;
            for look in 0_u32.. {
                let mut lines = Vec::new();
                for view in &mut views {
                    if !lines.is_empty() {
                        lines.push(String::new());
                    }
                    lines.extend(view.look(look.is_multiple_of(LOOKS_PER_LAG)).await?);
                }
                print(&lines, self.watch, look)?;
                let Some(signals) = &mut signals else {
                    break;
                };
                tokio::select! {
                    _ = signals.next() => break,
                    () = tokio::time::sleep(WATCH_INTERVAL) => {}
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    fn subjects(&self) -> Result<Vec<Subject>, CliError> {
        let path = Path::new(&self.pipeline);
        if path.exists() {
            let loaded = pipelines::load(&[path.to_owned()])?;
            let subjects = loaded.into_iter().map(|pipeline| Subject {
                table: pipeline.source.leases.table.to_string(),
                table_place: pipeline.source.leases.place.clone(),
                stream: Some((
                    pipeline.source.stream.to_string(),
                    pipeline.source.place.clone(),
                )),
                start: pipeline.source.start,
            });
            return Ok(subjects.collect());
        }
        let endpoint = match self.service.endpoint.as_str() {
            "local" => Endpoint::Local,
            "aws" => Endpoint::Aws,
            url => Endpoint::Url(url.into()),
        };
        let place = Place {
            region: self.service.region.as_deref().map(Into::into),
            endpoint,
        };
        Ok(vec![Subject {
            table: self.pipeline.clone(),
            table_place: place.clone(),
            stream: self.stream.clone().map(|stream| (stream, place)),
            start: InitialPosition::TrimHorizon,
        }])
    }
}

/// One look: on a terminal that is watched in place of the last one, elsewhere after it.
fn print(lines: &[String], is_watching: bool, look: u32) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let before = match look {
        _ if is_watching && out.is_terminal() => NEW_PAGE,
        0 => "",
        _ => "\n",
    };
    let text = format!("{before}{}\n", lines.join("\n"));
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(CliError::io("standard output"))
}

/// A table that is looked at, perhaps again and again.
struct View {
    name: String,
    table: Box<dyn LeaseTable>,
    source: Option<Box<dyn StreamSource>>,
    start: InitialPosition,
    counters: Counters,
    lags: BTreeMap<ShardId, String>,
}

impl View {
    fn open(app: &mut App, subject: Subject) -> Result<Self, CliError> {
        let table_target = app.target(&subject.table_place)?;
        let stream_target = match &subject.stream {
            Some((stream, place)) => Some((stream.clone(), app.target(place)?)),
            None => None,
        };
        let app = &*app;
        app.io().block_on(async {
            let clients = app.clients();
            let table = clients.lease_table(&table_target, &subject.table).await?;
            let source: Option<Box<dyn StreamSource>> = match &stream_target {
                Some((stream, target)) => {
                    Some(Box::new(clients.stream_source(target, stream).await?))
                }
                None => None,
            };
            Ok(Self {
                name: subject.table,
                table: Box::new(table),
                source,
                start: subject.start,
                counters: Counters::default(),
                lags: BTreeMap::new(),
            })
        })
    }

    async fn look(&mut self, with_lags: bool) -> Result<Vec<String>, CliError> {
        let listed = self.table.list().await;
        let mut leases = listed.map_err(|error| match error.kind {
            ErrorKind::NotFound => CliError::Other(format!(
                "there is no lease table {}: no pipeline has run with it yet",
                self.name
            )),
            _ => error.into(),
        })?;
        leases.sort_by(|one, other| one.shard.cmp(&other.shard));
        let now = Instant::now();
        self.counters.look(now, &leases);
        if let Some(source) = &self.source
            && with_lags
        {
            self.lags.clear();
            for lease in &leases {
                let lag = lag(source.as_ref(), lease, self.start).await;
                self.lags.insert(lease.shard.clone(), lag);
            }
        }
        let mut lines = vec![format!("leases in {}", self.name)];
        lines.extend(fleet::shards(&leases, &self.lags, &self.counters, now).lines());
        lines.push(String::new());
        lines.extend(fleet::workers(&leases).lines());
        Ok(lines)
    }
}

async fn lag(source: &dyn StreamSource, lease: &Lease, initial: InitialPosition) -> String {
    let start = match (
        &lease.checkpoint,
        lease.checkpoint.start_at(initial, lease.latest_ms),
    ) {
        (Checkpoint::ShardEnd, _) => return "ended".to_owned(),
        (Checkpoint::At(position), _) => StartAt::AfterSequence(position.sequence.clone()),
        (_, Ok(start)) => start,
        (_, Err(_unknown)) => return "?".to_owned(),
    };
    match behind(source, &lease.shard, &start).await {
        Some(0) => "0".to_owned(),
        Some(millis) => format!("{:?}", Duration::from_millis(millis)),
        None => "?".to_owned(),
    }
}

/// Reads one record after the checkpoint and says how long it has been there, in milliseconds. Where nothing follows, the
/// stream says how far behind its tip that is, which may be much in a shard with long pauses.
async fn behind(source: &dyn StreamSource, shard: &ShardId, start: &StartAt) -> Option<u64> {
    let iterator = source.iterator(shard, start).await.ok()?;
    let answer = source.read(&iterator, 1).await.ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let waiting = answer
        .records
        .first()
        .map(|record| now.as_millis() as i64 - record.arrival_ms);
    Some(waiting.map_or(answer.millis_behind_latest, |waiting| {
        u64::try_from(waiting).unwrap_or(0)
    }))
}
