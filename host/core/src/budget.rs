//! The bounds of a pipeline, shared out among the shards that this worker has.
//!
//! Each bound is shared by the *dynamic threshold* rule: a shard may take more as long as it holds less than what is
//! free. One busy shard gets half of a bound, `n` busy ones get an `n + 1`th each, and because something is always left,
//! a shard that wakes up never finds the room gone. No shard has to be counted or told of the others.

use std::collections::{BTreeMap, VecDeque};

use crate::shard::ShardId;
use crate::window::Usage;

#[cfg(test)]
mod tests;

/// The shared bounds of one pipeline in one worker, and who holds how much.
#[derive(Debug)]
pub struct Budget {
    limits: Usage,
    /// The most bytes that one read may bring.
    answer: u64,
    held: BTreeMap<ShardId, Held>,
    total: Usage,
    /// Shards that wait to read, first come first served.
    waiting: VecDeque<ShardId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    window: Usage,
    /// Bytes that a read which is under way may bring.
    reserved: u64,
}

impl Budget {
    /// Nothing is held. `answer` is what one read reserves; `limits.bytes` must be at least that.
    pub fn new(limits: Usage, answer: u64) -> Self {
        let span = if mutant!(SpanUnbounded) {
            u64::MAX / 4
        } else {
            limits.span
        };
        Self {
            limits: Usage { span, ..limits },
            answer,
            held: BTreeMap::new(),
            total: Usage::default(),
            waiting: VecDeque::new(),
        }
    }

    /// Other bounds from now on. What is held beyond a smaller one stays until it is done; nothing is added meanwhile.
    pub fn set_limits(&mut self, limits: Usage) {
        self.limits = limits;
    }

    /// Asks to read. If it is refused, the shard is in the queue, and asks again when something was given back.
    ///
    /// What a read may bring is reserved before it is asked for, so that bytes in flight never pass the limit (BP-1).
    pub fn reserve_read(&mut self, shard: &ShardId) -> bool {
        let free = self.limits.bytes.saturating_sub(self.total.bytes);
        let reserved = self.held.get(shard).map_or(0, |held| held.reserved);
        let is_fair = self.is_fair(shard, free);
        // One that has become unfair does not hold up those behind it.
        let is_first = self
            .waiting
            .iter()
            .take_while(|waiting| *waiting != shard)
            .all(|waiting| !self.is_fair(waiting, free));
        if !is_first || reserved > 0 || (free < self.answer && !mutant!(ReadUnreserved)) || !is_fair
        {
            if reserved == 0 && is_fair && !self.waiting.contains(shard) {
                self.waiting.push_back(shard.clone());
            }
            return false;
        }
        self.waiting.retain(|waiting| waiting != shard);
        self.total.bytes += self.answer;
        self.held.entry(shard.clone()).or_default().reserved = self.answer;
        true
    }

    /// A shard with a fair share already leaves the room to those without.
    fn is_fair(&self, shard: &ShardId, free: u64) -> bool {
        let held = self.held.get(shard).map_or(0, |held| held.window.bytes);
        held == 0 || held < free
    }

    /// A read is over: what it reserved is given back. Whatever it brought is told with [`settle`](Self::settle), in the
    /// same breath.
    pub fn end_read(&mut self, shard: &ShardId) {
        if mutant!(ReservationLost) {
            return;
        }
        if let Some(held) = self.held.get_mut(shard) {
            self.total.bytes -= std::mem::take(&mut held.reserved);
        }
    }

    /// Whether a shard may admit anything now.
    pub fn has_room(&self, shard: &ShardId) -> bool {
        let held = self.held.get(shard).copied().unwrap_or_default().window;
        share(self.limits.records, self.total.records, held.records) > 0
            && share(self.limits.span, self.total.span, held.span) > 0
    }

    /// How many user records a shard may admit now. They count as held until [`settle`](Self::settle) says otherwise.
    pub fn reserve_room(&mut self, shard: &ShardId) -> u64 {
        let held = self.held.entry(shard.clone()).or_default();
        let room = share(self.limits.records, self.total.records, held.window.records).min(share(
            self.limits.span,
            self.total.span,
            held.window.span,
        ));
        held.window.records += room;
        held.window.span += room;
        self.total.records += room;
        self.total.span += room;
        room
    }

    /// Says what a shard's window holds. True if that gave something back that another shard may wait for.
    pub fn settle(&mut self, shard: &ShardId, usage: Usage) -> bool {
        let held = self.held.entry(shard.clone()).or_default();
        let before = std::mem::replace(&mut held.window, usage);
        self.total.records = self.total.records - before.records + usage.records;
        self.total.span = self.total.span - before.span + usage.span;
        self.total.bytes = self.total.bytes - before.bytes + usage.bytes;
        usage.records < before.records || usage.span < before.span || usage.bytes < before.bytes
    }

    /// A shard is gone: all that it held is free.
    pub fn leave(&mut self, shard: &ShardId) {
        self.end_read(shard);
        self.settle(shard, Usage::default());
        self.held.remove(shard);
        self.waiting.retain(|waiting| waiting != shard);
    }

    /// What is held by all shards, reservations included.
    pub fn total(&self) -> Usage {
        self.total
    }
}

/// What a shard that holds `held` may take of a bound: half of the distance to what is free, at least one if it holds
/// nothing, so that it always gets on.
fn share(limit: u64, total: u64, held: u64) -> u64 {
    let free = limit.saturating_sub(total);
    if held >= free {
        u64::from(held == 0)
    } else {
        (free - held).div_ceil(2)
    }
}
