//! A linearizable lease table with the conditions that the port's documentation states, and a log of what was written.

use std::collections::BTreeMap;

use shardwright_core::{
    Checkpoint, FencedWrite, HeldLease, Incarnation, Lease, LeaseChange, NewLease, RowAfter,
    ShardId, WorkerId, WriteFailure,
};

/// Who moved a counter to a value, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The number of the process, which its name does not tell.
    pub(crate) process: usize,
    pub(crate) change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Take(Incarnation),
    Write(LeaseChange),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: BTreeMap<ShardId, Lease>,
    pub(crate) log: BTreeMap<(ShardId, u64), Entry>,
}

impl Table {
    pub(crate) fn create(&mut self, new: &NewLease) -> bool {
        let is_new = !self.rows.contains_key(&new.shard);
        if is_new {
            self.rows
                .insert(new.shard.clone(), Lease::created(new.clone()));
        }
        is_new
    }

    pub(crate) fn take(
        &mut self,
        process: usize,
        seen: &Lease,
        me: &WorkerId,
        incarnation: Incarnation,
    ) -> Result<HeldLease, WriteFailure> {
        let held = HeldLease {
            shard: seen.shard.clone(),
            owner: me.clone(),
            counter: seen.counter,
            incarnation,
        };
        let counter = self.write(process, &held, Change::Take(incarnation))?;
        Ok(HeldLease { counter, ..held })
    }

    pub(crate) fn fenced_write(
        &mut self,
        process: usize,
        write: &FencedWrite,
    ) -> Result<RowAfter, WriteFailure> {
        let counter = self.write(process, &write.held, Change::Write(write.change.clone()))?;
        let row = self.rows.get(&write.held.shard);
        let successor = row.and_then(|row| row.successor.clone());
        Ok(RowAfter { counter, successor })
    }

    /// Names a successor, which moves no counter and so is nobody's write.
    pub(crate) fn announce(&mut self, seen: &Lease, me: &WorkerId) -> bool {
        let Some(row) = self.rows.get_mut(&seen.shard) else {
            return false;
        };
        let is_as_seen = row.is_ours()
            && row.incarnation == seen.incarnation
            && (row.successor == seen.successor || row.successor.as_ref() == Some(me));
        if is_as_seen {
            row.successor = Some(me.clone());
        }
        is_as_seen
    }

    fn write(
        &mut self,
        process: usize,
        held: &HeldLease,
        change: Change,
    ) -> Result<u64, WriteFailure> {
        let Some(row) = self.rows.get_mut(&held.shard) else {
            return Err(WriteFailure::Lost {
                owner: None,
                counter: None,
            });
        };
        if row.counter != held.counter {
            // An earlier try of this very write is recognised by what it left behind.
            let owner_fits = match &change {
                Change::Write(LeaseChange::Release { to }) => row.owner == *to,
                Change::Take(_) | Change::Write(_) => row.owner.as_ref() == Some(&held.owner),
            };
            let value_fits = match &change {
                Change::Write(LeaseChange::Checkpoint { to, .. }) => row.checkpoint == *to,
                Change::Take(_) | Change::Write(_) => true,
            };
            let is_mine = owner_fits && value_fits && row.incarnation == Some(held.incarnation);
            if is_mine && row.counter == held.counter + 1 {
                return Ok(row.counter);
            }
            return Err(WriteFailure::Lost {
                owner: row.owner.clone(),
                counter: Some(row.counter),
            });
        }
        row.counter += 1;
        match &change {
            Change::Take(incarnation) => {
                row.owner = Some(held.owner.clone());
                row.incarnation = Some(*incarnation);
                row.incarnation_owner = Some(held.owner.clone());
                row.checkpoint_owner = None;
                row.successor = None;
            }
            Change::Write(LeaseChange::Renew) => {}
            Change::Write(LeaseChange::Checkpoint { to, children }) => {
                assert!(
                    *to > row.checkpoint,
                    "CP-2: from {} back to {to}",
                    row.checkpoint
                );
                if *to == Checkpoint::ShardEnd {
                    row.children.clone_from(children);
                }
                row.checkpoint = to.clone();
            }
            Change::Write(LeaseChange::Release { to }) => {
                row.owner.clone_from(to);
                row.successor.clone_from(to);
            }
        }
        let key = (held.shard.clone(), row.counter);
        let before = self.log.insert(key, Entry { process, change });
        assert_eq!(before, None, "LE-1: a counter is written once");
        Ok(self.rows[&held.shard].counter)
    }
}
