//! Virtual time: alarms that the world rings, and calls that take a while.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shardwright_core::{Entropy, Instant};

use super::world::{Event, Todo, World};
use crate::ports::{Clock, ErrorKind, PortError, PortFuture};

/// How late a timer may be.
const LATE_MAX: Duration = Duration::from_millis(1);

/// Adapters give up a call whose answer is lost after some seconds, more of them than a lease lives.
const BREAKS_WITHIN: Duration = Duration::from_secs(30);

/// The world, as ports and clocks hold it.
#[derive(Clone, Debug)]
pub(super) struct Sim(Arc<Mutex<World>>);

/// Something that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Signal(Mutex<(bool, Option<Waker>)>);

impl Signal {
    /// It has come. Answers who waited for it.
    pub(super) fn come(&self) -> Option<Waker> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        state.1.take()
    }
}

/// Waits for a signal. One whose process is dead waits for ever.
#[derive(Debug, Default)]
pub(super) struct Alarm(Arc<Signal>);

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// What becomes of a call on its way.
#[derive(Debug)]
pub(super) enum Way {
    /// It is refused on the spot, as the caller hears after this.
    Refused(Duration, PortError),
    /// It gets there, and its answer back.
    Answered { there: Duration, back: Duration },
    /// It gets there or not, and its caller hears nothing, or after a while that nothing was heard.
    Unheard {
        there: Option<Duration>,
        breaks: Option<Duration>,
    },
}

pub(super) fn transient() -> PortError {
    PortError::new(ErrorKind::Transient, "simulated")
}

impl Sim {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// The world, with the turn going on whose call was answered last.
    pub(super) fn in_turn(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.in_turn();
        world.end_turn();
        world
    }

    /// Whatever can go on has done so.
    pub(super) fn advance(&self) {
        let waker = self.world().advance();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next thing to be done from outside; none when the history is over.
    pub(super) async fn next(&self) -> Option<Todo> {
        std::future::poll_fn(|context| {
            let mut world = self.world();
            if world.is_over {
                return Poll::Ready(None);
            }
            if let Some(todo) = world.todo.pop_front() {
                return Poll::Ready(Some(todo));
            }
            world.player = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Makes a call that gets there and back as `way` says.
    pub(super) fn call<T: Send + 'static>(
        world: &mut World,
        process: usize,
        way: Way,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> PortFuture<'static, Result<T, PortError>> {
        let alarm = Alarm::default();
        if !world.processes[process].is_alive {
            return Box::pin(async move {
                alarm.await;
                Err(transient())
            });
        }
        let answer: Arc<Mutex<Option<T>>> = Arc::default();
        let mut failure = transient();
        match way {
            Way::Refused(after, error) => {
                failure = error;
                world.ring(after, process, &alarm);
            }
            Way::Answered { there, back } => {
                let signal = Arc::clone(&alarm.0);
                let answer = Arc::clone(&answer);
                let reach = move |world: &mut World| {
                    let found = act(world);
                    let mut back = back;
                    if world.is_cut(process) {
                        back += world.scene.time.time(Duration::ZERO, BREAKS_WITHIN);
                    } else {
                        *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    }
                    world.after(back, Some(process), Event::Wake(signal));
                };
                world.after(there, None, Event::Reach(Box::new(reach)));
            }
            Way::Unheard { there, breaks } => {
                if let Some(there) = there {
                    let reach = move |world: &mut World| {
                        act(world);
                    };
                    world.after(there, None, Event::Reach(Box::new(reach)));
                }
                if let Some(breaks) = breaks {
                    world.ring(breaks, process, &alarm);
                }
            }
        }
        Box::pin(async move {
            alarm.await;
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            answer.take().ok_or(failure)
        })
    }
}

impl World {
    fn ring(&mut self, after: Duration, process: usize, alarm: &Alarm) {
        let signal = Arc::clone(&alarm.0);
        self.after(after, Some(process), Event::Wake(signal));
    }

    /// An alarm for a process, after so much of the world's time.
    pub(super) fn alarm(&mut self, process: usize, after: Duration) -> Alarm {
        let alarm = Alarm::default();
        self.ring(after, process, &alarm);
        alarm
    }
}

/// A process's clock: it began somewhere, and runs a little faster or slower than the world's.
#[derive(Debug)]
pub(super) struct SimClock {
    pub(super) sim: Sim,
    pub(super) process: usize,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.sim.world().look(self.process)
    }

    fn unix_ms(&self) -> i64 {
        let world = self.sim.world();
        world.scene.stream.wall_ms(world.scene.now) + world.processes[self.process].wall_off
    }

    fn sleep(&self, time: Duration) -> PortFuture<'static, ()> {
        let mut world = self.sim.world();
        let clock = world.processes[self.process].clock;
        let until = clock
            .real(clock.at(world.scene.now) + time)
            .max(world.scene.now);
        let late = shardwright_sim::nanos(world.scene.time.time(Duration::ZERO, LATE_MAX));
        let alarm = Alarm::default();
        let signal = Arc::clone(&alarm.0);
        world.at(until + late, Some(self.process), Event::Wake(signal));
        Box::pin(alarm)
    }

    fn entropy(&self) -> Entropy {
        let dice = &mut self.sim.world().processes[self.process].dice;
        Entropy::new(u128::from(dice.draw()) << 64 | u128::from(dice.draw()))
    }
}
