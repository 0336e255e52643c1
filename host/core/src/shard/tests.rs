use proptest::prelude::*;

use super::*;

#[test]
fn a_key_hashes_as_the_service_says() {
    // MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661, read as a big-endian number.
    assert_eq!(
        effective_hash("a", None),
        Ok(0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661)
    );
    assert_eq!(
        effective_hash("", None),
        Ok(0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e)
    );
    assert_eq!(effective_hash("a", Some("0")), Ok(0));
    assert_eq!(
        effective_hash("a", Some(&u128::MAX.to_string())),
        Ok(u128::MAX)
    );
}

#[test]
fn what_is_no_hash_key_is_refused() {
    for text in ["", "+1", "-1", " 1", "1_000", "0x1", "1e3"] {
        assert_eq!(
            effective_hash("a", Some(text)),
            Err(InvalidHashKey::NotDecimal),
            "{text:?}"
        );
    }
    let too_large = "340282366920938463463374607431768211456";
    assert_eq!(
        effective_hash("a", Some(too_large)),
        Err(InvalidHashKey::TooLarge)
    );
    assert_eq!(
        HashRange::parse("1", too_large),
        Err(InvalidHashRange::End(InvalidHashKey::TooLarge))
    );
    assert_eq!(
        HashRange::parse("x", "1"),
        Err(InvalidHashRange::Start(InvalidHashKey::NotDecimal))
    );
    assert_eq!(
        HashRange::parse("2", "1"),
        Err(InvalidHashRange::Reversed { start: 2, end: 1 })
    );
}

proptest! {
    #[test]
    fn a_range_holds_its_two_ends_and_what_lies_between(a in any::<u128>(), b in any::<u128>(), hash in any::<u128>()) {
        let range = HashRange::parse(&a.min(b).to_string(), &a.max(b).to_string()).unwrap();
        prop_assert!(range.contains(a) && range.contains(b));
        prop_assert_eq!(range.contains(hash), hash >= a.min(b) && hash <= a.max(b));
        prop_assert!(HashRange::FULL.contains(hash));
    }
}

#[test]
fn a_child_waits_for_every_parent_that_has_a_lease() {
    let [left, right]: [ShardId; 2] = ["left".into(), "right".into()];
    let at = Checkpoint::from_columns("7", 0).unwrap();
    let states = [
        None,
        Some(Checkpoint::ShardEnd),
        Some(at),
        Some(Checkpoint::Latest),
        Some(Checkpoint::TrimHorizon),
        Some(Checkpoint::AtTimestamp),
    ];
    let is_done = |state: &Option<Checkpoint>| matches!(state, None | Some(Checkpoint::ShardEnd));
    for a in &states {
        for b in &states {
            let look_up = |id: &ShardId| if *id == left { a.as_ref() } else { b.as_ref() };
            assert!(parents_are_done(&[], look_up));
            assert_eq!(
                parents_are_done(std::slice::from_ref(&left), look_up),
                is_done(a)
            );
            assert_eq!(
                parents_are_done(&[left.clone(), right.clone()], look_up),
                is_done(a) && is_done(b)
            );
        }
    }
}
