//! Streams and shards as the endpoint holds them in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::settings::Settings;
use crate::clock::Millis;
use crate::hash_key::{HashKey, HashRange};
use crate::sequence::{LAST_INDEX, SequenceNumber};

/// A stream at one moment. Immutable: the writer replaces it as a whole, so whoever holds one sees no half-made change.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Never used again, so that a token or a row of a deleted stream fits no later one of its name.
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) created_ms: Millis,
    pub(crate) retention_hours: u32,
    pub(crate) on_demand: bool,
    pub(crate) settings: Arc<Settings>,
    /// By number, rising. Closed ones stay until their retention has passed.
    pub(crate) shards: Vec<Arc<Shard>>,
}

/// A shard: what never changes but for its closing, and its tail, which every version of it shares.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) number: u32,
    pub(crate) parent: Option<u32>,
    pub(crate) adjacent_parent: Option<u32>,
    pub(crate) range: HashRange,
    pub(crate) created_ms: Millis,
    /// The second in this shard's sequence numbers: above those of its parents, whatever the clock did.
    pub(crate) made_s: u64,
    pub(crate) closed_ms: Option<Millis>,
    pub(crate) tail: Arc<Tail>,
}

/// Which records of a shard there are: from `first`, below `next`. Moved by the writer after a commit, so what a
/// reader sees here it finds in the database.
#[derive(Debug)]
pub(crate) struct Tail {
    first: AtomicU64,
    next: AtomicU64,
    moved: Notify,
}

impl Tail {
    pub(crate) fn new(first: u64, next: u64) -> Self {
        Self {
            first: AtomicU64::new(first),
            next: AtomicU64::new(next),
            moved: Notify::new(),
        }
    }

    /// The index of the oldest record that is not trimmed, or `next`.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    /// The index that the next record gets.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Once records are appended after this future is first polled or enabled.
    pub(crate) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    pub(super) fn move_first(&self, to: u64) {
        self.first.store(to, Ordering::Release);
    }

    pub(super) fn move_next(&self, to: u64) {
        self.next.store(to, Ordering::Release);
        self.moved.notify_waiters();
    }
}

impl Shard {
    pub(crate) fn is_open(&self) -> bool {
        self.closed_ms.is_none()
    }

    /// The number of the record at `index`, put at `at`.
    pub(crate) fn sequence(&self, index: u64, at: Millis) -> SequenceNumber {
        SequenceNumber {
            shard_made_s: self.made_s,
            shard: self.number,
            index,
            put_s: at / 1000,
        }
    }

    /// Below the numbers of all its records.
    pub(crate) fn starting_sequence(&self) -> SequenceNumber {
        SequenceNumber {
            shard_made_s: self.made_s,
            shard: self.number,
            index: 0,
            put_s: self.made_s,
        }
    }

    /// Above the numbers of all its records, once it is closed.
    pub(crate) fn ending_sequence(&self) -> Option<SequenceNumber> {
        self.closed_ms.map(|at| self.sequence(LAST_INDEX, at))
    }

    /// Whether `number` could be one of this shard's.
    pub(crate) fn owns(&self, number: &SequenceNumber) -> bool {
        number.shard == self.number && number.shard_made_s == self.made_s
    }

    pub(crate) fn has_parent(&self, number: u32) -> bool {
        self.parent == Some(number) || self.adjacent_parent == Some(number)
    }
}

impl Stream {
    /// The shard of that number, if it is still listed.
    pub(crate) fn shard(&self, number: u32) -> Option<&Arc<Shard>> {
        let at = self
            .shards
            .binary_search_by_key(&number, |s| s.number)
            .ok()?;
        self.shards.get(at)
    }

    pub(crate) fn open_shards(&self) -> impl Iterator<Item = &Arc<Shard>> {
        self.shards.iter().filter(|s| s.is_open())
    }

    pub(crate) fn children(&self, number: u32) -> impl Iterator<Item = &Arc<Shard>> {
        self.shards.iter().filter(move |s| s.has_parent(number))
    }

    pub(crate) fn retention_ms(&self) -> Millis {
        Millis::from(self.retention_hours) * 3_600_000
    }

    /// The time before which records are gone: the retention's start, or the stream's own if that is later.
    pub(crate) fn trim_horizon(&self, now: Millis) -> Millis {
        now.saturating_sub(self.retention_ms()).max(self.created_ms)
    }

    /// Where records go, for many look-ups.
    pub(crate) fn routes(&self) -> Routes {
        let mut by_start: Vec<_> = self
            .open_shards()
            .map(|s| (s.range.start, Arc::clone(s)))
            .collect();
        by_start.sort_unstable_by_key(|(start, _)| *start);
        Routes { by_start }
    }
}

/// The open shards of a stream by where their ranges start: together they cover all keys.
pub(crate) struct Routes {
    by_start: Vec<(HashKey, Arc<Shard>)>,
}

impl Routes {
    /// The place among the routes of the shard that owns `key`.
    pub(crate) fn find(&self, key: HashKey) -> Option<usize> {
        self.by_start
            .partition_point(|(start, _)| *start <= key)
            .checked_sub(1)
    }

    pub(crate) fn shard(&self, at: usize) -> Option<&Arc<Shard>> {
        self.by_start.get(at).map(|(_, shard)| shard)
    }

    pub(super) fn len(&self) -> usize {
        self.by_start.len()
    }
}
