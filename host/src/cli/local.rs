//! `shardwright local`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::CliError;
use super::signals::Signals;

#[derive(Args, Debug)]
#[command(after_help = "\
Any client works against it: `aws --endpoint-url http://127.0.0.1:4567 kinesis list-streams`. Credentials are not looked at.

Examples:
  shardwright local --port 4567
  shardwright local --port 4567 --sync full
  shardwright local --limits --fault reset,operation=PutRecords,rate=0.01
  shardwright local --port 4567 --tls")]
pub(super) struct Local {
    /// The port. By default the one of the last time, or a free one.
    #[arg(long)]
    port: Option<u16>,

    /// What an acknowledged put survives.
    #[arg(long, value_enum, default_value = "process")]
    sync: Sync,

    #[command(flatten)]
    service: shardwright_local::ServiceArgs,

    #[command(flatten)]
    listen: shardwright_local::ListenArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sync {
    /// The death of the process.
    Process,
    /// The loss of power.
    Full,
}

impl Local {
    pub(super) fn run(self, data_dir: &Path) -> Result<ExitCode, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(CliError::io("threads"))?;
        let sync = match self.sync {
            Sync::Process => shardwright_local::SyncMode::Process,
            Sync::Full => shardwright_local::SyncMode::Full,
        };
        let endpoint = shardwright_local::Endpoint::new(data_dir).sync(sync);
        let endpoint = match self.port {
            Some(port) => endpoint.port(port),
            None => endpoint,
        };
        if let Some(warning) = self.listen.warning() {
            eprintln!("warning: {warning}");
        }
        let endpoint = self.service.apply(self.listen.apply(endpoint));
        let serving = endpoint
            .map_err(|error| CliError::Other(error.to_string()))?
            .serve()
            .map_err(|error| CliError::Other(error.to_string()))?;
        println!("serving Kinesis and DynamoDB at {}", serving.url());
        if let Some((url, certificate)) = serving.tls() {
            println!(
                "and at {url}, with the certificate {}",
                certificate.display()
            );
        }
        let name = runtime.block_on(async {
            let mut signals = Signals::listen().map_err(CliError::io("signals"))?;
            Ok::<_, CliError>(signals.next().await)
        })?;
        tracing::info!("{name}: closing");
        serving.shutdown();
        Ok(ExitCode::SUCCESS)
    }
}
