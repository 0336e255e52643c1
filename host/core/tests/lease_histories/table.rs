//! A linearizable lease table with the conditions that the port's documentation states, and a log of what was written.

use std::collections::BTreeMap;

use shardwright_core::{
    Checkpoint, FencedWrite, HeldLease, Incarnation, Lease, LeaseChange, NewLease, ShardId,
    WorkerId, WriteFailure,
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
            let lease = Lease {
                shard: new.shard.clone(),
                owner: None,
                counter: 0,
                checkpoint: new.checkpoint.clone(),
                parents: new.parents.clone(),
                children: Vec::new(),
                hash_range: new.hash_range,
                owner_switches: 0,
                checkpoint_owner: None,
                incarnation: None,
            };
            self.rows.insert(new.shard.clone(), lease);
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
    ) -> Result<u64, WriteFailure> {
        self.write(process, &write.held, Change::Write(write.change.clone()))
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
            let is_released = change == Change::Write(LeaseChange::Release);
            let owner_fits = match &row.owner {
                Some(owner) => !is_released && *owner == held.owner,
                None => is_released,
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
                row.checkpoint_owner = None;
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
            Change::Write(LeaseChange::Release) => row.owner = None,
        }
        let key = (held.shard.clone(), row.counter);
        let before = self.log.insert(key, Entry { process, change });
        assert_eq!(before, None, "LE-1: a counter is written once");
        Ok(self.rows[&held.shard].counter)
    }
}
