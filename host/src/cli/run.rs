//! `shardwright run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use shardwright_core::WorkerId;

use super::signals::{Hangups, Signals};
use super::{CliError, pipelines};
use crate::app::{App, AppError, Pipelines};
use crate::limits::DEFAULT_PLUGIN_INSTANCES;

/// How often it is looked whether every shard is at its tip.
const TIP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Args, Debug)]
#[command(after_help = "\
SIGTERM or SIGINT stops reading, finishes what was begun, writes the last checkpoints, releases the leases and exits 0;
a second one exits at once.

The files of pipelines and plugins are followed: a change takes effect while everything runs, and one that is wrong is
told and changes nothing. SIGHUP looks at them at once.

Examples:
  shardwright run pipeline.yaml
  shardwright run pipelines/ --worker-id blue-1
  shardwright run pipeline.yaml --until-tip")]
pub(super) struct Run {
    /// Files, or folders of `*.yaml`; every pipeline in them runs.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Stop, drained and checkpointed, once every shard has been read to its tip or is in another live worker's hands.
    #[arg(long)]
    until_tip: bool,

    /// This worker's name in the lease table. By default it is kept in the data directory, so that a restart takes its
    /// leases back at once.
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,

    /// Plugin instances that may live at once: shards held × lanes × steps, and twice that while a plugin is reloaded.
    /// Each reserves some 12 GiB of address space, and takes memory only for what it uses.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PLUGIN_INSTANCES)]
    plugin_instances: u32,
}

impl Run {
    pub(super) fn run(self, mut app: App) -> Result<ExitCode, CliError> {
        let loaded = pipelines::load(&self.paths)?;
        app.set_plugin_instances(self.plugin_instances);
        let named = match self.worker_id {
            Some(_) => None,
            None => Some(app.data().name_worker().map_err(AppError::from)?),
        };
        let worker = match (&self.worker_id, &named) {
            (Some(id), _) => WorkerId::new(id.as_str()),
            (None, Some(named)) => named.id().clone(),
            (None, None) => WorkerId::new(""),
        };
        let (mut signals, mut hangups) = {
            let _entered = app.io().enter();
            let signals = Signals::listen().map_err(CliError::io("signals"))?;
            (signals, Hangups::listen().map_err(CliError::io("signals"))?)
        };
        let count = loaded.len();
        let mut running = app.start(loaded, &worker)?;
        running.follow(self.paths);
        tracing::info!(%worker, pipelines = count, "running");
        let until_tip = self.until_tip;
        let wait = wait(&mut running, &mut signals, &mut hangups, until_tip);
        let cause = app.io().block_on(wait);
        let ended = match cause {
            Stop::Signal(name) => {
                tracing::info!("{name}: finishing what was begun");
                Ok(())
            }
            Stop::AtTip => {
                tracing::info!("every shard is at its tip");
                Ok(())
            }
            Stop::Ended(error) => Err(error),
        };
        app.io().spawn(signals.exit_at_next());
        let stopped = app.stop(running.into_running());
        app.close();
        // What the stop is due to comes first; that it took too long then is told as well.
        if let (Err(_), Err(error)) = (&ended, &stopped) {
            tracing::error!(%error, "the worker did not stop in order");
        }
        ended?;
        stopped?;
        tracing::info!("stopped; checkpoints are written and leases released");
        Ok(ExitCode::SUCCESS)
    }
}

enum Stop {
    Signal(&'static str),
    AtTip,
    Ended(AppError),
}

async fn wait(
    running: &mut Pipelines,
    signals: &mut Signals,
    hangups: &mut Hangups,
    until_tip: bool,
) -> Stop {
    let mut tick = tokio::time::interval(TIP_CHECK_INTERVAL);
    loop {
        tokio::select! {
            name = signals.next() => return Stop::Signal(name),
            () = hangups.next() => {
                tracing::info!("SIGHUP: looking at the files of pipelines and plugins");
                running.reload();
            }
            () = running.keep_up() => {}
            _ = tick.tick() => {}
        }
        if until_tip {
            if running.is_at_tip() {
                return Stop::AtTip;
            }
            if let Err(error) = running.look_for_pauses() {
                return Stop::Ended(error);
            }
        }
        if let Err(error) = running.look_after().await {
            return Stop::Ended(error);
        }
    }
}
