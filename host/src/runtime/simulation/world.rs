//! The world of a history: what is to happen next, what is true, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use shardwright_core::{Instant, ShardId, WorkerId};
use shardwright_sim::{Clock, Dice, Operation, Plan, Queue, Scene, nanos};
use tokio::sync::watch;

use super::sinks::SinkTruth;
use super::time::Signal;
use super::turn::Turn;
use super::workers::Command;
use crate::runtime::ConsumerOrders;

/// A process that has stood still has heard of everything after this.
const RESUMES_WITHIN_NS: u64 = 2_000_000;

/// So are more looks at the clock than this without anything happening.
const LOOKS_MAX: u32 = 200_000;

pub(super) struct World {
    pub(super) scene: Scene,
    queue: Queue<(Option<usize>, Event)>,
    looks: u32,
    pub(super) processes: Vec<Process>,
    /// What the coordinator wants of each life, as its consumer hears it.
    pub(super) orders: Vec<watch::Receiver<ConsumerOrders>>,
    /// What each lane does, by process and `shard/lane`.
    pub(super) turns: BTreeMap<(usize, String), Turn>,
    /// The turn whose last call has just been answered: whatever does not go on with it ends it.
    pub(super) answered: Option<(usize, String)>,
    pub(super) sinks: Vec<SinkTruth>,
    /// By life and user record, the sinks that have got something of it, and the how-manieth thing that was.
    pub(super) delivered: BTreeMap<(usize, u32), Vec<(usize, u64)>>,
    pub(super) plugins: u64,
    /// What is to be done from outside, and who does it.
    pub(super) todo: VecDeque<Todo>,
    pub(super) player: Option<Waker>,
    pub(super) is_over: bool,
}

/// A worker process, as the world sees it.
pub(super) struct Process {
    pub(super) name: WorkerId,
    /// Another of its name was alive while it was.
    pub(super) has_twin: bool,
    pub(super) clock: Clock,
    /// Its wall clock is so many milliseconds off.
    pub(super) wall_off: i64,
    pub(super) dice: Dice,
    pub(super) is_alive: bool,
    pub(super) is_draining: bool,
    pub(super) paused_until: u64,
    /// Until when it reaches nobody.
    pub(super) cut_until: u64,
    /// Its consumers, as places in the ledger.
    pub(super) lives: BTreeMap<ShardId, usize>,
    /// The plugins of each of its generations, by step.
    pub(super) generations: Vec<Vec<u64>>,
}

/// What is to be done from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo {
    Operate(Operation),
    /// A process reaches nobody for so many milliseconds.
    Cut(u64, u64),
    /// A stop in good order has taken too long; whether it began when faults had stopped.
    DrainLimit(usize, bool),
    /// A process hears of something.
    Command(usize, Command),
    Calm,
    Look,
}

type Act = Box<dyn FnOnce(&mut World) + Send>;

pub(super) enum Event {
    Wake(Arc<Signal>),
    /// A call reaches its target.
    Reach(Act),
    Do(Todo),
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.scene.now)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(plan: Plan, is_told: bool) -> Self {
        let operations = plan.operations.clone();
        let calm_at = nanos(plan.calm_at);
        let mut world = Self {
            scene: Scene::new(plan, [12, 13], is_told),
            queue: Queue::default(),
            looks: 0,
            processes: Vec::new(),
            orders: Vec::new(),
            turns: BTreeMap::new(),
            answered: None,
            sinks: Vec::new(),
            delivered: BTreeMap::new(),
            plugins: 0,
            todo: VecDeque::new(),
            player: None,
            is_over: false,
        };
        for (at, operation) in operations {
            world.at(at * 1_000_000, None, Event::Do(Todo::Operate(operation)));
        }
        world.at(calm_at, None, Event::Do(Todo::Calm));
        world
    }

    pub(super) fn at(&mut self, at: u64, process: Option<usize>, event: Event) {
        self.queue.push(at, (process, event));
    }

    pub(super) fn after(&mut self, time: Duration, process: Option<usize>, event: Event) {
        self.at(self.scene.now + nanos(time), process, event);
    }

    /// Nothing goes on: time does, to whatever is next. Answers who is to be woken.
    pub(super) fn advance(&mut self) -> Option<Waker> {
        self.looks = 0;
        while self.scene.trace.violation.is_none() && !self.is_over {
            let Some(due) = self.queue.pop() else {
                self.scene
                    .violate("LV-1", "nothing can happen any more".to_owned());
                break;
            };
            let (process, event) = &due.event;
            if let Event::Wake(signal) = event
                && Arc::strong_count(signal) == 1
            {
                // Nobody waits for it any more.
                continue;
            }
            if let Some(process) = process.map(|process| &self.processes[process]) {
                if !process.is_alive {
                    continue;
                }
                if process.paused_until > due.at {
                    // Much is due when it goes on, in whatever order.
                    let at = process.paused_until + self.scene.time.below(RESUMES_WITHIN_NS);
                    self.queue.give_back(due.put_off(at));
                    continue;
                }
            }
            self.scene
                .move_on(due.at, *process, || "something".to_owned());
            match due.event.1 {
                Event::Wake(signal) => {
                    if let Some(waker) = signal.come() {
                        return Some(waker);
                    }
                }
                Event::Reach(act) => act(self),
                Event::Do(todo) => {
                    self.todo.push_back(todo);
                    return self.player.take();
                }
            }
        }
        self.is_over = true;
        self.player.take()
    }

    /// A process looks at its clock.
    pub(super) fn look(&mut self, process: usize) -> Instant {
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            self.scene
                .violate("LV-1", format!("p{process} goes round in a circle"));
            // It would do so for ever.
            panic!("p{process} goes round in a circle");
        }
        self.processes[process].clock.at(self.scene.now)
    }

    /// A process is gone: what it asked for is carried out, and nobody hears of it.
    pub(super) fn bury_process(&mut self, process: usize) {
        self.processes[process].is_alive = false;
        let lives = std::mem::take(&mut self.processes[process].lives);
        for life in lives.into_values() {
            self.scene.ledger.lives[life].is_over = true;
        }
    }
}
