//! What the workers of a history act in: stream and table, what is true of them, and what goes wrong.
//!
//! Both simulations play it, that of core's machines and that of the host's shells: a fault, a rule or a habit of a plugin
//! that is added here is in both.

use std::time::Duration;

use shardwright_core::Incarnation;

use crate::checks::Broken;
use crate::dice::Dice;
use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::pipeline::EPOCH_MS;
use crate::plan::{Plan, Target};
use crate::stream::Stream;
use crate::table::Table;
use crate::trace::{Report, Trace};

mod handler;
mod leases;
mod lives;
mod outside;
mod reads;

pub use handler::{Answered, Called, Hands, emission_of};

/// More events than this at one moment are a loop without end.
const EVENTS_AT_ONCE_MAX: u32 = 20_000;

/// A virtual time, in nanoseconds.
pub fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// What the workers of a history act in.
#[derive(Debug)]
pub struct Scene {
    /// What the seed has drawn.
    pub plan: Plan,
    /// Nanoseconds from the world's beginning.
    pub now: u64,
    at_once: u32,
    /// What faults are drawn from.
    luck: Dice,
    /// What decides how long things take, and all that is no fault.
    pub time: Dice,
    /// Faults have stopped.
    pub is_calm: bool,
    faults: u32,
    /// Until when each target is away.
    pub away_until: [u64; Target::ALL.len()],
    /// The stream.
    pub stream: Stream,
    /// The lease table.
    pub table: Table,
    /// What is true.
    pub ledger: Ledger,
    /// Where it is told.
    pub trace: Trace,
    /// Leases that were taken after their owners had been asked for them in vain.
    pub stolen: Vec<Incarnation>,
}

impl Scene {
    /// The beginning of a history. The dice are drawn from the plan's seed, as numbers of their own.
    pub fn new(plan: Plan, dice: [u64; 2], is_told: bool) -> Self {
        let settings = &plan.settings;
        let stream = Stream::new(
            settings.shards,
            settings.first_sequence,
            settings.is_padded,
            EPOCH_MS,
        );
        let [luck, time] = dice.map(|number| Dice::new(plan.seed, number));
        Self {
            plan,
            now: 0,
            at_once: 0,
            luck,
            time,
            is_calm: false,
            faults: 0,
            away_until: [0; Target::ALL.len()],
            stream,
            table: Table::default(),
            ledger: Ledger::default(),
            trace: Trace::new(is_told),
            stolen: Vec::new(),
        }
    }

    /// Time moves on to an event, which may be a process's. It is a violation if it never does.
    pub fn move_on(&mut self, at: u64, process: Option<usize>, event: impl FnOnce() -> String) {
        self.at_once = if at == self.now { self.at_once + 1 } else { 0 };
        if self.at_once > EVENTS_AT_ONCE_MAX {
            self.violate(
                "LV-1",
                format!("{} goes on for ever at one moment", event()),
            );
        }
        self.now = at;
        self.trace.events += 1;
        self.trace.mix(at);
        self.trace
            .mix(process.map_or(0, |process| process as u64 + 1));
    }

    /// Whether a fault strikes now. A plan may spare it, which is how a failing history is made shorter.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let odds = self.plan.odds.of(fault);
        if odds == 0 || self.is_calm || !self.luck.strikes(odds) {
            return false;
        }
        self.faults += 1;
        if self.plan.spared.contains(&self.faults) {
            return false;
        }
        self.trace.mix(fault as u64);
        let number = self.faults;
        self.tell(|| format!("  fault {number}: {fault:?}"));
        true
    }

    /// Whether a call is refused at once.
    pub fn is_refused(&mut self, fault: Fault, target: Target) -> bool {
        self.is_away(target) || self.strikes(fault)
    }

    /// Whether nobody reaches it now.
    pub fn is_away(&self, target: Target) -> bool {
        self.now < self.away_until[target as usize]
    }

    /// Faults stop, and everything is back.
    pub fn calm_down(&mut self) {
        self.tell(|| "faults stop".to_owned());
        self.is_calm = true;
        self.away_until = [0; Target::ALL.len()];
    }

    /// How long a message takes over the network.
    pub fn hop(&mut self) -> Duration {
        let (least, most) = (Duration::from_micros(200), Duration::from_millis(15));
        self.time.time(least, most)
    }

    /// Tells of an event, if that was asked for.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        self.trace.tell(self.now, line);
    }

    /// An invariant does not hold.
    pub fn violate(&mut self, invariant: &'static str, what: String) {
        self.trace.violate(self.now, invariant, what);
    }

    /// What a checker says.
    pub fn hold(&mut self, rule: Result<(), Broken>) {
        if let Err((invariant, what)) = rule {
            self.violate(invariant, what);
        }
    }

    /// What came of it all.
    pub fn report(&mut self) -> Report {
        Report {
            violation: self.trace.violation.take(),
            hash: self.trace.hash(),
            events: self.trace.events,
            faults: self.faults,
            ended_at: Duration::from_nanos(self.now),
            lines: std::mem::take(&mut self.trace.lines),
        }
    }
}
