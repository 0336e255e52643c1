//! What passes between the lease coordinator and the consumers of its shards.
//!
//! The coordinator starts a consumer through [`StartConsumer`] and hands it a [`ConsumerLease`]: by it the consumer hears
//! orders, asks for checkpoints, and knows whether it may begin a batch. Nothing here makes the coordinator wait for a
//! consumer, since the leases of all the others hang on it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shardwright_core::{
    Checkpoint, CheckpointDelta, ChildShard, ConsumerStart, CoordinatorEvent, Instant, StopReason,
    Tenure,
};
use tokio::sync::{Notify, mpsc, watch};

use crate::ports::Clock;

/// Starts consumers of shards. Called by the coordinator, which waits for it: spawn and return.
pub trait StartConsumer: Send {
    /// Starts consuming. The consumer owns `lease` and drops it as its last act.
    fn start(&mut self, start: ConsumerStart, lease: ConsumerLease);
}

/// The coordinator is gone, or does not want the lease's news any more: stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease coordinator has ended")]
pub struct CoordinatorEnded;

/// What the coordinator wants of one consumer, the newest state of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOrders {
    /// Why to stop, once it must. It may rise from a drain to a loss.
    pub stop: Option<StopReason>,
    /// The lease was not renewed in time: begin no batch while this holds. It is here to be waited for; before a batch
    /// begins, ask the [`DispatchPermit`], which knows even when the coordinator itself has been held up.
    pub is_paused: bool,
    /// The durable checkpoint.
    pub stored: Checkpoint,
}

/// Says whether a batch may begin. Cheap to clone and to ask: an atomic and a clock reading.
///
/// It expires by itself. After a suspend, or when the coordinator is starved, no batch begins under a lease that others
/// may have taken (LE-1 guards the table; this guards the sinks).
#[derive(Clone)]
pub struct DispatchPermit {
    term: Arc<Term>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Term {
    until: AtomicU64,
    extended: Notify,
}

impl DispatchPermit {
    pub(super) fn new(until: Instant, clock: Arc<dyn Clock>) -> Self {
        let term = Term {
            until: AtomicU64::new(until.as_nanos()),
            extended: Notify::new(),
        };
        let term = Arc::new(term);
        Self { term, clock }
    }

    /// Whether a batch may begin now.
    pub fn may_begin(&self) -> bool {
        self.clock.now() < Instant::from_nanos(self.term.until.load(Ordering::Acquire))
    }

    /// Waits until a batch may begin. For ever, if the lease is lost: the consumer hears of that.
    pub async fn wait(&self) {
        loop {
            // Listening begins before looking, so that nothing falls between the two.
            let extended = self.term.extended.notified();
            if self.may_begin() {
                return;
            }
            extended.await;
        }
    }

    pub(super) fn extend(&self, until: Instant) {
        self.term.until.store(until.as_nanos(), Ordering::Release);
        self.term.extended.notify_waiters();
    }

    pub(super) fn withdraw(&self) {
        self.term.until.store(0, Ordering::Release);
    }
}

impl fmt::Debug for DispatchPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.term.fmt(f)
    }
}

/// A consumer's end of its lease. Dropping it says that the consumer has stopped: that it calls no plugin, delivers
/// nothing and will ask for nothing under this lease. Only then is the lease released, or the shard consumed again here.
#[derive(Debug)]
pub struct ConsumerLease {
    tenure: Tenure,
    orders: watch::Receiver<ConsumerOrders>,
    permit: DispatchPermit,
    requests: mpsc::Sender<CoordinatorEvent>,
    stopped: mpsc::UnboundedSender<Tenure>,
}

impl ConsumerLease {
    pub(super) fn new(
        tenure: Tenure,
        orders: watch::Receiver<ConsumerOrders>,
        permit: DispatchPermit,
        requests: mpsc::Sender<CoordinatorEvent>,
        stopped: mpsc::UnboundedSender<Tenure>,
    ) -> Self {
        Self {
            tenure,
            orders,
            permit,
            requests,
            stopped,
        }
    }

    /// Which acquisition of which shard this is.
    pub fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// The orders, to read and to wait on. A closed channel means the coordinator is gone: stop as for a loss.
    pub fn orders(&self) -> watch::Receiver<ConsumerOrders> {
        self.orders.clone()
    }

    /// What must be asked before each batch.
    pub fn permit(&self) -> DispatchPermit {
        self.permit.clone()
    }

    /// Asks for the checkpoint to be moved. Moves chain: `from` is where the one before led, or the checkpoint that the
    /// consumer was started with (CP-3). Returns when the request is queued; [`ConsumerOrders::stored`] tells when it is
    /// durable. Requests made while a write is out are merged into the newest.
    pub async fn checkpoint(&self, delta: CheckpointDelta) -> Result<(), CoordinatorEnded> {
        let tenure = self.tenure.clone();
        self.ask(CoordinatorEvent::Checkpoint { tenure, delta })
            .await
    }

    /// Says that the shard was read to its end and that everything in it is done (SH-2). `from` chains as for a
    /// checkpoint; `children` are what the last read named. The coordinator makes the children's leases, writes
    /// `SHARD_END`, and then orders [`StopReason::ShardEnd`].
    pub async fn ended(
        &self,
        from: Checkpoint,
        children: Vec<ChildShard>,
    ) -> Result<(), CoordinatorEnded> {
        let tenure = self.tenure.clone();
        self.ask(CoordinatorEvent::ShardEnded {
            tenure,
            from,
            children,
        })
        .await
    }

    async fn ask(&self, request: CoordinatorEvent) -> Result<(), CoordinatorEnded> {
        self.requests
            .send(request)
            .await
            .map_err(|_closed| CoordinatorEnded)
    }
}

impl Drop for ConsumerLease {
    fn drop(&mut self) {
        // Unbounded, because a drop cannot wait; each lease sends one message in its life. Nobody listens after the end.
        let _ = self.stopped.send(self.tenure.clone());
    }
}
