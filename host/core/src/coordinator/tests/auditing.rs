//! When shards are listed for what the rows show.

use super::*;

fn is_listing(effect: &CoordinatorEffect) -> bool {
    matches!(effect, CoordinatorEffect::ListShards(_))
}

/// Another's row of a part of the hash space, renewed at every look.
fn part(shard: &str, start: u128, end: u128, checkpoint: Checkpoint) -> Lease {
    Lease {
        hash_range: Some(HashRange { start, end }),
        ..row(shard, Some("other"), checkpoint)
    }
}

/// At which of the first looks, one a minute, a worker that does not lead lists the shards, if the rows show a hole that
/// begins there.
fn listings(hole_from: impl Fn(u64) -> u128) -> Vec<u64> {
    let rows = |look: u64| {
        let from = hole_from(look);
        let mut rows = vec![
            part("a", 0, from - 1, at(1)),
            part("b", from + 10, u128::MAX, at(1)),
            // A finished row does not fill it.
            part("z", from, from + 9, Checkpoint::ShardEnd),
        ];
        for row in &mut rows {
            row.counter = 10 + look;
        }
        rows
    };
    let (mut bench, _) = Bench::with_rows(rows(0));
    let mut listed = Vec::new();
    for look in 1..=5 {
        let mut effects = bench.relist(Duration::from_secs(59), rows(look));
        bench.now = bench.now + Duration::from_secs(1);
        effects.extend(bench.tell(CoordinatorEvent::Tick));
        if effects.iter().any(is_listing) {
            listed.push(look);
            bench.tell(CoordinatorEvent::ShardsListed {
                which: ShardListing::All,
                outcome: Ok(Vec::new()),
            });
        }
    }
    listed
}

/// KCL: testIfShardSyncIsInitiatedWhenConfidenceFactorIsReached, testIfShardSyncIsNotInitiatedWhenHoleShifts.
#[test]
fn one_that_does_not_lead_lists_the_shards_for_a_hole_that_stays() {
    assert_eq!(listings(|_look| 500).first(), Some(&3));
    assert_eq!(listings(|look| 500 * u128::from(look + 1)), [] as [u64; 0]);
}
