//! `shardwright leases`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use shardwright_core::pipeline::{Endpoint, Place};
use shardwright_core::{Checkpoint, InitialPosition, Lease, ShardId, StartAt};

use super::table::Table;
use super::{CliError, Service, pipelines};
use crate::app::App;
use crate::ports::{ErrorKind, LeaseTable as _, StreamSource};

#[derive(Args, Debug)]
#[command(after_help = "\
LAG is how old the oldest record after the checkpoint is, as the stream tells it; it costs one read of one record a shard.

Examples:
  shardwright leases pipeline.yaml
  shardwright leases orders --stream orders --region eu-west-1 --endpoint aws")]
pub(super) struct Leases {
    /// A pipeline's file, or the name of a lease table.
    pipeline: String,

    /// With a table's name: the stream, for the lag.
    #[arg(long)]
    stream: Option<String>,

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
        let mut subjects = self.subjects()?.into_iter();
        let mut status = ExitCode::SUCCESS;
        let first = subjects.next();
        for (number, subject) in first.into_iter().chain(subjects).enumerate() {
            if number > 0 {
                println!();
            }
            status = show(&mut app, &subject)?;
        }
        Ok(status)
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

fn show(app: &mut App, subject: &Subject) -> Result<ExitCode, CliError> {
    let table_target = app.target(&subject.table_place)?;
    let stream_target = match &subject.stream {
        Some((stream, place)) => Some((stream.clone(), app.target(place)?)),
        None => None,
    };
    let app = &*app;
    app.io().block_on(async {
        let table = app
            .clients()
            .lease_table(&table_target, &subject.table)
            .await?;
        let mut leases = table.list().await.map_err(|error| match error.kind {
            ErrorKind::NotFound => CliError::Other(format!(
                "there is no lease table {}: no pipeline has run with it yet",
                subject.table
            )),
            _ => error.into(),
        })?;
        leases.sort_by(|one, other| one.shard.cmp(&other.shard));
        let source = match &stream_target {
            Some((stream, target)) => Some(app.clients().stream_source(target, stream).await?),
            None => None,
        };
        println!("leases in {}", subject.table);
        let mut rows = Table::new(["SHARD", "OWNER", "COUNTER", "CHECKPOINT", "LAG"]);
        for lease in &leases {
            let lag = match &source {
                Some(source) => lag(source, lease, subject.start).await,
                None => "?".to_owned(),
            };
            rows.row([
                lease.shard.to_string(),
                lease
                    .actual_owner()
                    .map_or("-".to_owned(), ToString::to_string),
                lease.counter.to_string(),
                lease.checkpoint.to_string(),
                lag,
            ]);
        }
        rows.print()
    })
}

async fn lag(source: &impl StreamSource, lease: &Lease, initial: InitialPosition) -> String {
    let start = match (&lease.checkpoint, lease.checkpoint.start_at(initial)) {
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
async fn behind(source: &impl StreamSource, shard: &ShardId, start: &StartAt) -> Option<u64> {
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
