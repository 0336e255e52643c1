//! Making a failing history short enough for a person to read.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::faults::{Fault, Odds};
use crate::plan::{Operation, Plan, Start};
use crate::trace::Report;
use crate::world::simulate;

/// Plays that shrinking may take: each is a few milliseconds.
const PLAYS_MAX: u32 = 4_000;

/// Looks for a smaller plan that breaks the same invariant. Answers the smallest that was found and its report.
pub fn shrink(plan: Plan, invariant: &'static str) -> (Plan, Report) {
    let mut search = Search {
        best: plan,
        invariant,
        plays: 0,
    };
    search.cut_the_end();
    loop {
        let plays = search.plays;
        let is_smaller = search.drop_operations()
            | search.drop_faults()
            | search.simplify()
            | search.spare_faults();
        if !is_smaller || search.plays >= PLAYS_MAX || search.plays == plays {
            break;
        }
    }
    let report = simulate(&search.best, true);
    (search.best, report)
}

struct Search {
    best: Plan,
    invariant: &'static str,
    plays: u32,
}

impl Search {
    /// Keeps a plan if it fails in the same way.
    fn keep(&mut self, plan: Plan) -> bool {
        if self.plays >= PLAYS_MAX {
            return false;
        }
        self.plays += 1;
        let report = simulate(&plan, false);
        let is_same = report
            .violation
            .is_some_and(|violation| violation.invariant == self.invariant);
        if is_same {
            self.best = plan;
        }
        is_same
    }

    fn with(&self, change: impl FnOnce(&mut Plan)) -> Plan {
        let mut plan = self.best.clone();
        change(&mut plan);
        plan
    }

    /// What comes after the violation does not matter; the earlier faults stop, the better.
    fn cut_the_end(&mut self) {
        let ended_at = simulate(&self.best, false).ended_at;
        let last = ended_at.as_millis() as u64;
        let plan = self.with(|plan| plan.operations.retain(|(at, _)| *at <= last));
        self.keep(plan);
        for share in [8, 4, 2] {
            let plan = self.with(|plan| {
                plan.calm_at = ended_at.min(plan.calm_at) / share;
                let last = plan.calm_at.as_millis() as u64;
                plan.operations.retain(|(at, _)| *at <= last);
            });
            if self.keep(plan) {
                break;
            }
        }
    }

    fn drop_operations(&mut self) -> bool {
        let mut is_smaller = false;
        let mut size = self.best.operations.len().next_power_of_two();
        while size > 0 {
            let mut first = 0;
            while first < self.best.operations.len() {
                let last = (first + size).min(self.best.operations.len());
                let plan = self.with(|plan| {
                    plan.operations.drain(first..last);
                });
                if self.keep(plan) {
                    is_smaller = true;
                } else {
                    first += size;
                }
            }
            size /= 2;
        }
        for index in 0..self.best.operations.len() {
            while let Operation::Put(records @ 2..) = self.best.operations[index].1 {
                let halves = [records / 2, records - 1];
                let is_kept = halves.into_iter().any(|fewer| {
                    let plan = self.with(|plan| plan.operations[index].1 = Operation::Put(fewer));
                    self.keep(plan)
                });
                if !is_kept {
                    break;
                }
                is_smaller = true;
            }
        }
        is_smaller
    }

    fn drop_faults(&mut self) -> bool {
        if self.best.odds == Odds::default() {
            return false;
        }
        let plan = self.with(|plan| plan.odds = Odds::default());
        if self.keep(plan) {
            return true;
        }
        let mut is_smaller = false;
        for fault in Fault::ALL {
            if self.best.odds.of(fault) > 0 {
                let plan = self.with(|plan| plan.odds.set(fault, 0));
                is_smaller |= self.keep(plan);
            }
        }
        is_smaller
    }

    /// Each setting in turn is set to the plainest value with which it still fails.
    fn simplify(&mut self) -> bool {
        let changes: [fn(&mut Plan); 17] = [
            |plan| plan.settings.shards = 1,
            |plan| plan.settings.steps = 1,
            |plan| plan.settings.sinks = 1,
            |plan| plan.settings.emissions = 0,
            |plan| plan.settings.containers = 0,
            |plan| plan.settings.poison = 0,
            |plan| plan.settings.breaker = None,
            |plan| plan.settings.lanes = 1,
            |plan| plan.settings.batch = 1,
            |plan| plan.settings.keys = 1,
            |plan| plan.settings.drift = 0,
            |plan| plan.settings.first_sequence = 1,
            |plan| plan.settings.is_padded = false,
            |plan| plan.settings.start = Start::TrimHorizon,
            |plan| plan.settings.batch_wait = Duration::ZERO,
            |plan| plan.settings.answer = 8_000,
            |plan| plan.settings.in_flight_bytes = 8 * plan.settings.answer,
        ];
        let mut is_smaller = false;
        for change in changes {
            let plan = self.with(change);
            let is_news = format!("{:?}", plan.settings) != format!("{:?}", self.best.settings);
            is_smaller |= is_news && self.keep(plan);
        }
        is_smaller
    }

    /// Spares faults that struck, more and more of them at a time as long as that goes well.
    fn spare_faults(&mut self) -> bool {
        let before: BTreeSet<u32> = self.best.spared.clone();
        let mut number = 1;
        let mut size = 16;
        while number <= simulate(&self.best, false).faults {
            let plan = self.with(|plan| plan.spared.extend(number..number + size));
            if self.keep(plan) || size == 1 {
                number += size;
                size = 16;
            } else {
                size /= 4;
            }
            if self.plays >= PLAYS_MAX {
                break;
            }
        }
        self.best.spared != before
    }
}
