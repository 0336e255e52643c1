//! What must hold in every world.

use std::collections::BTreeMap;

use shardwright_core::{Checkpoint, FencedWrite, Lease, LeaseChange, ShardId, WorkerId};

use crate::process::Process;
use crate::table::Change;
use crate::world::World;

impl World {
    /// An owner that cannot renew has stopped dispatching before others take its lease, and never begins again. Two living
    /// processes of one name are excepted: the second takes over at once, since its lock on the name says that the first
    /// is gone.
    pub(crate) fn check_one_dispatches(&self) {
        let mut dispatchers: BTreeMap<&ShardId, &WorkerId> = BTreeMap::new();
        for process in self.processes.iter().filter(|process| process.is_alive) {
            let now = process.clock(self.real);
            for (tenure, consumer) in &process.consumers {
                if consumer.may_dispatch(now) {
                    let other = dispatchers.insert(&tenure.shard, &process.name);
                    assert!(
                        other.is_none_or(|other| *other == process.name),
                        "{other:?} and {} dispatch {}",
                        process.name,
                        tenure.shard
                    );
                }
            }
        }
    }

    /// CP-3 and SH-2, as the table sees them.
    pub(crate) fn check_chain(&self, p: usize, write: &FencedWrite) {
        let LeaseChange::Checkpoint { to, children } = &write.change else {
            return;
        };
        let Some(row) = self.table.rows.get(&write.held.shard) else {
            return;
        };
        if row.counter != write.held.counter {
            return;
        }
        if *to == Checkpoint::ShardEnd {
            for child in children {
                assert!(
                    self.table.rows.contains_key(child),
                    "SH-2: {child} has no row"
                );
            }
            assert!(!children.is_empty(), "SH-2: no children");
        }
        // The consumer of a process that died, or has lost the lease meanwhile, is not there to be asked.
        if let Some(consumer) = self.processes[p].consumers.get(&write.held.tenure()) {
            let mut chain = consumer.chain.iter().chain([&consumer.start]);
            assert!(
                chain.any(|at| *at == row.checkpoint),
                "CP-3: {row:?} is off the chain"
            );
            assert!(
                consumer.chain.contains(to) || (*to == Checkpoint::ShardEnd && consumer.has_ended),
                "CP-1: nobody asked for {to}"
            );
        }
    }

    /// Whoever gives a lease up has stopped its consumer, and everything that was asked for is stored: the next owner begins
    /// where this one ended, and repeats nothing.
    pub(crate) fn check_release(&self, p: usize, write: &FencedWrite) {
        let LeaseChange::Release { .. } = &write.change else {
            return;
        };
        let row = self.table.rows.get(&write.held.shard);
        let Some(row) = row.filter(|row| row.counter == write.held.counter) else {
            return;
        };
        let (process, tenure) = (&self.processes[p], write.held.tenure());
        assert!(
            !process.consumers.contains_key(&tenure),
            "{} still works on {}",
            process.name,
            tenure.shard
        );
        if let Some(consumer) = process.stopped.get(&tenure) {
            let is_stored =
                row.checkpoint == consumer.last() || (row.is_completed() && consumer.has_ended);
            assert!(is_stored, "a handover repeats nothing: {row:?}");
        }
    }

    /// Whether a row that was seen like this is in the hands of a process that runs.
    pub(crate) fn is_robbery(&self, seen: &Lease) -> bool {
        let last = self.table.log.get(&(seen.shard.clone(), seen.counter));
        last.is_some_and(|last| {
            let owner = &self.processes[last.process];
            let has_let_go = matches!(last.change, Change::Write(LeaseChange::Release { .. }));
            owner.is_alive && !owner.is_frozen && !has_let_go
        })
    }

    /// How many shards each living process works on.
    pub(crate) fn shares(&self) -> Vec<usize> {
        let alive = self.processes.iter().filter(|process| process.is_alive);
        let share = |process: &Process| {
            let now = process.clock(self.real);
            let consumers = process.consumers.values();
            consumers
                .filter(|consumer| consumer.may_dispatch(now))
                .count()
        };
        alive.map(share).collect()
    }

    /// Processes whose consumers may dispatch now.
    pub(crate) fn dispatching(&self) -> Vec<usize> {
        let may = |process: &&Process| {
            let now = process.clock(self.real);
            let mut consumers = process.consumers.values();
            process.is_alive && consumers.any(|consumer| consumer.may_dispatch(now))
        };
        let processes = self.processes.iter().filter(may);
        processes.map(|process| process.number).collect()
    }
}
