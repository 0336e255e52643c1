//! The shell of a process's lease coordinator: it tells the machine what has happened and carries out what that wants.

use std::time::Duration;

use shardwright_core::{
    CheckpointRefused, ConsumerStart, CoordinatorEffect, CoordinatorEvent, Happening, Instant,
    ShardListing, StopReason, Tenure, TroubleKind,
};

use super::calls::{Call, trouble};
use super::{Event, World, nanos};
use crate::faults::Fault;
use crate::plan::Target;
use crate::process::Input;

impl World {
    fn local(&self, process: usize) -> Instant {
        self.processes[process].clock.at(self.scene.now)
    }

    pub(super) fn tell_leases(&mut self, process: usize, event: CoordinatorEvent) {
        let now = self.local(process);
        let mut effects = Vec::new();
        self.processes[process]
            .machine
            .handle(now, event, &mut effects);
        for effect in effects {
            self.carry_out(process, effect);
        }
        self.plan_wake(process);
    }

    pub(super) fn wake_leases(&mut self, process: usize) {
        if self.processes[process].wake_at > self.scene.now {
            return;
        }
        self.processes[process].wake_at = u64::MAX;
        let due = self.processes[process].machine.next_deadline();
        if due.is_some_and(|due| due <= self.local(process)) {
            self.tell_leases(process, CoordinatorEvent::Tick);
        } else {
            self.plan_wake(process);
        }
    }

    fn plan_wake(&mut self, process: usize) {
        let known = &mut self.processes[process];
        if let Some(due) = known.machine.next_deadline().filter(|_| known.is_alive) {
            let at = known.clock.real(due).max(self.scene.now);
            if at < known.wake_at {
                known.wake_at = at;
                self.at(at, Event::Wake(process));
            }
        }
    }

    fn carry_out(&mut self, process: usize, effect: CoordinatorEffect) {
        match effect {
            CoordinatorEffect::EnsureTable => {
                let outcome = if self.scene.is_refused(Fault::TableThrottled, Target::Table) {
                    Err(trouble(TroubleKind::Throttled))
                } else {
                    Ok(())
                };
                let hop = self.scene.hop();
                self.after(
                    hop,
                    Event::Leases(process, CoordinatorEvent::TableReady(outcome)),
                );
            }
            CoordinatorEffect::List => self.begin_scan(process),
            CoordinatorEffect::ListShards(which) => self.begin_listing(process, which),
            CoordinatorEffect::Create(lease) => self.call(process, Call::Create(lease)),
            CoordinatorEffect::Take { seen, incarnation } => {
                let me = self.processes[process].name.clone();
                let seen = seen.seen_at(self.wall_ms_of(process));
                self.call(process, Call::Take(seen, me, incarnation));
            }
            CoordinatorEffect::Announce { seen } => {
                let me = self.processes[process].name.clone();
                self.call(process, Call::Announce(seen, me));
            }
            CoordinatorEffect::Write(write) => self.call(process, Call::Write(write)),
            CoordinatorEffect::Delete(shard) => self.call(process, Call::Delete(shard)),
            CoordinatorEffect::StartConsumer(start) => self.begin_life(process, start),
            CoordinatorEffect::DispatchUntil { tenure, until } => {
                self.permit(process, &tenure, until);
            }
            CoordinatorEffect::StopDispatch(tenure) => {
                self.scene
                    .tell(|| format!("p{process} may begin no batch of {}", tenure.shard));
                self.permit(process, &tenure, Instant::default());
            }
            CoordinatorEffect::StopConsumer { tenure, why } => {
                self.scene
                    .tell(|| format!("p{process} is to stop {}: {why:?}", tenure.shard));
                if matches!(why, StopReason::Lost(_)) {
                    self.permit(process, &tenure, Instant::default());
                }
                self.order(process, &tenure, |shell| shell.stop = Some(why));
            }
            CoordinatorEffect::Stored { tenure, checkpoint } => {
                self.order(process, &tenure, |shell| shell.stored = checkpoint);
            }
            CoordinatorEffect::Happened(happening) => self.happened(process, &happening),
            CoordinatorEffect::GiveUp(_) | CoordinatorEffect::Finished => {
                let held = &self.processes[process].holds;
                if let Some(held) = held.first() {
                    let what = format!("p{process} is gone and has not given up {held}");
                    self.scene.hold(Err(("evict", what)));
                }
                self.scene.tell(|| format!("p{process} is gone"));
                self.kill(process);
            }
        }
    }

    fn permit(&mut self, process: usize, tenure: &Tenure, until: Instant) {
        if let Some(shell) = self.processes[process].shell_of(tenure) {
            shell.permit = until;
        }
    }

    fn order(
        &mut self,
        process: usize,
        tenure: &Tenure,
        change: impl FnOnce(&mut crate::process::Shell),
    ) {
        if let Some(shell) = self.processes[process].shell_of(tenure) {
            change(shell);
            let life = shell.life;
            let soon = self.soon();
            self.after(soon, Event::Consumer(process, life, Input::Obey));
        }
    }

    /// How long a task of a process takes to hear of something.
    pub(super) fn soon(&mut self) -> Duration {
        self.scene
            .time
            .time(Duration::from_micros(5), Duration::from_millis(3))
    }

    fn happened(&mut self, process: usize, happening: &Happening) {
        if let Happening::Refused { why, .. } = happening
            && !matches!(why, CheckpointRefused::NotHeld(_))
        {
            self.scene
                .hold(Err(("CP-3", format!("p{process} refuses a step: {why}"))));
        }
        self.note_holds(process, happening);
        self.scene.tell(|| match happening {
            Happening::Created(lease) => format!(
                "p{process} made the row of {} at {}",
                lease.shard, lease.checkpoint
            ),
            Happening::Taken { tenure, seen } => {
                format!(
                    "p{process} has taken {} at {}, counter {}",
                    tenure.shard,
                    seen.checkpoint,
                    seen.counter + 1
                )
            }
            Happening::TakeLost(shard) => format!("p{process} was too late for {shard}"),
            Happening::WaitingForParents { shard, parents } => {
                format!("p{process} holds {shard} and waits for {parents:?}")
            }
            Happening::Lost { tenure, why } => {
                format!("p{process} has lost {}: {why:?}", tenure.shard)
            }
            Happening::Released { tenure, .. } => {
                format!("p{process} has released {}", tenure.shard)
            }
            Happening::Ended(tenure) => {
                format!("p{process} has stored the end of {}", tenure.shard)
            }
            other => format!("p{process}: {other:?}"),
        });
    }

    /// Two promises: no worker takes more leases than it may, and whoever stops in good order leaves none behind.
    fn note_holds(&mut self, process: usize, happening: &Happening) {
        let known = &mut self.processes[process];
        match happening {
            Happening::Taken { tenure, .. } => {
                known.holds.push(tenure.clone());
                // A row may be gone of which the worker has not heard yet that it is.
                let is_there = |tenure: &&Tenure| self.scene.table.row(&tenure.shard).is_some();
                let held = known.holds.iter().filter(is_there).count();
                let most = known.max_leases;
                if held > most {
                    let what = format!("p{process} has taken {held} leases, and may have {most}");
                    self.scene.hold(Err(("max_leases", what)));
                }
            }
            Happening::Lost { tenure, .. } | Happening::Released { tenure, .. } => {
                known.holds.retain(|held| held != tenure);
                let row = self.scene.table.row(&tenure.shard);
                let is_left = row.is_some_and(|row| {
                    row.owner.as_ref() == Some(&self.processes[process].name)
                        && row.incarnation == Some(tenure.incarnation)
                });
                if is_left && matches!(happening, Happening::Released { .. }) {
                    let what = format!("p{process} has given up {tenure}, and its row names it");
                    self.scene.hold(Err(("evict", what)));
                }
            }
            Happening::Deleted(shard) => known.holds.retain(|held| held.shard != *shard),
            _ => {}
        }
    }

    fn begin_listing(&mut self, process: usize, which: ShardListing) {
        if self.scene.is_refused(Fault::StreamFails, Target::Stream) {
            let hop = self.scene.hop();
            let outcome = Err(trouble(TroubleKind::Transient));
            let event = CoordinatorEvent::ShardsListed { which, outcome };
            return self.after(hop, Event::Leases(process, event));
        }
        let mut takes = self.scene.hop();
        let before = self.scene.begin_listing(which).map(|(more, before)| {
            takes += more;
            before
        });
        self.after(
            takes,
            Event::ShardsListed {
                process,
                which,
                before,
            },
        );
    }

    pub(super) fn end_listing(
        &mut self,
        process: usize,
        which: ShardListing,
        before: Option<Vec<shardwright_core::Shard>>,
    ) {
        let shards = self.scene.end_listing(which, before);
        let outcome = Ok(shards);
        self.tell_leases(process, CoordinatorEvent::ShardsListed { which, outcome });
    }

    /// A consumer has ended, and every task of it.
    pub(super) fn end_life(&mut self, process: usize, life: usize) {
        let known = &mut self.processes[process];
        let Some(at) = known.shells.iter().position(|shell| shell.life == life) else {
            return;
        };
        let shell = known.shells.swap_remove(at);
        known.budget.leave(&shell.shard);
        self.scene.ledger.lives[life].is_over = true;
        self.give_room(process);
        let soon = self.soon();
        self.after(
            soon,
            Event::Leases(process, CoordinatorEvent::ConsumerStopped(shell.tenure)),
        );
    }

    fn begin_life(&mut self, process: usize, start: ConsumerStart) {
        let shard = &start.tenure.shard;
        self.scene
            .tell(|| format!("p{process} begins {shard} after {}", start.checkpoint));
        let row = self.scene.table.row(shard);
        let is_row = row.is_some_and(|row| row.checkpoint >= start.checkpoint);
        if !is_row {
            self.scene.hold(Err((
                "CP-2",
                format!(
                    "{shard} begins after {}, and its row is {row:?}",
                    start.checkpoint
                ),
            )));
        }
        self.start_shell(process, start);
    }

    /// LE-3: nobody else has taken the lease before this process began its last batch. Two living processes of one name
    /// are excepted: the second takes over at once, since its lock on the name says that the first is gone. So is an owner
    /// that was asked to hand over and took too long, which is robbed in its lifetime.
    pub(super) fn check_tenure(&mut self, process: usize, tenure: &Tenure) {
        let Some(row) = self.scene.table.row(&tenure.shard) else {
            return;
        };
        let is_robbed = self.scene.stolen.contains(&tenure.incarnation);
        let has_twin = self.processes[process].has_twin;
        if row.incarnation != Some(tenure.incarnation) && !has_twin && !is_robbed {
            let what = format!(
                "p{process} begins a batch of {} while {:?} has the lease",
                tenure.shard, row.owner
            );
            self.scene.hold(Err(("LE-3", what)));
        }
    }

    pub(super) fn real_after(&self, process: usize, local: Instant) -> u64 {
        self.processes[process]
            .clock
            .real(local)
            .max(self.scene.now)
    }

    pub(super) fn clock_of(&self, process: usize) -> Instant {
        self.local(process)
    }

    /// What the process takes for the wall clock's time, milliseconds since the Unix epoch.
    pub(super) fn wall_ms_of(&self, process: usize) -> i64 {
        self.scene.stream.wall_ms(self.scene.now) + self.processes[process].wall_off
    }

    pub(super) fn local_after(&self, process: usize, time: Duration) -> u64 {
        let at = self.local(process) + time;
        self.real_after(process, at)
            .max(self.scene.now + nanos(time) / 2)
    }
}
