//! What the rows of a lease table say about the fleet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shardwright_core::{Lease, ShardId, WorkerId};

use super::super::table::Table;

/// A counter that stands still for longer than this is shown so. Owners renew at least every third of the failover time,
/// which is 3 seconds by default.
const STILL: Duration = Duration::from_secs(5);

/// When each counter was last seen to move.
#[derive(Default)]
pub(super) struct Counters(BTreeMap<ShardId, (u64, Instant)>);

impl Counters {
    /// Takes in a look at the rows.
    pub(super) fn look(&mut self, now: Instant, leases: &[Lease]) {
        let mut before = std::mem::take(&mut self.0);
        for lease in leases {
            let known = before.remove(&lease.shard);
            let seen = known.filter(|(counter, _)| *counter == lease.counter);
            self.0
                .insert(lease.shard.clone(), seen.unwrap_or((lease.counter, now)));
        }
    }

    fn cell(&self, now: Instant, lease: &Lease) -> String {
        let moved_at = self.0.get(&lease.shard).map_or(now, |(_, at)| *at);
        match now.duration_since(moved_at) {
            still if still > STILL && lease.owner.is_some() => {
                format!("{}, still for {}s", lease.counter, still.as_secs())
            }
            _ => lease.counter.to_string(),
        }
    }
}

/// A line for each shard.
pub(super) fn shards(
    leases: &[Lease],
    lags: &BTreeMap<ShardId, String>,
    counters: &Counters,
    now: Instant,
) -> Table<6> {
    let mut table = Table::new(["SHARD", "OWNER", "COUNTER", "CHECKPOINT", "LAG", "NOTE"]);
    for lease in leases {
        table.row([
            lease.shard.to_string(),
            name(lease.actual_owner()),
            counters.cell(now, lease),
            lease.checkpoint.to_string(),
            lags.get(&lease.shard).cloned().unwrap_or("?".to_owned()),
            note(lease, leases),
        ]);
    }
    table
}

/// A line for each worker that has a lease or is about to get one.
pub(super) fn workers(leases: &[Lease]) -> Table<5> {
    #[derive(Default)]
    struct Share {
        leases: usize,
        ended: usize,
        gives: usize,
        gets: usize,
    }
    let mut shares: BTreeMap<Option<&WorkerId>, Share> = BTreeMap::new();
    for lease in leases {
        let share = shares.entry(lease.actual_owner()).or_default();
        share.leases += 1;
        share.ended += usize::from(lease.is_completed());
        if let Some(heir) = heir(lease) {
            share.gives += 1;
            shares.entry(Some(heir)).or_default().gets += 1;
        }
    }
    let mut table = Table::new(["WORKER", "LEASES", "ENDED", "GIVES", "GETS"]);
    for (worker, share) in shares {
        table.row([
            name(worker),
            share.leases.to_string(),
            share.ended.to_string(),
            share.gives.to_string(),
            share.gets.to_string(),
        ]);
    }
    table
}

/// Who is being handed the lease by its owner, of our workers or KCL's.
fn heir(lease: &Lease) -> Option<&WorkerId> {
    let of_kcl = lease.checkpoint_owner.as_ref().and(lease.owner.as_ref());
    lease.heir().or(of_kcl)
}

/// Who or what the shard waits for, if anything.
fn note(lease: &Lease, leases: &[Lease]) -> String {
    if let Some(heir) = heir(lease) {
        return format!("to be handed over to {heir}");
    }
    if lease.is_handed_over() {
        return "handed over, not begun yet".to_owned();
    }
    if lease.is_completed() || lease.checkpoint.position().is_some() {
        return String::new();
    }
    let unfinished = |id: &&ShardId| {
        let mut rows = leases.iter().filter(|row| row.shard == **id);
        rows.any(|row| !row.is_completed())
    };
    let parents: Vec<&str> = lease
        .parents
        .iter()
        .filter(unfinished)
        .map(ShardId::as_str)
        .collect();
    if parents.is_empty() {
        return String::new();
    }
    format!("waits for {}", parents.join(" and "))
}

fn name(worker: Option<&WorkerId>) -> String {
    worker.map_or("-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use shardwright_core::{Checkpoint, Incarnation};

    use shardwright_core::NewLease;

    use super::*;

    fn lease(shard: &str, owner: &str, counter: u64) -> Lease {
        Lease {
            owner: Some(WorkerId::new(owner)),
            counter,
            incarnation: Some(Incarnation(1)),
            incarnation_owner: Some(WorkerId::new(owner)),
            ..Lease::created(NewLease {
                shard: ShardId::from(shard),
                checkpoint: Checkpoint::TrimHorizon,
                parents: Vec::new(),
                hash_range: None,
            })
        }
    }

    fn fleet() -> Vec<Lease> {
        let mut ended = lease("1", "a", 6);
        ended.checkpoint = Checkpoint::ShardEnd;
        let mut child = lease("3", "b", 1);
        child.parents = vec![ShardId::from("1"), ShardId::from("2")];
        let mut asked = lease("4", "a", 9);
        asked.successor = Some(WorkerId::new("c"));
        let mut handed = lease("5", "a", 9);
        handed.owner = Some(WorkerId::new("c"));
        handed.successor = Some(WorkerId::new("c"));
        let mut kcl = lease("6", "java-2", 9);
        kcl.checkpoint_owner = Some(WorkerId::new("java-1"));
        let mut nobodys = lease("7", "a", 2);
        nobodys.owner = None;
        vec![
            ended,
            lease("2", "a", 7),
            child,
            asked,
            handed,
            kcl,
            nobodys,
        ]
    }

    #[test]
    fn says_who_has_what_and_who_waits_for_whom() {
        let mut counters = Counters::default();
        let began = Instant::now();
        counters.look(began, &fleet());
        let mut leases = fleet();
        leases[1].counter += 1;
        let now = began + Duration::from_secs(14);
        counters.look(now, &leases);
        let lags = BTreeMap::from([(ShardId::from("2"), "3s".to_owned())]);
        assert_eq!(
            shards(&leases, &lags, &counters, now).lines(),
            [
                "SHARD  OWNER   COUNTER           CHECKPOINT    LAG  NOTE",
                "1      a       6, still for 14s  SHARD_END     ?",
                "2      a       8                 TRIM_HORIZON  3s",
                "3      b       1, still for 14s  TRIM_HORIZON  ?    waits for 2",
                "4      a       9, still for 14s  TRIM_HORIZON  ?    to be handed over to c",
                "5      c       9, still for 14s  TRIM_HORIZON  ?    handed over, not begun yet",
                "6      java-1  9, still for 14s  TRIM_HORIZON  ?    to be handed over to java-2",
                "7      -       2                 TRIM_HORIZON  ?",
            ]
        );
        assert_eq!(
            workers(&leases).lines(),
            [
                "WORKER  LEASES  ENDED  GIVES  GETS",
                "-       1       0      0      0",
                "a       3       1      1      0",
                "b       1       0      0      0",
                "c       1       0      0      1",
                "java-1  1       0      1      0",
                "java-2  0       0      0      1",
            ]
        );
    }
}
