//! The bounds of a pipeline, shared out among the shards that this worker has.
//!
//! Each bound is shared by the *dynamic threshold* rule: a shard may take more as long as it holds less than what is
//! free. One busy shard gets half of a bound, `n` busy ones get an `n + 1`th each, and because something is always left,
//! a shard that wakes up never finds the room gone. No shard has to be counted or told of the others.
//!
//! Room for user records is given in parts that are worth it: what a batch costs, it costs whatever its size, so many busy
//! shards take turns with full batches instead of all running batches of a few messages. That is so while handlers are
//! quick, so that turns come soon. While they are slow, the calls cost little beside the messages, and all take what there is.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{
    HASTY_ROOM_DIVISOR, LEAST_ROOM_DIVISOR, LONG_PATIENCE, PACE_LOOK, TURN_COMES_WITHIN,
};
use crate::shard::ShardId;
use crate::time::Instant;
use crate::window::Usage;

#[cfg(test)]
mod tests;

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
    /// Shards with records that wait for room, first come first served.
    openers: VecDeque<ShardId>,
    /// What was held when nobody in `openers` could go on; nobody can while as much is.
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
    /// It is in `openers`.
    is_opener: bool,
    /// Since when records of it wait and no room was given.
    waits_since: Option<Instant>,
    /// It is told to stop, and waits for nothing any more.
    is_stopped: bool,
}

/// How soon room comes free, over all shards.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    since: Option<Instant>,
    /// User records that came free since then.
    freed: u64,
    /// What is worth a turn did not come free in time when this was looked at last.
    is_slow: bool,
}

impl Pace {
    /// Looks now and then whether so much comes free in time for a turn; tells whether that is news.
    fn look(&mut self, now: Instant, turn: u64) -> bool {
        let passed = now.since(*self.since.get_or_insert(now));
        if passed < PACE_LOOK {
            return false;
        }
        let turns = passed.as_nanos() / TURN_COMES_WITHIN.as_nanos();
        let was_slow = self.is_slow;
        *self = Self {
            since: Some(now),
            freed: 0,
            is_slow: u128::from(self.freed) < turns * u128::from(turn),
        };
        self.is_slow != was_slow
    }
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
            openers: VecDeque::new(),
            looked_at: Usage::default(),
            promised: 0,
            pace: Pace::default(),
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

    /// Who has waited for room the longest of those for whom there is enough, counting what it leaves to those behind it.
    /// It has left the line.
    pub fn next_opener(&mut self) -> Option<ShardId> {
        let is_as_before =
            self.total.records >= self.looked_at.records && self.total.span >= self.looked_at.span;
        if is_as_before {
            return None;
        }
        let at_most = self.room_of(Usage::default(), self.promised);
        // Usually there is too little for anybody, and nobody need be looked at.
        let is_any = at_most >= self.least_room(Usage::default());
        let next = is_any.then(|| self.first_opener()).flatten();
        let Some((index, room)) = next else {
            if std::mem::take(&mut self.promised) > 0 {
                // Whoever was named may want less. What it leaves is looked for when it has taken its part.
                self.look_again();
            } else {
                self.looked_at = self.total;
            }
            return None;
        };
        self.promised += room;
        let shard = self.openers.remove(index)?;
        if let Some(held) = self.held.get_mut(&shard) {
            held.is_opener = false;
        }
        Some(shard)
    }

    fn first_opener(&self) -> Option<(usize, u64)> {
        let mut waiting = self.openers.iter().enumerate();
        waiting.find_map(|(index, waiting)| {
            let held = self.held.get(waiting)?.window;
            let room = self.room_of(held, self.promised);
            (room >= self.least_room(held)).then_some((index, room))
        })
    }

    fn look_again(&mut self) {
        self.looked_at = Usage {
            records: u64::MAX,
            span: u64::MAX,
            bytes: u64::MAX,
        };
    }

    fn leave_openers(&mut self, shard: &ShardId) {
        if let Some(held) = self.held.get_mut(shard) {
            held.waits_since = None;
            if std::mem::take(&mut held.is_opener) {
                self.openers.retain(|waiting| waiting != shard);
            }
        }
    }

    /// What a shard may admit that holds so much, while as many user records are promised to others.
    fn room_of(&self, held: Usage, promised: u64) -> u64 {
        let Usage { records, span, .. } = self.total;
        share(self.limits.records, records + promised, held.records).min(share(
            self.limits.span,
            span + promised,
            held.span,
        ))
    }

    /// The least room that is given to a shard which holds so much.
    fn least_room(&self, held: Usage) -> u64 {
        if self.pace.is_slow {
            hasty_room(held)
        } else {
            self.worthwhile_room()
        }
    }

    /// What is worth a turn.
    fn worthwhile_room(&self) -> u64 {
        (self.limits.records.min(self.limits.span) / LEAST_ROOM_DIVISOR).max(1)
    }

    /// How many user records a shard may admit now, whose window holds so much. They count as held until
    /// [`settle`](Self::settle) says otherwise.
    pub fn reserve_room(&mut self, now: Instant, shard: &ShardId, usage: Usage) -> u64 {
        self.hold(shard, usage);
        let turn = self.worthwhile_room();
        if self.pace.look(now, turn) {
            // Whoever was refused may be given something now.
            self.look_again();
        }
        let room = self.room_of(usage, 0);
        let waits_since = self.held.get(shard).and_then(|held| held.waits_since);
        // Others are given turns, and what this one holds is in the way of its own.
        let has_waited_long = waits_since.is_some_and(|since| since + LONG_PATIENCE <= now);
        let least = if has_waited_long {
            hasty_room(usage)
        } else {
            self.least_room(usage)
        };
        if room < least {
            return 0;
        }
        if let Some(held) = self.held.get_mut(shard) {
            held.room = room;
            held.waits_since = None;
        }
        self.total.records += room;
        self.total.span += room;
        room
    }

    /// Says what a shard's window holds, and whether records in it wait for room: it is in the line of such shards then,
    /// and asks again by itself at the moment that is returned.
    pub fn settle(
        &mut self,
        now: Instant,
        shard: &ShardId,
        usage: Usage,
        wants_room: bool,
    ) -> Option<Instant> {
        self.hold(shard, usage);
        if !wants_room {
            self.leave_openers(shard);
            return None;
        }
        let held = self.held.get_mut(shard)?;
        held.waits_since.get_or_insert(now);
        if !std::mem::replace(&mut held.is_opener, true) {
            self.openers.push_back(shard.clone());
            self.looked_at.records = self.looked_at.records.max(self.total.records);
            self.looked_at.span = self.looked_at.span.max(self.total.span);
        }
        Some(now + PACE_LOOK)
    }

    fn hold(&mut self, shard: &ShardId, usage: Usage) {
        let held = self.held.entry(shard.clone()).or_default();
        let before = std::mem::replace(&mut held.window, usage);
        let room = std::mem::take(&mut held.room);
        self.pace.freed += before.records.saturating_sub(usage.records);
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

/// The least room that is given in haste.
fn hasty_room(held: Usage) -> u64 {
    (held.records / HASTY_ROOM_DIVISOR).max(1)
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
