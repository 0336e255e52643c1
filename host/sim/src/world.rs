//! The world: what is to happen next, and what happens.

mod calls;
mod consumer;
mod fetcher;
mod lane;
mod leases;
mod operations;

use std::rc::Rc;
use std::time::Duration;

use shardwright_core::{CoordinatorEvent, Routes, ShardListing};

use crate::pipeline::pipeline;
use crate::plan::{Operation, Plan};
use crate::process::{Input, Process};
use crate::queue::Queue;
use crate::scene::{Scene, nanos};
use crate::table::Table;
use crate::trace::Report;
use calls::TableCall;

/// Once faults have stopped, everything is done within this. A worker whose start goes wrong waits up to 10 s between
/// tries, rows are listed every 20 s with the longest lease, shards every minute; each generation of shards, of which
/// there are a handful, may wait for one of either.
pub const CALM_MAX: Duration = Duration::from_secs(400);

/// How often it is looked whether everything is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct World {
    scene: Scene,
    queue: Queue<Event>,
    processes: Vec<Process>,
    routes: Rc<Routes>,
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

/// Plays a plan to its end or to the first violation.
pub fn simulate(plan: &Plan, is_told: bool) -> Report {
    let mut world = World::new(plan.clone(), is_told);
    while world.step() {}
    world.scene.report()
}

impl World {
    fn new(plan: Plan, is_told: bool) -> Self {
        let mut queue = Queue::default();
        for (index, (at, _)) in plan.operations.iter().enumerate() {
            queue.push(at * 1_000_000, Event::Operation(index));
        }
        queue.push(nanos(plan.calm_at), Event::Calm);
        Self {
            routes: Rc::new(Routes::new(&pipeline(&plan.settings))),
            scene: Scene::new(plan, [2, 3], is_told),
            queue,
            processes: Vec::new(),
            is_over: false,
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.queue.push(at, event);
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.at(self.scene.now + nanos(time), event);
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
                self.queue.give_back(due.put_off(at));
                return true;
            }
        }
        let process = due.event.process();
        self.scene
            .move_on(due.at, process, || format!("{:?}", due.event));
        self.take_place(due.event);
        self.scene.trace.violation.is_none() && !self.is_over
    }

    fn take_place(&mut self, event: Event) {
        match event {
            Event::Operation(index) => self.operate(self.scene.plan.operations[index].1),
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
                self.scene
                    .tell(|| format!("p{process} has drained for too long and is killed"));
                self.kill(process);
            }
        }
    }

    fn calm_down(&mut self) {
        self.scene.calm_down();
        for process in &mut self.processes {
            process.paused_until = process.paused_until.min(self.scene.now);
        }
        let is_working = |process: &Process| process.is_alive && process.drain_limit.is_none();
        let is_bounded = self.scene.plan.settings.max_leases != usize::MAX;
        if is_bounded || !self.processes.iter().any(is_working) {
            self.operate(Operation::Start(99));
        }
        self.after(LOOK_EVERY, Event::Look);
    }

    /// DL-1 and LV-1: after faults have stopped everything is done, and the table says so, within a bounded time.
    fn look(&mut self) {
        let left = self
            .scene
            .ledger
            .what_is_left(&self.scene.stream, &self.scene.table);
        match left {
            None => {
                self.scene.tell(|| "everything is done".to_owned());
                self.is_over = true;
            }
            Some((invariant, what)) => {
                let since = self.scene.now - nanos(self.scene.plan.calm_at);
                if since > nanos(CALM_MAX) {
                    self.scene.violate(invariant, what);
                } else {
                    self.after(LOOK_EVERY, Event::Look);
                }
            }
        }
    }

    /// A dead process: what it asked for is carried out, and nobody hears of it.
    fn kill(&mut self, process: usize) {
        let dead = &mut self.processes[process];
        dead.is_alive = false;
        for shell in dead.shells.drain(..) {
            self.scene.ledger.lives[shell.life].is_over = true;
        }
    }
}
