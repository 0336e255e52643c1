//! The lease table in `DynamoDB`: KCL's schema and conditions, so that KCL workers can share it.

mod announce;
mod fenced;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use shardwright_core::{
    Checkpoint, HeldLease, Incarnation, Lease, NewLease, RowAfter, ShardId, WorkerId,
};

use super::error::port_error;
use super::lease_row::{self, LEASE_KEY, Row};
use crate::limits::LEASE_PAGES_MAX;
use crate::ports::{CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError, PortError, PortFuture};

/// The code of a condition that did not hold.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// A lease table, by name. It can be shared with KCL workers of any version: rows are created and changed as KCL does,
/// attributes that are not ours are left alone, and nothing but leases is ever written.
///
/// Lists and single reads are strongly consistent: a row that this process has just written must not be missing from
/// its next list.
#[derive(Debug)]
pub struct DynamoLeaseTable {
    client: Client,
    /// With the time-out of a fenced write.
    fenced: Client,
    table: Arc<str>,
    /// How many rows the last list could not read, so that only a change is logged.
    unreadable: AtomicUsize,
}

impl DynamoLeaseTable {
    pub(super) fn new(client: Client, fenced: Client, table: &str) -> Self {
        Self {
            client,
            fenced,
            table: table.into(),
            unreadable: AtomicUsize::new(0),
        }
    }

    async fn scan(&self) -> Result<Vec<Lease>, PortError> {
        let call = || format!("Scan of lease table {}", self.table);
        let mut leases = Vec::new();
        let mut unreadable = Unreadable::default();
        let mut after = None;
        for _ in 0..LEASE_PAGES_MAX {
            let page = self
                .client
                .scan()
                .table_name(&*self.table)
                .consistent_read(true)
                .set_exclusive_start_key(after)
                .send()
                .await
                .map_err(|error| port_error(call(), &error))?;
            for item in page.items.unwrap_or_default() {
                let key = item.get(LEASE_KEY).and_then(|key| key.as_s().ok()).cloned();
                match lease_row::read(item) {
                    Ok(Row::Lease(lease)) => leases.push(lease),
                    Ok(Row::NotALease) => {}
                    Ok(Row::OtherStream) => {
                        unreadable.add(key.as_deref(), "it belongs to a multi-stream application");
                    }
                    Err(fault) => unreadable.add(key.as_deref(), &fault),
                }
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                self.report(&unreadable);
                return Ok(leases);
            }
        }
        Err(PortError::new(
            ErrorKind::Fatal,
            format!("{}: it goes on after {LEASE_PAGES_MAX} pages", call()),
        ))
    }

    /// A row that cannot be read must not hide the others, and must not be passed over in silence.
    fn report(&self, unreadable: &Unreadable) {
        let before = self.unreadable.swap(unreadable.rows, Ordering::Relaxed);
        if before != unreadable.rows
            && let Some(example) = &unreadable.example
        {
            tracing::warn!(
                table = &*self.table,
                rows = unreadable.rows,
                example,
                "rows of the lease table are left out"
            );
        }
    }

    async fn read(&self, shard: &ShardId) -> Result<Option<Lease>, PortError> {
        let call = || format!("GetItem of {shard} in lease table {}", self.table);
        let answer = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key(LEASE_KEY, lease_row::string(shard.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| port_error(call(), &error))?;
        let Some(item) = answer.item else {
            return Ok(None);
        };
        match lease_row::read(item) {
            Ok(Row::Lease(lease)) => Ok(Some(lease)),
            Ok(Row::NotALease | Row::OtherStream) => Ok(None),
            Err(fault) => Err(unreadable_row(&call(), &fault)),
        }
    }

    async fn insert(&self, lease: &NewLease) -> Result<CreateOutcome, PortError> {
        let call = || format!("PutItem of {} in lease table {}", lease.shard, self.table);
        let put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(lease_row::new_item(lease)))
            .condition_expression("attribute_not_exists(leaseKey)");
        match put.send().await {
            Ok(_) => Ok(CreateOutcome::Created),
            // By somebody else, or by a try of ours whose answer was lost: the row is the same.
            Err(error) if error.code() == Some(CONDITION_FAILED) => Ok(CreateOutcome::AlreadyThere),
            Err(error) => Err(port_error(call(), &error)),
        }
    }

    async fn remove(&self, shard: &ShardId) -> Result<(), PortError> {
        let call = || format!("DeleteItem of {shard} in lease table {}", self.table);
        self.client
            .delete_item()
            .table_name(&*self.table)
            .key(LEASE_KEY, lease_row::string(shard.as_str()))
            .send()
            .await
            .map_err(|error| port_error(call(), &error))?;
        Ok(())
    }
}

impl LeaseTable for DynamoLeaseTable {
    fn ensure(&self) -> PortFuture<'_, Result<(), PortError>> {
        Box::pin(table::ensure(&self.client, &self.table))
    }

    fn list(&self) -> PortFuture<'_, Result<Vec<Lease>, PortError>> {
        Box::pin(self.scan())
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<Option<Lease>, PortError>> {
        Box::pin(self.read(shard))
    }

    fn create<'a>(
        &'a self,
        lease: &'a NewLease,
    ) -> PortFuture<'a, Result<CreateOutcome, PortError>> {
        Box::pin(self.insert(lease))
    }

    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
        incarnation: Incarnation,
    ) -> PortFuture<'a, Result<HeldLease, LeaseWriteError>> {
        Box::pin(self.take_lease(seen, me, incarnation))
    }

    fn announce<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
    ) -> PortFuture<'a, Result<bool, PortError>> {
        Box::pin(self.announce_successor(seen, me))
    }

    fn renew<'a>(
        &'a self,
        held: &'a HeldLease,
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        Box::pin(self.renew_lease(held))
    }

    fn checkpoint<'a>(
        &'a self,
        held: &'a HeldLease,
        checkpoint: &'a Checkpoint,
        children: &'a [ShardId],
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        Box::pin(self.write_checkpoint(held, checkpoint, children))
    }

    fn release<'a>(
        &'a self,
        held: &'a HeldLease,
        to: Option<&'a WorkerId>,
    ) -> PortFuture<'a, Result<(), LeaseWriteError>> {
        Box::pin(self.release_lease(held, to))
    }

    fn delete<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<(), PortError>> {
        Box::pin(self.remove(shard))
    }
}

fn unreadable_row(call: &str, fault: &lease_row::RowFault) -> PortError {
    PortError::new(
        ErrorKind::Fatal,
        format!("{call}: the row cannot be read: {fault}"),
    )
}

/// Rows of one list that are left out.
#[derive(Default)]
struct Unreadable {
    rows: usize,
    /// The first one and why.
    example: Option<String>,
}

impl Unreadable {
    fn add(&mut self, key: Option<&str>, why: impl std::fmt::Display) {
        self.rows += 1;
        self.example
            .get_or_insert_with(|| format!("{}: {why}", key.unwrap_or("a row")));
    }
}
