//! The streams: user records of 100 bytes, in containers or not.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{output_of, shardwright};
use super::servers::Servers;

/// User records in a container.
const CONTAINER: u32 = 40;

/// Bytes of a user record.
const RECORD_BYTES: usize = 100;

/// User records in one file that is put; larger streams get it several times.
const FILE_RECORDS: u64 = 1_000_000;

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stream {
    pub(crate) shards: u32,
    /// User records.
    pub(crate) records: u64,
    pub(crate) is_aggregated: bool,
}

impl Stream {
    pub(crate) fn name(self) -> String {
        let Self {
            shards, records, ..
        } = self;
        let kind = if self.is_aggregated { "agg" } else { "plain" };
        format!("bench-{kind}-{shards}-{records}")
    }

    /// Kinesis records, if every container is full.
    pub(crate) fn kinesis_records(self) -> u64 {
        if self.is_aggregated {
            self.records / u64::from(CONTAINER)
        } else {
            self.records
        }
    }
}

/// Makes streams when they are first needed.
pub(crate) struct Streams<'s> {
    servers: &'s Servers,
    data_dir: PathBuf,
    there: RefCell<BTreeSet<String>>,
}

impl<'s> Streams<'s> {
    pub(crate) fn new(servers: &'s Servers) -> anyhow::Result<Self> {
        let data_dir = servers.folder().join("producer");
        let mut list = shardwright(&data_dir);
        list.args(["stream", "list", "--endpoint", &servers.kinesis]);
        let there = output_of(list)?.lines().map(str::to_owned).collect();
        Ok(Self {
            servers,
            data_dir,
            there: RefCell::new(there),
        })
    }

    /// Makes and fills a stream unless it is there.
    pub(crate) fn ensure(&self, stream: Stream) -> anyhow::Result<()> {
        let name = stream.name();
        if !self.there.borrow_mut().insert(name.clone()) {
            return Ok(());
        }
        eprintln!("filling {name}");
        let shards = stream.shards.to_string();
        output_of(self.command(&["create", &name, "--shards", &shards]))?;
        let file = self.data_dir.join("records.txt");
        let mut left = stream.records;
        while left > 0 {
            let records = left.min(FILE_RECORDS);
            std::fs::write(&file, payloads(records)?)?;
            let mut put = self.command(&["put", &name, "--lines"]);
            if stream.is_aggregated {
                put.args(["--aggregate", &CONTAINER.to_string()]);
            }
            output_of({
                put.arg("--from").arg(&file);
                put
            })?;
            left -= records;
        }
        Ok(std::fs::remove_file(file)?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = shardwright(Path::new(&self.data_dir));
        command
            .arg("stream")
            .args(&args[..1])
            .args(["--endpoint", &self.servers.kinesis])
            .args(&args[1..]);
        command
    }
}

/// Lines of JSON whose text has words to count, and whose number has something to filter by.
fn payloads(records: u64) -> anyhow::Result<String> {
    const WORDS: &str = "the quick brown fox jumps over the lazy dog and does it again before \
                         anybody has seen it happen twice ";
    let mut lines = String::with_capacity(records as usize * (RECORD_BYTES + 1));
    for number in 0..records {
        let begin = lines.len();
        write!(lines, r#"{{ "total": {}, "text": ""#, number % 100)?;
        // A whole word more or less.
        let from = WORDS
            .match_indices(' ')
            .nth(number as usize % 8)
            .map_or(0, |(at, _)| at + 1);
        let end = begin + RECORD_BYTES - r#"" }"#.len();
        let left = end - lines.len();
        lines.push_str(&WORDS[from..]);
        lines.push_str(WORDS);
        lines.truncate(end);
        anyhow::ensure!(left > 0 && lines.len() == end, "a record is too short");
        lines.push_str("\" }\n");
    }
    Ok(lines)
}
