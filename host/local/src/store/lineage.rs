//! Splits, merges and rescaling: a stream goes in, the changed stream comes out. Nothing here touches the database.

use std::sync::Arc;

use thiserror::Error;

use super::state::{Shard, Stream, Tail};
use crate::clock::Millis;
use crate::hash_key::{HashKey, HashRange};
use crate::limits;

/// Why shards cannot be changed as asked.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum LineageError {
    #[error("no shard {shard}")]
    NoShard { shard: u32 },
    #[error("shard {shard} is closed")]
    Closed { shard: u32 },
    #[error("shards {left} and {right} do not adjoin")]
    NotAdjacent { left: u32, right: u32 },
    #[error("hash key {key} does not split {start}..={end}")]
    KeyOutside {
        key: HashKey,
        start: HashKey,
        end: HashKey,
    },
    #[error("from {from} open shards to {to} is more than double or less than half")]
    TooFar { from: usize, to: u32 },
    #[error("more than {} shards", limits::SHARDS)]
    TooMany,
}

impl Stream {
    /// A stream's first shards.
    pub(super) fn first_shards(count: u32, now: Millis) -> Vec<Arc<Shard>> {
        let shard = |(number, range)| {
            Arc::new(Shard {
                number,
                parent: None,
                adjacent_parent: None,
                range,
                created_ms: now,
                made_s: now / 1000,
                closed_ms: None,
                tail: Arc::new(Tail::new(1, 1)),
            })
        };
        (0..).zip(HashRange::uniform(count)).map(shard).collect()
    }

    /// Closes `number` and opens two children that share its range: below `key`, and from it.
    ///
    /// The service refuses a key that leaves a child with the parent's first key or its last key alone.
    pub(super) fn split(
        &self,
        number: u32,
        key: HashKey,
        now: Millis,
    ) -> Result<Self, LineageError> {
        let parent = self.open_shard(number)?;
        let HashRange { start, end } = parent.range;
        if key <= start.saturating_add(1) || key >= end {
            return Err(LineageError::KeyOutside { key, start, end });
        }
        self.clone().cut(&parent, key, now)
    }

    /// Closes two shards whose ranges adjoin and opens the child of both.
    pub(super) fn merge(&self, left: u32, right: u32, now: Millis) -> Result<Self, LineageError> {
        let (a, b) = (self.open_shard(left)?, self.open_shard(right)?);
        self.clone().join(&a, &b, now)
    }

    /// Splits and merges until `target` open shards of equal width are left.
    ///
    /// Every bound that is missing is cut, then every bound too many is joined: as with the service, a count that is no
    /// multiple of the other leaves shards that were open for no time at all.
    pub(super) fn rescale(&self, target: u32, now: Millis) -> Result<Self, LineageError> {
        let from = self.open_shards().count();
        if target == 0 || target as usize > from * 2 || (target as usize) * 2 < from {
            return Err(LineageError::TooFar { from, to: target });
        }
        let mut stream = self.clone();
        let ranges: Vec<_> = HashRange::uniform(target).collect();
        for range in &ranges {
            let cut = stream
                .open_shards()
                .find(|s| s.range.contains(range.start) && s.range.start < range.start)
                .cloned();
            if let Some(shard) = cut {
                stream = stream.cut(&shard, range.start, now)?;
            }
        }
        for range in ranges {
            loop {
                let mut inside: Vec<_> = stream
                    .open_shards()
                    .filter(|s| range.contains(s.range.start))
                    .cloned()
                    .collect();
                inside.sort_unstable_by_key(|s| s.range.start);
                let [a, b, ..] = inside.as_slice() else { break };
                stream = stream.join(a, b, now)?;
            }
        }
        Ok(stream)
    }

    fn open_shard(&self, number: u32) -> Result<Arc<Shard>, LineageError> {
        let shard = self
            .shard(number)
            .ok_or(LineageError::NoShard { shard: number })?;
        if shard.is_open() {
            Ok(Arc::clone(shard))
        } else {
            Err(LineageError::Closed { shard: number })
        }
    }

    fn cut(mut self, parent: &Shard, key: HashKey, now: Millis) -> Result<Self, LineageError> {
        self.close(parent.number, now);
        let HashRange { start, end } = parent.range;
        self.open(
            HashRange {
                start,
                end: key - 1,
            },
            parent,
            None,
            now,
        )?;
        self.open(HashRange { start: key, end }, parent, None, now)?;
        Ok(self)
    }

    fn join(mut self, a: &Shard, b: &Shard, now: Millis) -> Result<Self, LineageError> {
        let (low, high) = if a.range.start < b.range.start {
            (a, b)
        } else {
            (b, a)
        };
        if low.range.end.checked_add(1) != Some(high.range.start) {
            return Err(LineageError::NotAdjacent {
                left: a.number,
                right: b.number,
            });
        }
        self.close(a.number, now);
        self.close(b.number, now);
        self.open(
            HashRange {
                start: low.range.start,
                end: high.range.end,
            },
            a,
            Some(b),
            now,
        )?;
        Ok(self)
    }

    fn close(&mut self, number: u32, now: Millis) {
        if let Ok(at) = self.shards.binary_search_by_key(&number, |s| s.number) {
            let shard = &self.shards[at];
            // A clock set back must not close a shard before it was made.
            let closed_ms = Some(now.max(shard.created_ms));
            self.shards[at] = Arc::new(Shard {
                closed_ms,
                ..Shard::clone(shard)
            });
        }
    }

    fn open(
        &mut self,
        range: HashRange,
        parent: &Shard,
        adjacent: Option<&Shard>,
        now: Millis,
    ) -> Result<(), LineageError> {
        if self.shards.len() >= limits::SHARDS {
            return Err(LineageError::TooMany);
        }
        // The highest number is always listed: a closed shard has children above it.
        let number = self.shards.last().map_or(0, |s| s.number + 1);
        let above_s = parent.made_s.max(adjacent.map_or(0, |a| a.made_s)) + 1;
        let above_ms = parent.created_ms.max(adjacent.map_or(0, |a| a.created_ms));
        self.shards.push(Arc::new(Shard {
            number,
            parent: Some(parent.number),
            adjacent_parent: adjacent.map(|a| a.number),
            range,
            created_ms: now.max(above_ms),
            made_s: above_s.max(now / 1000),
            closed_ms: None,
            tail: Arc::new(Tail::new(1, 1)),
        }));
        Ok(())
    }
}
