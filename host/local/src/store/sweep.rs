//! Gives back what trimmed and dropped records took on disk, a little at a time and of each shard in turn.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::StoreError;
use crate::limits;

/// Where the sweep stands.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The stream and the shard that had its turn last.
    last: (i64, u32),
    /// Whether there may be rows to remove.
    is_due: bool,
}

/// Rows of one shard that nobody reads any more: those that begin below this index.
#[derive(Clone, Copy)]
struct Garbage {
    stream: i64,
    shard: u32,
    below: u64,
}

impl Sweep {
    /// An earlier process may have left something.
    pub(super) fn new() -> Self {
        Self {
            last: (0, 0),
            is_due: true,
        }
    }

    /// There may be more to remove than there was.
    pub(super) fn is_due_again(&mut self) {
        self.is_due = true;
    }

    /// Removes up to `most` rows in one transaction, of no shard more than `limits::SWEEP_SHARD_ROWS` before the next one has its
    /// turn. Gives whether there may be more. After an error nothing is removed until it is due again.
    pub(super) fn run(
        &mut self,
        connection: &mut Connection,
        most: u32,
    ) -> Result<bool, StoreError> {
        if !self.is_due {
            return Ok(false);
        }
        self.is_due = false;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut last, mut left, mut is_clean) = (self.last, most, false);
        while left > 0 && !is_clean {
            match next(&transaction, last)? {
                Some(garbage) => {
                    let share = left.min(limits::SWEEP_SHARD_ROWS);
                    // A look costs something too, whatever it finds: many shards with little each are not all looked at in one go.
                    left -= remove(&transaction, garbage, share)?.max(1);
                    last = (garbage.stream, garbage.shard);
                }
                None => is_clean = true,
            }
        }
        transaction.commit()?;
        self.last = last;
        self.is_due = !is_clean;
        Ok(!is_clean)
    }
}

/// The shard whose turn it is after `last`: beyond the end it is the first one's again.
fn next(
    transaction: &Transaction<'_>,
    (stream, shard): (i64, u32),
) -> Result<Option<Garbage>, StoreError> {
    let mut after = transaction.prepare_cached(
        "SELECT stream, shard, below FROM garbage WHERE (stream, shard) > (?1, ?2)
         ORDER BY stream, shard LIMIT 1",
    )?;
    let mut find = |stream: i64, shard: i64| {
        let garbage = after.query_row(params![stream, shard], |row| {
            Ok(Garbage {
                stream: row.get(0)?,
                shard: row.get(1)?,
                below: row.get(2)?,
            })
        });
        garbage.optional()
    };
    if let Some(garbage) = find(stream, shard.into())? {
        return Ok(Some(garbage));
    }
    Ok(find(0, -1)?)
}

/// Removes up to `most` rows, and the note of them once there are no more. Gives how many were removed.
fn remove(transaction: &Transaction<'_>, garbage: Garbage, most: u32) -> Result<u32, StoreError> {
    let Garbage {
        stream,
        shard,
        below,
    } = garbage;
    let removed = transaction
        .prepare_cached(
            "DELETE FROM blocks WHERE id IN
             (SELECT id FROM blocks WHERE stream = ?1 AND shard = ?2 AND first < ?3 LIMIT ?4)",
        )?
        .execute(params![stream, shard, below, most])?;
    let removed = u32::try_from(removed).unwrap_or(u32::MAX).min(most);
    if removed < most {
        transaction
            .prepare_cached("DELETE FROM garbage WHERE stream = ?1 AND shard = ?2")?
            .execute(params![stream, shard])?;
    }
    Ok(removed)
}
