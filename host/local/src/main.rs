//! Serves a data directory's endpoint until it is told to stop.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use shardwright_local::{Attachment, Endpoint, ListenArgs, ServiceArgs, SyncMode};

/// A durable Kinesis endpoint for one machine, with DynamoDB beside it
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Where streams and tables are kept; made if it is not there
    #[arg(long, default_value = ".shardwright", value_name = "DIR")]
    data_dir: PathBuf,
    /// The port; by default the directory's own, which stays the same
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// What an acknowledged put survives: the death of the process, or loss of power as well
    #[arg(long, value_enum, default_value_t = Sync::Process)]
    sync: Sync,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

const EXAMPLES: &str = "Examples:
  shardwright-local --data-dir /tmp/streams
  shardwright-local --port 4567 --sync full
  shardwright-local --limits --limit reads_per_s=2 --fault reset,operation=PutRecords,rate=0.01 --fault-seed 7
  shardwright-local --port 4567 --tls
  aws --endpoint-url http://127.0.0.1:4567 kinesis create-stream --stream-name words --shard-count 2";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sync {
    Process,
    Full,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardwright-local: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let sync = match args.sync {
        Sync::Process => SyncMode::Process,
        Sync::Full => SyncMode::Full,
    };
    let endpoint = Endpoint::new(&args.data_dir).sync(sync);
    let endpoint = args.port.into_iter().fold(endpoint, Endpoint::port);
    if let Some(warning) = args.listen.warning() {
        eprintln!("shardwright-local: warning: {warning}");
    }
    let endpoint = args.listen.apply(endpoint);
    let attachment = args.service.apply(endpoint)?.attach()?;
    announce(&attachment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(stopped())?;
    attachment.detach();
    Ok(())
}

/// A line that scripts can wait for and read the URL from; one more with a certificate.
fn announce(attachment: &Attachment) -> io::Result<()> {
    let role = if attachment.is_holder() {
        "serving"
    } else {
        "standing by, served by another process"
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{} {role}", attachment.url())?;
    if let Some((url, certificate)) = attachment.tls() {
        writeln!(out, "{url} with the certificate {}", certificate.display())?;
    }
    out.flush()
}

/// Until SIGINT or SIGTERM.
async fn stopped() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
