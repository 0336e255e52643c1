//! The coordinator's calls to the lease table and the stream, each of which becomes exactly one event.

use std::sync::Arc;
use std::time::Duration;

use shardwright_core::{
    CoordinatorEffect, CoordinatorEvent, FencedWrite, Incarnation, Lease, LeaseChange, NewLease,
    RowAfter, ShardId, ShardListing, Tenure, Trouble, TroubleKind, WorkerId, WriteFailure,
};
use tokio::task::JoinSet;

use crate::limits::{LEASE_WRITE_DIVISOR, LISTING_TIMEOUT};
use crate::ports::{
    Clock, CreateOutcome, ErrorKind, LeaseTable, LeaseWriteError, PortError, PortFuture,
    StreamSource,
};

/// Makes calls on tasks of their own.
pub(super) struct Calls {
    table: Arc<dyn LeaseTable>,
    source: Arc<dyn StreamSource>,
    worker: WorkerId,
    listing: Limit,
    write: Limit,
}

/// How long a call may take.
#[derive(Clone)]
struct Limit {
    max: Duration,
    clock: Arc<dyn Clock>,
}

impl Calls {
    pub(super) fn new(
        table: Arc<dyn LeaseTable>,
        source: Arc<dyn StreamSource>,
        worker: WorkerId,
        failover: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            table,
            source,
            worker,
            listing: Limit {
                max: LISTING_TIMEOUT,
                clock: Arc::clone(&clock),
            },
            write: Limit {
                max: failover / LEASE_WRITE_DIVISOR,
                clock,
            },
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
                let limit = self.listing.clone();
                answers
                    .spawn(async move { CoordinatorEvent::Listed(limit.on(table.list()).await) });
            }
            CoordinatorEffect::ListShards(which) => {
                let source = Arc::clone(&self.source);
                answers.spawn(list_shards(source, which, self.listing.clone()));
            }
            CoordinatorEffect::Create(lease) => {
                answers.spawn(create(table, lease, self.write.clone()));
            }
            CoordinatorEffect::Take { seen, incarnation } => {
                let worker = self.worker.clone();
                let seen = seen.seen_at(self.write.clock.unix_ms());
                answers.spawn(take(table, seen, worker, incarnation, self.write.clone()));
            }
            CoordinatorEffect::Write(write) => {
                answers.spawn(fenced_write(table, write, self.write.clone()));
            }
            CoordinatorEffect::Announce { seen } => {
                let worker = self.worker.clone();
                answers.spawn(announce(table, seen, worker, self.write.clone()));
            }
            CoordinatorEffect::Delete(shard) => {
                answers.spawn(delete(table, shard, self.write.clone()));
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

async fn list_shards(
    source: Arc<dyn StreamSource>,
    which: ShardListing,
    limit: Limit,
) -> CoordinatorEvent {
    let outcome = limit.on(source.list_shards(which)).await;
    CoordinatorEvent::ShardsListed { which, outcome }
}

async fn create(table: Arc<dyn LeaseTable>, lease: NewLease, limit: Limit) -> CoordinatorEvent {
    let outcome = limit.on(table.create(&lease)).await;
    CoordinatorEvent::Created {
        shard: lease.shard,
        outcome: outcome.map(|outcome| outcome == CreateOutcome::Created),
    }
}

async fn announce(
    table: Arc<dyn LeaseTable>,
    seen: Lease,
    worker: WorkerId,
    limit: Limit,
) -> CoordinatorEvent {
    let outcome = limit.on(table.announce(&seen, &worker)).await;
    CoordinatorEvent::Announced {
        shard: seen.shard,
        outcome,
    }
}

async fn delete(table: Arc<dyn LeaseTable>, shard: ShardId, limit: Limit) -> CoordinatorEvent {
    let outcome = limit.on(table.delete(&shard)).await;
    CoordinatorEvent::Deleted { shard, outcome }
}

async fn take(
    table: Arc<dyn LeaseTable>,
    seen: Lease,
    worker: WorkerId,
    incarnation: Incarnation,
    limit: Limit,
) -> CoordinatorEvent {
    let outcome = limit
        .on_write(table.take(&seen, &worker, incarnation))
        .await;
    CoordinatorEvent::Taken {
        latest_ms: seen.latest_ms,
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
    limit: Limit,
) -> CoordinatorEvent {
    let held = &write.held;
    let outcome =
        match &write.change {
            LeaseChange::Renew => limit.on_write(table.renew(held)).await,
            LeaseChange::Checkpoint { to, children } => {
                limit.on_write(table.checkpoint(held, to, children)).await
            }
            LeaseChange::Release { to } => limit
                .on_write(table.release(held, to.as_ref()))
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

impl Limit {
    /// A fenced write that takes too long may have happened or not; the machine tries the same one again.
    async fn on_write<T>(
        &self,
        call: PortFuture<'_, Result<T, LeaseWriteError>>,
    ) -> Result<T, WriteFailure> {
        match self.clock.within(self.max, call).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(LeaseWriteError::Lost { owner, counter, .. })) => {
                Err(WriteFailure::Lost { owner, counter })
            }
            Some(Err(LeaseWriteError::Port(error))) => Err(WriteFailure::Trouble(trouble(error))),
            None => Err(WriteFailure::Trouble(unanswered(self.max))),
        }
    }

    async fn on<T>(&self, call: PortFuture<'_, Result<T, PortError>>) -> Result<T, Trouble> {
        match self.clock.within(self.max, call).await {
            Some(outcome) => outcome.map_err(trouble),
            None => Err(unanswered(self.max)),
        }
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
        ErrorKind::InvalidPosition | ErrorKind::NotFound | ErrorKind::Fatal | ErrorKind::Unfit => {
            TroubleKind::Fatal
        }
    };
    Trouble {
        kind,
        what: error.what,
    }
}
