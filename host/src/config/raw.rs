//! A pipeline as it is written: every field with its doc, its bounds and its default, once.
//!
//! The schema, the reader and the list of known names all come from these declarations. A default is YAML, as somebody
//! would write it, and the reason for it stands in the field's doc or above it.

use super::bounds;
use super::reading::{List, Named, choice, record};
pub(super) use super::values::Version;
use super::values::{
    EndpointText, Flag, Instant, Name, Number, PathText, PluginText, Settings, Size, Time,
    TimeRange,
};

/// The shortest name of a `DynamoDB` table, which a pipeline's name is by default.
const MIN_TABLE_NAME: usize = 3;

record! {
    /// A pipeline: a Kinesis stream, what is done with its records, and where the results go.
    Document {
        /// The version of this format.
        required version: Version,
        /// The pipeline's name, one of a kind. It is the application name, and names the lease table unless `leases.table` does.
        required pipeline: Name<MIN_TABLE_NAME>,
        /// Whose pipeline it is.
        optional tenant: Name<1>,
        /// The stream and how it is read.
        required source: Source,
        /// How much goes on at once, per worker.
        or("{}") flow: Flow,
        /// The plugins that each message goes through, in this order. Without steps, the stream is mirrored.
        or("[]") steps: List<Step>,
        /// Where emissions go, by names of your choice. Without sinks, they go to the sink `stdout`.
        or("{}") sinks: Named<Sink>,
        /// What happens to a message that cannot be handled.
        or("{}") on_failure: OnFailure,
        /// When progress is stored.
        or("{}") checkpoint: Checkpoint,
        /// Where metrics go.
        or("{}") metrics: Metrics,
    }
}

choice! {
    /// Where records come from.
    Source {
        words {}
        fields {
            /// A Kinesis stream.
            kinesis Kinesis(Kinesis),
        }
    }
}

record! {
    /// A Kinesis stream and how it is read.
    Kinesis {
        /// The stream's name.
        required stream: Name<1>,
        /// The AWS region. Without it, what the environment and the AWS profile say.
        optional region: Name<1>,
        /// `local` for the endpoint of the data directory, or a URL. Without it, AWS.
        optional endpoint: EndpointText,
        // Spark and the service's own default is `latest`, which loses what arrives before the first start.
        /// Where shards without a lease begin: `latest`, `trim-horizon`, or an instant. By default, nothing is left out.
        or("trim-horizon") start: Start,
        /// How shards are read.
        or("{}") read: Read,
        /// What is done with KPL containers.
        or("{}") deaggregate: Deaggregate,
        /// Who reads which shard.
        or("{}") leases: Leases,
    }
}

choice! {
    /// Where shards without a lease begin.
    Start {
        words {
            /// With the records that arrive from now on.
            "latest" Latest,
            /// With the oldest records that the stream has.
            "trim-horizon" TrimHorizon,
        }
        fields {
            /// With the records that arrived at or after an instant, RFC 3339.
            at At(Instant),
        }
    }
}

record! {
    /// How shards are read.
    Read {
        /// By polling, which shares a shard's 2 MB/s with its other consumers.
        or("{}") poll: Poll,
    }
    later { fan_out }
}

record! {
    /// How shards are polled.
    Poll {
        // KCL's idle time. Five consumers fit a shard's five reads per second.
        /// The pause after a read that reached the tip.
        or("1s") interval: Time<{ bounds::TICK }, { bounds::MAX_POLL_INTERVAL }>,
        /// The most Kinesis records that one read asks for.
        or("10000") max_records: Number<1, { bounds::MAX_POLL_RECORDS }>,
        /// How fast a shard is read that has more: as the service allows, or as the answers come. `none` by default where the endpoint is `local`.
        optional pace: Pace,
    }
}

choice! {
    /// How fast a shard is read that has more.
    Pace {
        words {
            /// 5 reads and 2 MB per second and shard.
            "service" Service,
            /// As fast as answers come: for stand-ins of the service.
            "none" None,
        }
        fields {}
    }
}

record! {
    /// What is done with KPL containers.
    Deaggregate {
        /// Whether they are opened.
        or("true") kpl: Flag,
        // Others than the KPL send nothing again: for them, what KCL drops is lost.
        /// What happens to user records that lie outside the hash range of the shard that carried them.
        or("keep") outside_range: OutsideRange,
    }
}

choice! {
    /// What happens to user records outside the shard's hash range.
    OutsideRange {
        words {
            /// They are delivered.
            "keep" Keep,
            /// Their whole container is dropped, as KCL does. Safe only with the KPL itself, which sends them again.
            "drop-container" DropContainer,
            /// They are dropped, and nothing else.
            "drop-record" DropRecord,
        }
        fields {}
    }
}

record! {
    /// Who reads which shard: a `DynamoDB` table with one lease per shard, in KCL's form.
    Leases {
        /// The table. Without it, the pipeline's name.
        optional table: Name<MIN_TABLE_NAME>,
        // KCL's default.
        /// How long a lease outlives its last renewal: how long a shard stands still when its worker dies.
        or("10s") failover: Time<{ bounds::MIN_FAILOVER }, { bounds::MAX_FAILOVER }>,
        /// The most shards that one worker takes, whatever its share would be. Without it, there is no such bound.
        optional max_leases: Number<1, { bounds::MAX_LEASES }>,
        /// The table's endpoint. Without it, the source's.
        optional endpoint: EndpointText,
        /// The table's region. Without it, the source's.
        optional region: Name<1>,
    }
}

record! {
    /// How much goes on at once, per worker.
    Flow {
        // A plugin that takes 1 ms per message keeps up with a full shard of 1 KB messages on eight.
        /// Lanes per shard: messages of one key go through one lane, in order; lanes run in parallel.
        or("8") lanes: Number<1, { bounds::MAX_LANES }>,
        /// What may be unresolved at once.
        or("{}") in_flight: InFlight,
        // Three windows: room for one slow key while the others go on.
        /// Messages from the oldest unresolved one to the newest: at most this many are delivered again after a crash.
        or("100000") span: Number<1, { bounds::MAX_SPAN }>,
        /// What a plugin gets in one call.
        or("{}") batch: Batch,
        // Longer than the windows that fit what may be in flight, shorter than an operator wants to wait for a leak.
        /// How long a plugin may hold a message past its call; then its instance is replaced, and the message has failed.
        or("15m") hold: Time<{ bounds::TICK }, { bounds::MAX_HOLD }>,
    }
}

record! {
    /// What may be unresolved at once. Reaching either bound stops reading.
    InFlight {
        // Shared by shards and their lanes, it is what batches are filled from: of 64 busy shards some eight at a time have a
        // part of it each, which gives eight lanes batches of some 460. A stop works it off: one shard, at 10 ms a message in each
        // lane, in 20 s.
        /// Messages.
        or("30000") records: Number<1, { bounds::MAX_IN_FLIGHT_RECORDS }>,
        // Six full answers of GetRecords.
        /// Bytes of payload.
        or("64MiB") bytes: Size<{ bounds::MIN_IN_FLIGHT_BYTES }, { bounds::MAX_IN_FLIGHT_BYTES }>,
    }
}

record! {
    /// What a plugin gets in one call. A batch is full when any of the three is reached.
    Batch {
        // The cost of a call is spread over the batch; beyond a few hundred messages nothing is gained.
        /// Messages.
        or("500") records: Number<1, { bounds::MAX_BATCH_RECORDS }>,
        /// Bytes of payload. A message that is larger is a batch by itself.
        or("1MiB") bytes: Size<{ bounds::MIN_BATCH_BYTES }, { bounds::MAX_GUEST_MEMORY }>,
        // A tenth of the poll interval.
        /// How long the first message may wait for more.
        or("100ms") wait: Time<0, { bounds::MAX_BATCH_WAIT }>,
    }
}

record! {
    /// A plugin in the path of each message.
    Step {
        /// The path of a component, or `builtin:` and a name.
        required plugin: PluginText,
        /// The plugin's own configuration.
        or("{}") with: Settings,
        /// What it may use.
        or("{}") limits: Limits,
        /// The sink that each output goes to. `default` goes to the next step, or after the last one to the only sink.
        or("{}") outputs: Named<Name<1>>,
    }
    later { grants }
}

record! {
    /// What a plugin may use. Reaching a limit fails the messages of the call.
    Limits {
        // A JavaScript engine peaks at 38 MiB, and some C compilers reserve 16 MiB at once.
        /// Memory of one instance, all its linear memories together.
        or("64MiB") memory: Size<{ bounds::MIN_GUEST_MEMORY }, { bounds::MAX_GUEST_MEMORY }>,
        // Python takes 4 ms for a batch of 500 and QuickJS 13 ms, so that this is for hangs, on a busy machine too.
        /// The guest's own time in one call.
        or("1s") time: Time<{ bounds::TICK }, { bounds::MAX_CALL }>,
        /// The time that one call may wait in host calls.
        or("30s") wait: Time<{ bounds::TICK }, { bounds::MAX_CALL }>,
    }
}

choice! {
    /// Where emissions go.
    Sink {
        words {
            /// The standard output, payloads alone.
            "stdout" PlainStdout,
        }
        fields {
            /// The standard output.
            stdout Stdout(Stdout),
            /// A file of JSON lines.
            file File(FileSink),
            /// A Kinesis stream.
            kinesis Kinesis(KinesisSink),
        }
    }
}

record! {
    /// The standard output.
    Stdout {
        /// How an emission looks.
        or("plain") format: StdoutFormat,
    }
}

choice! {
    /// How an emission looks on the standard output.
    StdoutFormat {
        words {
            /// The payload and a line end.
            "plain" Plain,
            /// The line that a file gets, `data` as text.
            "text" Text,
            /// The line that a file gets, `data` as a JSON value.
            "json" Json,
        }
        fields {}
    }
}

record! {
    /// A file of JSON lines: `{"id":…,"key":…,"data":…}`.
    FileSink {
        /// The file, or a folder if it ends in `/`. Relative paths start from the YAML's folder.
        required path: PathText,
        /// How `data` is written.
        or("text") format: LineFormat,
    }
}

choice! {
    /// How `data` is written.
    LineFormat {
        words {
            /// As a string, or as `data_base64` if it is not UTF-8.
            "text" Text,
            /// As the JSON value that it is, or as text if it is none.
            "json" Json,
        }
        fields {}
    }
}

record! {
    /// A Kinesis stream to write to.
    KinesisSink {
        /// The stream's name.
        required stream: Name<1>,
        /// Its region. Without it, the source's.
        optional region: Name<1>,
        /// Its endpoint. Without it, the source's.
        optional endpoint: EndpointText,
        /// The order that is kept.
        or("per-key") order: Order,
    }
}

choice! {
    /// The order that a Kinesis sink keeps.
    Order {
        words {
            /// Emissions of one key arrive in the order in which they were emitted.
            "per-key" PerKey,
            /// None: faster where some puts fail.
            "none" None,
        }
        fields {}
    }
}

record! {
    /// What happens to a message that cannot be handled.
    OnFailure {
        /// How often it is tried.
        or("{}") retry: Retry,
        // Fewer could be messages that are wrong themselves; so few are soon mended by hand.
        /// When a step fails everything, its shards are paused, and messages are kept instead of given up.
        or("{ messages: 10 }") breaker: Breaker,
        /// Where it goes when it is given up. Without it, to `dead-letters/<pipeline>.jsonl` in the data directory.
        optional dead_letter: DeadLetter,
    }
    later { isolate }
}

choice! {
    /// When a shard is paused whose step fails everything.
    Breaker {
        words {
            /// Never.
            "none" None,
        }
        fields {
            /// When so many different messages have failed, and the step has answered for none.
            messages Messages(Number<1, { bounds::MAX_BREAKER }>),
        }
    }
}

record! {
    /// How often a message is tried. Later messages of its key wait meanwhile.
    Retry {
        /// Tries in all, the first one included.
        or("5") attempts: Number<1, { bounds::MAX_ATTEMPTS }>,
        // From a blip of a service to a restart of one.
        /// The pause after the first failure and the longest one; it doubles in between.
        or("200ms..30s") backoff: TimeRange<{ bounds::TICK }, { bounds::MAX_BACKOFF }>,
        /// How long after its first failure a message is given up, whatever attempts are left.
        or("1h") max_age: Time<{ bounds::TICK }, { bounds::MAX_AGE }>,
    }
}

choice! {
    /// Where a message goes that is given up.
    DeadLetter {
        words {}
        fields {
            /// A file of JSON lines.
            file File(DeadLetterFile),
        }
    }
    later { "kinesis", "sqs", "s3" }
}

record! {
    /// A file of JSON lines, one for each message that was given up.
    DeadLetterFile {
        /// The file, or a folder if it ends in `/`. Relative paths start from the YAML's folder.
        required path: PathText,
    }
}

record! {
    /// When progress is stored.
    Checkpoint {
        // What a crash repeats is bounded by `span`; this bounds it in time, for a write per shard.
        /// The longest time between two checkpoints of a shard that makes progress.
        or("5s") every: Time<{ bounds::MIN_CHECKPOINT }, { bounds::MAX_CHECKPOINT }>,
    }
}

record! {
    /// Where metrics go.
    Metrics {
        /// What is sent to `CloudWatch`, where each metric costs money.
        or("none") cloudwatch: CloudWatch,
    }
}

choice! {
    /// What is sent to `CloudWatch`.
    CloudWatch {
        words {
            /// Nothing.
            "none" None,
        }
        fields {}
    }
    later { "summary", "detailed" }
}
