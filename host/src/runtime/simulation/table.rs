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
        let call = self.call(move |world| world.write(process, &write));
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
        let failover = world.plan.settings.failover;
        let mut way = world.table_way(self.process);
        if let Way::Answered { there, .. } = &mut way
            && world.strikes(Fault::ScanSlow)
        {
            *there += world.time.time(Duration::ZERO, failover * 2);
        }
        let before = world.table.clone();
        Sim::call(&mut world, self.process, way, move |world| {
            let dice = &mut world.time;
            world.table.scan(&before, || dice.strikes(500))
        })
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<Option<Lease>, PortError>> {
        let shard = shard.clone();
        self.call(move |world| world.table.row(&shard).cloned())
    }

    fn create<'a>(
        &'a self,
        lease: &'a NewLease,
    ) -> PortFuture<'a, Result<CreateOutcome, PortError>> {
        let lease = lease.clone();
        self.call(move |world| world.create(&lease))
    }

    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
        incarnation: Incarnation,
    ) -> PortFuture<'a, Result<HeldLease, LeaseWriteError>> {
        let (process, seen, me) = (self.process, seen.clone(), me.clone());
        let shard = seen.shard.clone();
        let call = self.call(move |world| world.take(process, &seen, &me, incarnation));
        Box::pin(async move { fenced(shard, call.await?) })
    }

    fn announce<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
    ) -> PortFuture<'a, Result<bool, PortError>> {
        let (seen, me) = (seen.clone(), me.clone());
        self.call(move |world| {
            let is_named = world.table.announce(&seen, &me);
            world.tell(|| format!("  row {}: {me} asks for it: {is_named}", seen.shard));
            is_named
        })
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
        self.call(move |world| world.delete(&shard))
    }
}

impl World {
    fn table_way(&mut self, process: usize) -> Way {
        if self.is_refused(Fault::TableThrottled, Target::Table) {
            let error = PortError::new(ErrorKind::Throttled, "simulated");
            return Way::Refused(self.hop(), error);
        }
        let failover = self.plan.settings.failover;
        let longest = failover / LEASE_WRITE_DIVISOR;
        let (mut there, mut back) = (self.hop(), self.hop());
        if self.strikes(Fault::CallSlow) {
            there += self.time.time(Duration::ZERO, longest / 2);
            back += self.time.time(Duration::ZERO, longest / 2);
        }
        if self.strikes(Fault::RequestLate) {
            there += self.time.time(longest / 2, failover * 3);
        }
        let is_heard = !self.strikes(Fault::ReplyLost);
        let is_lost = self.strikes(Fault::RequestLost) || self.is_cut(process);
        if is_heard && !is_lost {
            return Way::Answered { there, back };
        }
        let breaks = self.time.strikes(500);
        let breaks = breaks.then(|| there + self.time.time(Duration::ZERO, longest));
        Way::Unheard {
            there: (!is_lost).then_some(there),
            breaks,
        }
    }

    pub(super) fn is_cut(&self, process: usize) -> bool {
        self.now < self.processes[process].cut_until
    }

    /// A process asks for a write: what it says must be true by now.
    fn asks(&mut self, process: usize, write: &FencedWrite) {
        let tenure = write.held.tenure();
        let known = |life: &shardwright_sim::Life| life.tenure == tenure && life.process == process;
        let life = self.ledger.lives.iter().position(known);
        if !self.processes[process].is_alive {
            return;
        }
        match (&write.change, life) {
            (LeaseChange::Checkpoint { to, .. }, Some(life)) => {
                let rule = self.ledger.check_asked(&self.stream, life, to);
                self.hold(rule);
                self.check_durable(life, to);
            }
            (LeaseChange::Release { .. }, Some(life)) => {
                let rule = self.ledger.check_drained(life);
                self.hold(rule);
            }
            (LeaseChange::Checkpoint { to, .. }, None) => {
                let what = format!("{tenure} asks for {to} and never had a consumer");
                self.violate("CP-3", what);
            }
            (LeaseChange::Release { .. } | LeaseChange::Renew, _) => {}
        }
    }

    fn create(&mut self, lease: &NewLease) -> CreateOutcome {
        if !self.table.create(lease) {
            return CreateOutcome::AlreadyThere;
        }
        self.tell(|| format!("  row {} is made at {}", lease.shard, lease.checkpoint));
        if let Some(index) = self.stream.index(&lease.shard) {
            self.ledger.shard(index).was_leased = true;
            let start = self.plan.settings.start;
            if lease.checkpoint == Checkpoint::Latest
                && self.ledger.may_skip(&self.stream, start, index)
            {
                self.ledger.skip_before(index, usize::MAX);
            }
        }
        CreateOutcome::Created
    }

    fn take(
        &mut self,
        process: usize,
        seen: &Lease,
        me: &WorkerId,
        incarnation: Incarnation,
    ) -> Result<HeldLease, WriteFailure> {
        let before = self.table.row(&seen.shard).map(|row| row.counter);
        if let Some(row) = self.table.row(&seen.shard)
            && row.successor.as_ref() == Some(me)
        {
            self.stolen.extend(row.incarnation);
        }
        let outcome = self.table.take(seen, me, incarnation);
        if let (Ok(held), Some(row)) = (&outcome, self.table.row(&seen.shard)) {
            let row = row.clone();
            self.trace.mix(held.counter);
            if before != Some(row.counter) {
                let counter = row.counter;
                self.tell(|| format!("  row {}: {counter}, taken by p{process}", row.shard));
                if before != Some(seen.counter) {
                    let what = format!("a take under {} happens at {before:?}", seen.counter);
                    self.violate("LE-1", what);
                }
            }
            let rule = self.ledger.check_author(process, &row);
            self.hold(rule);
        }
        outcome
    }

    fn write(&mut self, process: usize, write: &FencedWrite) -> Result<RowAfter, WriteFailure> {
        let shard = &write.held.shard;
        let before = self.table.row(shard).cloned();
        let outcome = self.table.write(write);
        let after = self.table.row(shard).cloned();
        let (Some(before), Some(after)) = (before, after) else {
            return outcome;
        };
        if before != after {
            self.trace.mix(after.counter);
            let counter = after.counter;
            self.tell(|| format!("  row {shard}: {counter}, p{process}: {:?}", write.change));
            let rule = self.ledger.check_write(
                &self.stream,
                &self.table,
                process,
                (&before, write),
                &after,
            );
            self.hold(rule);
        } else if outcome.is_ok() {
            let rule = self.ledger.check_author(process, &after);
            self.hold(rule);
        }
        outcome
    }

    fn delete(&mut self, shard: &ShardId) {
        if let Some(row) = self.table.row(shard) {
            let is_finished = row.checkpoint == Checkpoint::ShardEnd;
            let index = self.stream.index(shard);
            let is_gone = index.is_some_and(|index| self.stream.is_gone(index));
            self.tell(|| format!("  row {shard} is deleted"));
            if !is_finished && !is_gone {
                let what = format!("the row of {shard} is deleted before its end");
                self.violate("DL-1", what);
            }
        }
        self.table.delete(shard);
        self.ledger.writers.retain(|(of, _), _| of != shard);
    }
}
