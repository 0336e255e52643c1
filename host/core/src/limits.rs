//! Every bound that core sets, with its unit and its reason.

use std::time::Duration;

// === leases ===

/// A lease is renewed at a third of its duration, less this, as KCL does: two tries fit in before others may take it.
pub(crate) const LEASE_RENEW_EPSILON: Duration = Duration::from_millis(25);

/// An owner that cannot renew stops dispatching this part of the lease's duration before it ends. It covers clocks that
/// run 10 % apart (real ones: 0.05 %) and the time in which a batch that has just begun is likely to end.
pub(crate) const LEASE_DISPATCH_MARGIN_DIVISOR: u32 = 8;

/// The first pause after a failed call to the lease table, at most.
pub(crate) const LEASE_RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause after a failed fenced write: a third of the default lease's time between renewals, so that a table
/// that comes back is noticed before the lease ends.
pub(crate) const LEASE_RETRY_MAX: Duration = Duration::from_secs(1);

/// The longest pause after a failed listing or create: nobody's lease hangs on it.
pub(crate) const LISTING_RETRY_MAX: Duration = Duration::from_secs(10);

/// How soon rows are read again when something was seen to differ from what was known of them.
pub(crate) const RELIST_AFTER: Duration = Duration::from_millis(500);

/// How often the rows are looked through for shards without a lease: a deleted row or a reshard nobody followed. For the
/// leader each is one `ListShards`.
pub(crate) const AUDIT_INTERVAL: Duration = Duration::from_mins(1);

/// How often in a row the same hole must be seen in the rows before shards are listed for it, as KCL has it.
pub(crate) const HOLE_CONFIDENCE: u32 = 3;

/// Of how many looks at the rows one lists the shards, though another worker leads.
pub(crate) const AUDITS_PER_LISTING: u32 = 10;

/// How soon shards are listed again for a shard end that waits for another parent's lease.
pub(crate) const BLOCKED_SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// How often rows are read while another worker hands a lease to this one: the pause of the shard is about this long.
pub(crate) const HANDOVER_LOOK: Duration = Duration::from_millis(250);

/// In lease durations: how long an owner has to drain a shard's consumer when another worker asks for the lease. With the
/// default it is as long as KCL's graceful handoff takes at most.
pub(crate) const HANDOVER_LIMIT_FAILOVERS: u32 = 3;

/// In lease durations: what nobody took for so long is taken by whoever sees it, be it more than its share. KCL's rule.
pub(crate) const VERY_OLD_FAILOVERS: u32 = 3;

/// How many leases are taken, rows created or deleted at once: enough that a thousand shards are taken in seconds, few
/// enough for a small table's write capacity and the renewals beside them.
pub(crate) const LEASE_CALLS_AT_ONCE: usize = 32;

/// How often a take whose outcome is unknown is tried before the rows are read again instead.
pub(crate) const TAKE_TRIES_MAX: u32 = 3;

/// Rows that were asked for longer ago than so many durations of a lease say nothing about which ones are missing: whole
/// generations may have come and gone.
pub(crate) const ROWS_USABLE_FAILOVERS: u32 = 2;

/// A row that nobody needs any more is kept for so many durations of a lease: twice as long as anybody acts on rows that
/// were read before its children's were there, and would make it anew.
pub(crate) const FINISHED_ROW_KEPT_FAILOVERS: u32 = 4;

/// How far before the wall clock's moment the instant of `LATEST` is set, in milliseconds: a worker's clock may be so far
/// ahead of the service's, and still nothing that arrives after its first iterator is skipped by a later one.
pub(crate) const LATEST_MARGIN_MS: i64 = 5_000;

// === reading ===

/// The most bytes of one `GetRecords` answer: the service's own bound. It is reserved before a read is asked for.
pub const READ_ANSWER_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Five reads a second and shard are the service's bound for all polling consumers together.
pub(crate) const READ_SPACING: Duration = Duration::from_millis(200);

/// Two megabytes a second and shard are the service's bound; a larger answer makes it refuse reads for as long.
pub(crate) const READ_BYTES_PER_SECOND: u64 = 2_000_000;

/// The first pause after a failed read, at most: one slot of the read pace.
pub(crate) const READ_RETRY_FIRST: Duration = Duration::from_millis(400);

/// The longest pause between reads that fail: a stream that comes back is noticed within it.
pub(crate) const READ_RETRY_MAX: Duration = Duration::from_secs(10);

// === sharing the bounds ===

/// Of a pipeline's bound on user records, the least part that a shard is given: with the default of 30,000 each of eight
/// lanes gets a batch of some 460 messages, at which what a batch costs by itself is a small part.
pub(crate) const LEAST_RECORDS_DIVISOR: u64 = 8;

/// The same of the span: a shard whose turn it is can be given more than once in it.
pub(crate) const LEAST_SPAN_DIVISOR: u64 = 16;

/// Checkpoints that one span of a pipeline makes due, whatever their time. A shard has half of the span to itself, and of
/// seven shards each an eighth: for so many, one is asked for before there is no room left. While more of them wait, a turn
/// is over after as much.
pub const CHECKPOINTS_PER_SPAN: u64 = 8;

/// In this time each shard that waits is to have its turn. Turns are shorter if they must be, down to what a handler is done
/// with in its part of the time: then it is so slow that what a batch costs by itself is a small part whatever its size.
pub(crate) const ROUND: Duration = Duration::from_secs(2);

/// How often that is looked at, and how often a shard that waits asks again by itself: over several turns.
pub(crate) const PACE_LOOK: Duration = Duration::from_millis(250);

/// How long a shard waits while others have their turns. What it holds may be in the way of its own: then it takes less.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// Room that is less than this part of what a shard holds is not given even if all take what there is: it would run batches
/// of a few messages whenever another shard is done with some.
pub(crate) const HASTY_ROOM_DIVISOR: u64 = 8;

// === breaker ===

/// The first pause between two probes of a step that fails everything, at most: what mends itself, such as a service that
/// the plugin asks, is often back within a second.
pub(crate) const PROBE_PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause between two probes: a plugin that answers again is noticed within it.
pub(crate) const PROBE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Messages of a probe: enough that one which is wrong itself does not stand for the plugin, few enough to cost nothing.
pub(crate) const PROBE_RECORDS: usize = 16;

// === replies ===

/// Emissions of one reply. Each costs the host some 300 bytes until it is delivered, however small it is: 500 for every
/// message of a batch of 500 is what a handler may split its messages into.
pub(crate) const EMISSIONS_MAX: usize = 250_000;

/// Of an output's name, the bytes that are shown when the pipeline does not route it. The reason stands beside every
/// message that the name cost.
pub(crate) const OUTPUT_NAME_SHOWN: usize = 100;

// === KPL containers ===

/// User records of scratch kept between containers, about 4 MiB. An honest container of 1 MiB with records of a few bytes
/// fits; only after a larger one is the scratch given back, so that one absurd record does not hold memory for ever.
pub(crate) const SCRATCH_RECORDS_KEPT: usize = 64 * 1024;

/// Bytes of one record, its key included: what the service takes unless a stream is set to take more.
pub(crate) const CONTAINER_BYTES_MAX: usize = 1024 * 1024;
