//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

// === AWS calls ===

/// To open a connection. AWS answers a handshake within a few round trips; a host that is gone should be known soon.
pub(crate) const AWS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One Kinesis call. An answer carries up to 10 MB, which takes 8 seconds at 10 Mbit/s; KCL waits as long.
pub(crate) const KINESIS_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One call to the lease table that reads, creates or deletes. A page of a scan is at most 1 MB.
pub(crate) const LEASE_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// One fenced write. A lease lives for 10 seconds by default and is renewed every third of that: when one write hangs,
/// there must be time for another.
pub(crate) const FENCED_WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Pages of one listing of shards. A page holds 100 to 1,000 shards, and streams have at most some 20,000; a server
/// that hands out one token for ever must not keep us.
pub(crate) const SHARD_PAGES_MAX: u32 = 10_000;

/// Pages of one scan of a lease table: 1 MB each, which is some 2,000 leases. For the same reason.
pub(crate) const LEASE_PAGES_MAX: u32 = 10_000;

/// Records that one `GetRecords` may ask for: the service refuses more.
pub(crate) const GET_RECORDS_MAX: u32 = 10_000;

/// Payloads and keys up to so many bytes are copied out of the SDK's buffers, side by side. What is copied is given back
/// with its chunk, and all of a chunk lies within the span of its shard: this times the span is the most that resolved
/// records can keep.
pub(crate) const PACKED_BYTES_MAX: usize = 512;

/// Bytes of one chunk of them: two hundred records of 100 bytes, and far below the sizes that an allocator gives pages
/// of their own, which cost a fault each.
pub(crate) const PACKED_CHUNK_BYTES_MAX: usize = 32 * 1024;

/// For a new lease table to become usable. `DynamoDB` takes seconds; KCL waits as long.
pub(crate) const TABLE_READY_TIMEOUT: Duration = Duration::from_mins(10);

/// The first pause between two looks at a new lease table; a local one is ready at once. It doubles up to
/// [`TABLE_POLL_MAX`].
pub(crate) const TABLE_POLL_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two looks at a new lease table: `DescribeTable` is limited to 10 a second per account.
pub(crate) const TABLE_POLL_MAX: Duration = Duration::from_secs(2);

// === Kinesis sink ===

/// Records in one `PutRecords`: the service refuses more.
pub(crate) const PUT_RECORDS_MAX: usize = 500;

/// Bytes in one `PutRecords`, keys included. The service takes 10 MiB now and took 5 MiB for years, as servers that
/// imitate it still do; a larger request gains nothing.
pub(crate) const PUT_BYTES_MAX: usize = 5 * 1024 * 1024;

/// A record of more bytes than this, key included, has a request to itself. A stream takes larger records only when it
/// was set up for them, and refuses the whole request otherwise.
pub(crate) const PUT_SHARED_RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Bytes in one record, key included: the most that any stream takes.
pub(crate) const PUT_RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Characters in a partition key: the service refuses more.
pub(crate) const PARTITION_KEY_CHARS_MAX: usize = 256;

// === lease coordinator ===

/// Requests of consumers that wait for the coordinator. Each consumer has one at a time on its way, so this is more than
/// is ever used by a few hundred shards; beyond, consumers wait for each other.
pub(crate) const LEASE_REQUESTS_MAX: usize = 256;

/// The longest sleep. tokio's timers stand still while the machine is suspended; looking at the clock this often finds out
/// about a lease that ran out meanwhile. A dispatch permit knows at once.
pub(crate) const LEASE_SLEEP_MAX: Duration = Duration::from_millis(500);

/// The shortest time between two snapshots: they cost a copy of every row.
pub(crate) const LEASE_SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);

/// The longest a listing may take: a thousand rows are a page or two.
pub(crate) const LISTING_TIMEOUT: Duration = Duration::from_secs(30);

/// Of a lease's duration, the part that a fenced write may take before it counts as unanswered: three tries fit in.
pub(crate) const LEASE_WRITE_DIVISOR: u32 = 4;

// === process ===

/// Plugin instances of the process when nothing else is asked for: 15 shards × 8 lanes × 4 steps, and as many again while
/// plugins are reloaded. They reserve 12 TiB of the 128 TiB of address space.
pub(crate) const DEFAULT_PLUGIN_INSTANCES: u32 = 1_000;

/// Threads for leases, reads and deliveries. They wait far more than they work; a second one keeps a slow answer's
/// decoding from holding up a renewal.
pub(crate) const IO_THREADS: usize = 2;

/// How much the threads that run guests yield to those that do I/O: with it these get some three times as much of a core
/// that both want, so that a core full of guests still reads, renews and delivers.
pub(crate) const GUEST_NICE: i32 = 5;

/// How much the compiler yields to everything else: data keeps flowing while a plugin is reloaded.
pub(crate) const COMPILER_NICE: i32 = 10;

/// How long a stop may take: to finish what was begun, write the last checkpoints and release the leases. Orchestrators
/// kill after 30 seconds by default, so this stays below.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// Lines about calls that gave no reply, of one pipeline at once: one for every lane of a few shards.
pub(crate) const CRASH_LINES_BURST: u32 = 20;

/// One more such line after this: a guest that traps at everything does so thousands of times a second.
pub(crate) const CRASH_LINE_EVERY: Duration = Duration::from_secs(1);

/// Between two lines that say a pipeline is still paused: whoever looks at a minute of the log sees one.
pub(crate) const PAUSE_LINE_EVERY: Duration = Duration::from_mins(1);

/// Bytes of one plugin's file. The largest toolchain tried makes 40 MB. It is read whole, and compiled whole, and
/// meanwhile no other plugin is compiled.
pub(crate) const PLUGIN_BYTES_MAX: u64 = 256 << 20;

/// The longest first pause of a lane for which the pool of plugin instances has no room: others let go of theirs within
/// milliseconds when a shard is handed over or a generation left.
pub(crate) const INSTANCE_RETRY_FIRST: Duration = Duration::from_millis(50);

/// The longest pause of such a lane. A stop takes [`DRAIN_LIMIT`] at most, and what others let go of meanwhile has to be of
/// use within it.
pub(crate) const INSTANCE_RETRY_MAX: Duration = Duration::from_secs(2);

/// Tries of such a lane between two lines that say so: about a minute's.
pub(crate) const INSTANCE_TRIES_PER_LINE: u32 = 40;

// === reload ===

/// How long a file must have been left alone before it is looked at: an editor writes, renames and removes within it.
pub(crate) const RELOAD_QUIET: Duration = Duration::from_millis(200);

/// How often files are looked at though nothing told of a change: network file systems, and mounts that are swapped as a
/// whole, tell nothing. A look at an unchanged file is one `stat`.
pub(crate) const RELOAD_POLL: Duration = Duration::from_secs(5);

/// A change of the YAML files must still be there after this: half of a file that is written in two goes may be right by
/// itself, and a mirror of what is to go through a plugin.
pub(crate) const RELOAD_SECOND_LOOK: Duration = Duration::from_millis(500);

/// The same for a change that starts or stops a pipeline, or releases its leases.
pub(crate) const RELOAD_LONG_SECOND_LOOK: Duration = Duration::from_secs(2);

/// A file that was changed so shortly before it was looked at may be changed again within the same tick of the file
/// system's clock: its contents are compared the next time too. The coarsest clocks count in two seconds.
pub(crate) const FILE_CLOCK_TICK: Duration = Duration::from_secs(2);

// === streams made and filled from the command line ===

/// For a new or resharded stream to become usable: AWS takes up to a minute.
pub(crate) const STREAM_READY_TIMEOUT: Duration = Duration::from_mins(5);

/// Between two looks at a stream that changes; `DescribeStreamSummary` is limited to 20 a second and account.
pub(crate) const STREAM_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Tries of a put that is refused or gets no answer, with doubling pauses up to [`PUT_RETRY_MAX`]: about a minute.
pub(crate) const PUT_TRIES_MAX: u32 = 20;

/// The first pause between two tries of a put, at most.
pub(crate) const PUT_RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause between two tries of a put.
pub(crate) const PUT_RETRY_MAX: Duration = Duration::from_secs(5);

/// Bytes of one container that the command line packs: below the 1 MiB of a record, with room for its key.
pub(crate) const CONTAINER_BYTES_MAX: usize = 1_000_000;
