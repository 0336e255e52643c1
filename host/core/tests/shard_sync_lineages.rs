//! Shard sync over generated lineages: whatever was split, merged and trimmed, and wherever a sync was cut short,
//! following shard ends from the leases it creates covers every record from the initial position on exactly once, and no
//! shard starts before what is due of its ancestors has been read. All lineages of up to three shards and two reshards
//! are tried with every combination of moments; longer ones at random.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test they are the verdict"
)]

#[path = "shard_sync_lineages/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use shardwright_core::{
    AtShardEnd, Checkpoint, Cover, InitialPosition, Lease, NewLease, Shard, ShardId,
    children_in_listing, cover, first_leases, leases_at_shard_end, missing_leases,
    parents_are_done,
};
use world::{Epoch, Reshard, World};

/// One history of a stream and of the worker that begins to read it.
#[derive(Clone, Debug)]
struct History {
    world: Rc<World>,
    initial: InitialPosition,
    /// When the first sync runs, and the oldest epoch retention has left by then.
    synced: Epoch,
    horizon: Epoch,
    /// The worker dies after creating this many of the first leases and comes back at `resumed`, when retention may have
    /// moved on as well.
    created: usize,
    resumed: Epoch,
    resumed_horizon: Epoch,
    /// Whether the server honours the listing's filter or lists everything.
    filters: bool,
    /// Among several shards that may be read next, which: an index, modulo their number, per step.
    order: Vec<usize>,
}

/// The worker and its lease table.
struct Run<'a> {
    history: &'a History,
    leases: BTreeMap<ShardId, Lease>,
    /// When a lease at `Latest` was created, which is the first epoch it reads.
    latest_from: BTreeMap<ShardId, Epoch>,
    /// How often each record, one per shard and epoch, was read.
    reads: BTreeMap<(usize, Epoch), u32>,
    started: BTreeSet<ShardId>,
    /// Whether the worker died before it had created every first lease.
    is_cut_short: bool,
    now: Epoch,
    steps: usize,
}

impl<'a> Run<'a> {
    fn new(history: &'a History) -> Self {
        Self {
            history,
            leases: BTreeMap::new(),
            latest_from: BTreeMap::new(),
            reads: BTreeMap::new(),
            started: BTreeSet::new(),
            is_cut_short: false,
            now: history.synced,
            steps: 0,
        }
    }

    fn create(&mut self, new: NewLease) {
        self.latest_from.insert(new.shard.clone(), self.now);
        self.leases
            .entry(new.shard.clone())
            .or_insert_with(|| Lease::created(new));
    }

    fn listing(&self) -> Vec<Shard> {
        self.history.world.listing(self.now, self.horizon())
    }

    fn horizon(&self) -> Epoch {
        if self.now < self.history.resumed {
            self.history.horizon
        } else {
            self.history.resumed_horizon
        }
    }

    fn first_sync(&self) -> Vec<NewLease> {
        let open_at = match self.history.initial {
            InitialPosition::TrimHorizon => self.horizon(),
            InitialPosition::Latest => self.now,
            InitialPosition::AtTimestamp(instant) => {
                epoch_of(instant).clamp(self.horizon(), self.now)
            }
        };
        let mut listing = self.listing();
        if self.history.filters {
            listing.retain(|shard| self.history.world.is_open(&shard.id, open_at));
        }
        first_leases(&listing, self.history.initial).unwrap()
    }

    fn sync(&mut self) -> usize {
        let leases: Vec<Lease> = self.leases.values().cloned().collect();
        let missing = missing_leases(&self.listing(), &leases, self.history.initial).unwrap();
        let created = missing.len();
        for lease in missing {
            self.create(lease);
        }
        created
    }

    /// The first epoch from which every record is owed.
    fn due_from(&self) -> Epoch {
        let start = match self.history.initial {
            InitialPosition::TrimHorizon => 0,
            InitialPosition::AtTimestamp(instant) => epoch_of(instant),
            // What arrived before all leases were there was not yet the future.
            InitialPosition::Latest if self.is_cut_short => self.history.resumed,
            InitialPosition::Latest => self.history.synced,
        };
        start.max(self.history.resumed_horizon)
    }

    fn read(&mut self, id: &ShardId) {
        for ancestor in self.history.world.ancestors(id) {
            for epoch in self
                .history
                .world
                .epochs(&ancestor)
                .filter(|epoch| *epoch >= self.due_from())
            {
                let index = World::index(&ancestor);
                assert!(
                    self.reads.contains_key(&(index, epoch)),
                    "{id} starts before {ancestor} was read: {:?}",
                    self.history
                );
            }
        }
        self.started.insert(id.clone());
        let from = match self.leases[id].checkpoint {
            Checkpoint::TrimHorizon => self.horizon(),
            Checkpoint::Latest => self.latest_from[id],
            Checkpoint::AtTimestamp => self.due_from(),
            Checkpoint::At(_) | Checkpoint::ShardEnd => panic!("{id} is read twice"),
        };
        let index = World::index(id);
        let from = from.max(self.horizon());
        for epoch in self.history.world.epochs(id).filter(|epoch| *epoch >= from) {
            *self.reads.entry((index, epoch)).or_default() += 1;
        }
    }

    /// Ends a closed shard, the children's leases first; or says that it must wait for the other parent of a merge.
    fn end(&mut self, id: &ShardId) -> bool {
        let listing = self.listing();
        // A shard that retention took answers with "not found" and names no children; a sync finds them.
        if listing.iter().any(|shard| shard.id == *id) {
            let children = children_in_listing(id, &listing);
            let step = |run: &Self, listed| {
                leases_at_shard_end(id, &children, |id| run.leases.contains_key(id), listed)
                    .unwrap()
            };
            // A listing of long ago may be all there is at hand: it must not make a new parent look like one that is gone.
            let old = self
                .history
                .world
                .listing(self.history.synced, self.history.horizon);
            let mut todo = step(self, Some(&old[..]));
            if let AtShardEnd::Blocked { .. } = todo {
                self.sync();
                todo = step(self, Some(&listing[..]));
            }
            let AtShardEnd::Create(leases) = todo else {
                return false;
            };
            for lease in leases {
                self.create(lease);
                self.assert_no_hole();
            }
        }
        self.leases.get_mut(id).unwrap().checkpoint = Checkpoint::ShardEnd;
        true
    }

    /// Shards that may be read now, or ended: at each moment the closed ones, at the last one all.
    fn ready(&self, blocked: &BTreeSet<ShardId>) -> Vec<ShardId> {
        let is_last = self.now == self.history.world.last_epoch();
        let is_ready = |lease: &&Lease| {
            let is_closed = !self.history.world.is_open(&lease.shard, self.now);
            let checkpoint =
                |parent: &ShardId| self.leases.get(parent).map(|lease| &lease.checkpoint);
            !lease.is_completed()
                && !blocked.contains(&lease.shard)
                && (is_closed || is_last && !self.started.contains(&lease.shard))
                && parents_are_done(&lease.parents, checkpoint)
        };
        self.leases
            .values()
            .filter(is_ready)
            .map(|lease| lease.shard.clone())
            .collect()
    }

    /// Deletes finished leases as kcl does: once every child has progressed and the parents' leases are gone.
    fn clean_up(&mut self) {
        let is_dead = |lease: &&Lease| {
            let mut children = self.history.world.children(&lease.shard).peekable();
            lease.is_completed()
                && children.peek().is_some()
                && children.all(|child| self.started.contains(&child))
                && !lease
                    .parents
                    .iter()
                    .any(|parent| self.leases.contains_key(parent))
        };
        let dead: Vec<ShardId> = self
            .leases
            .values()
            .filter(is_dead)
            .map(|lease| lease.shard.clone())
            .collect();
        for id in dead {
            self.leases.remove(&id);
        }
    }

    fn finish(&mut self) {
        for now in self.now..=self.history.world.last_epoch() {
            self.now = now;
            let mut blocked = BTreeSet::new();
            loop {
                let synced = self.sync();
                // Retention that takes shards from under their readers is what later syncs are for, and all they are for.
                assert!(synced == 0 || self.is_trimmed_later(), "{:?}", self.history);
                let ready = self.ready(&blocked);
                if ready.is_empty() {
                    break;
                }
                let pick = self.history.order.get(self.steps).copied().unwrap_or(0);
                let id = &ready[pick % ready.len()];
                self.steps += 1;
                if !self.started.contains(id) {
                    self.read(id);
                }
                if !self.history.world.is_open(id, now) {
                    if self.end(id) {
                        blocked.clear();
                    } else {
                        blocked.insert(id.clone());
                    }
                }
                self.clean_up();
                self.assert_no_hole();
            }
            assert_eq!(
                blocked,
                BTreeSet::new(),
                "these wait for ever: {:?}",
                self.history
            );
        }
        self.check();
    }

    /// KCL: no reshard looks to its auditor like a hole in the rows, if none was there when they were made.
    fn assert_no_hole(&self) {
        let is_untrimmed = self.history.horizon == 0 && self.history.resumed_horizon == 0;
        if is_untrimmed && !self.is_cut_short {
            let unfinished = self.leases.values().filter(|lease| !lease.is_completed());
            let cover = cover(unfinished.map(|lease| lease.hash_range));
            assert_eq!(cover, Cover::Whole, "{:?}", self.history);
        }
    }

    fn is_trimmed_later(&self) -> bool {
        self.history.resumed_horizon > self.history.horizon
    }

    fn check(&self) {
        let due_from = self.due_from();
        for (index, epoch) in self.history.world.records() {
            let reads = self.reads.get(&(index, epoch)).copied().unwrap_or(0);
            let is_due = epoch >= due_from;
            assert!(
                reads <= 1,
                "epoch {epoch} of shard {index} is read {reads} times: {:?}",
                self.history
            );
            assert!(
                reads == 1 || !is_due,
                "epoch {epoch} of shard {index} is lost: {:?}",
                self.history
            );
        }
    }
}

fn follow(history: &History) {
    let mut run = Run::new(history);
    let first = run.first_sync();
    run.is_cut_short = first.len() > history.created;
    for lease in first.into_iter().take(history.created) {
        run.create(lease);
    }
    run.now = history.resumed;
    if run.leases.is_empty() {
        for lease in run.first_sync() {
            run.create(lease);
        }
    } else {
        let synced = run.sync();
        assert!(
            synced == 0 || run.is_cut_short || run.is_trimmed_later(),
            "{history:?}"
        );
    }
    run.finish();
}

/// Epochs stand in for instants.
fn at(epoch: Epoch) -> InitialPosition {
    InitialPosition::AtTimestamp(i64::try_from(epoch).unwrap())
}

fn epoch_of(instant: i64) -> Epoch {
    Epoch::try_from(instant).unwrap()
}

fn positions(now: Epoch) -> impl Iterator<Item = InitialPosition> {
    let instants = (0..=now).map(at);
    [InitialPosition::TrimHorizon, InitialPosition::Latest]
        .into_iter()
        .chain(instants)
}

#[test]
fn every_small_history_covers_every_record_once() {
    let mut histories = 0;
    for world in World::all(3, 2).into_iter().map(Rc::new) {
        let last = world.last_epoch();
        for synced in 0..=last {
            for (initial, horizon, resumed) in moments(synced, last) {
                for resumed_horizon in BTreeSet::from([horizon, resumed]) {
                    for (filters, created, order) in choices() {
                        let world = world.clone();
                        let history = History {
                            world,
                            initial,
                            synced,
                            horizon,
                            created,
                            resumed,
                            resumed_horizon,
                            filters,
                            order,
                        };
                        follow(&history);
                        histories += 1;
                    }
                }
            }
        }
    }
    assert!(histories > 10_000, "only {histories} histories");
}

fn moments(synced: Epoch, last: Epoch) -> impl Iterator<Item = (InitialPosition, Epoch, Epoch)> {
    positions(synced).flat_map(move |initial| {
        (0..=synced).flat_map(move |horizon| {
            (synced..=last).map(move |resumed| (initial, horizon, resumed))
        })
    })
}

/// Whether the server filters, how many first leases are created before the worker dies, and which shard is read first.
fn choices() -> impl Iterator<Item = (bool, usize, Vec<usize>)> {
    [(true, 0), (false, 0), (true, usize::MAX)]
        .into_iter()
        .flat_map(|(filters, pick)| {
            [0, 1, usize::MAX]
                .into_iter()
                .map(move |created| (filters, created, vec![pick; 12]))
        })
}

fn reshard() -> impl Strategy<Value = Reshard> {
    (any::<bool>(), 0..64_usize).prop_map(|(splits, index)| {
        if splits {
            Reshard::Split(index)
        } else {
            Reshard::Merge(index)
        }
    })
}

prop_compose! {
    fn history()(
        shards in 1..5_usize,
        reshards in proptest::collection::vec(reshard(), 0..9),
        moments in proptest::collection::vec(any::<prop::sample::Index>(), 5),
        position in 0..3_u8,
        created in prop_oneof![Just(usize::MAX), 0..5_usize],
        filters in any::<bool>(),
        is_trimmed_later in any::<bool>(),
        order in proptest::collection::vec(0..32_usize, 40),
    ) -> History {
        let world = Rc::new(World::new(shards, &reshards));
        let until = |moment: usize, epoch: Epoch| moments[moment].index(epoch + 1);
        let last = world.last_epoch();
        let synced = until(0, last);
        let horizon = until(1, synced);
        let resumed = synced + until(2, last - synced);
        let resumed_horizon = if is_trimmed_later { horizon + until(3, resumed - horizon) } else { horizon };
        let initial = match position {
            0 => InitialPosition::TrimHorizon,
            1 => InitialPosition::Latest,
            _ => at(until(4, synced)),
        };
        History { world, initial, synced, horizon, created, resumed, resumed_horizon, filters, order }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_history_covers_every_record_once(history in history()) {
        follow(&history);
    }

    /// KCL: testFor1000DifferentValidReshardHierarchyTree…: no reshard looks like a hole, at whatever step it is.
    #[test]
    fn no_reshard_looks_like_a_hole(history in history()) {
        follow(&History { horizon: 0, resumed_horizon: 0, created: usize::MAX, ..history });
    }
}
