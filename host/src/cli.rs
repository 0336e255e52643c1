//! The command line.

mod demo;
mod leases;
mod local;
mod pipelines;
mod plugin;
mod produce;
mod put;
mod run;
mod signals;
mod stream;
mod table;
mod words;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{App, AppError};
use crate::data_dir::DataDir;
use crate::telemetry;

/// Exit status of a command that did not do what it was asked.
const FAILED: u8 = 1;

/// Exit status of pipelines that cannot be read, so that scripts can tell a bad file from a bad day.
const BAD_CONFIG: u8 = 64;

/// Columns of a report about pipelines on a terminal.
const REPORT_WIDTH: usize = 100;

/// Runs WebAssembly stream handlers against Amazon Kinesis.
///
/// With no AWS at hand, `endpoint: local` in a pipeline (and no --endpoint on the stream commands) means an embedded
/// stream in the data directory, found or started by whichever command needs it first.
#[derive(Debug, Parser)]
#[command(name = "shardwright", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// Where this machine keeps its local streams, worker names and dead letters.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = ".shardwright",
        env = "SHARDWRIGHT_DATA_DIR"
    )]
    data_dir: PathBuf,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  shardwright demo                                  everything at once, on this machine
  shardwright stream create words --shards 4        a local stream
  shardwright stream put words --from book.txt --lines --aggregate 40
  shardwright run pipeline.yaml --until-tip         process what there is, checkpoint, stop
  shardwright run pipelines/                        every pipeline of a folder, until SIGTERM
  shardwright leases orders                         who has which shard, and how far it has got";

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows it all on this machine: a stream, a producer, the word-count pipeline, a live view.
    Demo(demo::Demo),
    /// Runs pipelines until they are stopped.
    Run(run::Run),
    /// Checks pipelines, and reports every fault at once.
    Validate(pipelines::Validate),
    /// Prints the JSON Schema of a pipeline.
    Schema,
    /// Serves the local Kinesis and DynamoDB endpoint of the data directory.
    Local(local::Local),
    /// Makes, fills and looks at streams.
    #[command(subcommand)]
    Stream(stream::Stream),
    /// Produces words at a steady rate.
    Produce(produce::Produce),
    /// Shows a pipeline's leases: owner, counter, checkpoint and lag of every shard.
    Leases(leases::Leases),
    /// Looks into plugins.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
}

/// Which service a stream command talks to.
#[derive(Args, Clone, Debug)]
struct Service {
    /// `aws`, a URL, or `local`: the endpoint of the data directory, started if none runs.
    #[arg(long, value_name = "URL", default_value = "local")]
    endpoint: String,

    /// The AWS region; by default what the environment and the AWS profile say.
    #[arg(long)]
    region: Option<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{0}")]
    Problems(crate::config::Problems),
    #[error(transparent)]
    Port(#[from] crate::ports::PortError),
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Other(String),
}

impl CliError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit status, after the message has been printed.
    fn report(self) -> ExitCode {
        match self {
            Self::Problems(problems) => {
                let err = std::io::stderr();
                if err.is_terminal() {
                    eprint!("{}", problems.render(true, REPORT_WIDTH));
                } else {
                    eprintln!("{problems}");
                }
                ExitCode::from(BAD_CONFIG)
            }
            // A reader that has seen enough, as `head` has, is no failure.
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            other => {
                eprintln!("error: {other}");
                ExitCode::from(FAILED)
            }
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(status) => status,
        Err(error) => error.report(),
    }
}

impl Cli {
    fn run(self) -> Result<ExitCode, CliError> {
        let quiet = Some("warn");
        telemetry::start(match self.command {
            Command::Run(_) | Command::Local(_) => None,
            _ => quiet,
        });
        let app = || -> Result<App, CliError> {
            let data = DataDir::open(&self.data_dir).map_err(AppError::from)?;
            Ok(App::new(data)?)
        };
        match self.command {
            Command::Validate(validate) => validate.run(),
            Command::Schema => pipelines::schema(),
            Command::Plugin(plugin) => plugin.run(app),
            Command::Demo(demo) => demo.run(app()?),
            Command::Run(run) => run.run(app()?),
            Command::Local(local) => local.run(&self.data_dir),
            Command::Stream(stream) => stream.run(app()?),
            Command::Produce(produce) => produce.run(app()?),
            Command::Leases(leases) => leases.run(app()?),
        }
    }
}
