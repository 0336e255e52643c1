//! The shell over tables in memory, in real time with short leases.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use shardwright_core::{
    Checkpoint, CheckpointDelta, HashRange, HeldLease, Incarnation, InitialPosition, Lease,
    LeaseState, LeaseTiming, LostReason, NewLease, Position, RowAfter, SequenceNumber, Shard,
    ShardId, ShardListing, StartAt, WorkerId,
};
use tokio::time::timeout;

use std::time::Duration;

use super::*;
use crate::adapters::SystemClock;
use crate::ports::{
    CreateOutcome, ErrorKind, LeaseWriteError, PortError, PortFuture, ReadAnswer, ShardIterator,
    StreamSummary,
};

/// Long enough for a slow machine, so that it is only ever reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A table that can be unplugged.
#[derive(Default)]
pub(in crate::runtime) struct MemoryTable {
    pub(in crate::runtime) rows: Mutex<BTreeMap<ShardId, Lease>>,
    is_away: AtomicBool,
}

impl MemoryTable {
    fn answer<T: Send + 'static, E: From<PortError> + Send + 'static>(
        &self,
        ask: impl FnOnce(&mut BTreeMap<ShardId, Lease>) -> Result<T, E>,
    ) -> PortFuture<'_, Result<T, E>> {
        let answer = if self.is_away.load(Ordering::SeqCst) {
            Err(PortError::new(ErrorKind::Transient, "unplugged").into())
        } else {
            ask(&mut self.rows.lock().unwrap())
        };
        Box::pin(async move { answer })
    }

    fn write(
        &self,
        held: &HeldLease,
        change: impl FnOnce(&mut Lease),
    ) -> PortFuture<'_, Result<RowAfter, LeaseWriteError>> {
        self.answer(|rows| match rows.get_mut(&held.shard) {
            Some(row) if row.counter == held.counter => {
                row.counter += 1;
                change(row);
                Ok(RowAfter {
                    counter: row.counter,
                    successor: row.successor.clone(),
                })
            }
            row => Err(LeaseWriteError::Lost {
                shard: held.shard.clone(),
                owner: row.as_ref().and_then(|row| row.owner.clone()),
                counter: row.map(|row| row.counter),
            }),
        })
    }
}

impl LeaseTable for MemoryTable {
    fn ensure(&self) -> PortFuture<'_, Result<(), PortError>> {
        self.answer(|_| Ok(()))
    }

    fn list(&self) -> PortFuture<'_, Result<Vec<Lease>, PortError>> {
        self.answer(|rows| Ok(rows.values().cloned().collect()))
    }

    fn get<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<Option<Lease>, PortError>> {
        self.answer(|rows| Ok(rows.get(shard).cloned()))
    }

    fn create<'a>(
        &'a self,
        lease: &'a NewLease,
    ) -> PortFuture<'a, Result<CreateOutcome, PortError>> {
        self.answer(|rows| {
            if rows.contains_key(&lease.shard) {
                return Ok(CreateOutcome::AlreadyThere);
            }
            rows.insert(lease.shard.clone(), Lease::created(lease.clone()));
            Ok(CreateOutcome::Created)
        })
    }

    fn take<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
        incarnation: Incarnation,
    ) -> PortFuture<'a, Result<HeldLease, LeaseWriteError>> {
        let mut held = HeldLease {
            shard: seen.shard.clone(),
            owner: me.clone(),
            counter: seen.counter,
            incarnation,
        };
        Box::pin(async move {
            held.counter = self
                .write(&held, |row| {
                    row.owner = Some(me.clone());
                    row.incarnation = Some(incarnation);
                    row.incarnation_owner = Some(me.clone());
                    row.successor = None;
                })
                .await?
                .counter;
            Ok(held)
        })
    }

    fn announce<'a>(
        &'a self,
        seen: &'a Lease,
        me: &'a WorkerId,
    ) -> PortFuture<'a, Result<bool, PortError>> {
        self.answer(|rows| {
            let row = rows.get_mut(&seen.shard);
            let row = row.filter(|row| row.is_ours() && row.incarnation == seen.incarnation);
            Ok(row.map(|row| row.successor = Some(me.clone())).is_some())
        })
    }

    fn renew<'a>(
        &'a self,
        held: &'a HeldLease,
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        self.write(held, |_| ())
    }

    fn checkpoint<'a>(
        &'a self,
        held: &'a HeldLease,
        checkpoint: &'a Checkpoint,
        children: &'a [ShardId],
    ) -> PortFuture<'a, Result<RowAfter, LeaseWriteError>> {
        self.write(held, |row| {
            row.checkpoint = checkpoint.clone();
            row.children = children.to_vec();
        })
    }

    fn release<'a>(
        &'a self,
        held: &'a HeldLease,
        to: Option<&'a WorkerId>,
    ) -> PortFuture<'a, Result<(), LeaseWriteError>> {
        let write = self.write(held, |row| {
            row.owner = to.cloned();
            row.successor = to.cloned();
        });
        Box::pin(async move { write.await.map(|_row| ()) })
    }

    fn delete<'a>(&'a self, shard: &'a ShardId) -> PortFuture<'a, Result<(), PortError>> {
        self.answer(|rows| {
            rows.remove(shard);
            Ok(())
        })
    }
}

/// A stream of one open shard that is never read here.
struct OneShard;

impl StreamSource for OneShard {
    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>> {
        unread()
    }

    fn list_shards(&self, _which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>> {
        let shard = Shard {
            id: ShardId::from("shard"),
            parents: Vec::new(),
            hash_range: HashRange::FULL,
            starting_sequence: SequenceNumber::parse("1").unwrap(),
            ending_sequence: None,
        };
        Box::pin(async move { Ok(vec![shard]) })
    }

    fn iterator<'a>(
        &'a self,
        _shard: &'a ShardId,
        _start: &'a StartAt,
    ) -> PortFuture<'a, Result<ShardIterator, PortError>> {
        unread()
    }

    fn read<'a>(
        &'a self,
        _iterator: &'a ShardIterator,
        _limit: u32,
    ) -> PortFuture<'a, Result<ReadAnswer, PortError>> {
        unread()
    }
}

fn unread<'a, T: Send + 'a>() -> PortFuture<'a, Result<T, PortError>> {
    Box::pin(async { Err(PortError::new(ErrorKind::NotFound, "nobody reads here")) })
}

/// Hands consumers' leases to the test.
struct ToTest(mpsc::UnboundedSender<(ConsumerStart, ConsumerLease)>);

impl StartConsumer for ToTest {
    fn start(&mut self, start: ConsumerStart, lease: ConsumerLease) {
        let _ = self.0.send((start, lease));
    }
}

struct Worker {
    handle: LeaseHandle,
    started: mpsc::UnboundedReceiver<(ConsumerStart, ConsumerLease)>,
    run: tokio::task::JoinHandle<Result<(), LeaseError>>,
}

impl Worker {
    fn start(name: &str, seed: u128, table: &Arc<MemoryTable>, failover: Duration) -> Self {
        let (starts, started) = mpsc::unbounded_channel();
        let settings = LeaseSettings {
            worker: WorkerId::new(name),
            initial: InitialPosition::TrimHorizon,
            timing: LeaseTiming { failover },
            max_leases: usize::MAX,
            seed,
        };
        let table: Arc<dyn LeaseTable> = Arc::<MemoryTable>::clone(table);
        let starter = Box::new(ToTest(starts));
        let clock = Arc::new(SystemClock);
        let (coordinator, handle) =
            LeaseCoordinator::new(settings, table, Arc::new(OneShard), clock, starter);
        Self {
            handle,
            started,
            run: tokio::spawn(coordinator.run()),
        }
    }

    async fn consumer(&mut self) -> (ConsumerStart, ConsumerLease) {
        let started = timeout(PATIENCE, self.started.recv()).await;
        started.expect("a consumer in time").expect("a coordinator")
    }

    async fn ends(self) -> Result<(), LeaseError> {
        let ended = timeout(PATIENCE, self.run).await;
        ended.expect("an end in time").expect("no panic")
    }
}

async fn order(
    lease: &ConsumerLease,
    wanted: impl FnMut(&ConsumerOrders) -> bool,
) -> ConsumerOrders {
    let mut orders = lease.orders();
    let order = timeout(PATIENCE, orders.wait_for(wanted)).await;
    order
        .expect("the order in time")
        .expect("a coordinator")
        .clone()
}

fn at(number: u64) -> Checkpoint {
    Checkpoint::At(Position {
        sequence: SequenceNumber::parse(number.to_string()).unwrap(),
        sub_sequence: 0,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_hands_its_shard_and_its_last_checkpoint_to_the_next() {
    let table = Arc::new(MemoryTable::default());
    let mut first = Worker::start("first", 1, &table, Duration::from_secs(5));
    let (start, lease) = first.consumer().await;
    assert_eq!(start.checkpoint, Checkpoint::TrimHorizon);
    assert!(lease.permit().may_begin());
    first.handle.drain();
    order(&lease, |orders| orders.stop == Some(StopReason::Drain)).await;
    let delta = CheckpointDelta {
        from: Checkpoint::TrimHorizon,
        to: at(7),
    };
    lease.checkpoint(delta).await.unwrap();
    // The request is still in the queue when the lease is dropped; it must be written all the same.
    drop(lease);
    first.ends().await.unwrap();

    let mut second = Worker::start("second", 2, &table, Duration::from_secs(5));
    let (start, _lease) = second.consumer().await;
    assert_eq!((start.checkpoint, start.previous_owner), (at(7), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_cut_off_from_the_table_stops_dispatching_before_it_loses_the_lease() {
    let failover = Duration::from_secs(2);
    let table = Arc::new(MemoryTable::default());
    let mut worker = Worker::start("cut-off", 3, &table, failover);
    let (_, lease) = worker.consumer().await;
    let permit = lease.permit();
    table.is_away.store(true, Ordering::SeqCst);
    order(&lease, |orders| orders.is_paused).await;
    assert!(!permit.may_begin());
    let lost = StopReason::Lost(LostReason::Expired);
    order(&lease, |orders| orders.stop.as_ref() == Some(&lost)).await;
    drop(lease);
    table.is_away.store(false, Ordering::SeqCst);
    let (_, lease) = worker.consumer().await;
    assert!(lease.permit().may_begin());
    let mut snapshot = worker.handle.snapshot();
    let is_mine = |snapshot: &LeaseSnapshot| {
        snapshot.is_settled && snapshot.leases[0].state == LeaseState::Mine
    };
    let seen = timeout(PATIENCE, snapshot.wait_for(is_mine)).await;
    assert!(seen.is_ok_and(|seen| seen.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_successor_of_the_same_name_is_at_work_at_once() {
    let table = Arc::new(MemoryTable::default());
    let mut killed = Worker::start("stable", 4, &table, Duration::from_mins(10));
    let (_, lease) = killed.consumer().await;
    killed.run.abort();
    let mut successor = Worker::start("stable", 5, &table, Duration::from_mins(10));
    // With leases of ten minutes, waiting for one to expire would take more patience than there is.
    successor.consumer().await;
    let mut orders = lease.orders();
    let closed = timeout(PATIENCE, async { while orders.changed().await.is_ok() {} }).await;
    assert!(
        closed.is_ok(),
        "the killed worker's consumer sees that its coordinator is gone"
    );
}
