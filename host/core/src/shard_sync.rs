//! Shard sync: which leases must be created, so that every record from the initial position on is read exactly once.
//!
//! Leases appear one generation at a time. A sync creates the earliest ones that are needed; whoever reads a shard to its
//! end creates its children's, always at the trim horizon, before it writes `SHARD_END`. A shard is thus *pending* when it
//! or an ancestor has an unfinished lease: following shard ends will get there, and creating its lease now would let it
//! start before its parents ended. Everything here is a pure function of a listing and the lease table's rows.
//!
//! Where a listing is wider than asked for (many servers ignore the shard filter and list every shard), the earliest
//! listed generation stands in for the shards open at the start: it may have nothing to deliver, and then ends at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::lease::{Lease, NewLease};
use crate::position::{Checkpoint, InitialPosition};
use crate::shard::{ChildShard, HashRange, Shard, ShardId};

#[cfg(test)]
mod tests;

/// A listing that no leases can be made from. All of these pass when the listing is made again, or come from a server
/// that is no faithful Kinesis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardSyncError {
    /// Part of the hash space belongs to no listed shard: records there would never be read.
    #[error("no listed shard takes hash key {from}")]
    Hole {
        /// The lowest hash key that nobody takes.
        from: u128,
    },
    /// A reshard happened while the listing was being paged through.
    #[error("shard {child} is listed while its parent {parent} is still open")]
    OpenParent {
        /// The shard that should be closed.
        parent: ShardId,
        /// The shard that is there too early.
        child: ShardId,
    },
    /// A shard is its own ancestor.
    #[error("shard {shard} descends from itself")]
    Cycle {
        /// One of the shards on the circle.
        shard: ShardId,
    },
    /// A closed shard was read to its end and nothing says what follows it.
    #[error("shard {ended} ended and names no children")]
    NoChildren {
        /// The shard that ended.
        ended: ShardId,
    },
    /// What is named as a shard's child has other parents.
    #[error("shard {child} is named as a child of {ended}, which is not among its parents")]
    NotAChild {
        /// The shard that ended.
        ended: ShardId,
        /// The alleged child.
        child: ShardId,
    },
}

/// What a shard's owner does about the children's leases when it has read the shard to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtShardEnd {
    /// Create these, each unless it is there, then write `SHARD_END`.
    Create(Vec<NewLease>),
    /// The child came from a merge and the other parent has no lease yet: a lease of the child would not wait for it.
    ///
    /// Leave the shard un-ended and ask again later, with a new listing. The lease comes when an ancestor of the missing
    /// parent ends, or else from [`missing_leases`], which should be asked as well. Nothing can wait in a circle, since
    /// what is waited for lies further back in time.
    Blocked {
        /// The child of the merge.
        child: ShardId,
        /// The parent without a lease.
        missing: ShardId,
    },
}

/// The leases an empty table needs, in the order to create them.
///
/// `listed` is the listing filtered by the initial position: the shards open at the trim horizon, now, or at the instant.
/// Each gets a lease at the initial position; their children follow by shard end.
pub fn first_leases(
    listed: &[Shard],
    initial: InitialPosition,
) -> Result<Vec<NewLease>, ShardSyncError> {
    let lineage = Lineage::new(listed)?;
    let earliest = |shard: &&Shard| match initial {
        InitialPosition::Latest => !shard.is_closed(),
        InitialPosition::TrimHorizon | InitialPosition::AtTimestamp(_) => !shard
            .parents
            .iter()
            .any(|parent| lineage.shards.contains_key(parent)),
    };
    let first: Vec<&Shard> = lineage.shards.values().copied().filter(earliest).collect();
    match initial {
        InitialPosition::Latest => check_cover(first.iter().copied())?,
        // A merge of which retention has left one parent only is reached through that parent, so it counts as well.
        InitialPosition::TrimHorizon | InitialPosition::AtTimestamp(_) => check_cover(listed)?,
    }
    let leases = first
        .into_iter()
        .map(|shard| (shard.id.clone(), initial.checkpoint()));
    Ok(lineage.in_creation_order(leases.collect()))
}

/// The leases a table that has some still needs, in the order to create them.
///
/// `listed` is the whole listing. Only open shards are cared for: a closed one is either reached through its parents, an
/// ancestor of an open one, or past retention. For an open shard without a lease its ancestors are walked up:
/// - one of them has an unfinished lease: the shard is pending, and only the other parents of merges on the way down,
///   for which nobody has a lease, get one at the initial position;
/// - all that have leases are finished, or were taken by retention while they were read: the shard is next, from the trim
///   horizon, since what came before it was followed;
/// - none has a lease: the initial position decides, and the earliest listed ancestors, or with
///   [`Latest`](InitialPosition::Latest) the shard itself, get leases there.
pub fn missing_leases(
    listed: &[Shard],
    leases: &[Lease],
    initial: InitialPosition,
) -> Result<Vec<NewLease>, ShardSyncError> {
    let lineage = Lineage::new(listed)?;
    let mut survey = Survey {
        lineage: &lineage,
        leases: leases
            .iter()
            .map(|lease| (&lease.shard, lease.is_completed()))
            .collect(),
        outrun: leases
            .iter()
            .filter(|lease| !lineage.shards.contains_key(&lease.shard))
            .filter_map(|lease| lease.hash_range)
            .collect(),
        initial,
        standing: BTreeMap::new(),
        create: BTreeMap::new(),
    };
    for shard in listed.iter().filter(|shard| !shard.is_closed()) {
        if survey.visit(shard)? == Standing::Unknown {
            survey.create.insert(shard.id.clone(), initial.checkpoint());
        }
    }
    Ok(lineage.in_creation_order(survey.create))
}

/// The children of a shard as a full listing shows them, for servers whose last read does not name them.
pub fn children_in_listing(ended: &ShardId, listed: &[Shard]) -> Vec<ChildShard> {
    listed
        .iter()
        .filter(|shard| shard.parents.contains(ended))
        .map(|shard| ChildShard {
            id: shard.id.clone(),
            parents: shard.parents.clone(),
            hash_range: shard.hash_range,
        })
        .collect()
}

/// The leases to create when `ended` has been read to its end, or why they must wait.
///
/// Children begin at the trim horizon whatever the initial position: the parent was followed, so everything after it is
/// due. `has_lease` looks into the table. `listed` is a full listing, if one is at hand: a missing parent that retention
/// has taken will never have a lease, and is not waited for. Any listing will do, however old, since only one that has
/// the child already can tell that its parent is gone rather than yet to come.
pub fn leases_at_shard_end(
    ended: &ShardId,
    children: &[ChildShard],
    mut has_lease: impl FnMut(&ShardId) -> bool,
    listed: Option<&[Shard]>,
) -> Result<AtShardEnd, ShardSyncError> {
    if children.is_empty() {
        return Err(ShardSyncError::NoChildren {
            ended: ended.clone(),
        });
    }
    let mut create = Vec::with_capacity(children.len());
    for child in children {
        if !child.parents.contains(ended) {
            return Err(ShardSyncError::NotAChild {
                ended: ended.clone(),
                child: child.id.clone(),
            });
        }
        if has_lease(&child.id) {
            continue;
        }
        let is_gone = |parent: &ShardId| {
            listed.is_some_and(|listed| {
                let is_listed = |id: &ShardId| listed.iter().any(|shard| shard.id == *id);
                is_listed(&child.id) && !is_listed(parent)
            })
        };
        let (leased, absent): (Vec<_>, Vec<_>) =
            child.parents.iter().partition(|parent| has_lease(parent));
        // With no parent's lease left the child has nothing to wait for: that is as good as with all of them.
        if let Some(missing) = absent.into_iter().find(|parent| !is_gone(parent))
            && !leased.is_empty()
        {
            return Ok(AtShardEnd::Blocked {
                child: child.id.clone(),
                missing: missing.clone(),
            });
        }
        create.push(NewLease {
            shard: child.id.clone(),
            checkpoint: if mutant!(ChildrenAtLatest) {
                Checkpoint::Latest
            } else {
                Checkpoint::TrimHorizon
            },
            parents: child.parents.clone(),
            hash_range: Some(child.hash_range),
        });
    }
    Ok(AtShardEnd::Create(create))
}

/// Shards that retention has taken though their leases still need them: to be read, or to tell what follows them.
///
/// A shard that is new has a parent in the listing, if the listing does not know it yet. One that is gone has none, since
/// retention takes the older ones first. A listing whose open shards do not take every hash key says nothing.
pub fn gone_shards<'a>(
    listed: &[Shard],
    leases: impl IntoIterator<Item = &'a Lease>,
) -> BTreeSet<ShardId> {
    let open = listed.iter().filter(|shard| !shard.is_closed());
    if cover(open.map(|shard| Some(shard.hash_range))) != Cover::Whole {
        return BTreeSet::new();
    }
    let ids: BTreeSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
    let is_gone = |lease: &&Lease| {
        let mut line = std::iter::once(&lease.shard).chain(&lease.parents);
        line.all(|id| !ids.contains(id))
    };
    let needs_it = |lease: &&Lease| !lease.is_completed() || lease.children.is_empty();
    let gone = leases.into_iter().filter(needs_it).filter(is_gone);
    gone.map(|lease| lease.shard.clone()).collect()
}

/// Fails on the lowest hash key that none of the shards takes.
fn check_cover<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> Result<(), ShardSyncError> {
    let ranges = shards.into_iter().map(|shard| Some(shard.hash_range));
    match cover(ranges) {
        Cover::Hole { from, .. } => Err(ShardSyncError::Hole { from }),
        Cover::Whole | Cover::Unknown => Ok(()),
    }
}

/// Whether some ranges take every hash key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// They do.
    Whole,
    /// Nobody takes the keys from one to the other. It is the lowest such hole.
    Hole {
        /// The first.
        from: u128,
        /// The last.
        to: u128,
    },
    /// A range is not known.
    Unknown,
}

/// Whether these ranges take every hash key. Overlaps are no fault: leases are per shard, so no record is read twice for them, and a listing wider than asked for has
/// parents beside their children.
pub fn cover(ranges: impl IntoIterator<Item = Option<HashRange>>) -> Cover {
    let Some(mut ranges) = ranges.into_iter().collect::<Option<Vec<_>>>() else {
        return Cover::Unknown;
    };
    ranges.sort_unstable();
    let mut next = Some(0_u128);
    for range in ranges {
        match next {
            None => break,
            Some(from) if range.start > from => {
                let to = range.start - 1;
                return Cover::Hole { from, to };
            }
            Some(from) if range.end >= from => next = range.end.checked_add(1),
            Some(_) => {}
        }
    }
    let to = u128::MAX;
    next.map_or(Cover::Whole, |from| Cover::Hole { from, to })
}

/// The listed shards by id, checked to be of one moment.
struct Lineage<'a> {
    shards: BTreeMap<&'a ShardId, &'a Shard>,
}

impl<'a> Lineage<'a> {
    fn new(listed: &'a [Shard]) -> Result<Self, ShardSyncError> {
        let shards: BTreeMap<_, _> = listed.iter().map(|shard| (&shard.id, shard)).collect();
        for child in listed {
            for parent in &child.parents {
                if shards.get(parent).is_some_and(|parent| !parent.is_closed()) {
                    return Err(ShardSyncError::OpenParent {
                        parent: parent.clone(),
                        child: child.id.clone(),
                    });
                }
            }
        }
        Ok(Self { shards })
    }

    /// Ascending by starting sequence number, so that a crash half-way leaves no child's lease without its parent's.
    fn in_creation_order(&self, create: BTreeMap<ShardId, Checkpoint>) -> Vec<NewLease> {
        let mut ordered: Vec<(&Shard, Checkpoint)> = create
            .into_iter()
            .filter_map(|(id, checkpoint)| Some((*self.shards.get(&id)?, checkpoint)))
            .collect();
        // The map gave them by id, and the sort is stable: the id breaks ties.
        ordered.sort_by(|(a, _), (b, _)| a.starting_sequence.cmp(&b.starting_sequence));
        ordered
            .into_iter()
            .map(|(shard, checkpoint)| NewLease {
                shard: shard.id.clone(),
                checkpoint,
                parents: shard.parents.clone(),
                hash_range: Some(shard.hash_range),
            })
            .collect()
    }
}

/// How a shard stands to the lease table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It, or an ancestor, has an unfinished lease, or is about to get one.
    Pending,
    /// It has been read to its end, or retention took it while it was being read.
    Ended,
    /// Neither it nor any ancestor has a lease.
    Unknown,
}

/// One pass over the ancestors of open shards that have no lease.
struct Survey<'a> {
    lineage: &'a Lineage<'a>,
    /// Whether the lease is finished, for every shard that has one.
    leases: BTreeMap<&'a ShardId, bool>,
    /// The hash ranges of leased shards that retention has taken.
    outrun: Vec<HashRange>,
    initial: InitialPosition,
    standing: BTreeMap<&'a ShardId, Standing>,
    create: BTreeMap<ShardId, Checkpoint>,
}

impl<'a> Survey<'a> {
    /// The shard's standing, after that of every ancestor that bears on it. A loop, not a recursion: a stream that is
    /// resharded every hour for a year has lineages thousands deep.
    fn visit(&mut self, shard: &'a Shard) -> Result<Standing, ShardSyncError> {
        let mut path = vec![shard];
        let mut on_path = BTreeSet::from([&shard.id]);
        while let Some(&last) = path.last() {
            let unseen = last
                .parents
                .iter()
                .find(|parent| self.known(parent).is_none());
            let ancestor = match self.known(&last.id) {
                Some(_) => None,
                None => unseen.and_then(|parent| self.lineage.shards.get(parent).copied()),
            };
            if let Some(ancestor) = ancestor {
                if !on_path.insert(&ancestor.id) {
                    return Err(ShardSyncError::Cycle {
                        shard: ancestor.id.clone(),
                    });
                }
                path.push(ancestor);
                continue;
            }
            if self.known(&last.id).is_none() {
                let standing = self.judge(last);
                self.standing.insert(&last.id, standing);
            }
            on_path.remove(&last.id);
            path.pop();
        }
        Ok(self.known(&shard.id).unwrap_or(Standing::Unknown))
    }

    /// The standing of a shard whose lease, absence from the listing, or earlier visit decides it.
    fn known(&self, id: &ShardId) -> Option<Standing> {
        let is_listed = self.lineage.shards.contains_key(id);
        match self.leases.get(id) {
            Some(false) if is_listed => Some(Standing::Pending),
            Some(_) => Some(Standing::Ended),
            None if is_listed => self.standing.get(id).copied(),
            None => Some(Standing::Unknown),
        }
    }

    /// The standing of a listed shard without a lease, given its parents'; notes the leases that this calls for.
    fn judge(&mut self, shard: &'a Shard) -> Standing {
        let any = |survey: &Self, wanted: Standing| {
            shard
                .parents
                .iter()
                .any(|parent| survey.known(parent) == Some(wanted))
        };
        let orphans: Vec<&'a ShardId> = shard
            .parents
            .iter()
            .filter_map(|parent| self.lineage.shards.get_key_value(parent))
            .map(|(id, _)| *id)
            .filter(|id| self.known(id) == Some(Standing::Unknown))
            .collect();
        let is_followed = any(self, Standing::Pending);
        if is_followed || any(self, Standing::Ended) || self.follows_what_was_outrun(shard) {
            if !is_followed && orphans.is_empty() {
                self.create
                    .insert(shard.id.clone(), self.followed_checkpoint());
            }
            for orphan in orphans {
                self.create
                    .insert(orphan.clone(), self.initial.checkpoint());
                self.standing.insert(orphan, Standing::Pending);
            }
            return Standing::Pending;
        }
        match self.initial {
            InitialPosition::Latest => Standing::Unknown,
            // No parent is listed: one that was would be pending by now, having itself come through here.
            InitialPosition::TrimHorizon | InitialPosition::AtTimestamp(_) => {
                self.create
                    .insert(shard.id.clone(), self.initial.checkpoint());
                Standing::Pending
            }
        }
    }

    /// Whether the shard descends from one that was followed, over generations that retention took while nobody read.
    ///
    /// The ids of those generations are unknown, but hash ranges tell: two shards that share a hash key are never open
    /// together, and retention takes the older one first.
    fn follows_what_was_outrun(&self, shard: &Shard) -> bool {
        let is_unlisted = |parent: &ShardId| !self.lineage.shards.contains_key(parent);
        shard.parents.iter().any(is_unlisted)
            && self
                .outrun
                .iter()
                .any(|range| range.overlaps(shard.hash_range))
    }

    /// Where a shard begins whose parents were followed: at the trim horizon, unless an instant bounds what is due.
    fn followed_checkpoint(&self) -> Checkpoint {
        match self.initial {
            InitialPosition::TrimHorizon | InitialPosition::Latest => Checkpoint::TrimHorizon,
            InitialPosition::AtTimestamp(_) => Checkpoint::AtTimestamp,
        }
    }
}
