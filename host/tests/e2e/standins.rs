//! Servers that nobody here wrote: kinesis-local for the stream, ministack for the lease table; or any others that run
//! already, which `SHARDWRIGHT_E2E_KINESIS` and `SHARDWRIGHT_E2E_DYNAMODB` give the URLs of.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::machine::{Machine, wait_for};

/// Where `.ci/test --install` puts them.
fn folder() -> PathBuf {
    let folder = std::env::var_os("SHARDWRIGHT_STANDINS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/standins"),
        PathBuf::from,
    );
    assert!(
        folder.join("installed").is_file(),
        "the stand-ins are not in {}: run `.ci/test --install`",
        folder.display()
    );
    folder.canonicalize().unwrap()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A server in a process group of its own, gone with this.
struct Server(Child);

impl Server {
    fn start(machine: &Machine, name: &str, mut command: Command, port: u16) -> Self {
        let log = File::create(machine.path(&format!("{name}.log"))).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self(child);
        wait_for(&format!("{name} listens on {port}"), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// The two servers, and where they are.
pub(super) struct Standins {
    _servers: Vec<Server>,
    /// They were not started here.
    pub(super) are_given: bool,
    pub(super) kinesis: String,
    pub(super) dynamodb: String,
}

impl Standins {
    pub(super) fn start(machine: &Machine) -> Self {
        let given = |name| std::env::var(name).ok();
        if let (Some(kinesis), Some(dynamodb)) = (
            given("SHARDWRIGHT_E2E_KINESIS"),
            given("SHARDWRIGHT_E2E_DYNAMODB"),
        ) {
            return Self {
                _servers: Vec::new(),
                are_given: true,
                kinesis,
                dynamodb,
            };
        }
        let folder = folder();
        let (plain, tls, gateway) = (free_port(), free_port(), free_port());
        let mut kinesis = Command::new("node");
        let package = folder.join("node_modules/kinesis-local");
        kinesis
            .arg(package.join("main.js"))
            .current_dir(&package)
            .env("KINESIS_MOCK_CERT_PATH", package.join("server.json"))
            .env("KINESIS_MOCK_PLAIN_PORT", plain.to_string())
            .env("KINESIS_MOCK_TLS_PORT", tls.to_string())
            .env("LOG_LEVEL", "ERROR")
            .env("SHARD_LIMIT", "100");
        let mut dynamodb = Command::new(folder.join("venv/bin/ministack"));
        dynamodb
            .current_dir(machine.path(""))
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", gateway.to_string());
        Self {
            _servers: vec![
                Server::start(machine, "kinesis-local", kinesis, plain),
                Server::start(machine, "ministack", dynamodb, gateway),
            ],
            are_given: false,
            kinesis: format!("http://127.0.0.1:{plain}"),
            dynamodb: format!("http://127.0.0.1:{gateway}"),
        }
    }
}
