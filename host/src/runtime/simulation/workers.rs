//! Worker processes: the shells as the app wires them, and what is done to them.

use std::sync::Arc;

use shardwright_core::pipeline::Pipeline;
use shardwright_core::{Checkpoint, ColumnsWanted, ConsumerStart, StopReason, WorkerId};
use shardwright_sim::{Clock, Dice, Operation, pipeline as pipeline_of};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::handler::SimPlugin;
use super::sinks::{SimDeadLetters, SimSink, SinkTruth};
use super::stream::SimStream;
use super::table::SimTable;
use super::time::{Sim, SimClock};
use super::world::{Event, Process, Todo, World};
use crate::limits::DRAIN_LIMIT;
use crate::ports::{Description, PreparedPlugin, Sink};
use crate::runtime::lease_events::{ConsumerLease, StartConsumer};
use crate::runtime::{
    ConsumerOrders, GenerationParts, PipelineEnd, PipelineParts, RunningPipeline,
};

/// What is done to a running pipeline from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Drain,
    Abort,
    Reload,
}

/// By process, whoever does it.
pub(super) type Commands = Vec<mpsc::UnboundedSender<Command>>;

/// Starts a process of this name.
pub(super) fn start(sim: &Sim, commands: &mut Commands, name: u64) {
    let process = sim.world().begin_process(name);
    let (command, commanded) = mpsc::unbounded_channel();
    commands.push(command);
    let clock = SimClock {
        sim: sim.clone(),
        process,
    };
    let source = SimStream {
        sim: sim.clone(),
        process,
    };
    let table = SimTable {
        sim: sim.clone(),
        process,
    };
    let parts = PipelineParts {
        source: Arc::new(source),
        generation: generation(sim, process, None),
        io: Handle::current(),
        guests: Handle::current(),
        clock: Arc::new(clock),
    };
    let worker = sim.world().processes[process].name.clone();
    let first = parts.generation.clone();
    let watched = sim.clone();
    let running = RunningPipeline::start_watched(parts, Arc::new(table), worker, |inner| {
        Box::new(Watched {
            sim: watched,
            process,
            inner,
        })
    });
    tokio::spawn(supervise(sim.clone(), process, running, first, commanded));
}

async fn supervise(
    sim: Sim,
    process: usize,
    mut running: RunningPipeline,
    mut newest: GenerationParts,
    mut commanded: mpsc::UnboundedReceiver<Command>,
) {
    loop {
        let command = tokio::select! {
            biased;
            Some(command) = commanded.recv() => command,
            ended = running.ended() => return sim.world().ended(process, ended),
        };
        match command {
            Command::Drain => running.drain(),
            Command::Abort => return running.abort(),
            Command::Reload => {
                newest = generation(&sim, process, Some(&newest));
                running.swap(newest.clone());
            }
        }
    }
}

/// A generation: the first, or one that differs from the one before in plugins, sinks, the number of lanes, or all of it.
fn generation(sim: &Sim, process: usize, before: Option<&GenerationParts>) -> GenerationParts {
    let mut world = sim.world();
    let settings = world.scene.plan.settings.clone();
    let mut pipeline = pipeline_of(&settings);
    if before.is_some() && world.scene.time.strikes(400) {
        pipeline.flow.lanes = world.scene.time.between(1, 4) as u16;
    } else if let Some(before) = before {
        pipeline.flow.lanes = before.pipeline.flow.lanes;
    }
    let steps = settings.steps;
    let mut plugins: Vec<Arc<dyn PreparedPlugin>> = Vec::with_capacity(steps);
    let mut numbers = Vec::with_capacity(steps);
    for step in 0..steps {
        let kept = before.filter(|_| world.scene.time.strikes(300));
        if let Some(before) = kept {
            plugins.push(Arc::clone(&before.plugins[step]));
            numbers.push(
                world.processes[process]
                    .generations
                    .last()
                    .map_or(0, |last| last[step]),
            );
            continue;
        }
        world.plugins += 1;
        let number = world.plugins;
        numbers.push(number);
        plugins.push(Arc::new(SimPlugin {
            sim: sim.clone(),
            process,
            step,
            number,
            description: Description {
                name: format!("plugin-{number}"),
                version: String::new(),
                config_schema: None,
                outputs: None,
                columns: ColumnsWanted::ALL,
                handler: "batch-handler",
            },
        }));
    }
    world.processes[process].generations.push(numbers);
    let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
    for place in 0..settings.sinks as usize {
        let kept = before.filter(|_| world.scene.time.strikes(600));
        if let Some(before) = kept {
            sinks.push(Arc::clone(&before.sinks[place]));
            continue;
        }
        let number = world.sinks.len();
        world.sinks.push(SinkTruth::default());
        sinks.push(Arc::new(SimSink {
            sim: sim.clone(),
            process,
            number,
        }));
    }
    let lanes = pipeline.flow.lanes;
    world
        .scene
        .tell(|| format!("p{process} gets a generation of {lanes} lanes"));
    let pipeline: Arc<Pipeline> = Arc::new(pipeline);
    GenerationParts {
        pipeline,
        plugins,
        sinks,
        dead_letters: Arc::new(SimDeadLetters {
            sim: sim.clone(),
            process,
        }),
    }
}

/// Tells the world of every consumer before it starts.
struct Watched {
    sim: Sim,
    process: usize,
    inner: Box<dyn StartConsumer>,
}

impl StartConsumer for Watched {
    fn start(&mut self, start: ConsumerStart, lease: ConsumerLease) {
        self.sim
            .world()
            .begin_life(self.process, &start, lease.orders());
        self.inner.start(start, lease);
    }
}

/// Does what is to be done from outside.
pub(super) fn operate(sim: &Sim, commands: &mut Commands, operation: Operation) {
    if sim.world().scene.operate(operation) {
        return;
    }
    match operation {
        Operation::Start(name) => start(sim, commands, name),
        Operation::Crash(chosen) => {
            let living = sim.world().living(chosen);
            if let Some(process) = living {
                kill(sim, commands, process, "dies");
            }
        }
        Operation::Pause(chosen, millis) => sim.world().pause(chosen, millis),
        Operation::Drain(chosen) => {
            let living = sim.world().living(chosen);
            if let Some(process) = living {
                sim.world().drain(process);
            }
        }
        Operation::Reload(chosen) => {
            let living = sim.world().living(chosen);
            if let Some(process) = living {
                sim.world().command(process, Command::Reload);
            }
        }
        // Nothing that is a worker's.
        _ => {}
    }
}

/// A process is gone at once.
pub(super) fn kill(sim: &Sim, commands: &Commands, process: usize, how: &str) {
    let mut world = sim.world();
    if world.processes[process].is_alive {
        world.scene.tell(|| format!("p{process} {how}"));
        world.bury_process(process);
        let _ = commands[process].send(Command::Abort);
    }
}

impl World {
    pub(super) fn living(&self, chosen: u64) -> Option<usize> {
        let living: Vec<usize> = (0..self.processes.len())
            .filter(|process| self.processes[*process].is_alive)
            .collect();
        let at = chosen.checked_rem(living.len() as u64)?;
        living.get(at as usize).copied()
    }

    /// A process hears of something, once it does not stand still.
    fn command(&mut self, process: usize, command: Command) {
        let command = Event::Do(Todo::Command(process, command));
        self.at(self.scene.now, Some(process), command);
    }

    /// A process is told to stop in good order.
    pub(super) fn drain(&mut self, process: usize) {
        if std::mem::replace(&mut self.processes[process].is_draining, true) {
            return;
        }
        self.scene.tell(|| format!("p{process} is told to stop"));
        let limit = Event::Do(Todo::DrainLimit(process, self.scene.is_calm));
        self.after(DRAIN_LIMIT, Some(process), limit);
        self.command(process, Command::Drain);
    }

    fn pause(&mut self, chosen: u64, millis: u64) {
        if let Some(process) = self.living(chosen) {
            self.scene
                .tell(|| format!("p{process} stands still for {millis} ms"));
            self.processes[process].paused_until = self.scene.now + millis * 1_000_000;
        }
    }

    pub(super) fn cut(&mut self, chosen: u64, millis: u64) {
        if let Some(process) = self.living(chosen) {
            self.scene
                .tell(|| format!("p{process} reaches nobody for {millis} ms"));
            self.processes[process].cut_until = self.scene.now + millis * 1_000_000;
        }
    }

    fn begin_process(&mut self, name: u64) -> usize {
        let number = self.processes.len();
        let mut dice = Dice::new(self.scene.plan.seed, 100 + number as u64);
        let most = self.scene.plan.settings.drift;
        let drift = dice.below(2 * most + 1).cast_signed() - most.cast_signed();
        let name = WorkerId::new(format!("w{name}"));
        self.scene
            .tell(|| format!("p{number} starts as {name}, its clock {drift} ppm off"));
        let mut has_twin = false;
        for other in &mut self.processes {
            if other.is_alive && other.name == name {
                other.has_twin = true;
                has_twin = true;
            }
        }
        self.processes.push(Process {
            name,
            has_twin,
            clock: Clock {
                origin: dice.below(1 << 50),
                drift,
            },
            wall_off: dice.below(400).cast_signed() - 200,
            dice,
            is_alive: true,
            is_draining: false,
            paused_until: 0,
            cut_until: 0,
            lives: std::collections::BTreeMap::new(),
            generations: Vec::new(),
        });
        number
    }

    /// A pipeline has come to its end by itself.
    fn ended(&mut self, process: usize, ended: Result<(), PipelineEnd>) {
        self.scene
            .tell(|| format!("p{process} has ended: {ended:?}"));
        if !self.processes[process].is_alive {
            return;
        }
        match ended {
            Ok(()) if self.processes[process].is_draining => {}
            other => self
                .scene
                .violate("LV-1", format!("p{process} has ended: {other:?}")),
        }
        self.refresh(process);
        let lives: Vec<usize> = self.processes[process].lives.values().copied().collect();
        if let Some(life) = lives
            .iter()
            .find(|life| !self.scene.ledger.lives[**life].is_over)
        {
            let what = format!("p{process} has ended, and its life {life} has not");
            self.scene.violate("LE-3", what);
        }
        self.bury_process(process);
    }

    /// What the lives of a process have heard.
    pub(super) fn refresh(&mut self, process: usize) {
        for &number in self.processes[process].lives.values() {
            let life = &mut self.scene.ledger.lives[number];
            let orders = &self.orders[number];
            if orders.has_changed().is_err() {
                life.is_over = true;
            } else if orders.borrow().stop == Some(StopReason::Drain) {
                life.is_draining = true;
            }
        }
    }

    fn begin_life(
        &mut self,
        process: usize,
        start: &ConsumerStart,
        orders: watch::Receiver<ConsumerOrders>,
    ) {
        let id = &start.tenure.shard;
        self.scene.trace.mix(0x11fe);
        self.scene
            .tell(|| format!("p{process} begins {id} after {}", start.checkpoint));
        self.refresh(process);
        if let Some(&before) = self.processes[process].lives.get(id)
            && !self.scene.ledger.lives[before].is_over
        {
            let what = format!("p{process} has two consumers of {id}");
            self.scene.violate("LE-3", what);
        }
        let row = self.scene.table.row(id);
        if row.is_none_or(|row| row.checkpoint < start.checkpoint) {
            let what = format!("{id} begins after {}, its row is {row:?}", start.checkpoint);
            self.scene.violate("CP-2", what);
        }
        if start.checkpoint == Checkpoint::ShardEnd {
            self.scene
                .violate("SH-2", format!("{id} begins after its end"));
        }
        let begun = self
            .scene
            .begin_life(process, &start.tenure, &start.checkpoint);
        let Some(number) = begun else {
            return;
        };
        self.orders.push(orders);
        self.processes[process].lives.insert(id.clone(), number);
    }

    /// LE-3: nobody else has taken the lease before this process began its last batch or flush. Two living processes of one name
    /// are excepted: the second takes over at once, since its lock on the name says that the first is gone. So is an owner
    /// that was asked to hand over and took too long, which is robbed in its lifetime.
    pub(super) fn check_tenure(&mut self, process: usize, life: usize) {
        let tenure = self.scene.ledger.lives[life].tenure.clone();
        let Some(row) = self.scene.table.row(&tenure.shard) else {
            return;
        };
        let is_robbed = self.scene.stolen.contains(&tenure.incarnation);
        let has_twin = self.processes[process].has_twin;
        if row.incarnation != Some(tenure.incarnation) && !has_twin && !is_robbed {
            let owner = row.owner.clone();
            let what =
                format!("p{process} calls a plugin for {tenure}, and {owner:?} has the lease");
            self.scene.violate("LE-3", what);
        }
    }
}
