//! The shells themselves, over the simulator's models of a stream and a lease table.
//!
//! A history is what the simulator's plan of a seed says, played with the shells that run in production: coordinators,
//! consumers, fetchers, lanes and deliveries of every worker, wired as the app wires them. They share one thread, whose
//! time is virtual: whenever nothing can go on, the world moves on to whatever is next. So a seed decides everything, and
//! docs/simulation.md says how to play one.

use std::cell::RefCell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use shardwright_sim::{CALM_MAX, Dice, Plan, Report, nanos};

use time::Sim;
use workers::{Commands, kill, operate, start};
use world::{Event, Todo, World};

mod handler;
mod histories;
mod sinks;
mod stream;
mod table;
mod time;
mod turn;
mod workers;
mod world;

/// How often it is looked whether everything is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

thread_local! {
    /// What panicked on this thread: tasks do so in silence.
    static PANICKED: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn hear_of_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let known = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(Some(panic.to_string()));
            known(panic);
        }));
    });
    PANICKED.set(None);
}

/// Plays a plan to its end or to the first violation.
fn play(plan: Plan, is_told: bool) -> Report {
    hear_of_panics();
    let mut dice = Dice::new(plan.seed, 11);
    let calm_at = plan.calm_at.as_millis() as u64;
    let mut world = World::new(plan, is_told);
    draw_more(&mut world, &mut dice, calm_at);
    let sim = Sim::new(world);
    let clockwork = sim.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || clockwork.advance())
        .build()
        .unwrap();
    let logged = sim.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || Log(logged.clone()));
    let _told = is_told.then(|| tracing::subscriber::set_default(log.finish()));
    runtime.block_on(from_outside(&sim));
    drop(runtime);
    let mut world = sim.world();
    if let Some(panic) = PANICKED.take() {
        world.scene.violate("panic", panic);
    }
    world.scene.report()
}

/// What the shells log, among what happens.
struct Log(Sim);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0
            .in_turn()
            .scene
            .tell(|| format!("      {}", text.trim()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a plan does not say, since it is about shells: processes that reach nobody, and more reloads.
fn draw_more(world: &mut World, dice: &mut Dice, length: u64) {
    if dice.strikes(400) {
        let longest = world.scene.plan.settings.failover.as_millis() as u64 * 2;
        for _ in 0..dice.between(1, 3) {
            let todo = Todo::Cut(dice.draw(), dice.between(100, longest));
            world.at(dice.below(length) * 1_000_000, None, Event::Do(todo));
        }
    }
    if dice.strikes(500) {
        for _ in 0..dice.between(1, 6) {
            let todo = Todo::Operate(shardwright_sim::Operation::Reload(dice.draw()));
            world.at(dice.below(length) * 1_000_000, None, Event::Do(todo));
        }
    }
}

/// Does what is done from outside, until the history is over.
async fn from_outside(sim: &Sim) {
    let mut commands: Commands = Vec::new();
    while let Some(todo) = sim.next().await {
        match todo {
            Todo::Operate(operation) => operate(sim, &mut commands, operation),
            Todo::Cut(chosen, millis) => sim.world().cut(chosen, millis),
            Todo::DrainLimit(process, is_calm) => {
                if is_calm {
                    let what = format!("p{process} does not stop");
                    sim.world().scene.violate("LV-1", what);
                }
                kill(sim, &commands, process, "has drained for too long");
            }
            Todo::Command(process, command) => {
                // One that has ended hears nothing.
                let _ = commands[process].send(command);
            }
            Todo::Calm => calm_down(sim, &mut commands),
            Todo::Look => look(sim),
        }
    }
}

fn calm_down(sim: &Sim, commands: &mut Commands) {
    let has_worker = {
        let mut world = sim.world();
        world.scene.calm_down();
        let now = world.scene.now;
        for process in &mut world.processes {
            process.paused_until = process.paused_until.min(now);
            process.cut_until = 0;
        }
        world.after(LOOK_EVERY, None, Event::Do(Todo::Look));
        let mut processes = world.processes.iter();
        processes.any(|process| process.is_alive && !process.is_draining)
    };
    if !has_worker {
        start(sim, commands, 99);
    }
}

/// DL-1 and LV-1: after faults have stopped everything is done, and the table says so, within a bounded time. Then whoever
/// lives stops in good order.
fn look(sim: &Sim) {
    let mut locked = sim.world();
    let world = &mut *locked;
    let left = world
        .scene
        .ledger
        .what_is_left(&world.scene.stream, &world.scene.table);
    let since = world.scene.now - nanos(world.scene.plan.calm_at);
    if let Some((invariant, what)) = left {
        if since > nanos(CALM_MAX) {
            world.scene.violate(invariant, what);
        }
    } else {
        let alive: Vec<usize> = (0..world.processes.len())
            .filter(|process| world.processes[*process].is_alive)
            .collect();
        if alive.is_empty() {
            world.scene.tell(|| "everything is done".to_owned());
            world.is_over = true;
            return;
        }
        for process in alive {
            world.drain(process);
        }
    }
    locked.after(LOOK_EVERY, None, Event::Do(Todo::Look));
}
