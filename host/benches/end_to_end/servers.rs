//! The stream's server and the lease table's, both on this machine.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use super::process::{Server, shardwright};

/// For a server to listen.
const READY_LIMIT: Duration = Duration::from_secs(20);

const INSTALL: &str = "ferrokinesis is not there. Install it and say where it is:
  cargo install ferrokinesis --version 0.7.0 --locked
  FERROKINESIS=/path/to/ferrokinesis cargo bench --bench end_to_end
or take the binary's own endpoint, which costs the consumers as much and itself more: -- --kinesis local";

/// What runs beside the consumers.
pub(crate) struct Servers {
    _running: Vec<Server>,
    folder: TempDir,
    /// URL of the streams.
    pub(crate) kinesis: String,
    /// URL of the lease tables.
    pub(crate) dynamodb: String,
    /// What serves the streams, for people.
    pub(crate) name: String,
}

impl Servers {
    pub(crate) fn start(kinesis: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (local, dynamodb) = local(&folder.path().join("endpoint"))?;
        let mut running = vec![local];
        let url = match kinesis {
            "local" => dynamodb.clone(),
            "ferrokinesis" => {
                let (server, url) = ferrokinesis()?;
                running.push(server);
                url
            }
            url => url.to_owned(),
        };
        Ok(Self {
            _running: running,
            folder,
            kinesis: url,
            dynamodb,
            name: kinesis.to_owned(),
        })
    }

    /// A folder that is gone afterwards.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The endpoint that the binary carries. It says its URL in its first line.
fn local(data_dir: &Path) -> anyhow::Result<(Server, String)> {
    let mut command = shardwright(data_dir);
    command.arg("local").stdout(Stdio::piped());
    let mut server = Server::start(command)?;
    let out = server.child().stdout.take().context("it has an output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .with_context(|| format!("`shardwright local` says no URL: {line:?}"))?;
    Ok((server, url.to_owned()))
}

fn ferrokinesis() -> anyhow::Result<(Server, String)> {
    let program = std::env::var_os("FERROKINESIS")
        .map(PathBuf::from)
        .or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path)
                .map(|folder| folder.join("ferrokinesis"))
                .find(|program| program.is_file())
        })
        .context(INSTALL)?;
    // A port that was free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let mut command = Command::new(program);
    command
        .args(["--port", &port.to_string()])
        .args(["--shard-limit", "2000", "--log-level", "warn"])
        .stdin(Stdio::null());
    let mut server = Server::start(command)?;
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        anyhow::ensure!(
            server.child().try_wait()?.is_none() && began.elapsed() < READY_LIMIT,
            "ferrokinesis does not listen on port {port}"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok((server, format!("http://127.0.0.1:{port}")))
}
