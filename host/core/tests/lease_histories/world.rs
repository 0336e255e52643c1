//! Worker processes, their clocks and calls on the way, around the model table.

use std::collections::BTreeMap;
use std::time::Duration;

use shardwright_core::{
    Coordinator, CoordinatorEffect, CoordinatorEvent, HashRange, InitialPosition, LeaseSettings,
    LeaseTiming, SequenceNumber, Shard, ShardId, Tenure, WorkerId,
};

use crate::process::{Call, Process, unanswered};
use crate::table::{Change, Table};

pub(crate) const FAILOVER: Duration = Duration::from_secs(10);

/// What may happen next. Numbers are indices of processes, of their calls, or of zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time goes on to the next deadline of anybody.
    Tick,
    /// A call reaches the table and its answer comes back.
    Do(usize, usize),
    /// It reaches the table, and its answer takes its time.
    Reach(usize, usize),
    /// Such an answer comes.
    Answer(usize, usize),
    /// It reaches the table, and its answer is lost.
    LoseAnswer(usize, usize),
    /// It is lost.
    LoseCall(usize, usize),
    /// It seems lost, but reaches the table later.
    Delay(usize, usize),
    /// One that seemed lost reaches the table.
    Land(usize),
    /// A process stands still for two and a half lease durations; the others go on undisturbed.
    Freeze(usize),
    /// A process dies and its successor, of the same name, starts.
    Restart(usize),
    /// A consumer moves its watermark.
    Progress(usize),
    /// A consumer reaches its shard's end.
    End(usize),
    /// Consumers that were told to stop have stopped.
    Stop(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) real: u64,
    pub(crate) table: Table,
    pub(crate) processes: Vec<Process>,
    /// Calls whose callers have given up on them.
    zombies: Vec<(usize, WorkerId, Call)>,
    pub(crate) shards: Vec<Shard>,
    started: u64,
    pub(crate) takes: u64,
    /// Takes from a process that was alive and had not let go.
    pub(crate) robberies: u64,
}

impl World {
    /// Processes of these names and clocks over a stream of these shards; `drift` is in parts per thousand.
    pub(crate) fn new(shards: Vec<Shard>, workers: &[(&str, i64)]) -> Self {
        let mut world = Self {
            real: 0,
            table: Table::default(),
            processes: Vec::new(),
            zombies: Vec::new(),
            shards,
            started: 0,
            takes: 0,
            robberies: 0,
        };
        for &(name, drift) in workers {
            world.start(WorkerId::new(name), drift);
        }
        world
    }

    pub(crate) fn start(&mut self, name: WorkerId, drift: i64) {
        self.started += 1;
        let number = self.processes.len();
        self.processes.push(Process {
            number,
            machine: Coordinator::new(LeaseSettings {
                worker: name.clone(),
                initial: InitialPosition::TrimHorizon,
                timing: LeaseTiming { failover: FAILOVER },
                max_leases: usize::MAX,
                seed: u128::from(self.started),
            }),
            name,
            drift,
            origin: self.started * 1_000_000_007,
            calls: Vec::new(),
            answers: Vec::new(),
            consumers: BTreeMap::new(),
            stopped: BTreeMap::new(),
            is_alive: true,
            is_frozen: false,
        });
        self.feed(number, CoordinatorEvent::Started);
    }

    /// Every step that can be taken now.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Tick];
        for process in self.processes.iter().filter(|process| process.is_alive) {
            let p = process.number;
            for call in 0..process.calls.len() {
                steps.extend([
                    Step::Do(p, call),
                    Step::Reach(p, call),
                    Step::LoseAnswer(p, call),
                    Step::LoseCall(p, call),
                    Step::Delay(p, call),
                ]);
            }
            steps.extend((0..process.answers.len()).map(|answer| Step::Answer(p, answer)));
            if process
                .consumers
                .values()
                .any(|consumer| consumer.is_told_to_stop)
            {
                steps.push(Step::Stop(p));
            }
            if !process.consumers.is_empty() {
                steps.extend([Step::Progress(p), Step::End(p)]);
            }
            steps.extend([Step::Freeze(p), Step::Restart(p)]);
        }
        steps.extend((0..self.zombies.len()).map(Step::Land));
        steps
    }

    pub(crate) fn take_step(&mut self, step: Step) {
        match step {
            Step::Tick => self.tick(),
            Step::Do(p, call) => {
                let call = self.processes[p].calls.remove(call);
                let answer = self.apply(p, &call);
                self.feed(p, answer);
            }
            Step::Reach(p, call) => {
                let call = self.processes[p].calls.remove(call);
                let answer = self.apply(p, &call);
                self.processes[p].answers.push(answer);
            }
            Step::Answer(p, answer) => {
                let answer = self.processes[p].answers.remove(answer);
                self.feed(p, answer);
            }
            Step::LoseAnswer(p, call) => {
                let call = self.processes[p].calls.remove(call);
                self.apply(p, &call);
                self.feed(p, unanswered(&call));
            }
            Step::LoseCall(p, call) => {
                let call = self.processes[p].calls.remove(call);
                self.feed(p, unanswered(&call));
            }
            Step::Delay(p, call) => {
                let call = self.processes[p].calls.remove(call);
                self.zombies
                    .push((p, self.processes[p].name.clone(), call.clone()));
                self.feed(p, unanswered(&call));
            }
            Step::Land(zombie) => {
                let (p, _, call) = self.zombies.remove(zombie);
                self.apply(p, &call);
            }
            Step::Freeze(p) => {
                self.processes[p].is_frozen = true;
                self.run_undisturbed(FAILOVER * 5 / 2);
                self.processes[p].is_frozen = false;
            }
            Step::Restart(p) => {
                let process = &mut self.processes[p];
                process.is_alive = false;
                process.consumers.clear();
                process.answers.clear();
                let (name, drift) = (process.name.clone(), process.drift);
                let calls = std::mem::take(&mut process.calls);
                self.zombies
                    .extend(calls.into_iter().map(|call| (p, name.clone(), call)));
                self.start(name, drift);
            }
            Step::Progress(p) => self.progress(p),
            Step::End(p) => self.end(p),
            Step::Stop(p) => self.stop_consumers(p),
        }
        self.check_one_dispatches();
    }

    /// Lets time pass while every call of whoever is not frozen is answered at once.
    pub(crate) fn run_undisturbed(&mut self, time: Duration) {
        let until = self.real + time.as_nanos() as u64;
        while self.real < until {
            while let Some(step) = self.next_step_on_the_way() {
                self.take_step(step);
            }
            match self.next_real() {
                Some(next) if next <= until => self.tick(),
                _ => self.real = until,
            }
        }
    }

    /// A call or an answer that only needs to arrive.
    pub(crate) fn next_call_on_the_way(&self) -> Option<Step> {
        self.running().find_map(|p| {
            let process = &self.processes[p];
            if process.answers.is_empty() {
                (!process.calls.is_empty()).then_some(Step::Do(p, 0))
            } else {
                Some(Step::Answer(p, 0))
            }
        })
    }

    /// What has been set going and only needs to arrive.
    fn next_step_on_the_way(&self) -> Option<Step> {
        self.running().find_map(|p| {
            let process = &self.processes[p];
            let mut consumers = process.consumers.values();
            if !process.answers.is_empty() {
                Some(Step::Answer(p, 0))
            } else if consumers.any(|consumer| consumer.is_told_to_stop) {
                Some(Step::Stop(p))
            } else {
                (!process.calls.is_empty()).then_some(Step::Do(p, 0))
            }
        })
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        let processes = self.processes.iter();
        processes
            .filter(|process| process.is_alive && !process.is_frozen)
            .map(|process| process.number)
    }

    fn next_real(&self) -> Option<u64> {
        let deadline = |p: usize| {
            let process = &self.processes[p];
            let at = process.machine.next_deadline()?;
            Some(process.real(at).max(self.real))
        };
        self.running().filter_map(deadline).min()
    }

    fn tick(&mut self) {
        let Some(next) = self.next_real() else {
            return;
        };
        self.real = next;
        let running: Vec<usize> = self.running().collect();
        for p in running {
            let process = &self.processes[p];
            let now = process.clock(self.real);
            if process.machine.next_deadline().is_some_and(|at| at <= now) {
                self.feed(p, CoordinatorEvent::Tick);
            }
        }
    }

    /// A call reaches the table.
    fn apply(&mut self, p: usize, call: &Call) -> CoordinatorEvent {
        let name = self.processes[p].name.clone();
        match call {
            Call::Take(seen, incarnation) => {
                let writes = self.table.log.len();
                let is_robbery = self.is_robbery(seen);
                let outcome = self.table.take(p, seen, &name, *incarnation);
                if self.table.log.len() != writes {
                    self.takes += 1;
                    self.robberies += u64::from(is_robbery);
                }
                let tenure = Tenure {
                    shard: seen.shard.clone(),
                    incarnation: *incarnation,
                };
                CoordinatorEvent::Taken {
                    tenure,
                    latest_ms: None,
                    outcome,
                }
            }
            Call::Announce(seen) => CoordinatorEvent::Announced {
                shard: seen.shard.clone(),
                outcome: Ok(self.table.announce(seen, &name)),
            },
            Call::Write(write) => {
                self.check_chain(p, write);
                self.check_release(p, write);
                let outcome = self.table.fenced_write(p, write);
                let tenure = write.held.tenure();
                if let Ok(row) = &outcome {
                    let entry = &self.table.log[&(tenure.shard.clone(), row.counter)];
                    let change = Change::Write(write.change.clone());
                    assert_eq!(
                        (entry.process, &entry.change),
                        (p, &change),
                        "LE-2: a process took another's write for its own"
                    );
                }
                CoordinatorEvent::Written { tenure, outcome }
            }
        }
    }

    pub(crate) fn feed(&mut self, p: usize, event: CoordinatorEvent) {
        let mut events = vec![event];
        while !events.is_empty() {
            let event = events.remove(0);
            let now = self.processes[p].clock(self.real);
            let mut effects = Vec::new();
            self.processes[p].machine.handle(now, event, &mut effects);
            for effect in effects {
                events.extend(self.carry_out(p, effect));
            }
        }
    }

    /// Reads and creates are answered at once; fenced calls are on their way.
    fn carry_out(&mut self, p: usize, effect: CoordinatorEffect) -> Option<CoordinatorEvent> {
        match effect {
            CoordinatorEffect::EnsureTable => Some(CoordinatorEvent::TableReady(Ok(()))),
            CoordinatorEffect::List => Some(CoordinatorEvent::Listed(Ok(self
                .table
                .rows
                .values()
                .cloned()
                .collect()))),
            CoordinatorEffect::ListShards(which) => Some(CoordinatorEvent::ShardsListed {
                which,
                outcome: Ok(self.shards.clone()),
            }),
            CoordinatorEffect::Create(lease) => Some(CoordinatorEvent::Created {
                outcome: Ok(self.table.create(&lease)),
                shard: lease.shard,
            }),
            CoordinatorEffect::Delete(shard) => {
                self.table.rows.remove(&shard);
                Some(CoordinatorEvent::Deleted {
                    shard,
                    outcome: Ok(()),
                })
            }
            CoordinatorEffect::Announce { seen } => {
                self.send(p, Call::Announce(seen));
                None
            }
            CoordinatorEffect::Take { seen, incarnation } => {
                self.send(p, Call::Take(seen, incarnation));
                None
            }
            CoordinatorEffect::Write(write) => {
                self.send(p, Call::Write(write));
                None
            }
            effect => self.tell_consumer(p, effect),
        }
    }

    fn send(&mut self, p: usize, call: Call) {
        let process = &mut self.processes[p];
        let answered = process.answers.iter().filter_map(|answer| match answer {
            CoordinatorEvent::Taken { tenure, .. } | CoordinatorEvent::Written { tenure, .. } => {
                Some(&tenure.shard)
            }
            _ => None,
        });
        let calls = process.calls.iter().filter(|call| call.is_fenced());
        let mut out = calls.map(Call::shard).chain(answered);
        assert!(
            !call.is_fenced() || out.all(|shard| shard != call.shard()),
            "one fenced write per lease at a time"
        );
        process.calls.push(call);
    }
}

/// A shard over all hash keys; it is closed if it has an ending number.
pub(crate) fn shard(id: &str, parents: &[&str], is_closed: bool) -> Shard {
    let number = |text: &str| SequenceNumber::parse(text).expect("a number");
    Shard {
        id: ShardId::from(id),
        parents: parents
            .iter()
            .map(|&parent| ShardId::from(parent))
            .collect(),
        hash_range: HashRange::FULL,
        starting_sequence: number(if parents.is_empty() { "1" } else { "500" }),
        ending_sequence: is_closed.then(|| number("499")),
    }
}
