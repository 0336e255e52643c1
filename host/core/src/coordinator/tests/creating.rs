//! Making rows.

use super::*;

impl Bench {
    /// So long that a row goes which nobody has needed since.
    pub(super) fn wait_while_rows_are_kept(&mut self) {
        for _ in 0..=12 {
            self.now = self.now + FAILOVER / 3;
            self.renew(&[]);
        }
    }
}

/// Whoever waits for the next deadline must not spin while all that is left to do waits for answers.
#[test]
fn nothing_is_due_while_as_many_rows_are_being_made_as_may_be() {
    const SHARDS: u32 = 100;
    let width = u128::MAX / u128::from(SHARDS);
    let shard = |number: u32| Shard {
        hash_range: HashRange {
            start: width * u128::from(number),
            end: match number {
                99 => u128::MAX,
                _ => width * u128::from(number + 1) - 1,
            },
        },
        ..open_shard(&format!("shard-{number:03}"), &[])
    };
    let mut bench = Bench::new();
    bench.tell(CoordinatorEvent::Started);
    bench.tell(CoordinatorEvent::TableReady(Ok(())));
    bench.tell(CoordinatorEvent::Listed(Ok(Vec::new())));
    bench.tell(CoordinatorEvent::ShardsListed {
        which: ShardListing::AtTrimHorizon,
        outcome: Ok((0..SHARDS).map(shard).collect()),
    });
    let mut effects = bench.tell(CoordinatorEvent::Listed(Ok(Vec::new())));
    let mut created = 0;
    while let Some(CoordinatorEffect::Create(lease)) = effects.pop() {
        let due = bench.machine.next_deadline();
        assert!(
            due.is_none_or(|due| due > bench.now),
            "{created} rows are made"
        );
        created += 1;
        effects.extend(bench.tell(CoordinatorEvent::Created {
            shard: lease.shard,
            outcome: Ok(true),
        }));
        effects.retain(|effect| matches!(effect, CoordinatorEffect::Create(_)));
    }
    assert_eq!(created, SHARDS);
}
