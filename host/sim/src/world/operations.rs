//! What is done to the world from outside.

use std::time::Duration;

use shardwright_core::{
    Budget, Coordinator, CoordinatorEvent, LeaseSettings, LeaseTiming, Usage, WorkerId,
};

use super::{Event, World};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::pipeline::initial;
use crate::plan::Operation;
use crate::process::Process;

/// As long as the host gives a stop in good order.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

impl World {
    pub(super) fn operate(&mut self, operation: Operation) {
        if self.scene.operate(operation) {
            return;
        }
        match operation {
            Operation::Start(name) => self.start(name),
            Operation::Crash(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.scene.tell(|| format!("p{process} dies"));
                    self.kill(process);
                }
            }
            Operation::Pause(chosen, millis) => {
                if let Some(process) = self.living(chosen) {
                    self.scene
                        .tell(|| format!("p{process} stands still for {millis} ms"));
                    self.processes[process].paused_until = self.scene.now + millis * 1_000_000;
                }
            }
            Operation::Drain(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.scene.tell(|| format!("p{process} is told to stop"));
                    self.processes[process].drain_limit = Some(self.scene.now);
                    self.after(
                        Duration::ZERO,
                        Event::Leases(process, CoordinatorEvent::Drain),
                    );
                    self.after(DRAIN_LIMIT, Event::DrainLimit(process));
                }
            }
            Operation::Reload(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.scene
                        .tell(|| format!("p{process} gets a newer plugin"));
                    self.processes[process].generation += 1;
                }
            }
            // Nothing that is a worker's.
            _ => {}
        }
    }

    fn living(&self, chosen: u64) -> Option<usize> {
        let living: Vec<usize> = (0..self.processes.len())
            .filter(|process| self.processes[*process].is_alive)
            .collect();
        let at = chosen.checked_rem(living.len() as u64)?;
        living.get(at as usize).copied()
    }

    fn start(&mut self, name: u64) {
        let settings = self.scene.plan.settings.clone();
        let number = self.processes.len();
        let mut dice = Dice::new(self.scene.plan.seed, 100 + number as u64);
        let drift = dice.below(2 * settings.drift + 1).cast_signed() - settings.drift.cast_signed();
        let name = WorkerId::new(format!("w{name}"));
        self.scene
            .tell(|| format!("p{number} starts as {name}, its clock {drift} ppm off"));
        let limits = Usage {
            records: settings.in_flight,
            span: settings.span,
            bytes: settings.in_flight_bytes,
        };
        let mut has_twin = false;
        for other in self
            .processes
            .iter_mut()
            .filter(|other| other.is_alive && other.name == name)
        {
            other.has_twin = true;
            has_twin = true;
        }
        // Once faults have stopped, those who are left must do.
        let max_leases = if self.scene.is_calm {
            usize::MAX
        } else {
            settings.max_leases
        };
        self.processes.push(Process {
            has_twin,
            max_leases,
            machine: Coordinator::new(LeaseSettings {
                worker: name.clone(),
                initial: initial(&settings),
                timing: LeaseTiming {
                    failover: settings.failover,
                },
                max_leases,
                seed: u128::from(dice.draw()),
            }),
            name,
            clock: Clock {
                origin: dice.below(1 << 50),
                drift,
            },
            wall_off: dice.below(400).cast_signed() - 200,
            budget: Budget::new(limits, settings.answer),
            shells: Vec::new(),
            entropy: dice,
            generation: 0,
            is_alive: true,
            drain_limit: None,
            paused_until: 0,
            wake_at: u64::MAX,
            holds: Vec::new(),
        });
        self.tell_leases(number, CoordinatorEvent::Started);
    }
}
