//! What a value may be at least and at most, with the reason. Sizes are bytes, times are milliseconds.

use super::values::{HOUR, MIB, MINUTE, SECOND};

/// A kernel schedules no finer than this, and a busy loop over many shards starts below it.
pub(super) const TICK: u64 = 10;

/// More lanes than this cost more in instances than they give: a shard brings 1 MB/s.
pub(super) const MAX_LANES: u64 = 256;

/// What is in flight is kept in memory with some 200 bytes of bookkeeping each.
pub(super) const MAX_IN_FLIGHT_RECORDS: u64 = 10_000_000;

/// One `GetRecords` answer may bring 10 MiB; with less, a shard might never fit.
pub(super) const MIN_IN_FLIGHT_BYTES: u64 = 10 * MIB;

/// The address space of a guest is 4 GiB, and so is what it may have.
pub(super) const MAX_GUEST_MEMORY: u64 = 4096 * MIB;

/// A guest needs a few pages for its stack before it does anything.
pub(super) const MIN_GUEST_MEMORY: u64 = MIB;

/// Beyond this the bound does not bound anything on the machines of today.
pub(super) const MAX_IN_FLIGHT_BYTES: u64 = 1024 * 1024 * MIB;

/// More is delivered again after a crash than anybody wants to explain.
pub(super) const MAX_SPAN: u64 = 100_000_000;

/// A stream keeps its records for a day by default: what is held longer may not be there to be delivered again.
pub(super) const MAX_HOLD: u64 = 24 * HOUR;

/// A batch crosses into a guest as one call with one deadline.
pub(super) const MAX_BATCH_RECORDS: u64 = 100_000;

/// A batch of a guest's size cannot fit the guest; 1 KiB is the smallest that is worth a call.
pub(super) const MIN_BATCH_BYTES: u64 = 1024;

/// A message waits this long at most for company.
pub(super) const MAX_BATCH_WAIT: u64 = MINUTE;

/// A longer pause runs into the five minutes that a shard iterator lives.
pub(super) const MAX_POLL_INTERVAL: u64 = 4 * MINUTE;

/// `GetRecords` answers at most this many.
pub(super) const MAX_POLL_RECORDS: u64 = 10_000;

/// A lease is renewed three times within this time, and each renewal is a round trip.
pub(super) const MIN_FAILOVER: u64 = SECOND;

/// A shard stands still for this long when its worker dies.
pub(super) const MAX_FAILOVER: u64 = HOUR;

/// No stream has as many shards.
pub(super) const MAX_LEASES: u64 = 1_000_000;

/// A call that takes longer than this is not a call, and it holds up a drain.
pub(super) const MAX_CALL: u64 = 10 * MINUTE;

/// With the default back-off, this is five hours on one message.
pub(super) const MAX_ATTEMPTS: u64 = 1_000;

/// A breaker that needs more messages than that protects nothing.
pub(super) const MAX_BREAKER: u64 = 10_000;

/// A key that is parked longer than this stands still for no reason that a retry can cure.
pub(super) const MAX_BACKOFF: u64 = HOUR;

/// Kinesis keeps a record for a year at most.
pub(super) const MAX_AGE: u64 = 365 * 24 * HOUR;

/// Each checkpoint is a write to the lease table, per shard.
pub(super) const MIN_CHECKPOINT: u64 = 100;

/// After a crash, what was read since the last checkpoint is read again.
pub(super) const MAX_CHECKPOINT: u64 = HOUR;
