//! The lease coordinator: which shards this worker consumes, and when it may.

use std::collections::{BTreeMap, BTreeSet};

use crate::entropy::Entropy;
use crate::keeper::LeaseTiming;
use crate::lease::{Lease, WorkerId};
use crate::lease_write::{Trouble, TroubleKind};
use crate::limits::{AUDIT_INTERVAL, HANDOVER_LOOK, RELIST_AFTER};
use crate::position::InitialPosition;
use crate::shard::{Shard, ShardId};
use crate::time::Instant;

mod audit;
mod balance;
mod beginning;
mod chore;
mod cleaning;
mod event;
mod handover;
mod holding;
mod leader;
mod rows;
mod snapshot;
mod sync;
mod taking;
#[cfg(test)]
mod tests;

use audit::Auditor;
use chore::Chore;
pub use event::{
    ConsumerStart, CoordinatorEffect, CoordinatorEvent, Happening, ShardListing, StopReason,
};
use holding::Holding;
use rows::{Rows, Standing};
pub use snapshot::{LeaseSnapshot, LeaseState, LeaseView};
use sync::{Creating, Missing};
use taking::Taking;

/// What a coordinator must know.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// This process's name in the table. It must be locked against a second process of that name, or be random.
    pub worker: WorkerId,
    /// Where a shard begins that has no lease and follows from none.
    pub initial: InitialPosition,
    /// The lease's duration, the same for every worker of the application.
    pub timing: LeaseTiming,
    /// The most leases that this worker takes, whatever its share would be.
    pub max_leases: usize,
    /// Random, from the operating system: incarnations are drawn from it.
    pub seed: u128,
}

/// One worker's part in sharing out a stream's shards.
///
/// It owns what the worker knows of the lease table, a [`LeaseKeeper`](crate::LeaseKeeper) for each lease it holds, and
/// the decisions in between: which rows to create, which to take, when a shard's consumer starts and stops. It keeps to
/// these rules:
/// - A row is taken if it is nobody's, if it is this process's own, or if its counter has stood still before this
///   worker's eyes for longer than the lease's duration. Every take writes a fresh incarnation.
/// - A lease is lost the moment the table says so, or when it was not renewed in time. Its consumer stops dispatching
///   before others may take it.
/// - A consumer starts when no parent of its shard has an unfinished lease (SH-1), and when the consumer of an earlier
///   acquisition has stopped and no write of it is out: a shard has one consumer in a process.
/// - When a consumer says its shard has ended, its children's rows are made first, then `SHARD_END` is written (SH-2),
///   then the children are taken. A finished row is not renewed; it is deleted once its children have got on and its
///   parents' rows are gone.
/// - Open shards that nobody's lease leads to are looked for every minute.
///
/// Rows in a KCL 3 handoff are left alone until they expire. What a fleet needs besides (stealing, leading, handing over)
/// is not here; it adds verdicts on rows and events, not other owners of writes.
#[derive(Clone, Debug)]
pub struct Coordinator {
    settings: LeaseSettings,
    entropy: Entropy,
    phase: Phase,
    ensuring: Chore,
    listing: Chore,
    sync: Chore,
    rows: Rows,
    /// The newest listing of all shards, for the ends of shards that need one.
    shards: Option<Vec<Shard>>,
    /// When it was asked for.
    shards_asked: Instant,
    taking: BTreeMap<ShardId, Taking>,
    held: BTreeMap<ShardId, Holding>,
    creating: BTreeMap<ShardId, Creating>,
    deleting: BTreeSet<ShardId>,
    /// Since when this worker has seen that nobody needs these rows any more.
    unneeded_since: BTreeMap<ShardId, Instant>,
    announcing: BTreeSet<ShardId>,
    audit_at: Instant,
    audits: u32,
    auditor: Auditor,
    /// Shards with rows that need them, of which the last listing knew nothing any more.
    unlisted: BTreeSet<ShardId>,
    /// Rows that are missing, until another look has shown that they still are.
    missing: Option<Missing>,
    /// A listing was turned into rows at least once.
    has_synced: bool,
    /// Rows have changed since the last look for what may be taken.
    must_review: bool,
    /// A listing has come since the last look for what may be asked for.
    must_balance: bool,
    revision: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Running,
    Draining,
    Over,
}

impl Coordinator {
    /// A coordinator that waits for [`CoordinatorEvent::Started`].
    pub fn new(settings: LeaseSettings) -> Self {
        Self {
            entropy: Entropy::new(settings.seed),
            rows: Rows::new(settings.worker.clone(), settings.timing),
            settings,
            phase: Phase::New,
            ensuring: Chore::default(),
            listing: Chore::default(),
            sync: Chore::default(),
            shards: None,
            shards_asked: Instant::default(),
            taking: BTreeMap::new(),
            held: BTreeMap::new(),
            creating: BTreeMap::new(),
            deleting: BTreeSet::new(),
            unneeded_since: BTreeMap::new(),
            announcing: BTreeSet::new(),
            audit_at: Instant::default(),
            audits: 0,
            auditor: Auditor::default(),
            unlisted: BTreeSet::new(),
            missing: None,
            has_synced: false,
            must_review: false,
            must_balance: false,
            revision: 0,
        }
    }

    /// Takes in what happened and says what to do about it.
    pub fn handle(
        &mut self,
        now: Instant,
        event: CoordinatorEvent,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        if !matches!(event, CoordinatorEvent::Tick) {
            self.revision += 1;
        }
        match event {
            CoordinatorEvent::Started => self.start(now),
            CoordinatorEvent::Tick => {}
            CoordinatorEvent::TableReady(outcome) => self.table_ready(now, outcome, effects),
            CoordinatorEvent::Listed(outcome) => self.listed(now, outcome, effects),
            CoordinatorEvent::ShardsListed { which, outcome } => {
                self.shards_listed(now, which, outcome, effects);
            }
            CoordinatorEvent::Created { shard, outcome } => {
                self.created(now, &shard, outcome, effects);
            }
            CoordinatorEvent::Taken {
                tenure,
                latest_ms,
                outcome,
            } => {
                self.taken(now, &tenure, latest_ms, outcome, effects);
            }
            CoordinatorEvent::Written { tenure, outcome } => {
                self.written(now, &tenure, outcome, effects);
            }
            CoordinatorEvent::Announced { shard, outcome } => {
                self.announced(now, &shard, outcome, effects);
            }
            CoordinatorEvent::Deleted { shard, outcome } => {
                self.deleted(now, &shard, outcome, effects);
            }
            CoordinatorEvent::Checkpoint { tenure, delta } => {
                self.checkpoint(now, tenure, delta, effects);
            }
            CoordinatorEvent::ShardEnded {
                tenure,
                from,
                children,
            } => self.shard_ended(now, tenure, from, children, effects),
            CoordinatorEvent::ConsumerStopped(tenure) => {
                self.consumer_stopped(now, &tenure, effects);
            }
            CoordinatorEvent::Drain => self.drain(now, effects),
        }
        self.advance(now, effects);
    }

    /// When [`CoordinatorEvent::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::New | Phase::Over) {
            return None;
        }
        let chores = [&self.ensuring, &self.listing, &self.sync];
        let chores = chores.into_iter().filter_map(Chore::deadline);
        let takes = self.taking.values().filter_map(|taking| taking.again_at);
        let creates = self.next_create();
        let kept = self.held.iter();
        let kept = kept.filter(|(shard, _)| !self.deleting.contains(*shard));
        let keepers = kept.filter_map(|(_, holding)| holding.next_deadline());
        let audit = self.next_audit();
        let due = chores.chain(takes).chain(creates).chain(keepers);
        due.chain(audit).min()
    }

    /// Rises whenever [`snapshot`](Self::snapshot) may have changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Every row and what it is to this worker.
    pub fn snapshot(&self) -> LeaseSnapshot {
        let is_asking = !self.announcing.is_empty() || self.rows.awaits_handover();
        let is_busy = self.must_review || !self.taking.is_empty() || !self.creating.is_empty();
        LeaseSnapshot {
            is_settled: self.rows.has_listed() && self.has_synced && !is_busy && !is_asking,
            leases: self.rows.leases().map(|lease| self.view(lease)).collect(),
        }
    }

    fn view(&self, lease: &Lease) -> LeaseView {
        let holding = self.held.get(&lease.shard);
        let state = match holding.and_then(Holding::state) {
            _ if lease.is_completed() => LeaseState::Ended,
            Some(state) => state,
            // A row that this process wrote and no longer holds is nobody else's, however lately it moved.
            None => match self.rows.standing(lease) {
                Standing::Owned { .. } if self.rows.is_anothers_seen_alive(&lease.shard) => {
                    LeaseState::Alive
                }
                Standing::Owned { until } | Standing::Resting { until } => {
                    LeaseState::Unproven { until }
                }
                Standing::Due | Standing::Available { .. } => LeaseState::Free,
            },
        };
        LeaseView {
            shard: lease.shard.clone(),
            owner: lease.actual_owner().cloned(),
            counter: lease.counter,
            checkpoint: lease.checkpoint.clone(),
            parents: lease.parents.clone(),
            state,
        }
    }

    fn start(&mut self, now: Instant) {
        if self.phase == Phase::New {
            self.phase = Phase::Running;
            self.ensuring.hurry(now);
        }
    }

    fn table_ready(
        &mut self,
        now: Instant,
        outcome: Result<(), Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        match outcome {
            Ok(()) => {
                self.ensuring.answered(now, None);
                self.listing.hurry(now);
            }
            Err(trouble) => {
                self.ensuring.failed(now, self.entropy.draw());
                self.in_trouble("creating the lease table", trouble, true, effects);
            }
        }
    }

    fn listed(
        &mut self,
        now: Instant,
        outcome: Result<Vec<Lease>, Trouble>,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let listing = match outcome {
            Ok(listing) => listing,
            Err(trouble) => {
                self.listing.failed(now, self.entropy.draw());
                let is_first = !self.rows.has_listed();
                self.in_trouble("listing the leases", trouble, is_first, effects);
                return;
            }
        };
        let is_first = !self.rows.has_listed();
        let asked = self
            .listing
            .answered(now, Some(self.settings.timing.list_every()));
        self.rows.listed(asked, now, listing);
        self.must_review = true;
        self.must_balance = true;
        if is_first {
            self.sync.hurry(now);
            self.audit_at = now + AUDIT_INTERVAL;
        }
        if let Some(look) = self.rows.next_proof() {
            // Expired means *later* than this, and no sooner than a listing can be again.
            self.listing
                .hurry((look + std::time::Duration::from_millis(1)).max(now + RELIST_AFTER));
        }
        if self.rows.awaits_handover() {
            self.listing.hurry(now + HANDOVER_LOOK);
        }
        self.make_missing_leases(now, asked, effects);
        self.start_consumers(now, effects);
        self.hand_over_what_was_asked_for(now, effects);
        self.settle_ends(now, effects);
        self.clean_up(now, effects);
    }

    fn drain(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        if self.phase == Phase::Draining {
            return;
        }
        self.phase = Phase::Draining;
        self.ensuring.cancel();
        self.listing.cancel();
        self.sync.cancel();
        self.must_review = false;
        self.taking.retain(|_, taking| taking.again_at.is_none());
        self.drain_holdings(now, effects);
    }

    /// Does what has become due, whatever event came.
    fn advance(&mut self, now: Instant, effects: &mut Vec<CoordinatorEffect>) {
        self.tick_keepers(now, effects);
        if self.phase == Phase::Draining {
            self.listing.cancel();
            self.sync.cancel();
        }
        self.audit(now);
        if self.ensuring.ask(now) {
            effects.push(CoordinatorEffect::EnsureTable);
        }
        if self.listing.ask(now) {
            effects.push(CoordinatorEffect::List);
        }
        if self.sync.ask(now) {
            effects.push(CoordinatorEffect::ListShards(self.wanted_shards()));
        }
        self.send_creates(now, effects);
        if self.phase == Phase::Running {
            self.review(now, effects);
        }
        let is_drained =
            self.held.is_empty() && self.taking.is_empty() && self.announcing.is_empty();
        if self.phase == Phase::Draining && (is_drained || mutant!(StopLeavesLeases)) {
            self.phase = Phase::Over;
            effects.push(CoordinatorEffect::Finished);
        }
    }

    /// Reports a call without an answer. One that is refused for good at the start is the end: nobody is served by a
    /// worker that retries a wrong name or missing rights in silence. Later it may be a passing mistake of somebody's.
    fn in_trouble(
        &mut self,
        call: &'static str,
        trouble: Trouble,
        is_start: bool,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        if is_start && trouble.kind == TroubleKind::Fatal && self.held.is_empty() {
            self.phase = Phase::Over;
            effects.push(CoordinatorEffect::GiveUp(trouble));
            return;
        }
        effects.push(CoordinatorEffect::Happened(Happening::Retrying {
            call,
            trouble,
        }));
    }
}
