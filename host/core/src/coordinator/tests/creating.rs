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

/// A reading of the rows may pass a place before its row is made, and come back when that row's shard was split. Nothing
/// then tells that the halves follow from a shard that is being read.
#[test]
fn a_row_is_made_only_if_a_look_after_the_listing_shows_that_it_is_missing() {
    let (low, high) = (HashRange::FULL.end / 2, HashRange::FULL.end);
    let half = |id: &str, start, end| Shard {
        hash_range: HashRange { start, end },
        ..open_shard(id, &["a"])
    };
    let listed = CoordinatorEvent::ShardsListed {
        which: ShardListing::All,
        outcome: Ok(vec![
            Shard {
                ending_sequence: SequenceNumber::parse("5").ok(),
                ..open_shard("a", &[])
            },
            half("b", 0, low),
            half("c", low + 1, high),
        ]),
    };
    let another = row("z", Some("other"), at(1));
    let read_again = |rows: Vec<Lease>| {
        let mut bench = Bench::new();
        bench.tell(CoordinatorEvent::Started);
        bench.tell(CoordinatorEvent::TableReady(Ok(())));
        bench.tell(CoordinatorEvent::Listed(Ok(vec![another.clone()])));
        let effects = bench.tell(listed.clone());
        assert_eq!(effects, [CoordinatorEffect::List]);
        let effects = bench.tell(CoordinatorEvent::Listed(Ok(rows)));
        let is_create =
            |effect: &&CoordinatorEffect| matches!(effect, CoordinatorEffect::Create(_));
        effects.iter().filter(is_create).count()
    };
    let owned = row("a", Some("other"), Checkpoint::TrimHorizon);
    assert_eq!(read_again(vec![another.clone(), owned]), 0);
    assert_eq!(read_again(vec![another.clone()]), 1, "the row of a");
}
