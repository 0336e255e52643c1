//! The lease table, where a checker watches every write.

use shardwright_core::{
    Checkpoint, FencedWrite, HeldLease, Incarnation, Lease, LeaseChange, NewLease, RowAfter,
    ShardId, WorkerId, WriteFailure,
};

use super::Scene;

impl Scene {
    /// Creates a row unless it is there; tells whether it is new.
    pub fn create(&mut self, lease: &NewLease) -> bool {
        let is_new = self.table.create(lease);
        if is_new && let Some(index) = self.stream.index(&lease.shard) {
            self.ledger.shard(index).was_leased = true;
            let asked_for = self.plan.settings.start;
            if lease.checkpoint == Checkpoint::Latest
                && self.ledger.may_skip(&self.stream, asked_for, index)
            {
                self.ledger.skip_before(index, usize::MAX);
            }
        }
        is_new
    }

    /// A process takes a lease whose row was seen as `seen`.
    pub fn take(
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
                self.tell(|| {
                    format!(
                        "  row {}: counter {counter}, taken by p{process}",
                        row.shard
                    )
                });
                if before != Some(seen.counter) {
                    let what = format!(
                        "a take under counter {} is carried out at {before:?}",
                        seen.counter
                    );
                    self.violate("LE-1", what);
                }
            }
            let rule = self.ledger.check_author(process, &row);
            self.hold(rule);
        }
        outcome
    }

    /// A process writes under a counter.
    pub fn write(&mut self, process: usize, write: &FencedWrite) -> Result<RowAfter, WriteFailure> {
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
            self.tell(|| {
                let what = match &write.change {
                    LeaseChange::Renew => "renewed".to_owned(),
                    LeaseChange::Checkpoint { to, .. } => format!("checkpoint {to}"),
                    LeaseChange::Release { to } => format!("released to {to:?}"),
                };
                format!("  row {shard}: counter {counter}, {what} by p{process}")
            });
            let change = (&before, write);
            let rule = self
                .ledger
                .check_write(&self.stream, &self.table, process, change, &after);
            self.hold(rule);
        } else if outcome.is_ok() {
            let rule = self.ledger.check_author(process, &after);
            self.hold(rule);
        }
        outcome
    }

    /// A process asks for a lease to be handed over; tells whether the row names it.
    pub fn announce(&mut self, process: usize, seen: &Lease, me: &WorkerId) -> bool {
        let is_named = self.table.announce(seen, me);
        if is_named {
            self.tell(|| format!("  row {}: p{process} asks for it", seen.shard));
        }
        is_named
    }

    /// Deletes a row.
    pub fn delete(&mut self, shard: &ShardId) {
        if let Some(row) = self.table.row(shard) {
            let is_finished = row.checkpoint == Checkpoint::ShardEnd;
            let index = self.stream.index(shard);
            let is_gone = index.is_some_and(|index| self.stream.is_gone(index));
            self.tell(|| format!("  row {shard} is deleted"));
            if let Some(index) = index.filter(|index| self.is_too_late(*index)) {
                // It counts as never made: who comes after may still begin with what comes next.
                self.ledger.shard(index).was_leased = false;
            } else if !is_finished && !is_gone {
                let what = format!("the row of {shard} is deleted before its end");
                self.violate("DL-1", what);
            }
        }
        self.table.delete(shard);
        self.ledger.writers.retain(|(of, _), _| of != shard);
    }

    /// Whether a row came too late: it is at `LATEST`, nobody has begun with it, and something after its shard was taken
    /// without it, or is further on. Nobody need wait for it, and it may go.
    pub(super) fn is_too_late(&self, index: usize) -> bool {
        let row = self.table.row(&self.stream.shard(index).id);
        row.is_some_and(|row| row.checkpoint == Checkpoint::Latest)
            && !self.ledger.was_begun(index)
            && self.goes_on_after(index)
    }

    fn goes_on_after(&self, index: usize) -> bool {
        let id = &self.stream.shard(index).id;
        let mut children = self
            .stream
            .shards()
            .filter(|shard| shard.parents.contains(id));
        children.any(|child| {
            let row = self.table.row(&child.id);
            row.is_some_and(|row| row.latest_ms.is_some())
                || self
                    .stream
                    .index(&child.id)
                    .is_some_and(|child| self.ledger.was_begun(child) || self.goes_on_after(child))
        })
    }
}
