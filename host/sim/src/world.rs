//! The world: what is to happen next, and what happens.

mod calls;
mod consumer;
mod fetcher;
mod lane;
mod leases;
mod operations;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use shardwright_core::{CoordinatorEvent, Incarnation, Routes, ShardListing};

use crate::checks::Broken;
use crate::dice::Dice;
use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::pipeline::{EPOCH_MS, pipeline};
use crate::plan::{Operation, Plan};
use crate::process::{Input, Process};
use crate::stream::Stream;
use crate::table::Table;
use crate::trace::{Report, Trace};
use calls::TableCall;
pub(crate) use lane::Turn;

/// Once faults have stopped, everything is done within this. A worker whose start goes wrong waits up to 10 s between
/// tries, rows are listed every 20 s with the longest lease, shards every minute; each generation of shards, of which
/// there are a handful, may wait for one of either.
pub const CALM_MAX: Duration = Duration::from_secs(400);

/// More events than this at one moment are a loop without end.
const EVENTS_AT_ONCE_MAX: u32 = 20_000;

/// How often it is looked whether everything is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct World<'a> {
    plan: &'a Plan,
    now: u64,
    queue: BinaryHeap<Due>,
    order: u64,
    at_once: u32,
    /// What faults are drawn from, and how long things take.
    luck: Dice,
    pub(crate) time: Dice,
    is_calm: bool,
    faults: u32,
    /// Until when table, stream and sinks are away.
    away_until: [u64; 4],
    stream: Stream,
    table: Table,
    processes: Vec<Process>,
    pub(crate) ledger: Ledger,
    routes: Rc<Routes>,
    trace: Trace,
    /// Leases that were taken after their owners had been asked for them in vain.
    stolen: Vec<Incarnation>,
    is_over: bool,
}

#[derive(Debug)]
enum Event {
    Operation(usize),
    Calm,
    Look,
    Table(Box<TableCall>),
    ScanEnds {
        process: usize,
        before: Table,
    },
    /// To a process's coordinator.
    Leases(usize, CoordinatorEvent),
    Wake(usize),
    ShardsListed {
        process: usize,
        which: ShardListing,
        before: Option<Vec<shardwright_core::Shard>>,
    },
    /// To a consumer, by its life.
    Consumer(usize, usize, Input),
    /// A stop in good order has taken too long.
    DrainLimit(usize),
}

impl Event {
    /// Whose it is: it waits while that process stands still, and is lost with it.
    fn process(&self) -> Option<usize> {
        match self {
            Self::Operation(_) | Self::Calm | Self::Look | Self::Table(_) => None,
            // The scan itself goes on elsewhere; its answer waits.
            Self::ScanEnds { process, .. }
            | Self::Leases(process, _)
            | Self::Wake(process)
            | Self::ShardsListed { process, .. }
            | Self::Consumer(process, ..)
            | Self::DrainLimit(process) => Some(*process),
        }
    }
}

#[derive(Debug)]
struct Due {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The soonest is the greatest, which is what the heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Plays a plan to its end or to the first violation.
pub fn simulate(plan: &Plan, is_told: bool) -> Report {
    let mut world = World::new(plan, is_told);
    while world.step() {}
    Report {
        violation: world.trace.violation.take(),
        hash: world.trace.hash(),
        events: world.trace.events,
        faults: world.faults,
        ended_at: Duration::from_nanos(world.now),
        lines: std::mem::take(&mut world.trace.lines),
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, is_told: bool) -> Self {
        let settings = &plan.settings;
        let mut world = Self {
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            at_once: 0,
            luck: Dice::new(plan.seed, 2),
            time: Dice::new(plan.seed, 3),
            is_calm: false,
            faults: 0,
            away_until: [0; 4],
            stream: Stream::new(
                settings.shards,
                settings.first_sequence,
                settings.is_padded,
                EPOCH_MS,
            ),
            table: Table::default(),
            processes: Vec::new(),
            ledger: Ledger::default(),
            routes: Rc::new(Routes::new(&pipeline(settings))),
            trace: Trace::new(is_told),
            stolen: Vec::new(),
            is_over: false,
        };
        for (index, (at, _)) in plan.operations.iter().enumerate() {
            world.at(at * 1_000_000, Event::Operation(index));
        }
        world.at(nanos(plan.calm_at), Event::Calm);
        world
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Due {
            at,
            order: self.order,
            event,
        });
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.at(self.now + nanos(time), event);
    }

    /// Whether a fault strikes now. A plan may spare it, which is how a failing history is made shorter.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
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

    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.trace.tell(self.now, line);
    }

    fn hold(&mut self, rule: Result<(), Broken>) {
        if let Err((invariant, what)) = rule {
            self.trace.violate(self.now, invariant, what);
        }
    }

    /// How long a message takes over the network.
    fn hop(&mut self) -> Duration {
        self.time
            .time(Duration::from_micros(200), Duration::from_millis(15))
    }

    fn step(&mut self) -> bool {
        let Some(due) = self.queue.pop() else {
            return false;
        };
        if let Some(process) = due.event.process() {
            let process = &self.processes[process];
            if !process.is_alive {
                return true;
            }
            if process.paused_until > due.at {
                let at = process.paused_until;
                self.queue.push(Due { at, ..due });
                return true;
            }
        }
        self.at_once = if due.at == self.now {
            self.at_once + 1
        } else {
            0
        };
        if self.at_once > EVENTS_AT_ONCE_MAX {
            self.trace.violate(
                self.now,
                "LV-1",
                format!("{:?} goes on for ever at one moment", due.event),
            );
        }
        self.now = due.at;
        self.trace.events += 1;
        self.trace.mix(due.at);
        self.trace
            .mix(due.event.process().map_or(0, |process| process as u64 + 1));
        self.take_place(due.event);
        self.trace.violation.is_none() && !self.is_over
    }

    fn take_place(&mut self, event: Event) {
        match event {
            Event::Operation(index) => self.operate(self.plan.operations[index].1),
            Event::Calm => self.calm_down(),
            Event::Look => self.look(),
            Event::Table(call) => self.reach_table(*call),
            Event::ScanEnds { process, before } => self.end_scan(process, &before),
            Event::Leases(process, event) => self.tell_leases(process, event),
            Event::Wake(process) => self.wake_leases(process),
            Event::ShardsListed {
                process,
                which,
                before,
            } => self.end_listing(process, which, before),
            Event::Consumer(process, life, input) => self.tell_consumer(process, life, input),
            Event::DrainLimit(process) => {
                self.tell(|| format!("p{process} has drained for too long and is killed"));
                self.kill(process);
            }
        }
    }

    fn calm_down(&mut self) {
        self.tell(|| "faults stop".to_owned());
        self.is_calm = true;
        self.away_until = [0; 4];
        for process in &mut self.processes {
            process.paused_until = process.paused_until.min(self.now);
        }
        let is_working = |process: &Process| process.is_alive && process.drain_limit.is_none();
        let is_bounded = self.plan.settings.max_leases != usize::MAX;
        if is_bounded || !self.processes.iter().any(is_working) {
            self.operate(Operation::Start(99));
        }
        self.after(LOOK_EVERY, Event::Look);
    }

    /// DL-1 and LV-1: after faults have stopped everything is done, and the table says so, within a bounded time.
    fn look(&mut self) {
        let left = self.ledger.what_is_left(&self.stream, &self.table);
        match left {
            None => {
                self.tell(|| "everything is done".to_owned());
                self.is_over = true;
            }
            Some((invariant, what)) => {
                let since = self.now - nanos(self.plan.calm_at);
                if since > nanos(CALM_MAX) {
                    self.trace.violate(self.now, invariant, what);
                } else {
                    self.after(LOOK_EVERY, Event::Look);
                }
            }
        }
    }

    pub(crate) fn has_breaker(&self) -> bool {
        self.plan.settings.breaker.is_some()
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm
    }

    pub(crate) fn emissions(&self) -> u16 {
        self.plan.settings.emissions
    }

    /// A dead process: what it asked for is carried out, and nobody hears of it.
    fn kill(&mut self, process: usize) {
        let dead = &mut self.processes[process];
        dead.is_alive = false;
        for shell in dead.shells.drain(..) {
            self.ledger.lives[shell.life].is_over = true;
        }
    }
}
