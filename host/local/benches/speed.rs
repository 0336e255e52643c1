//! How fast records go in and out, side by side with other endpoints: `cargo bench -p shardwright-local --bench speed -- --beside COMMAND`,
//! as often as needed.
//!
//! Rounds of all of them alternate, so that they see the same machine. Clients are plain sockets that send bodies made
//! beforehand and look at answers no closer than they must, and are the same for all: what is measured is the server.
//! COMMAND is a program and its arguments, split at spaces; it is started with `--port N` behind them.
#![expect(clippy::expect_used, reason = "a benchmark that cannot run ends")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Writers, readers and shards.
const LANES: usize = 4;
/// Bytes of data in a record.
const RECORD: usize = 1024;
/// Records of a `PutRecords`.
const BATCH: usize = 500;
/// `PutRecords` of one writer in a round.
const PUTS: usize = 50;
const RECORDS: usize = LANES * BATCH * PUTS;
/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        let at = args.iter().position(|a| a == flag)?;
        args.get(at + 1).cloned()
    };
    let rounds = after("--rounds").map_or(7, |n| n.parse().expect("a number of rounds"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut servers = vec![Server::ours(folder.path())];
    let beside = args.windows(2).filter(|pair| pair[0] == "--beside");
    servers.extend(beside.map(|pair| Server::other(&pair[1])));
    println!(
        "{rounds} rounds of {RECORDS} records of {RECORD} bytes: {LANES} shards, {LANES} writers with PutRecords of \
         {BATCH}, then {LANES} readers with GetRecords of 10000\n"
    );
    let mut taken: Vec<Vec<[Taken; 2]>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (server, taken) in servers.iter().zip(&mut taken) {
            taken.push(server.round(&format!("round-{round}")));
        }
    }
    println!(
        "| {:<22} | what | records/s | MB/s | slowest | fastest | records per CPU-s |\n|---|---|---|---|---|---|---|",
        "server"
    );
    for (server, taken) in servers.iter().zip(&taken) {
        for (what, name) in ["put", "get"].into_iter().enumerate() {
            let of = |value: fn(&Taken) -> f64| {
                let mut all: Vec<f64> = taken.iter().map(|t| value(&t[what])).collect();
                all.sort_by(f64::total_cmp);
                all
            };
            let (wall, cpu) = (of(Taken::per_s), of(Taken::per_cpu_s));
            println!(
                "| {:<22} | {name} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} |",
                server.name,
                wall[wall.len() / 2],
                wall[wall.len() / 2] * RECORD as f64 / 1e6,
                wall[0],
                wall[wall.len() - 1],
                cpu[cpu.len() / 2]
            );
        }
    }
}

/// What a round of one kind took.
struct Taken {
    wall: Duration,
    /// Of the server's process.
    cpu: Duration,
}

impl Taken {
    fn per_s(&self) -> f64 {
        RECORDS as f64 / self.wall.as_secs_f64()
    }

    fn per_cpu_s(&self) -> f64 {
        RECORDS as f64 / self.cpu.as_secs_f64().max(0.01)
    }
}

struct Server {
    name: String,
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is gone.
        let _: Result<_, _> = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Server {
    fn ours(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shardwright-local"))
            .arg("--data-dir")
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("our endpoint starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its first line");
        let address = line.trim_start_matches("http://").split(' ').next();
        let address = address
            .and_then(|a| a.parse().ok())
            .expect("its address in its first line");
        Self::started("shardwright-local".into(), child, address)
    }

    fn other(command: &str) -> Self {
        let mut words = command.split_whitespace();
        let program = words.next().expect("a program");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let child = Command::new(program)
            .args(words)
            .arg("--port")
            .arg(address.port().to_string())
            .spawn()
            .expect("the other endpoint starts");
        let name = Path::new(program)
            .file_name()
            .map_or_else(|| program.into(), |n| n.to_string_lossy().into_owned());
        Self::started(name, child, address)
    }

    fn started(name: String, child: Child, address: SocketAddr) -> Self {
        let until = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "{name} does not answer");
            thread::park_timeout(Duration::from_millis(20));
        }
        Self {
            name,
            child,
            address,
        }
    }

    fn cpu(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the server runs");
        // Fields 14 and 15, counted after the name in brackets; ticks of 10 ms.
        let (_, rest) = stat.rsplit_once(')').expect("a stat line");
        let ticks: u64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|f| f.parse::<u64>().expect("ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn round(&self, stream: &str) -> [Taken; 2] {
        let mut client = Client::new(self.address);
        let create = format!("{{\"StreamName\":\"{stream}\",\"ShardCount\":{LANES}}}");
        client.call("CreateStream", create.as_bytes());
        let named = format!("{{\"StreamName\":\"{stream}\"}}");
        let until = Instant::now() + START;
        while !client
            .call("DescribeStreamSummary", named.as_bytes())
            .contains("\"ACTIVE\"")
        {
            assert!(Instant::now() < until, "the stream never becomes active");
            thread::park_timeout(Duration::from_millis(20));
        }
        let put = self.measure(|lane| write(self.address, stream, lane));
        let get = self.measure(|lane| read(self.address, stream, lane));
        client.call("DeleteStream", named.as_bytes());
        [put, get]
    }

    fn measure(&self, work: impl Fn(usize) -> usize + Sync) -> Taken {
        let (cpu, begun) = (self.cpu(), Instant::now());
        let done: usize = thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES)
                .map(|lane| {
                    scope.spawn({
                        let work = &work;
                        move || work(lane)
                    })
                })
                .collect();
            lanes.into_iter().map(|l| l.join().expect("a client")).sum()
        });
        assert_eq!(done, RECORDS, "{}: records are missing", self.name);
        Taken {
            wall: begun.elapsed(),
            cpu: self.cpu().saturating_sub(cpu),
        }
    }
}

fn write(address: SocketAddr, stream: &str, lane: usize) -> usize {
    let mut client = Client::new(address);
    let body = put_body(stream, lane);
    for _ in 0..PUTS {
        let answer = client.call("PutRecords", &body);
        assert!(
            answer.contains("\"FailedRecordCount\":0"),
            "records were refused"
        );
    }
    PUTS * BATCH
}

/// Records whose keys are spread over the shards alike.
fn put_body(stream: &str, lane: usize) -> Vec<u8> {
    let mut body = format!("{{\"StreamName\":\"{stream}\",\"Records\":[");
    for at in 0..BATCH {
        let data: Vec<u8> = (0..RECORD)
            .map(|i| (i * 31 + at * 7 + lane) as u8)
            .collect();
        let data = base64_simd::STANDARD.encode_to_string(data);
        let shard = at % LANES;
        let key = (u128::MAX / LANES as u128) * shard as u128 + 12_345;
        let comma = if at == 0 { "" } else { "," };
        write!(
            body,
            "{comma}{{\"Data\":\"{data}\",\"PartitionKey\":\"key-{at}\",\"ExplicitHashKey\":\"{key}\"}}"
        )
        .expect("a string takes it");
    }
    body.push_str("]}");
    body.into_bytes()
}

fn read(address: SocketAddr, stream: &str, lane: usize) -> usize {
    let mut client = Client::new(address);
    let request = format!(
        "{{\"StreamName\":\"{stream}\",\"ShardId\":\"shardId-{lane:012}\",\"ShardIteratorType\":\"TRIM_HORIZON\"}}"
    );
    let answer = client.call("GetShardIterator", request.as_bytes());
    let mut pieces = answer.split('"').skip_while(|p| *p != "ShardIterator");
    let mut iterator = pieces.nth(2).expect("an iterator").to_owned();
    let mut count = 0;
    while count < RECORDS / LANES {
        let request = format!("{{\"ShardIterator\":\"{iterator}\",\"Limit\":10000}}");
        let answer = client.call("GetRecords", request.as_bytes());
        let mut pieces = answer.split('"');
        while let Some(piece) = pieces.next() {
            if piece == "SequenceNumber" {
                count += 1;
            } else if piece == "NextShardIterator" {
                let next = pieces.nth(1).expect("the next iterator");
                next.clone_into(&mut iterator);
            }
        }
    }
    count
}

/// One connection, one request at a time.
struct Client {
    address: SocketAddr,
    connection: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let connection = TcpStream::connect(address).expect("the server listens");
        connection.set_nodelay(true).expect("an option");
        Self {
            address,
            connection: BufReader::new(connection),
            answer: Vec::new(),
        }
    }

    /// The answer's body, of a request that has to succeed.
    fn call(&mut self, operation: &str, body: &[u8]) -> &str {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\
             x-amz-target: Kinesis_20131202.{operation}\r\nx-amz-date: 20260101T000000Z\r\nauthorization: \
             AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature=00\r\n\r\n",
            self.address,
            body.len()
        );
        let socket = self.connection.get_mut();
        socket
            .write_all(head.as_bytes())
            .expect("a request is sent");
        socket.write_all(body).expect("a request is sent");
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line).expect("an answer");
            let line = line.trim().to_ascii_lowercase();
            if status.is_empty() {
                status = line;
            } else if line.is_empty() {
                break;
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.answer.resize(length, 0);
        self.connection
            .read_exact(&mut self.answer)
            .expect("an answer");
        let answer = std::str::from_utf8(&self.answer).expect("an answer is text");
        assert!(status.contains(" 200"), "{operation}: {status} {answer}");
        answer
    }
}
