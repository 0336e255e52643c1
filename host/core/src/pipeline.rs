//! A pipeline as it runs: everything that its YAML leaves open has been decided, and everything it says has been
//! checked.
//!
//! Plain data. Whoever builds these types vouches for what their docs say; the YAML's own types and its defaults live
//! with the host's config, which is the only maker of them.

mod diff;

pub use diff::{Change, PipelineDiff, Rebuild};

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{InitialPosition, OutsideRange};

macro_rules! names {
    ($($(#[doc = $doc:literal])* $Name:ident)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Name(Arc<str>);

        impl $Name {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $Name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// A pipeline's name, one of a kind in a process. It is the application name of the lease table.
    PipelineName
    /// A tenant's name.
    TenantName
    /// A Kinesis stream's name.
    StreamName
    /// A `DynamoDB` table's name.
    TableName
    /// A sink's name within its pipeline.
    SinkName
    /// An output of a plugin. `default` is the one that an emission takes which names none.
    OutputName
}

/// The output that an emission takes which names none.
pub const DEFAULT_OUTPUT: &str = "default";

/// One pipeline: a stream, what is done with its messages, and where the emissions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Its name.
    pub name: PipelineName,
    /// Whose it is, if anybody's.
    pub tenant: Option<TenantName>,
    /// The stream and how it is read.
    pub source: KinesisSource,
    /// How much goes on at once.
    pub flow: Flow,
    /// What happens to a message.
    pub handling: Handling,
    /// Where emissions go. Every sink that a route names is here, and no other.
    pub sinks: BTreeMap<SinkName, Sink>,
    /// What happens to a message that cannot be handled.
    pub on_failure: OnFailure,
    /// The longest time between two checkpoints of a shard that makes progress.
    pub checkpoint_every: Duration,
}

impl Pipeline {
    /// The steps, none for a mirror.
    pub fn steps(&self) -> &[Step] {
        match &self.handling {
            Handling::Mirror { .. } => &[],
            Handling::Steps(steps) => steps,
        }
    }
}

/// What happens to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It is emitted as it is, with its own key.
    Mirror {
        /// The sink that gets it.
        to: SinkName,
    },
    /// It goes through steps in this order; there is at least one.
    Steps(Vec<Step>),
}

/// A Kinesis stream and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisSource {
    /// The stream.
    pub stream: StreamName,
    /// Where the stream lives.
    pub place: Place,
    /// Where shards without a lease begin.
    pub start: InitialPosition,
    /// How shards are polled.
    pub poll: Poll,
    /// How KPL containers are opened; none: they are delivered as they are.
    pub deaggregate: Option<OutsideRange>,
    /// Who reads which shard.
    pub leases: Leases,
}

/// Which service is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The AWS region; none: what the environment and the AWS profile say.
    pub region: Option<Arc<str>>,
    /// The endpoint.
    pub endpoint: Endpoint,
}

/// Where requests are sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// AWS itself, in the region.
    Aws,
    /// The local endpoint of the data directory, started if none runs.
    Local,
    /// A base URL, `http://` or `https://`.
    Url(Arc<str>),
}

/// How shards are polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The pause after a read that reached the tip.
    pub interval: Duration,
    /// The most Kinesis records that one read asks for, 1 to 10,000.
    pub max_records: u32,
    /// How fast a shard is read that has more.
    pub pace: Pace,
}

/// How fast a shard is read that has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the service lets one consumer group: 5 reads and 2 MB a second and shard.
    Service,
    /// As fast as the answers come. Only stand-ins of the service allow that.
    Unlimited,
}

/// Who reads which shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The table.
    pub table: TableName,
    /// Where it lives.
    pub place: Place,
    /// How long a lease outlives its last renewal.
    pub failover: Duration,
    /// The most leases that one worker takes; none: no bound.
    pub max_leases: Option<usize>,
}

/// How much goes on at once. The bounds are those of one pipeline in one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Lanes per shard, 1 to 256.
    pub lanes: u16,
    /// The most messages that are unresolved at once; at least [`batch.records`](Batch::records).
    pub in_flight_records: u64,
    /// The most bytes of payload that are unresolved at once, unopened containers included; at least what one read may
    /// bring.
    pub in_flight_bytes: u64,
    /// The most messages from the watermark to the newest one; at least `in_flight_records`.
    pub span: u64,
    /// What a handler gets in one call.
    pub batch: Batch,
    /// How long a handler may hold a message past its call.
    pub hold: Duration,
}

/// What a handler gets in one call: a batch is full when any of the three is reached. One message that is larger than
/// `bytes` is a batch by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Messages.
    pub records: u32,
    /// Bytes of payload.
    pub bytes: u64,
    /// How long the first message may wait for more; zero does not wait.
    pub wait: Duration,
}

/// One plugin in the path of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The plugin.
    pub plugin: PluginRef,
    /// Its configuration, the text of a JSON object.
    pub config: Arc<str>,
    /// What it may use.
    pub limits: StepLimits,
    /// Where its outputs go. `default` is always among them.
    pub outputs: BTreeMap<OutputName, Route>,
}

/// Where a plugin's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRef {
    /// One that the binary carries.
    Builtin(Arc<str>),
    /// A component in a file. The path is absolute if the YAML's was; whether the file is there is seen at load.
    File(PathBuf),
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// All linear memories of one instance together, bytes.
    pub memory: u64,
    /// The guest's own time in one call.
    pub time: Duration,
    /// The time one call may spend in host calls.
    pub wait: Duration,
}

/// Where an output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the step that follows. Never in the last one.
    NextStep,
    /// To a sink of the pipeline.
    Sink(SinkName),
}

/// Where emissions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The process's standard output.
    Stdout(StdoutFormat),
    /// JSON lines in a file.
    File {
        /// The file.
        target: FileTarget,
        /// How a payload is written.
        format: LineFormat,
    },
    /// A Kinesis stream.
    Kinesis {
        /// The stream.
        stream: StreamName,
        /// Where it lives.
        place: Place,
        /// What order is kept.
        order: Order,
    },
}

/// How an emission looks on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdoutFormat {
    /// The payload alone.
    Plain,
    /// The line that a file would get.
    Line(LineFormat),
}

/// How a payload is written in a JSON line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// As a JSON string, or in base64 if it is not UTF-8.
    Text,
    /// As the JSON value that it is; as text if it is none.
    Json,
}

/// A file to write, or a folder to write files in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileTarget {
    /// One file.
    File(PathBuf),
    /// A folder.
    Folder(PathBuf),
}

/// What order a Kinesis sink keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Emissions of one key arrive in the order in which they were emitted, retries included.
    PerKey,
    /// None: a failed emission may arrive after later ones of its key.
    Unordered,
}

/// What happens to a message that cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnFailure {
    /// How often it is tried.
    pub retry: Retry,
    /// So many different messages a step must have failed, and answered for none, until its shard is paused instead; with
    /// none it never is.
    pub breaker: Option<NonZeroU32>,
    /// Where it goes then.
    pub dead_letter: DeadLetterTarget,
}

/// How often a message is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries in all, the first one included; at least 1.
    pub attempts: u32,
    /// The pause after the first failure.
    pub backoff_min: Duration,
    /// The longest pause; at least `backoff_min`.
    pub backoff_max: Duration,
    /// How long after its first failure a message is given up, whatever attempts are left.
    pub max_age: Duration,
}

/// Where a message goes that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterTarget {
    /// A file of the pipeline's name in the data directory.
    DataDirectory,
    /// Where the YAML says.
    File(FileTarget),
}
