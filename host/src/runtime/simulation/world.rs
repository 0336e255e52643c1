//! The world of a history: what is to happen next, what is true, and what goes wrong.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use shardwright_core::{Incarnation, Instant, ShardId, WorkerId};
use shardwright_sim::{
    Broken, Clock, Dice, EPOCH_MS, Fault, Ledger, Operation, Outside, Plan, Stream, Table, Target,
    Trace,
};
use tokio::sync::watch;

use super::sinks::SinkTruth;
use super::time::Signal;
use super::turn::Turn;
use super::workers::Command;
use crate::runtime::ConsumerOrders;

/// More events than this at one moment are a loop without end.
const EVENTS_AT_ONCE_MAX: u32 = 20_000;

/// A process that has stood still has heard of everything after this.
const RESUMES_WITHIN_NS: u64 = 2_000_000;

/// So are more looks at the clock than this without anything happening.
const LOOKS_MAX: u32 = 200_000;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    queue: BinaryHeap<Due>,
    order: u64,
    at_once: u32,
    looks: u32,
    /// What faults are drawn from, and how long things take.
    luck: Dice,
    pub(super) time: Dice,
    pub(super) is_calm: bool,
    pub(super) faults: u32,
    /// Until when table, stream and sinks are away.
    pub(super) away_until: [u64; 4],
    pub(super) stream: Stream,
    pub(super) table: Table,
    pub(super) ledger: Ledger,
    pub(super) trace: Trace,
    pub(super) processes: Vec<Process>,
    /// What the coordinator wants of each life, as its consumer hears it.
    pub(super) orders: Vec<watch::Receiver<ConsumerOrders>>,
    /// Leases that were taken after their owners had been asked for them in vain.
    pub(super) stolen: Vec<Incarnation>,
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

struct Due {
    at: u64,
    order: u64,
    /// Whose it is: it waits while that process stands still, and is lost with it.
    process: Option<usize>,
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

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl World {
    pub(super) fn new(plan: Plan, is_told: bool) -> Self {
        let settings = &plan.settings;
        let stream = Stream::new(
            settings.shards,
            settings.first_sequence,
            settings.is_padded,
            EPOCH_MS,
        );
        let mut world = Self {
            luck: Dice::new(plan.seed, 12),
            time: Dice::new(plan.seed, 13),
            stream,
            plan,
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            at_once: 0,
            looks: 0,
            is_calm: false,
            faults: 0,
            away_until: [0; 4],
            table: Table::default(),
            ledger: Ledger::default(),
            trace: Trace::new(is_told),
            processes: Vec::new(),
            orders: Vec::new(),
            stolen: Vec::new(),
            turns: BTreeMap::new(),
            answered: None,
            sinks: Vec::new(),
            delivered: BTreeMap::new(),
            plugins: 0,
            todo: VecDeque::new(),
            player: None,
            is_over: false,
        };
        for (at, operation) in world.plan.operations.clone() {
            world.at(at * 1_000_000, None, Event::Do(Todo::Operate(operation)));
        }
        let calm_at = nanos(world.plan.calm_at);
        world.at(calm_at, None, Event::Do(Todo::Calm));
        world
    }

    pub(super) fn at(&mut self, at: u64, process: Option<usize>, event: Event) {
        self.order += 1;
        self.queue.push(Due {
            at,
            order: self.order,
            process,
            event,
        });
    }

    pub(super) fn after(&mut self, time: Duration, process: Option<usize>, event: Event) {
        self.at(self.now + nanos(time), process, event);
    }

    /// Nothing goes on: time does, to whatever is next. Answers who is to be woken.
    pub(super) fn advance(&mut self) -> Option<Waker> {
        self.looks = 0;
        while self.trace.violation.is_none() && !self.is_over {
            let Some(due) = self.queue.pop() else {
                self.violate("LV-1", "nothing can happen any more".to_owned());
                break;
            };
            if let Event::Wake(signal) = &due.event
                && Arc::strong_count(signal) == 1
            {
                // Nobody waits for it any more.
                continue;
            }
            if let Some(process) = due.process.map(|process| &self.processes[process]) {
                if !process.is_alive {
                    continue;
                }
                if process.paused_until > due.at {
                    // Much is due when it goes on, in whatever order.
                    let at = process.paused_until + self.time.below(RESUMES_WITHIN_NS);
                    self.queue.push(Due { at, ..due });
                    continue;
                }
            }
            self.at_once = if due.at == self.now {
                self.at_once + 1
            } else {
                0
            };
            if self.at_once > EVENTS_AT_ONCE_MAX {
                self.violate(
                    "LV-1",
                    "something goes on for ever at one moment".to_owned(),
                );
                break;
            }
            self.now = due.at;
            self.trace.events += 1;
            self.trace.mix(due.at);
            self.trace
                .mix(due.process.map_or(0, |process| process as u64 + 1));
            match due.event {
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
            self.violate("LV-1", format!("p{process} goes round in a circle"));
            // It would do so for ever.
            panic!("p{process} goes round in a circle");
        }
        self.processes[process].clock.at(self.now)
    }

    /// Whether a fault strikes now.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let odds = self.plan.odds.of(fault);
        if odds == 0 || self.is_calm || !self.luck.strikes(odds) {
            return false;
        }
        self.faults += 1;
        self.trace.mix(fault as u64);
        let number = self.faults;
        self.tell(|| format!("  fault {number}: {fault:?}"));
        true
    }

    /// Whether a call is refused at once.
    pub(super) fn is_refused(&mut self, fault: Fault, target: Target) -> bool {
        self.is_away(target) || self.strikes(fault)
    }

    pub(super) fn is_away(&self, target: Target) -> bool {
        self.now < self.away_until[target as usize]
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        self.trace.tell(self.now, line);
    }

    pub(super) fn violate(&mut self, invariant: &'static str, what: String) {
        self.trace.violate(self.now, invariant, what);
    }

    pub(super) fn hold(&mut self, rule: Result<(), Broken>) {
        if let Err((invariant, what)) = rule {
            self.violate(invariant, what);
        }
    }

    /// How long a message takes over the network.
    pub(super) fn hop(&mut self) -> Duration {
        let (least, most) = (Duration::from_micros(200), Duration::from_millis(15));
        self.time.time(least, most)
    }

    pub(super) fn outside(&mut self) -> (Outside<'_>, &Table) {
        let outside = Outside {
            settings: &self.plan.settings,
            now: self.now,
            stream: &mut self.stream,
            ledger: &mut self.ledger,
            dice: &mut self.time,
            trace: &mut self.trace,
        };
        (outside, &self.table)
    }

    /// A process is gone: what it asked for is carried out, and nobody hears of it.
    pub(super) fn bury_process(&mut self, process: usize) {
        self.processes[process].is_alive = false;
        let lives = std::mem::take(&mut self.processes[process].lives);
        for life in lives.into_values() {
            self.ledger.lives[life].is_over = true;
        }
    }
}
