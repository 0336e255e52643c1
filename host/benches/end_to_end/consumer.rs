//! What reads a stream to its tip and is measured.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::process::{Cost, cost_of, output_of, shardwright, without_aws};
use super::servers::Servers;
use super::streams::Stream;

/// A consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Consumer {
    /// The loop on the SDK, containers left closed.
    FetchOnly,
    /// The loop on the SDK.
    Floor,
    /// A pipeline of the binary.
    Pipeline {
        name: &'static str,
        steps: &'static str,
        has_file: bool,
        /// Messages in a batch; none: the default.
        batch: Option<u32>,
    },
}

pub(crate) const NO_OP: Consumer = Consumer::Pipeline {
    name: "no-op",
    steps: "steps: [{ plugin: 'builtin:discard' }]",
    has_file: false,
    batch: None,
};

pub(crate) const WORD_COUNT: Consumer = Consumer::Pipeline {
    name: "word count, to a file",
    steps: "steps: [{ plugin: 'builtin:word-count' }]",
    has_file: true,
    batch: None,
};

/// It keeps a tenth.
pub(crate) const JSON_FILTER: Consumer = Consumer::Pipeline {
    name: "JSON filter, a tenth to a file",
    steps: "steps: [{ plugin: 'builtin:json-filter', with: { at: /total, is: { ge: 90 } } }]",
    has_file: true,
    batch: None,
};

pub(crate) const MIRROR: Consumer = Consumer::Pipeline {
    name: "mirror to a file",
    steps: "",
    has_file: true,
    batch: None,
};

impl Consumer {
    pub(crate) fn name(self) -> String {
        match self {
            Self::FetchOnly => "SDK loop, fetch only".to_owned(),
            Self::Floor => "SDK loop (the floor)".to_owned(),
            Self::Pipeline {
                name, batch: None, ..
            } => name.to_owned(),
            Self::Pipeline {
                name,
                batch: Some(batch),
                ..
            } => format!("{name}, batches of {batch}"),
        }
    }

    /// A no-op handler with batches of so many messages.
    pub(crate) fn no_op_in_batches_of(records: u32) -> Self {
        match NO_OP {
            Self::Pipeline {
                name,
                steps,
                has_file,
                ..
            } => Self::Pipeline {
                name,
                steps,
                has_file,
                batch: Some(records),
            },
            other => other,
        }
    }
}

/// Runs consumers, each time from the begin of the stream with an empty lease table.
pub(crate) struct Consumers<'s> {
    servers: &'s Servers,
    /// Records that a read asks for, of containers.
    max_records: u32,
    runs: Cell<u32>,
}

impl<'s> Consumers<'s> {
    pub(crate) fn new(servers: &'s Servers, max_records: u32) -> Self {
        Self {
            servers,
            max_records,
            runs: Cell::new(0),
        }
    }

    /// Runs a consumer to the stream's tip, sees that it has read everything, and says what it used.
    pub(crate) fn run(&self, consumer: Consumer, stream: Stream) -> anyhow::Result<Cost> {
        let max_records = if stream.is_aggregated {
            self.max_records
        } else {
            10_000
        };
        match consumer {
            Consumer::FetchOnly => self.floor(stream, max_records, true),
            Consumer::Floor => self.floor(stream, max_records, false),
            Consumer::Pipeline {
                steps,
                has_file,
                batch,
                ..
            } => {
                let batch = batch.map_or(String::new(), |batch| {
                    format!("flow: {{ batch: {{ records: {batch} }} }}\n")
                });
                self.pipeline(stream, max_records, &format!("{batch}{steps}\n"), has_file)
            }
        }
    }

    fn floor(&self, stream: Stream, max_records: u32, fetch_only: bool) -> anyhow::Result<Cost> {
        let counted = self.servers.folder().join("floor.out");
        let mut command = Command::new(std::env::current_exe()?);
        without_aws(&mut command);
        command
            .args(["floor", &self.servers.kinesis, &stream.name()])
            .arg(max_records.to_string())
            .stdout(std::fs::File::create(&counted)?);
        if fetch_only {
            command.arg("--fetch-only");
        }
        let cost = cost_of(command, &self.servers.folder().join("floor.log"))?;
        let counted: u64 = std::fs::read_to_string(counted)?.trim().parse()?;
        let expected = if fetch_only {
            // The last container of each shard may not be full.
            stream.kinesis_records()..=stream.kinesis_records() + u64::from(stream.shards) * 4
        } else {
            stream.records..=stream.records
        };
        anyhow::ensure!(
            expected.contains(&counted),
            "{} has {expected:?} records, and the floor counts {counted}; was it filled to its end?",
            stream.name()
        );
        Ok(cost)
    }

    fn pipeline(
        &self,
        stream: Stream,
        max_records: u32,
        steps: &str,
        has_file: bool,
    ) -> anyhow::Result<Cost> {
        let run = self.runs.replace(self.runs.get() + 1);
        let folder = self.servers.folder();
        let out = folder.join("out.jsonl");
        let Servers {
            kinesis, dynamodb, ..
        } = self.servers;
        let sinks = if has_file {
            format!(
                "sinks: {{ out: {{ file: {{ path: '{}' }} }} }}\n",
                out.display()
            )
        } else {
            String::new()
        };
        let table = format!("bench-{}-{run}", std::process::id());
        let yaml = format!(
            "version: 1\npipeline: bench\nsource:\n  kinesis:\n    stream: {}\n    region: us-east-1\n    \
             endpoint: {kinesis}\n    read: {{ poll: {{ interval: 100ms, max_records: {max_records}, pace: none }} }}\n    \
             leases: {{ table: {table}, endpoint: '{dynamodb}' }}\n{steps}{sinks}",
            stream.name(),
        );
        let file = folder.join("pipeline.yaml");
        std::fs::write(&file, yaml)?;
        let data_dir = folder.join("consumer");
        let mut command = shardwright(&data_dir);
        command
            .arg("run")
            .arg(&file)
            .arg("--until-tip")
            .stdout(Stdio::null());
        let log = folder.join("run.log");
        let cost = cost_of(command, &log)?;
        check_leases(&data_dir, &file, &log)?;
        if has_file {
            std::fs::remove_file(out)?;
        }
        Ok(cost)
    }
}

/// Nothing may lie behind any shard's checkpoint.
fn check_leases(data_dir: &Path, pipeline: &Path, log: &Path) -> anyhow::Result<()> {
    let mut leases = shardwright(data_dir);
    leases.arg("leases").arg(pipeline);
    let leases = output_of(leases)?;
    let rows = leases
        .lines()
        .skip_while(|line| !line.starts_with("SHARD "))
        .skip(1);
    // Behind the shards come the workers.
    let mut rows = rows.take_while(|line| !line.is_empty()).peekable();
    rows.peek().context("there are leases")?;
    for row in rows {
        anyhow::ensure!(
            row.split_whitespace().last() == Some("0"),
            "not everything was read:\n{leases}\n{}",
            std::fs::read_to_string(log)?
        );
    }
    Ok(())
}
