//! A model of the lease table: linearizable rows, with the conditions that the port's adapter states.

use std::collections::BTreeMap;

use shardwright_core::{
    Checkpoint, FencedWrite, HeldLease, Incarnation, Lease, LeaseChange, NewLease, RowAfter,
    ShardId, WorkerId, WriteFailure,
};

/// The rows of a lease table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: BTreeMap<ShardId, Lease>,
}

impl Table {
    /// A row as it is now.
    pub fn row(&self, shard: &ShardId) -> Option<&Lease> {
        self.rows.get(shard)
    }

    /// Every row as it is now.
    pub fn rows(&self) -> impl Iterator<Item = &Lease> {
        self.rows.values()
    }

    /// Creates a row unless it is there; tells whether it is new.
    pub fn create(&mut self, new: &NewLease) -> bool {
        let is_new = !self.rows.contains_key(&new.shard);
        if is_new {
            self.rows
                .insert(new.shard.clone(), Lease::created(new.clone()));
        }
        is_new
    }

    /// Deletes a row.
    pub fn delete(&mut self, shard: &ShardId) {
        self.rows.remove(shard);
    }

    /// Takes a lease whose row was seen as `seen`.
    pub fn take(
        &mut self,
        seen: &Lease,
        me: &WorkerId,
        incarnation: Incarnation,
    ) -> Result<HeldLease, WriteFailure> {
        let held = HeldLease {
            shard: seen.shard.clone(),
            owner: me.clone(),
            counter: seen.counter + 1,
            incarnation,
        };
        let row = match self.rows.get_mut(&seen.shard) {
            Some(row) if row.counter == seen.counter => row,
            Some(row) if is_held_by(row, &held, held.counter) => return Ok(held),
            row => return Err(lost(row.as_deref())),
        };
        if row.owner.as_ref().is_some_and(|owner| owner != me) {
            row.owner_switches += 1;
        }
        row.counter += 1;
        row.owner = Some(me.clone());
        row.incarnation = Some(incarnation);
        row.incarnation_owner = Some(me.clone());
        row.checkpoint_owner = None;
        row.successor = None;
        row.latest_ms = row.latest_ms.or(seen.latest_ms);
        Ok(held)
    }

    /// Names a successor in a row that is still in the hands that were seen; tells whether it does.
    pub fn announce(&mut self, seen: &Lease, me: &WorkerId) -> bool {
        let Some(row) = self.rows.get_mut(&seen.shard) else {
            return false;
        };
        let is_as_seen = row.is_ours()
            && row.owner == seen.owner
            && row.incarnation == seen.incarnation
            && (row.successor.is_none()
                || row.successor.as_ref() == Some(me)
                || row.successor == seen.successor);
        if is_as_seen {
            row.successor = Some(me.clone());
        }
        is_as_seen
    }

    /// Makes a write under the counter of the lease that is held; answers what it left.
    pub fn write(&mut self, write: &FencedWrite) -> Result<RowAfter, WriteFailure> {
        let held = &write.held;
        let row = self.rows.get_mut(&held.shard);
        let row = match (row, &write.change) {
            (Some(row), LeaseChange::Release { .. })
                if row.counter == held.counter && row.owner.as_ref() == Some(&held.owner) =>
            {
                row
            }
            (Some(row), LeaseChange::Renew | LeaseChange::Checkpoint { .. })
                if row.counter == held.counter =>
            {
                row
            }
            (Some(row), change) if is_as_it_left_it(row, held, change) => {
                return Ok(row_after(row));
            }
            (row, _) => return Err(lost(row.as_deref())),
        };
        row.counter += 1;
        match &write.change {
            LeaseChange::Renew => {}
            LeaseChange::Checkpoint { to, children } => {
                row.checkpoint = to.clone();
                row.owner_switches = 0;
                if !children.is_empty() {
                    row.children.clone_from(children);
                }
            }
            LeaseChange::Release { to } => {
                row.owner.clone_from(to);
                row.successor.clone_from(to);
            }
        }
        Ok(row_after(row))
    }

    /// What a scan brings that began when the table was `before` and ends now: `is_old` says of each row which of the two
    /// it saw.
    pub fn scan(&self, before: &Self, mut is_old: impl FnMut() -> bool) -> Vec<Lease> {
        let mut seen = Vec::with_capacity(self.rows.len());
        for (shard, row) in &self.rows {
            match before.rows.get(shard) {
                Some(old) if is_old() => seen.push(old.clone()),
                None if is_old() => {}
                _ => seen.push(row.clone()),
            }
        }
        let deleted = before
            .rows
            .iter()
            .filter(|(shard, _)| !self.rows.contains_key(*shard));
        for (_, row) in deleted {
            if is_old() {
                seen.push(row.clone());
            }
        }
        seen
    }
}

/// Whether an earlier try of this very write did it.
fn is_as_it_left_it(row: &Lease, held: &HeldLease, change: &LeaseChange) -> bool {
    match change {
        LeaseChange::Renew => is_held_by(row, held, held.counter + 1),
        LeaseChange::Checkpoint { to, .. } => {
            is_held_by(row, held, held.counter + 1) && row.checkpoint == *to
        }
        LeaseChange::Release { .. } => {
            row.counter == held.counter + 1
                && row.owner.as_ref() != Some(&held.owner)
                && row.incarnation == Some(held.incarnation)
        }
    }
}

fn row_after(row: &Lease) -> RowAfter {
    RowAfter {
        counter: row.counter,
        successor: row.successor.clone(),
    }
}

fn is_held_by(row: &Lease, held: &HeldLease, counter: u64) -> bool {
    row.counter == counter
        && row.owner.as_ref() == Some(&held.owner)
        && row.incarnation == Some(held.incarnation)
}

fn lost(row: Option<&Lease>) -> WriteFailure {
    WriteFailure::Lost {
        owner: row.and_then(|row| row.owner.clone()),
        counter: row.map(|row| row.counter),
    }
}

impl Table {
    /// Whether a row's checkpoint says that its shard was read to its end, or there is no row.
    pub fn is_done(&self, shard: &ShardId) -> bool {
        self.row(shard)
            .is_none_or(|row| row.checkpoint == Checkpoint::ShardEnd)
    }
}
