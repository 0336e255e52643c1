//! A model of a stream: shards that are split and merged, records that retention takes, and iterators.

use bytes::Bytes;
use shardwright_core::{
    ChildShard, HashRange, Record, SequenceNumber, Shard, ShardId, ShardListing, StartAt,
};

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;

/// The service's iterators live for five minutes.
const ITERATOR_LIFE_NS: u64 = 300_000 * MS;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    first_sequence: u64,
    is_padded: bool,
    epoch_ms: i64,
    shards: Vec<ModelShard>,
    entries: Vec<Entry>,
    /// What arrived before is gone.
    horizon: u64,
}

#[derive(Debug)]
struct ModelShard {
    shard: Shard,
    /// Places in `Stream::entries`.
    entries: Vec<u32>,
    /// How many of them, from the front, retention has taken.
    trimmed: usize,
    opened_at: u64,
    closed_at: Option<u64>,
    children: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    arrived_at: u64,
}

/// Where the next read of a shard begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The shard's place among all.
    pub shard: usize,
    /// The record's place in the shard.
    pub next: usize,
    /// Where the first of this line of iterators began.
    pub first: usize,
    /// When it was handed out, nanoseconds from the world's beginning.
    pub made_at: u64,
}

/// Why the stream does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// No such shard, any more.
    NotFound,
    /// The iterator is too old.
    ExpiredIterator,
}

/// What a read brings.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Records, in order.
    pub records: Vec<Record>,
    /// Where to go on; none at the end of a closed shard.
    pub next: Option<Cursor>,
    /// With `next` absent, the shards that follow.
    pub children: Vec<ChildShard>,
    /// How far behind the tip it ended, milliseconds.
    pub millis_behind_latest: u64,
}

impl Stream {
    /// A stream of so many shards. `epoch_ms` is the wall clock at the world's beginning.
    pub fn new(shards: u64, first_sequence: u64, is_padded: bool, epoch_ms: i64) -> Self {
        let mut stream = Self {
            first_sequence,
            is_padded,
            epoch_ms,
            shards: Vec::new(),
            entries: Vec::new(),
            horizon: 0,
        };
        let width = u128::MAX / u128::from(shards);
        for index in 0..u128::from(shards) {
            let is_last = index + 1 == u128::from(shards);
            let range = HashRange {
                start: index * width,
                end: if is_last {
                    u128::MAX
                } else {
                    (index + 1) * width - 1
                },
            };
            stream.open(0, Vec::new(), range);
        }
        stream
    }

    fn sequence(&self, entry: u64) -> SequenceNumber {
        let number = self.first_sequence + entry;
        let text = if self.is_padded {
            format!("{number:020}")
        } else {
            number.to_string()
        };
        // Digits, and fewer than 129 of them.
        SequenceNumber::parse(text).unwrap_or_else(|_| unreachable!())
    }

    /// The place among all entries of the record with this number, counted from 0 even if it is none of this stream.
    pub fn entry_of(&self, sequence: &SequenceNumber) -> u64 {
        let number: u64 = sequence.as_str().parse().unwrap_or(u64::MAX);
        number.saturating_sub(self.first_sequence)
    }

    fn open(&mut self, now: u64, parents: Vec<usize>, hash_range: HashRange) -> usize {
        let index = self.shards.len();
        let parent_ids = parents
            .iter()
            .map(|parent| self.shards[*parent].shard.id.clone());
        let shard = Shard {
            id: ShardId::new(format!("s{index}")),
            parents: parent_ids.collect(),
            hash_range,
            starting_sequence: self.sequence(self.entries.len() as u64),
            ending_sequence: None,
        };
        self.shards.push(ModelShard {
            shard,
            entries: Vec::new(),
            trimmed: 0,
            opened_at: now,
            closed_at: None,
            children: Vec::new(),
        });
        for parent in parents {
            self.shards[parent].children.push(index);
        }
        index
    }

    fn close(&mut self, now: u64, shard: usize) {
        let last = self.sequence((self.entries.len() as u64).saturating_sub(1));
        let shard = &mut self.shards[shard];
        // A shard without a record ends where it began.
        shard.shard.ending_sequence = Some(last.max(shard.shard.starting_sequence.clone()));
        shard.closed_at = Some(now);
    }

    /// Splits an open shard in two; false if its range is too narrow.
    pub fn split(&mut self, now: u64, shard: usize) -> bool {
        let range = self.shards[shard].shard.hash_range;
        let middle = range.start + (range.end - range.start) / 2;
        if range.start == range.end {
            return false;
        }
        self.close(now, shard);
        let (start, end) = (range.start, range.end);
        self.open(now, vec![shard], HashRange { start, end: middle });
        self.open(
            now,
            vec![shard],
            HashRange {
                start: middle + 1,
                end,
            },
        );
        true
    }

    /// Merges an open shard with its neighbour to the right; false if it is the last.
    pub fn merge(&mut self, now: u64, shard: usize) -> bool {
        let range = self.shards[shard].shard.hash_range;
        let right = self.open_shards().into_iter().find(|other| {
            let other = self.shards[*other].shard.hash_range;
            range.end.checked_add(1) == Some(other.start)
        });
        let Some(right) = right else {
            return false;
        };
        self.close(now, shard);
        self.close(now, right);
        let end = self.shards[right].shard.hash_range.end;
        let start = range.start;
        self.open(now, vec![shard, right], HashRange { start, end });
        true
    }

    /// Takes a record; answers its place among all entries.
    pub fn put(&mut self, now: u64, shard: usize, key: &str, data: Bytes) -> u32 {
        let entry = self.entries.len() as u32;
        let record = Record {
            sequence: self.sequence(u64::from(entry)),
            key: key.into(),
            data,
            arrival_ms: self.wall_ms(now),
        };
        self.entries.push(Entry {
            record,
            arrived_at: now,
        });
        self.shards[shard].entries.push(entry);
        entry
    }

    /// What a wall clock shows that is right.
    pub fn wall_ms(&self, now: u64) -> i64 {
        self.epoch_ms + (now / MS).cast_signed()
    }

    /// Retention takes what arrived before `horizon`, and closed shards that have nothing left. Tells how many records of
    /// each shard are gone.
    pub fn trim(&mut self, horizon: u64) -> Vec<usize> {
        self.horizon = self.horizon.max(horizon);
        for shard in &mut self.shards {
            while let Some(entry) = shard.entries.get(shard.trimmed)
                && self.entries[*entry as usize].arrived_at < self.horizon
            {
                shard.trimmed += 1;
            }
        }
        self.shards.iter().map(|shard| shard.trimmed).collect()
    }

    /// Whether retention has taken a shard.
    pub fn is_gone(&self, shard: usize) -> bool {
        let closed_at = self.shards[shard].closed_at;
        closed_at.is_some_and(|at| at < self.horizon)
    }

    /// Shards that take records, by their place.
    pub fn open_shards(&self) -> Vec<usize> {
        let is_open = |index: &usize| self.shards[*index].closed_at.is_none();
        (0..self.shards.len()).filter(is_open).collect()
    }

    /// Every shard there was.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(|shard| &shard.shard)
    }

    /// A shard by its place.
    pub fn shard(&self, index: usize) -> &Shard {
        &self.shards[index].shard
    }

    /// The place of a shard.
    pub fn index(&self, id: &ShardId) -> Option<usize> {
        self.shards.iter().position(|shard| shard.shard.id == *id)
    }

    /// When a record arrived, by its place among all.
    pub fn arrived_at(&self, entry: u32) -> u64 {
        self.entries[entry as usize].arrived_at
    }

    /// When a shard was closed.
    pub fn closed_at(&self, shard: usize) -> Option<u64> {
        self.shards[shard].closed_at
    }

    /// Lists shards.
    pub fn list(&self, which: ShardListing) -> Vec<Shard> {
        let is_open_at = |shard: &ModelShard, at: u64| {
            shard.opened_at <= at && shard.closed_at.is_none_or(|closed| at <= closed)
        };
        let is_wanted = |index: usize, shard: &ModelShard| match which {
            _ if self.is_gone(index) => false,
            ShardListing::All => true,
            ShardListing::AtLatest => shard.closed_at.is_none(),
            ShardListing::AtTrimHorizon => is_open_at(shard, self.horizon),
            ShardListing::AtTimestamp(unix_ms) => {
                let at = (unix_ms - self.epoch_ms).max(0).cast_unsigned() * MS;
                is_open_at(shard, at.max(self.horizon))
            }
        };
        let wanted = self.shards.iter().enumerate();
        wanted
            .filter(|(index, shard)| is_wanted(*index, shard))
            .map(|(_, shard)| shard.shard.clone())
            .collect()
    }

    /// An iterator.
    pub fn iterator(&self, now: u64, id: &ShardId, start: &StartAt) -> Result<Cursor, StreamError> {
        let shard = self.index(id).filter(|index| !self.is_gone(*index));
        let shard = shard.ok_or(StreamError::NotFound)?;
        let entries = &self.shards[shard].entries;
        let before = |is_before: &dyn Fn(&Entry) -> bool| {
            entries.partition_point(|entry| is_before(&self.entries[*entry as usize]))
        };
        let next = match start {
            StartAt::TrimHorizon => 0,
            StartAt::Latest => entries.len(),
            StartAt::AtTimestamp(unix_ms) => before(&|entry| entry.record.arrival_ms < *unix_ms),
            StartAt::AtSequence(at) => before(&|entry| entry.record.sequence < *at),
            StartAt::AfterSequence(after) => before(&|entry| entry.record.sequence <= *after),
        };
        let next = next.max(self.shards[shard].trimmed);
        Ok(Cursor {
            shard,
            next,
            first: next,
            made_at: now,
        })
    }

    /// Reads at most `limit` records and about `bytes` bytes, keys included; one record comes whatever its size.
    pub fn read(
        &self,
        now: u64,
        cursor: Cursor,
        limit: u32,
        bytes: u64,
    ) -> Result<Answer, StreamError> {
        if self.is_gone(cursor.shard) {
            return Err(StreamError::NotFound);
        }
        if now.saturating_sub(cursor.made_at) > ITERATOR_LIFE_NS {
            return Err(StreamError::ExpiredIterator);
        }
        let shard = &self.shards[cursor.shard];
        let first = cursor.next.max(shard.trimmed);
        let mut taken = 0;
        let mut records = Vec::new();
        for entry in shard.entries[first..].iter().take(limit as usize) {
            let record = &self.entries[*entry as usize].record;
            taken += (record.data.len() + record.key.len()) as u64;
            if taken > bytes && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        let next = first + records.len();
        let ahead = shard.entries.get(next);
        let is_end = ahead.is_none() && shard.closed_at.is_some();
        let behind = ahead.map_or(0, |entry| now - self.entries[*entry as usize].arrived_at);
        let children = if is_end { &shard.children[..] } else { &[] };
        Ok(Answer {
            records,
            next: (!is_end).then_some(Cursor {
                next,
                made_at: now,
                ..cursor
            }),
            children: children.iter().map(|child| self.child(*child)).collect(),
            millis_behind_latest: behind.div_ceil(MS),
        })
    }

    fn child(&self, index: usize) -> ChildShard {
        let shard = &self.shards[index].shard;
        ChildShard {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            hash_range: shard.hash_range,
        }
    }
}
