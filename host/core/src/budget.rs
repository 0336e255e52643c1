//! The bounds of a pipeline, shared out among the shards that this worker has.
//!
//! Each bound is shared by the *dynamic threshold* rule: a shard may take more as long as it holds less than what is
//! free. One busy shard gets half of a bound, `n` busy ones get an `n + 1`th each, and something is always left for one that
//! wakes up.
//!
//! What a batch and a checkpoint cost, they cost whatever their size. So many busy shards take turns, with full batches and
//! one checkpoint for a turn, instead of all running batches of a few messages; in its turn, a shard may take what is left of
//! the span. The slower handlers are, the shorter are turns, so that they come soon: then the calls cost little beside the
//! messages.

use std::collections::{BTreeMap, VecDeque};

use crate::shard::ShardId;
use crate::time::Instant;
use crate::window::Usage;

mod pace;
mod room;
#[cfg(test)]
mod tests;

use pace::Pace;
pub use room::Grant;

/// The shared bounds of one pipeline in one worker, and who holds how much.
///
/// Who is refused waits in a line, and is named when its turn has come ([`next_reader`](Self::next_reader),
/// [`next_opener`](Self::next_opener)): nobody is woken to be refused again. Both are to be asked until they name nobody
/// after whatever was done here.
#[derive(Debug)]
pub struct Budget {
    limits: Usage,
    /// The most bytes that one read may bring.
    answer: u64,
    held: BTreeMap<ShardId, Held>,
    total: Usage,
    /// Shards that wait to read, first come first served.
    readers: VecDeque<ShardId>,
    /// Shards with records that wait for room: those that have their turn, then the others, each first come first served.
    in_turn: VecDeque<ShardId>,
    behind: VecDeque<ShardId>,
    /// What was held when nobody in either line could go on; nobody can while as much is.
    looked_at: Usage,
    /// User records that those may take who were named since something was done here.
    promised: u64,
    /// How soon room comes free.
    pace: Pace,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    window: Usage,
    /// User records that the window may be opening just now.
    room: u64,
    /// Bytes that a read which is under way may bring.
    reserved: u64,
    /// It is in `readers`.
    is_reader: bool,
    /// It is in `readers`, and was told that its turn has come.
    is_told: bool,
    /// It is in `in_turn` or in `behind`.
    is_opener: bool,
    /// It has its turn, in which it has admitted so many user records: it goes on ahead of those without one.
    turn: Option<u64>,
    /// Since when records of it wait and no room was given.
    waits_since: Option<Instant>,
    /// It is told to stop, and waits for nothing any more.
    is_stopped: bool,
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
            readers: VecDeque::new(),
            in_turn: VecDeque::new(),
            behind: VecDeque::new(),
            looked_at: Usage::default(),
            promised: 0,
            pace: Pace::new(),
        }
    }

    /// Other bounds from now on. What is held beyond a smaller one stays until it is done; nothing is added meanwhile.
    pub fn set_limits(&mut self, limits: Usage) {
        self.limits = limits;
        self.look_again();
    }

    /// Asks to read. If it is refused, the shard is in the line of those that wait to read.
    ///
    /// What a read may bring is reserved before it is asked for, so that bytes in flight never pass the limit (BP-1).
    pub fn reserve_read(&mut self, shard: &ShardId) -> bool {
        let free = self.free_bytes();
        let held = self.held.get(shard).copied().unwrap_or_default();
        // One that has become unfair does not hold up those behind it.
        let is_first = self
            .readers
            .iter()
            .take_while(|waiting| *waiting != shard)
            .all(|waiting| !self.may_be_read(waiting, free));
        let has_bytes = free >= self.answer || mutant!(ReadUnreserved);
        let may_be_read = self.may_be_read(shard, free) && !held.is_stopped;
        let is_granted = may_be_read && has_bytes && is_first;
        if is_granted {
            self.leave_readers(shard);
            self.total.bytes += self.answer;
        } else if held.is_stopped {
            return false;
        } else if !held.is_reader {
            self.readers.push_back(shard.clone());
        }
        let held = self.held.entry(shard.clone()).or_default();
        held.is_told = false;
        held.is_reader = !is_granted;
        if is_granted {
            held.reserved = self.answer;
        }
        is_granted
    }

    /// Who has waited to read the longest of those that may now. It is named once, and those behind it not before it has
    /// asked.
    pub fn next_reader(&mut self) -> Option<ShardId> {
        let free = self.free_bytes();
        if free < self.answer {
            return None;
        }
        let next = self
            .readers
            .iter()
            .find(|waiting| self.may_be_read(waiting, free))?;
        let held = self.held.get_mut(next)?;
        (!std::mem::replace(&mut held.is_told, true)).then(|| next.clone())
    }

    /// Whether it is a shard's turn if anybody's: its last answer has arrived, and it does not hold a fair share already,
    /// with which it leaves the room to those without.
    fn may_be_read(&self, shard: &ShardId, free: u64) -> bool {
        let held = self.held.get(shard).copied().unwrap_or_default();
        held.reserved == 0 && (held.window.bytes == 0 || held.window.bytes < free)
    }

    fn free_bytes(&self) -> u64 {
        self.limits.bytes.saturating_sub(self.total.bytes)
    }

    fn leave_readers(&mut self, shard: &ShardId) {
        if let Some(held) = self.held.get_mut(shard)
            && std::mem::take(&mut held.is_reader)
        {
            self.readers.retain(|waiting| waiting != shard);
        }
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

    /// A shard is told to stop: it reads and opens nothing more. A read that is under way brings nothing.
    pub fn stop(&mut self, shard: &ShardId) {
        self.end_read(shard);
        self.leave_readers(shard);
        self.leave_openers(shard);
        self.held.entry(shard.clone()).or_default().is_stopped = true;
        self.look_again();
    }

    fn hold(&mut self, shard: &ShardId, usage: Usage) {
        let held = self.held.entry(shard.clone()).or_default();
        let before = std::mem::replace(&mut held.window, usage);
        let room = std::mem::take(&mut held.room);
        if let Some(admitted) = held.turn.as_mut().filter(|_| room > 0) {
            *admitted += usage.records.saturating_sub(before.records);
        }
        self.pace.add(before.records.saturating_sub(usage.records));
        self.total.records = self.total.records - before.records - room + usage.records;
        self.total.span = self.total.span - before.span - room + usage.span;
        self.total.bytes = self.total.bytes - before.bytes + usage.bytes;
    }

    /// A shard is gone: all that it held is free.
    pub fn leave(&mut self, shard: &ShardId) {
        self.stop(shard);
        self.hold(shard, Usage::default());
        self.held.remove(shard);
    }

    /// What is held by all shards, reservations included.
    pub fn total(&self) -> Usage {
        self.total
    }
}
