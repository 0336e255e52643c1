//! Every bound of the endpoint, with its unit and the reason for it.

use std::time::Duration;

/// Bytes of one request body. The largest legal request, `PutRecords` with 10 MiB, is 14 MiB in base64.
pub(crate) const BODY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of request bodies held at once, over all connections: sixteen of the largest.
pub(crate) const BODIES_BYTES: usize = 16 * BODY_BYTES;
/// A body has to arrive within this: it holds its share of `BODIES_BYTES` from the start.
pub(crate) const BODY_WAIT: Duration = Duration::from_secs(30);
/// A connection without a request is closed after this: clients close theirs sooner (the SDKs for Java and Rust after 60 and
/// 90 s), so that no request meets a connection that is just being closed.
pub(crate) const IDLE_WAIT: Duration = Duration::from_mins(2);
/// The first byte has to come within this: nobody who opens a connection waits so long to use it.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(30);
/// Connections served at once; later ones wait in the kernel's backlog.
pub(crate) const CONNECTIONS: usize = 1024;
/// A client that comes with TLS has to end its handshake within this.
pub(crate) const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Threads that run the HTTP server. Two keep up with the writer, which is one thread.
pub(crate) const SERVER_THREADS: usize = 2;
/// Reads of the record table at once; each has a connection of its own and holds up to one page in memory.
pub(crate) const READERS: usize = 4;
/// Requests that wait for the writer; beyond it their connections wait.
pub(crate) const WRITER_QUEUE: usize = 1024;
/// Requests put into one transaction: bounds what one request waits for.
pub(crate) const COMMIT_REQUESTS: usize = 256;
/// Record bytes put into one transaction, for the same reason.
pub(crate) const COMMIT_BYTES: usize = 16 * 1024 * 1024;
/// Record bytes in one row. Small enough that a read of one record costs little, large enough that a row's own cost vanishes.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of a page of the database, each of which is a write of its own into the log and into the file: with 4 KiB puts of
/// many records were a third slower. One record by itself takes as long with either, and writes two pages.
pub(crate) const PAGE_BYTES: u32 = 16 * 1024;
/// Bytes in the write-ahead log before it is folded into the database: read back in some 50 ms on a takeover.
pub(crate) const WAL_BYTES: u32 = 32 * 1024 * 1024;
/// Rows removed in one sweep, so that puts never wait long behind a trim.
pub(crate) const SWEEP_ROWS: u32 = 512;
/// Rows of one shard removed before the next shard has its turn: a sweep reaches several shards.
pub(crate) const SWEEP_SHARD_ROWS: u32 = 64;
/// Between two rounds of retention and sweeping.
pub(crate) const MAINTENANCE: Duration = Duration::from_secs(1);

/// Records in one `PutRecords`, as the service has it.
pub(crate) const PUT_RECORDS: usize = 500;
/// Bytes of data and keys in one `PutRecords`, as the service has it.
pub(crate) const PUT_BYTES: usize = 10 * 1024 * 1024;
/// Bytes of data and key in one record: the service's default for a stream.
pub(crate) const RECORD_BYTES: usize = 1024 * 1024;
/// KiB that a stream's records can be set to have, as the service has it.
pub(crate) const RECORD_KIB: std::ops::RangeInclusive<u32> = 1024..=10_240;
/// Characters of a partition key, as the service has it.
pub(crate) const KEY_CHARS: usize = 256;
/// Digits of a hash key, as the service's model has it: those of 2^128.
pub(crate) const HASH_KEY_DIGITS: usize = 39;
/// Digits of a sequence number in a request, as the service's model has it.
pub(crate) const SEQUENCE_DIGITS: usize = 129;
/// Records in one `GetRecords`, as the service has it.
pub(crate) const GET_RECORDS: usize = 10_000;
/// Bytes in one `GetRecords`, as the service has it.
pub(crate) const GET_BYTES: usize = 10 * 1024 * 1024;
/// Characters of a refused value that its error shows.
pub(crate) const VALUE_CHARS: usize = 256;
/// Tags of a stream or of a consumer, as the service has it.
pub(crate) const TAGS: usize = 50;
/// Tags in one request, as the service has it.
pub(crate) const TAGS_ASKED: usize = 200;
/// Characters of a tag's key and of its value, as the service has it.
pub(crate) const TAG_KEY_CHARS: usize = 128;
pub(crate) const TAG_VALUE_CHARS: usize = 256;
/// Characters of the name of a key to encrypt with, as the service has it.
pub(crate) const KEY_ID_CHARS: usize = 2048;
/// Bytes of a resource's policy: that of a document which a stream's row holds, and what IAM allows of most resources.
pub(crate) const POLICY_BYTES: usize = 20 * 1024;
/// Consumers of a stream, as the service has it.
pub(crate) const CONSUMERS: usize = 20;
/// Consumers in an answer of `ListStreamConsumers`, as the service has it.
pub(crate) const LIST_CONSUMERS: usize = 100;
/// Age at which a shard iterator or a `NextToken` expires, as the service has it.
pub(crate) const TOKEN_AGE: Duration = Duration::from_mins(5);
/// Shards of a stream that are listed at all, open or closed: bounds memory and every answer.
pub(crate) const SHARDS: usize = 10_000;
/// Streams of one endpoint, for the same reason.
pub(crate) const STREAMS: usize = 10_000;
/// Shards in an answer of `DescribeStream`, as the service has it.
pub(crate) const DESCRIBE_SHARDS: usize = 100;
/// Shards in an answer of `ListShards`, as the service has it.
pub(crate) const LIST_SHARDS: usize = 1000;
/// Streams in an answer of `ListStreams`, as the service has it.
pub(crate) const LIST_STREAMS: usize = 100;
/// The most that a list can be asked for, as the service has it: what it gives is bounded by its page.
pub(crate) const LIST_MAX: usize = 10_000;
/// Hours of retention: the service's least and default, and its most.
pub(crate) const RETENTION_HOURS: std::ops::RangeInclusive<u32> = 24..=8760;

/// A subscription ends after this, as the service has it.
pub(crate) const SUBSCRIPTION_LIFE: Duration = Duration::from_mins(5);
/// A consumer that subscribes to a shard again sooner is refused, as the service has it.
pub(crate) const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(5);
/// A subscription without records says so as often: well within what clients wait before they give a connection up.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Bytes of data and keys in one event of a subscription: what it holds in memory.
pub(crate) const EVENT_BYTES: usize = 1024 * 1024;

/// Rules of one fault plan: every request asks each of them.
pub(crate) const FAULT_RULES: usize = 64;
/// The longest wait that a fault can ask for: beyond any client's patience.
pub(crate) const FAULT_WAIT: Duration = Duration::from_mins(5);

/// A holder that says nothing for so long is reported, not waited for.
pub(crate) const ATTACH_WAIT: Duration = Duration::from_secs(10);
/// One question to a holder: loopback answers in far less.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(1);
/// Bytes of a holder's answer about itself.
pub(crate) const PROBE_BYTES: u64 = 64 * 1024;
/// Between two looks at the lock by a client that would take over: its part of the gap that clients see.
pub(crate) const WATCH_EVERY: Duration = Duration::from_millis(25);
/// A port whose last holder just died may stay bound for a moment; one bound for longer is a stranger's.
pub(crate) const BIND_WAIT: Duration = Duration::from_secs(2);
/// Ports tried when none is remembered.
pub(crate) const PORT_TRIES: usize = 64;
/// Requests under way at shutdown may take so long to end.
pub(crate) const SHUTDOWN_WAIT: Duration = Duration::from_secs(3);
/// One request handed to `DynamoDB`, from its first byte to its last.
pub(crate) const DYNAMODB_WAIT: Duration = Duration::from_mins(1);
