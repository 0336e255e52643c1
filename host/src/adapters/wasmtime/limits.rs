//! The bounds of guests that no pipeline sets, each with its unit and reason.

use std::time::Duration;

/// How often guests are pre-empted. Short enough that a tenant's spinning guest is not felt as latency by the next one
/// on its thread, long enough that the switch (about a microsecond) does not show.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// Core instances for each plugin instance of the pool. `QuickJS` has 11, Python 9, with adapters; they cost the pool nothing but a count.
pub(super) const CORE_INSTANCES_EACH: u32 = 32;

/// Linear memories for each plugin instance of the pool: `QuickJS` has 3. Each takes `MEMORY_RESERVATION` of address space.
pub(super) const MEMORIES_EACH: u32 = 3;

/// Tables for each plugin instance of the pool.
pub(super) const TABLES_EACH: u32 = 4;

/// Elements of one table. The largest toolchain tried (`StarlingMonkey`) has 17,000.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Elements of all tables of one instance: what `TABLES_EACH` full ones have.
pub(super) const TABLE_ELEMENTS_IN_ALL: usize = TABLE_ELEMENTS * TABLES_EACH as usize;

/// Address space of one linear memory, bytes: with the whole 4 GiB of wasm32 reserved, no access needs a bounds check.
pub(super) const MEMORY_RESERVATION: u64 = 4 << 30;

/// The most plugin instances a pool is made for: their memories take 94 TiB of the 128 TiB of address space.
pub(super) const MAX_INSTANCES: u32 = 8_000;

/// Metadata of one component instance, bytes: wasmtime's default, which every toolchain tried stays well below.
pub(super) const INSTANCE_METADATA: usize = 1 << 20;

/// Bytes that one reply, or one argument of a host call, may make the host allocate. Larger than any batch the host hands
/// out, so that a handler may multiply it.
pub(super) const REPLY_BYTES: u64 = 64 << 20;

/// A guest's reason for a failure, and each problem of a configuration, bytes: it stands beside every message of a batch.
pub(super) const REASON_BYTES: usize = 4 << 10;

/// Problems of a configuration that are told.
pub(super) const PROBLEMS: usize = 100;

/// Names of what a component exports or imports that are told when it is refused: it may have a million.
pub(super) const NAMES_TOLD: usize = 20;

/// The name and the version that a plugin gives itself, and each of its outputs, bytes. They stand in log lines.
pub(super) const DESCRIBED_NAME_BYTES: usize = 128;

/// Outputs of a plugin.
pub(super) const DESCRIBED_OUTPUTS: usize = 256;

/// The schema of a plugin's configuration, bytes.
pub(super) const DESCRIBED_SCHEMA_BYTES: usize = 1 << 20;

/// A function's name in a backtrace, bytes: names are the guest's, and may be as long as it likes.
pub(super) const FRAME_BYTES: usize = 120;

/// Handles (streams, pollables, clocks) one instance may hold in the host.
pub(super) const HOST_HANDLES: usize = 1_000;

/// The end of stderr that is kept for an error, bytes: a Python traceback of a few frames.
pub(super) const STDERR_KEPT: usize = 4 << 10;

/// One line of a guest in the log, bytes. The rest of a longer line is cut.
pub(super) const LINE_BYTES: usize = 2 << 10;

/// Lines a plugin may log at once, over all its instances.
pub(super) const LINES_BURST: u32 = 200;

/// Lines a second a plugin may log in the long run, over all its instances.
pub(super) const LINES_PER_SECOND: u32 = 50;

/// Names of counters of one plugin. They become metrics, and each name costs on the other side too.
pub(super) const COUNTERS: usize = 64;

/// One counter's name, bytes.
pub(super) const COUNTER_NAME_BYTES: usize = 64;

/// Random bytes for one call, bytes. They are made in the host's memory.
pub(super) const RANDOM_BYTES: u64 = 64 << 10;

/// Compiled components kept in the cache. The oldest go when a new one is written.
pub(super) const CACHED_COMPONENTS: usize = 64;
