use super::*;
use crate::position::SequenceNumber;
use crate::shard::HashRange;

fn id(index: usize) -> ShardId {
    ShardId::new(format!("shardId-{index:012}"))
}

/// A shard over some of sixty equal slices of the hash space, `slices` naming the first and the one after the last.
fn shard(index: usize, parents: &[usize], slices: [u128; 2], life: [Option<u32>; 2]) -> Shard {
    let slice = u128::MAX / 60;
    let number = |epoch: u32| SequenceNumber::parse(epoch.to_string()).unwrap();
    Shard {
        id: id(index),
        parents: parents.iter().copied().map(id).collect(),
        hash_range: HashRange {
            start: slices[0] * slice + u128::from(slices[0] > 0),
            end: if slices[1] == 60 {
                u128::MAX
            } else {
                slices[1] * slice
            },
        },
        starting_sequence: number(life[0].unwrap()),
        ending_sequence: life[1].map(number),
    }
}

/// The example of KCL's own tests, each row a stretch of time:
/// ```text
/// 0 1 2 3 4  5     until epoch 102
///  6   7  4  5     103 to 205
///    8    4 9 10   from 206, open
/// ```
fn example() -> Vec<Shard> {
    vec![
        shard(0, &[], [0, 10], [Some(1), Some(102)]),
        shard(1, &[], [10, 20], [Some(1), Some(102)]),
        shard(2, &[], [20, 30], [Some(1), Some(102)]),
        shard(3, &[], [30, 40], [Some(1), Some(102)]),
        shard(4, &[], [40, 50], [Some(1), None]),
        shard(5, &[], [50, 60], [Some(1), Some(205)]),
        shard(6, &[0, 1], [0, 20], [Some(103), Some(205)]),
        shard(7, &[2, 3], [20, 40], [Some(103), Some(205)]),
        shard(8, &[6, 7], [0, 40], [Some(206), None]),
        shard(9, &[5], [50, 55], [Some(206), None]),
        shard(10, &[5], [55, 60], [Some(206), None]),
    ]
}

fn only(shards: &[usize]) -> Vec<Shard> {
    let example = example();
    shards.iter().map(|index| example[*index].clone()).collect()
}

fn leases(shards: &[(usize, Checkpoint)]) -> Vec<Lease> {
    let example = example();
    let lease = |(index, checkpoint): &(usize, Checkpoint)| {
        Lease::created(NewLease {
            shard: id(*index),
            checkpoint: checkpoint.clone(),
            parents: example[*index].parents.clone(),
            hash_range: Some(example[*index].hash_range),
        })
    };
    shards.iter().map(lease).collect()
}

/// In the order of creation.
fn created(leases: &[NewLease]) -> Vec<(usize, Checkpoint)> {
    let example = example();
    let one = |lease: &NewLease| {
        let index = (0..example.len())
            .find(|index| id(*index) == lease.shard)
            .unwrap();
        assert_eq!(lease.parents, example[index].parents);
        assert_eq!(lease.hash_range, Some(example[index].hash_range));
        (index, lease.checkpoint.clone())
    };
    leases.iter().map(one).collect()
}

const TRIM_HORIZON: InitialPosition = InitialPosition::TrimHorizon;
const LATEST: InitialPosition = InitialPosition::Latest;
const AT_200: InitialPosition = InitialPosition::AtTimestamp(200);

fn all(shards: &[usize], checkpoint: &Checkpoint) -> Vec<(usize, Checkpoint)> {
    shards
        .iter()
        .map(|index| (*index, checkpoint.clone()))
        .collect()
}

/// KCL: testDetermineNewLeasesToCreateSplitMerge…, ranges covered in part and whole. For each set of leases, what is
/// missing at LATEST, and at either of the other positions.
#[test]
fn a_table_with_leases_gets_what_kcl_gives_it() {
    let at = Checkpoint::from_columns("150", 0).unwrap();
    let cases: [(&[usize], &[usize], &[usize]); 7] = [
        (&[3, 4, 5], &[2, 6], &[0, 1, 2]),
        (&[4, 5, 7], &[6], &[0, 1]),
        (&[2, 6], &[3, 4, 9, 10], &[3, 4, 5]),
        (&[4, 9, 10], &[8], &[0, 1, 2, 3]),
        (&[4, 5, 6, 7], &[], &[]),
        (&[0, 1, 2, 3, 4, 5, 6, 7], &[], &[]),
        (&[0, 1, 4, 7, 9, 10], &[], &[]),
    ];
    for (known, at_latest, from_before) in cases {
        let held = leases(&all(known, &at));
        let missing = |initial| {
            let leases = missing_leases(&example(), &held, initial).unwrap();
            let mut leases = created(&leases);
            leases.sort_by_key(|(index, _)| *index);
            leases
        };
        let expected = all(at_latest, &Checkpoint::Latest);
        assert_eq!(missing(LATEST), expected, "with {known:?}");
        let expected = all(from_before, &Checkpoint::TrimHorizon);
        assert_eq!(missing(TRIM_HORIZON), expected, "with {known:?}");
        let expected = all(from_before, &Checkpoint::AtTimestamp);
        assert_eq!(missing(AT_200), expected, "with {known:?}");
    }
}

#[test]
fn an_empty_table_gets_the_shards_open_at_the_start() {
    let first = |listed: &[usize], initial| created(&first_leases(&only(listed), initial).unwrap());
    assert_eq!(
        first(&[0, 1, 2, 3, 4, 5], TRIM_HORIZON),
        all(&[0, 1, 2, 3, 4, 5], &Checkpoint::TrimHorizon)
    );
    assert_eq!(
        first(&[4, 8, 9, 10], LATEST),
        all(&[4, 8, 9, 10], &Checkpoint::Latest)
    );
    // In the order the shards were opened: 4 and 5 are older than 6 and 7.
    assert_eq!(
        first(&[7, 6, 5, 4], AT_200),
        all(&[4, 5, 6, 7], &Checkpoint::AtTimestamp)
    );
    // Servers that ignore the filter list every shard.
    let every: Vec<usize> = (0..=10).rev().collect();
    assert_eq!(
        first(&every, TRIM_HORIZON),
        all(&[0, 1, 2, 3, 4, 5], &Checkpoint::TrimHorizon)
    );
    assert_eq!(
        first(&every, LATEST),
        all(&[4, 8, 9, 10], &Checkpoint::Latest)
    );
    assert_eq!(
        first(&every, AT_200),
        all(&[0, 1, 2, 3, 4, 5], &Checkpoint::AtTimestamp)
    );
}

#[test]
fn a_listing_with_a_hole_makes_no_leases() {
    let next = |index: usize| example()[index].hash_range.end + 1;
    let first = |listed: &[usize], initial| first_leases(&only(listed), initial);
    assert_eq!(first(&[], LATEST), Err(ShardSyncError::Hole { from: 0 }));
    assert_eq!(
        first(&[8, 9, 10], LATEST),
        Err(ShardSyncError::Hole { from: next(8) })
    );
    assert_eq!(
        first(&[4, 9, 10], LATEST),
        Err(ShardSyncError::Hole { from: 0 })
    );
    assert_eq!(
        first(&[4, 8, 9], LATEST),
        Err(ShardSyncError::Hole { from: next(9) })
    );
    assert_eq!(
        first(&[0, 1, 3, 4, 5], TRIM_HORIZON),
        Err(ShardSyncError::Hole { from: next(1) })
    );
    // Closed shards take nothing that is yet to come.
    assert_eq!(
        first(&[4, 5, 8], LATEST),
        Err(ShardSyncError::Hole { from: next(4) })
    );
}

#[test]
fn a_listing_of_two_moments_makes_no_leases() {
    let mut listed = example();
    listed[5].ending_sequence = None;
    let torn = Err(ShardSyncError::OpenParent {
        parent: id(5),
        child: id(9),
    });
    let held = leases(&[(4, Checkpoint::TrimHorizon)]);
    for initial in [TRIM_HORIZON, LATEST, AT_200] {
        assert_eq!(first_leases(&listed, initial), torn);
        assert_eq!(missing_leases(&listed, &held, initial), torn);
    }
}

#[test]
fn a_circle_of_parents_is_an_error_and_not_a_hang() {
    let mut listed = example();
    listed[0].parents = vec![id(6)];
    let held = leases(&[(4, Checkpoint::TrimHorizon)]);
    let error = missing_leases(&listed, &held, LATEST).unwrap_err();
    assert!(matches!(error, ShardSyncError::Cycle { .. }), "{error}");
}

#[test]
fn a_lineage_may_be_thousands_of_generations_deep() {
    let mut listed: Vec<Shard> = (0..20_000_u32)
        .map(|index| {
            let parents: &[usize] = if index == 0 {
                &[]
            } else {
                &[index as usize - 1]
            };
            shard(index as usize, parents, [0, 60], [Some(index), Some(index)])
        })
        .collect();
    listed.last_mut().unwrap().ending_sequence = None;
    let elsewhere = Lease {
        shard: "another".into(),
        ..leases(&[(4, Checkpoint::TrimHorizon)]).remove(0)
    };
    let missing = missing_leases(&listed, &[elsewhere], TRIM_HORIZON).unwrap();
    assert_eq!(
        missing.iter().map(|lease| &lease.shard).collect::<Vec<_>>(),
        [&id(0)]
    );
}

#[test]
fn a_lease_lost_behind_a_finished_parent_is_made_again_without_loss() {
    let held = leases(&[
        (4, Checkpoint::Latest),
        (5, Checkpoint::ShardEnd),
        (8, Checkpoint::Latest),
        (9, Checkpoint::Latest),
    ]);
    let missing = |initial| created(&missing_leases(&example(), &held, initial).unwrap());
    assert_eq!(missing(LATEST), all(&[10], &Checkpoint::TrimHorizon));
    assert_eq!(missing(TRIM_HORIZON), all(&[10], &Checkpoint::TrimHorizon));
    assert_eq!(missing(AT_200), all(&[10], &Checkpoint::AtTimestamp));
}

#[test]
fn leases_are_created_oldest_shard_first() {
    let open = |index: usize, slices, epoch| shard(index, &[], slices, [Some(epoch), None]);
    // By number, not as text; of the same age by id.
    let listed = [
        open(0, [0, 10], 100),
        open(1, [10, 30], 9),
        open(3, [30, 40], 20),
        open(2, [40, 60], 20),
    ];
    let first = first_leases(&listed, LATEST).unwrap();
    let order: Vec<ShardId> = first.into_iter().map(|lease| lease.shard).collect();
    assert_eq!(order, [1, 2, 3, 0].map(id));
}

#[test]
fn a_shard_whose_parent_retention_took_half_read_gets_its_lease_at_once() {
    // The parent's row may be deleted as soon as its shard is found to be gone; nothing would then tell what follows.
    let held = leases(&all(&[4, 5, 8], &Checkpoint::Latest));
    let missing = created(&missing_leases(&only(&[4, 8, 9, 10]), &held, LATEST).unwrap());
    assert_eq!(missing, all(&[9, 10], &Checkpoint::TrimHorizon));
}

#[test]
fn children_are_created_at_the_trim_horizon_whatever_the_start() {
    let children = children_in_listing(&id(5), &example());
    let step = leases_at_shard_end(&id(5), &children, |shard| *shard == id(5), None).unwrap();
    let AtShardEnd::Create(new) = step else {
        panic!("a split waits for nobody")
    };
    assert_eq!(created(&new), all(&[9, 10], &Checkpoint::TrimHorizon));
    // One is there already, from an end that was cut short.
    let step = leases_at_shard_end(
        &id(5),
        &children,
        |shard| *shard == id(5) || *shard == id(9),
        None,
    )
    .unwrap();
    let AtShardEnd::Create(new) = step else {
        panic!("a split waits for nobody")
    };
    assert_eq!(created(&new), all(&[10], &Checkpoint::TrimHorizon));
}

#[test]
fn the_child_of_a_merge_waits_until_both_parents_have_leases_or_none() {
    let (example, trimmed, before) = (
        example(),
        only(&[4, 5, 6, 8, 9, 10]),
        only(&[0, 1, 2, 3, 4, 5]),
    );
    let children = children_in_listing(&id(6), &example);
    let step = |leased: &[usize], listed| {
        leases_at_shard_end(
            &id(6),
            &children,
            |shard| leased.iter().any(|index| id(*index) == *shard),
            listed,
        )
        .unwrap()
    };
    let is_created = |step: AtShardEnd| matches!(step, AtShardEnd::Create(new) if created(&new) == all(&[8], &Checkpoint::TrimHorizon));
    assert!(is_created(step(&[6, 7], None)));
    assert!(is_created(step(&[], None)));
    let blocked = AtShardEnd::Blocked {
        child: id(8),
        missing: id(7),
    };
    assert_eq!(step(&[6], None), blocked);
    assert_eq!(step(&[6], Some(&example)), blocked);
    // Retention has taken the other parent, which will therefore never have a lease.
    assert!(is_created(step(&[6], Some(&trimmed))));
    // Of a listing that does not know the child yet nothing can be concluded.
    assert_eq!(step(&[6], Some(&before)), blocked);
    assert_eq!(step(&[6, 8], None), AtShardEnd::Create(vec![]));
}

#[test]
fn an_end_that_names_no_children_of_its_own_is_an_error() {
    let end = |children: &[ChildShard]| leases_at_shard_end(&id(5), children, |_| true, None);
    assert_eq!(end(&[]), Err(ShardSyncError::NoChildren { ended: id(5) }));
    let strangers = children_in_listing(&id(6), &example());
    assert_eq!(
        end(&strangers),
        Err(ShardSyncError::NotAChild {
            ended: id(5),
            child: id(8)
        })
    );
}
