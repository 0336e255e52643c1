//! The coordinator's calls to the lease table and the stream, each of which becomes exactly one event.

use std::sync::Arc;
use std::time::Duration;

use shardwright_core::{
    CoordinatorEffect, CoordinatorEvent, FencedWrite, Incarnation, Lease, LeaseChange, NewLease,
    RowAfter, ShardId, ShardListing, Tenure, Trouble, TroubleKind, WorkerId, WriteFailure,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::limits::{LEASE_WRITE_DIVISOR, LISTING_TIMEOUT};
use crate::ports::{
    CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError, PortError, PortFuture, StreamSource,
};

/// Makes calls on tasks of their own.
pub(super) struct Calls {
    table: Arc<dyn LeaseTable>,
    source: Arc<dyn StreamSource>,
    worker: WorkerId,
    write_max: Duration,
}

impl Calls {
    pub(super) fn new(
        table: Arc<dyn LeaseTable>,
        source: Arc<dyn StreamSource>,
        worker: WorkerId,
        failover: Duration,
    ) -> Self {
        Self {
            table,
            source,
            worker,
            write_max: failover / LEASE_WRITE_DIVISOR,
        }
    }

    /// Makes the call that an effect asks for; effects that ask for none are not made here.
    pub(super) fn make(&self, effect: CoordinatorEffect, answers: &mut JoinSet<CoordinatorEvent>) {
        let table = Arc::clone(&self.table);
        match effect {
            CoordinatorEffect::EnsureTable => {
                // The port bounds it: creating a table takes minutes, rightly.
                answers.spawn(async move {
                    CoordinatorEvent::TableReady(table.ensure().await.map_err(trouble))
                });
            }
            CoordinatorEffect::List => {
                answers.spawn(async move {
                    CoordinatorEvent::Listed(within(LISTING_TIMEOUT, table.list()).await)
                });
            }
            CoordinatorEffect::ListShards(which) => {
                answers.spawn(list_shards(Arc::clone(&self.source), which));
            }
            CoordinatorEffect::Create(lease) => {
                answers.spawn(create(table, lease, self.write_max));
            }
            CoordinatorEffect::Take { seen, incarnation } => {
                let worker = self.worker.clone();
                answers.spawn(take(table, seen, worker, incarnation, self.write_max));
            }
            CoordinatorEffect::Write(write) => {
                answers.spawn(fenced_write(table, write, self.write_max));
            }
            CoordinatorEffect::Announce { seen } => {
                let worker = self.worker.clone();
                answers.spawn(announce(table, seen, worker, self.write_max));
            }
            CoordinatorEffect::Delete(shard) => {
                answers.spawn(delete(table, shard, self.write_max));
            }
            CoordinatorEffect::StartConsumer(_)
            | CoordinatorEffect::DispatchUntil { .. }
            | CoordinatorEffect::StopDispatch(_)
            | CoordinatorEffect::StopConsumer { .. }
            | CoordinatorEffect::Stored { .. }
            | CoordinatorEffect::Happened(_)
            | CoordinatorEffect::GiveUp(_)
            | CoordinatorEffect::Finished => {}
        }
    }
}

async fn list_shards(source: Arc<dyn StreamSource>, which: ShardListing) -> CoordinatorEvent {
    let outcome = within(LISTING_TIMEOUT, source.list_shards(which)).await;
    CoordinatorEvent::ShardsListed { which, outcome }
}

async fn create(table: Arc<dyn LeaseTable>, lease: NewLease, max: Duration) -> CoordinatorEvent {
    let outcome = within(max, table.create(&lease)).await;
    CoordinatorEvent::Created {
        shard: lease.shard,
        outcome: outcome.map(|outcome| outcome == CreateOutcome::Created),
    }
}

async fn announce(
    table: Arc<dyn LeaseTable>,
    seen: Lease,
    worker: WorkerId,
    max: Duration,
) -> CoordinatorEvent {
    let outcome = within(max, table.announce(&seen, &worker)).await;
    CoordinatorEvent::Announced {
        shard: seen.shard,
        outcome,
    }
}

async fn delete(table: Arc<dyn LeaseTable>, shard: ShardId, max: Duration) -> CoordinatorEvent {
    let outcome = within(max, table.delete(&shard)).await;
    CoordinatorEvent::Deleted { shard, outcome }
}

async fn take(
    table: Arc<dyn LeaseTable>,
    seen: Lease,
    worker: WorkerId,
    incarnation: Incarnation,
    max: Duration,
) -> CoordinatorEvent {
    let outcome = answer_within(max, table.take(&seen, &worker, incarnation)).await;
    CoordinatorEvent::Taken {
        tenure: Tenure {
            shard: seen.shard,
            incarnation,
        },
        outcome,
    }
}

async fn fenced_write(
    table: Arc<dyn LeaseTable>,
    write: FencedWrite,
    max: Duration,
) -> CoordinatorEvent {
    let held = &write.held;
    let outcome = match &write.change {
        LeaseChange::Renew => answer_within(max, table.renew(held)).await,
        LeaseChange::Checkpoint { to, children } => {
            answer_within(max, table.checkpoint(held, to, children)).await
        }
        LeaseChange::Release { to } => answer_within(max, table.release(held, to.as_ref()))
            .await
            .map(|()| RowAfter {
                counter: held.counter + 1,
                successor: to.clone(),
            }),
    };
    CoordinatorEvent::Written {
        tenure: held.tenure(),
        outcome,
    }
}

/// A fenced write that takes too long may have happened or not; the machine tries the same one again.
async fn answer_within<T>(
    max: Duration,
    call: PortFuture<'_, Result<T, LeaseWriteError>>,
) -> Result<T, WriteFailure> {
    match timeout(max, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(LeaseWriteError::Lost { owner, counter, .. })) => {
            Err(WriteFailure::Lost { owner, counter })
        }
        Ok(Err(LeaseWriteError::Port(error))) => Err(WriteFailure::Trouble(trouble(error))),
        Err(_elapsed) => Err(WriteFailure::Trouble(unanswered(max))),
    }
}

async fn within<T>(
    max: Duration,
    call: PortFuture<'_, Result<T, PortError>>,
) -> Result<T, Trouble> {
    match timeout(max, call).await {
        Ok(outcome) => outcome.map_err(trouble),
        Err(_elapsed) => Err(unanswered(max)),
    }
}

fn unanswered(max: Duration) -> Trouble {
    Trouble {
        kind: TroubleKind::Transient,
        what: format!("no answer within {} ms", max.as_millis()),
    }
}

fn trouble(error: PortError) -> Trouble {
    let kind = match error.kind {
        ErrorKind::Transient | ErrorKind::ExpiredIterator => TroubleKind::Transient,
        ErrorKind::Throttled => TroubleKind::Throttled,
        ErrorKind::InvalidPosition | ErrorKind::NotFound | ErrorKind::Fatal => TroubleKind::Fatal,
    };
    Trouble {
        kind,
        what: error.what,
    }
}
