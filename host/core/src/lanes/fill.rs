//! What a lane runs next, and when.

use std::collections::VecDeque;

use super::BatchBounds;
use super::lane::{Lane, Parked, Queued, Wake};
use crate::limits::PROBE_RECORDS;
use crate::time::Instant;

impl Lane {
    /// Gives parked keys their turn whose time has come, first the oldest messages, and at most so many.
    pub(super) fn wake(&mut self, now: Instant, most: usize) {
        if self.parked.is_empty() {
            return;
        }
        let is_due = |parked: &&mut Parked| matches!(parked.wake, Wake::At(at) if at <= now);
        let due = self.parked.values_mut().filter(is_due);
        let mut due: Vec<Queued> = due.map(|parked| parked.first).collect();
        due.sort_unstable_by_key(|queued| queued.slot);
        due.truncate(most);
        for queued in &due {
            if let Some(parked) = self.parked.get_mut(&queued.key) {
                parked.wake = Wake::Running;
            }
        }
        if !due.is_empty() {
            self.alone.push_back(due.into());
        }
    }

    pub(super) fn fill_alone(&mut self, bounds: BatchBounds, run: &mut Vec<Queued>) {
        while run.is_empty() {
            let Some(mut set) = self.alone.pop_front() else {
                return;
            };
            self.fill(&mut set, bounds, run);
            if !set.is_empty() {
                self.alone.push_front(set);
            }
        }
    }

    /// A small batch of what would run next; of keys that are parked only when there is nothing else. Whatever was tried the
    /// longest time ago, or never, comes before what has just failed.
    pub(super) fn fill_probe(&mut self, now: Instant, bounds: BatchBounds, run: &mut Vec<Queued>) {
        let bounds = BatchBounds {
            records: bounds.records.min(PROBE_RECORDS),
            ..bounds
        };
        self.fill_alone(bounds, run);
        if run.is_empty() {
            self.fill_ready(now, true, bounds, run);
        }
        if run.is_empty() {
            self.wake(now, bounds.records);
            self.fill_alone(bounds, run);
        }
    }

    /// Moves messages to a run until that is full; those of a parked key go to it instead.
    fn fill(&mut self, from: &mut VecDeque<Queued>, bounds: BatchBounds, run: &mut Vec<Queued>) {
        let mut bytes = 0;
        while run.len() < bounds.records {
            let Some(&queued) = from.front() else {
                return;
            };
            if !run.is_empty() && bytes + u64::from(queued.bytes) > bounds.bytes {
                return;
            }
            from.pop_front();
            if !self.park_behind(queued) {
                bytes += u64::from(queued.bytes);
                run.push(queued);
            }
        }
    }

    pub(super) fn fill_ready(
        &mut self,
        now: Instant,
        hurry: bool,
        bounds: BatchBounds,
        run: &mut Vec<Queued>,
    ) {
        let is_due = hurry || self.since.is_some_and(|since| since + bounds.wait <= now);
        if !is_due && !self.is_full(bounds) {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        self.fill(&mut ready, bounds, run);
        self.ready = ready;
        self.since = if self.ready.is_empty() {
            None
        } else {
            Some(now)
        };
    }

    /// Whether a batch of what is ready would be full. It may look at as many messages as a batch has.
    fn is_full(&self, bounds: BatchBounds) -> bool {
        if self.ready.len() >= bounds.records {
            return true;
        }
        let bytes: u64 = self
            .ready
            .iter()
            .map(|queued| u64::from(queued.bytes))
            .sum();
        bytes >= bounds.bytes
    }

    /// When there is something to make a probe of.
    pub(super) fn probe_deadline(&self) -> Option<Instant> {
        if !self.alone.is_empty() || !self.ready.is_empty() {
            return Some(Instant::default());
        }
        self.next_wake()
    }

    fn next_wake(&self) -> Option<Instant> {
        let wakes = self.parked.values().filter_map(|parked| match parked.wake {
            Wake::At(at) => Some(at),
            Wake::Running | Wake::DeadLetter => None,
        });
        wakes.min()
    }

    pub(super) fn next_deadline(&self, bounds: BatchBounds) -> Option<Instant> {
        let wait = self
            .since
            .filter(|_| !self.ready.is_empty())
            .map(|since| since + bounds.wait);
        let alone = (!self.alone.is_empty()).then_some(Instant::default());
        [self.next_wake(), wait, alone].into_iter().flatten().min()
    }
}
