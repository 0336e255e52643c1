//! Room for user records: how much, and whose turn it is.

use super::Budget;
use crate::limits::{
    CHECKPOINTS_PER_SPAN, HASTY_ROOM_DIVISOR, LEAST_RECORDS_DIVISOR, LEAST_SPAN_DIVISOR,
    LONG_PATIENCE, PACE_LOOK,
};
use crate::shard::ShardId;
use crate::time::Instant;
use crate::window::Usage;

/// What a shard gets that asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It may admit so many user records, at least one.
    Room(u64),
    /// Nothing, since too many user records are unresolved. It is told when that has changed.
    Wait,
    /// Nothing, since too much of the span is taken: a checkpoint of its own may help.
    SpanShort,
    /// Nothing, since others are first. A checkpoint is in place once what it was given is resolved.
    TurnOver,
}

impl Budget {
    /// How many user records a shard may admit now, whose window holds so much. They count as held until
    /// [`settle`](Self::settle) says otherwise.
    pub fn reserve_room(&mut self, now: Instant, shard: &ShardId, usage: Usage) -> Grant {
        self.hold(shard, usage);
        if self.pace.look(now, self.waiting()) {
            // Whoever was refused may be given something now.
            self.look_again();
        }
        let held = self.held.get(shard).copied().unwrap_or_default();
        // Others are given turns, and what this one holds is in the way of its own.
        let has_waited_long = held
            .waits_since
            .is_some_and(|since| since + LONG_PATIENCE <= now);
        let others = self.in_turn.len() + self.behind.len() - usize::from(held.is_opener);
        let takes_turns = others > 0 && !has_waited_long;
        let least = if has_waited_long {
            hasty_room(usage)
        } else {
            self.least_room(usage)
        };
        let left = self.left_of_turn(least);
        let has_turn = takes_turns && held.turn.is_some();
        let of_span = self.of_span(usage, 0, has_turn);
        let mut room = self.of_records(usage, 0).min(of_span);
        let Some(held) = self.held.get_mut(shard) else {
            return Grant::Wait;
        };
        if takes_turns {
            // One that has admitted nothing has nothing to give back.
            let goes_on = |admitted: &u64| *admitted == 0 || of_span >= least;
            let Some(left) = held.turn.filter(goes_on).and_then(left) else {
                if held.turn.take().is_some() {
                    self.leave_line(shard);
                }
                return Grant::TurnOver;
            };
            room = room.min(left);
        }
        if of_span < least {
            return Grant::SpanShort;
        }
        if room < least {
            return Grant::Wait;
        }
        held.room = room;
        held.waits_since = None;
        held.turn.get_or_insert(0);
        self.total.records += room;
        self.total.span += room;
        self.leave_line(shard);
        Grant::Room(room)
    }

    /// Says what a shard's window holds, and whether records in it wait for room: it is in line then, and asks again by
    /// itself at the moment that is returned.
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
        let left = self.left_of_turn(self.least_room(usage));
        let held = self.held.get_mut(shard)?;
        held.waits_since.get_or_insert(now);
        if !std::mem::replace(&mut held.is_opener, true) {
            held.turn = held.turn.filter(|admitted| left(*admitted).is_some());
            if held.turn.is_some() {
                self.in_turn.push_back(shard.clone());
                self.looked_at.records = self.looked_at.records.max(self.total.records);
                self.looked_at.span = self.looked_at.span.max(self.total.span);
            } else {
                self.behind.push_back(shard.clone());
                // It was refused for the sake of others, who may have no use for what there is.
                self.look_again();
            }
        }
        Some(now + PACE_LOOK)
    }

    /// Who is to go on of those for whom there is enough room, counting what it leaves to those behind it. It has left the
    /// line.
    pub fn next_opener(&mut self) -> Option<ShardId> {
        let is_as_before =
            self.total.records >= self.looked_at.records && self.total.span >= self.looked_at.span;
        if is_as_before {
            return None;
        }
        let at_most = self.of_records(Usage::default(), self.promised);
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
        let shard = match index.checked_sub(self.in_turn.len()) {
            None => self.in_turn.remove(index)?,
            Some(index) => self.behind.remove(index)?,
        };
        if let Some(held) = self.held.get_mut(&shard) {
            held.is_opener = false;
            held.turn.get_or_insert(0);
        }
        Some(shard)
    }

    fn first_opener(&self) -> Option<(usize, u64)> {
        let in_turn = self.in_turn.len();
        let mut waiting = self.in_turn.iter().chain(&self.behind).enumerate();
        waiting.find_map(|(index, waiting)| {
            let held = self.held.get(waiting)?.window;
            let has_turn = index < in_turn;
            let of_span = self.of_span(held, self.promised, has_turn);
            let room = self.of_records(held, self.promised).min(of_span);
            // What others need to come to the end of their turns is left to them.
            let is_early = !has_turn && in_turn > 0 && of_span < self.turn();
            (room >= self.least_room(held) && !is_early).then_some((index, room))
        })
    }

    fn waiting(&self) -> usize {
        self.in_turn.len() + self.behind.len()
    }

    pub(super) fn look_again(&mut self) {
        self.looked_at = Usage {
            records: u64::MAX,
            span: u64::MAX,
            bytes: u64::MAX,
        };
    }

    /// A shard waits for room no more.
    pub(super) fn leave_openers(&mut self, shard: &ShardId) {
        if let Some(held) = self.held.get_mut(shard) {
            held.waits_since = None;
        }
        self.leave_line(shard);
    }

    fn leave_line(&mut self, shard: &ShardId) {
        if let Some(held) = self.held.get_mut(shard)
            && std::mem::take(&mut held.is_opener)
        {
            self.in_turn.retain(|waiting| waiting != shard);
            self.behind.retain(|waiting| waiting != shard);
            if self.in_turn.is_empty() {
                // Those behind it may begin with less.
                self.look_again();
            }
        }
    }

    /// What a shard that holds so much may take of the bound on user records, while as many are promised to others.
    fn of_records(&self, held: Usage, promised: u64) -> u64 {
        let total = self.total.records + promised;
        share(self.limits.records, total, held.records)
    }

    /// The same of the span. A turn bounds what a shard uses, so whoever is in one may take what there is.
    fn of_span(&self, held: Usage, promised: u64, has_turn: bool) -> u64 {
        let total = self.total.span + promised;
        if has_turn && held.span < self.turn() {
            self.limits.span.saturating_sub(total)
        } else {
            share(self.limits.span, total, held.span)
        }
    }

    /// The least room that is given to a shard which holds so much: its part of what comes free soon, as far as that is
    /// worth a turn.
    fn least_room(&self, held: Usage) -> u64 {
        let Usage { records, span, .. } = self.limits;
        let worthwhile = (records / LEAST_RECORDS_DIVISOR).min(span / LEAST_SPAN_DIVISOR);
        self.pace
            .part()
            .max(hasty_room(held))
            .min(worthwhile.max(1))
    }

    /// Says what is left of the turn of a shard that has admitted so many user records in it; none: less than the least.
    fn left_of_turn(&self, least: u64) -> impl Fn(u64) -> Option<u64> + use<> {
        let turn = self.turn().max(least);
        move |admitted| turn.checked_sub(admitted).filter(|left| *left >= least)
    }

    /// How much of the span a shard may use before it leaves its turn to others.
    fn turn(&self) -> u64 {
        (self.limits.span / CHECKPOINTS_PER_SPAN).min(self.pace.part())
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
