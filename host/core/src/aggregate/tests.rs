use proptest::prelude::*;

use super::*;
use crate::deaggregate::{Contents, Deaggregator, OutsideRange};

type UserRecord = (String, Option<String>, Vec<u8>);

/// The user records in a put record, as a consumer sees them.
fn unpack(packed: &PackedRecord) -> Vec<UserRecord> {
    let mut deaggregator = Deaggregator::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match deaggregator.open(&packed.data) {
        Contents::Malformed(malformed) => panic!("{malformed}"),
        // What carries one record alone has its key; an explicit hash key is not delivered with a record.
        Contents::Plain => vec![(packed.key.to_string(), None, packed.data.to_vec())],
        Contents::Aggregate(records) => {
            let mut dropped = Vec::new();
            OutsideRange::DropContainer.dropped(&packed.data, records, HALF, &mut dropped);
            assert_eq!(
                dropped,
                [],
                "a consumer that filters by range keeps what was packed for its shard"
            );
            records
                .iter()
                .map(|record| {
                    let hash_key = record
                        .explicit_hash_key
                        .map(|span| text(span.of(&packed.data)));
                    (
                        text(record.key.of(&packed.data)),
                        hash_key,
                        record.data.of(&packed.data).to_vec(),
                    )
                })
                .collect()
        }
    }
}

const HALF: HashRange = HashRange {
    start: 0,
    end: u128::MAX / 2,
};

fn user_record() -> impl Strategy<Value = UserRecord> {
    let hash_key = prop_oneof![
        4 => Just(None),
        2 => (0..5_u128).prop_map(|index| Some((index << 124).to_string())),
        1 => Just(Some("x".to_owned())),
    ];
    let data = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => proptest::collection::vec(any::<u8>(), 100..400),
        1 => Just(MAGIC.to_vec()),
    ];
    ("[a-f]{1,2}|\\PC{0,10}", hash_key, data)
}

/// Checks one put record against its bounds and its user records against those that are next in line.
fn check(
    packed: &PackedRecord,
    bounds: AggregateBounds,
    accepted: &[UserRecord],
) -> Result<(), TestCaseError> {
    prop_assert!(packed.key.len() + packed.data.len() <= bounds.bytes);
    prop_assert!(packed.user_records <= bounds.records.max(1));
    let (key, hash_key, data) = &accepted[0];
    prop_assert_eq!(
        Ok(packed.explicit_hash_key),
        effective_hash(key, hash_key.as_deref())
    );
    prop_assert!(HALF.contains(packed.explicit_hash_key));
    let alone = packed.user_records == 1 && !data.starts_with(&MAGIC);
    let expected = if alone {
        vec![(key.clone(), None, data.clone())]
    } else {
        accepted.to_vec()
    };
    prop_assert_eq!(unpack(packed), expected);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_packed_opens_to_the_same_user_records_in_the_same_order(
        user_records in proptest::collection::vec(user_record(), 0..60),
        bytes in prop_oneof![Just(64_usize), 60..600_usize, Just(CONTAINER_BYTES_MAX)],
        records in prop_oneof![Just(1_usize), 2..10_usize, Just(usize::MAX)],
    ) {
        let bounds = AggregateBounds { bytes, records };
        let mut aggregator = Aggregator::new(HALF, bounds);
        let mut waiting: Vec<UserRecord> = Vec::new();
        for (key, hash_key, data) in user_records {
            let fits_half = effective_hash(&key, hash_key.as_deref()).map(|hash| HALF.contains(hash));
            match aggregator.add(&key, hash_key.as_deref(), &data) {
                Ok(packed) => {
                    prop_assert_eq!(fits_half, Ok(true));
                    if let Some(packed) = packed {
                        let grown = waiting.len() >= records || {
                            // It came out because the next one did not fit, not before.
                            let mut roomy = Aggregator::new(HALF, AggregateBounds::default());
                            for (key, hash_key, data) in waiting.iter().chain([&(key.clone(), hash_key.clone(), data.clone())]) {
                                roomy.add(key, hash_key.as_deref(), data).unwrap();
                            }
                            roomy.bytes() > bytes
                        };
                        prop_assert!(grown);
                        prop_assert_eq!(packed.user_records, waiting.len());
                        check(&packed, bounds, &waiting)?;
                        waiting.clear();
                    }
                    waiting.push((key, hash_key, data));
                }
                Err(AggregateError::HashKey(_)) => prop_assert!(fits_half.is_err()),
                Err(AggregateError::OutsideRange { .. }) => prop_assert_eq!(fits_half, Ok(false)),
                Err(AggregateError::TooLarge { bytes: alone, bound }) => prop_assert!(alone > bound && bound == bytes),
            }
            prop_assert_eq!(aggregator.len(), waiting.len());
        }
        match aggregator.finish() {
            Some(packed) => check(&packed, bounds, &waiting)?,
            None => prop_assert!(waiting.is_empty()),
        }
        prop_assert!(aggregator.finish().is_none() && aggregator.is_empty());
    }

    #[test]
    fn the_size_is_known_before_the_container_is_made(user_records in proptest::collection::vec(user_record(), 2..40)) {
        let mut aggregator = Aggregator::new(HashRange::FULL, AggregateBounds::default());
        for (key, hash_key, data) in &user_records {
            let hash_key = hash_key.as_deref().filter(|text| *text != "x");
            let foretold = aggregator.bytes() + aggregator.growth(key, hash_key, data.len());
            prop_assert_eq!(aggregator.add(key, hash_key, data), Ok(None));
            prop_assert_eq!(aggregator.bytes(), foretold);
        }
        let foretold = aggregator.bytes();
        let packed = aggregator.finish().unwrap();
        prop_assert_eq!(packed.key.len() + packed.data.len(), foretold);
    }
}

#[test]
fn the_bytes_are_those_of_the_kpl_writer() {
    // From the fixture that aws-kinesis-agg wrote.
    let mut aggregator = Aggregator::new(HashRange::FULL, AggregateBounds::default());
    for i in 0..40 {
        assert_eq!(
            aggregator.add(
                &format!("key-{}", i % 7),
                None,
                format!("line {i} of the text").as_bytes()
            ),
            Ok(None)
        );
    }
    let packed = aggregator.finish().unwrap();
    assert_eq!(
        packed.data,
        &include_bytes!("../../tests/kpl/forty.bin")[..]
    );
    assert_eq!((&*packed.key, packed.user_records), ("a", 40));

    let max = u128::MAX.to_string();
    for (key, hash_key, data) in [
        ("a", None, "1"),
        ("a", Some("0"), "2"),
        ("b", None, "3"),
        ("b", Some(&*max), "4"),
    ] {
        assert_eq!(aggregator.add(key, hash_key, data.as_bytes()), Ok(None));
    }
    let packed = aggregator.finish().unwrap();
    assert_eq!(
        packed.data,
        &include_bytes!("../../tests/kpl/mixed_hash_keys.bin")[..]
    );
}
