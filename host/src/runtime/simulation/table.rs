//! The lease table: calls that are lost, late or throttled, and of some of which nobody hears.

use std::time::Duration;

use shardwright_core::{
    Checkpoint, FencedWrite, HeldLease, Incarnation, Lease, LeaseChange, NewLease, RowAfter,
    ShardId, WorkerId, WriteFailure,
};
use shardwright_sim::{Fault, Target};

use super::time::{Sim, Way};
use super::world::World;
use crate::limits::{LEASE_CALL_TIMEOUT, LEASE_WRITE_DIVISOR};
use crate::ports::{CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError, PortError, PortFuture};

/// The lease table, as a process reaches it.
#[derive(Debug)]
pub(super) struct SimTable {
    pub(super) sim: Sim,
    pub(super) process: usize,
}

impl SimTable {
    fn call<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> PortFuture<'static, Result<T, PortError>> {
        let mut world = self.sim.world();
        let way = world.table_way(self.process);
        Sim::call(&mut world, self.process, way, act)
    }

    fn write(
        &self,
        held: &HeldLease,
        change: LeaseChange,
    ) -> PortFuture<'static, Result<RowAfter, LeaseWriteError>> {
        let process = self.process;
        let write = FencedWrite {
            held: held.clone(),
            change,
        };
        self.sim.world().asks(process, &write);
        let shard = held.shard.clone();
        let call = self.call(move |world| world.scene.write(process, &write));
        Box::pin(async move { fenced(shard, call.await?) })
    }
}

fn fenced<T>(shard: ShardId, outcome: Result<T, WriteFailure>) -> Result<T, LeaseWriteError> {
    outcome.map_err(|failure| match failure {
        WriteFailure::Lost { owner, counter } => LeaseWriteError::Lost {
            shard,
            owner,
            counter,
        },
        WriteFailure::Trouble(trouble) => PortError::new(ErrorKind::Transient, trouble.what).into(),
    })
}

impl LeaseTable for SimTable {
    fn ensure(&self) -> PortFuture<'_, Result<(), PortError>> {
        let mut world = self.sim.world();
        let mut way = world.table_way(self.process);
        if let Way::Unheard { breaks, .. } = &mut way {
            // The port bounds it.
            breaks.get_or_insert(LEASE_CALL_TIMEOUT);
        }
        Sim::call(&mut world, self.process, way, |_world| ())
    }

    fn list(&self) -> PortFuture<'_, Result<Vec<Lease>, PortError>> {
        let mut world = self.sim.world();
        let failover = world.scene.plan.settings.failover;
        let mut way = world.table_way(self.process);
        if let Way::Answered { there, .. } = &mut way
            && world.scene.strikes(Fault::ScanSlow)
        {
            *there += world.scene.time.time(Duration::ZERO, failover * 2);
        }
        let before = world.scene.table.clone();
        Sim::call(&mut world, self.process, way, move |world| {
            let dice = &mut world.scene.time;
            world.scene.table.scan(&before, || dice.strikes(500))
        })
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<Option<Lease>, PortError>> {
        let shard = shard.clone();
        self.call(move |world| world.scene.table.row(&shard).cloned())
    }

    fn create<'a>(
        &'a self,
        lease: &'a NewLease,
    ) -> PortFuture<'a, Result<CreateOutcome, PortError>> {
        let lease = lease.clone();
        self.call(move |world| {
            if world.scene.create(&lease) {
                let (shard, checkpoint) = (&lease.shard, &lease.checkpoint);
                world
                    .scene
                    .tell(|| format!("  row {shard} is made at {checkpoint}"));
                CreateOutcome::Created
            } else {
                CreateOutcome::AlreadyThere
            }
        })
    }

    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
        incarnation: Incarnation,
    ) -> PortFuture<'a, Result<HeldLease, LeaseWriteError>> {
        let (process, seen, me) = (self.process, seen.clone(), me.clone());
        let shard = seen.shard.clone();
        let call = self.call(move |world| world.scene.take(process, &seen, &me, incarnation));
        Box::pin(async move { fenced(shard, call.await?) })
    }

    fn announce<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
    ) -> PortFuture<'a, Result<bool, PortError>> {
        let (process, seen, me) = (self.process, seen.clone(), me.clone());
        self.call(move |world| world.scene.announce(process, &seen, &me))
    }

    fn renew<'a>(
        &'a self,
        held: &'a HeldLease,
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        self.write(held, LeaseChange::Renew)
    }

    fn checkpoint<'a>(
        &'a self,
        held: &'a HeldLease,
        checkpoint: &'a Checkpoint,
        children: &'a [ShardId],
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        let (to, children) = (checkpoint.clone(), children.to_vec());
        self.write(held, LeaseChange::Checkpoint { to, children })
    }

    fn release<'a>(
        &'a self,
        held: &'a HeldLease,
        to: Option<&'a WorkerId>,
    ) -> PortFuture<'a, Result<(), LeaseWriteError>> {
        let write = self.write(held, LeaseChange::Release { to: to.cloned() });
        Box::pin(async move { write.await.map(|_row| ()) })
    }

    fn delete<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<(), PortError>> {
        let shard = shard.clone();
        self.call(move |world| world.scene.delete(&shard))
    }
}

impl World {
    fn table_way(&mut self, process: usize) -> Way {
        if self.scene.is_refused(Fault::TableThrottled, Target::Table) {
            let error = PortError::new(ErrorKind::Throttled, "simulated");
            return Way::Refused(self.scene.hop(), error);
        }
        let failover = self.scene.plan.settings.failover;
        let longest = failover / LEASE_WRITE_DIVISOR;
        let (mut there, mut back) = (self.scene.hop(), self.scene.hop());
        if self.scene.strikes(Fault::CallSlow) {
            there += self.scene.time.time(Duration::ZERO, longest / 2);
            back += self.scene.time.time(Duration::ZERO, longest / 2);
        }
        if self.scene.strikes(Fault::RequestLate) {
            there += self.scene.time.time(longest / 2, failover * 3);
        }
        let is_heard = !self.scene.strikes(Fault::ReplyLost);
        let is_lost = self.scene.strikes(Fault::RequestLost) || self.is_cut(process);
        if is_heard && !is_lost {
            return Way::Answered { there, back };
        }
        let breaks = self.scene.time.strikes(500);
        let breaks = breaks.then(|| there + self.scene.time.time(Duration::ZERO, longest));
        Way::Unheard {
            there: (!is_lost).then_some(there),
            breaks,
        }
    }

    pub(super) fn is_cut(&self, process: usize) -> bool {
        self.scene.now < self.processes[process].cut_until
    }

    /// A process asks for a write: what it says must be true by now.
    fn asks(&mut self, process: usize, write: &FencedWrite) {
        let tenure = write.held.tenure();
        let known = |life: &shardwright_sim::Life| life.tenure == tenure && life.process == process;
        let life = self.scene.ledger.lives.iter().position(known);
        if !self.processes[process].is_alive {
            return;
        }
        match (&write.change, life) {
            (LeaseChange::Checkpoint { to, .. }, Some(life)) => {
                let rule = self.scene.ledger.check_asked(&self.scene.stream, life, to);
                self.scene.hold(rule);
                self.check_durable(life, to);
            }
            (LeaseChange::Release { .. }, Some(life)) => {
                let rule = self.scene.ledger.check_drained(life);
                self.scene.hold(rule);
            }
            (LeaseChange::Checkpoint { to, .. }, None) => {
                let what = format!("{tenure} asks for {to} and never had a consumer");
                self.scene.violate("CP-3", what);
            }
            (LeaseChange::Release { .. } | LeaseChange::Renew, _) => {}
        }
    }
}
