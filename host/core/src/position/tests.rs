use std::collections::hash_map::DefaultHasher;

use proptest::prelude::*;

use super::*;

fn number(text: &str) -> SequenceNumber {
    SequenceNumber::parse(text).unwrap()
}

fn hash(number: &SequenceNumber) -> u64 {
    let mut hasher = DefaultHasher::new();
    number.hash(&mut hasher);
    hasher.finish()
}

/// Numbers that are often close to each other: few digits or many, padded or not.
fn digits() -> impl Strategy<Value = String> {
    prop_oneof![
        "0{0,60}[0-9]{1,3}",
        "[0-9]{1,60}",
        "[0-9]{100,129}",
        "4959[0-9]{52}"
    ]
}

proptest! {
    #[test]
    fn numbers_order_as_integers_and_keep_their_text(a in digits(), b in digits()) {
        let (left, right) = (number(&a), number(&b));
        // As strings of equal length, digits compare as the integers they are.
        let model = format!("{a:0>130}").cmp(&format!("{b:0>130}"));
        prop_assert_eq!(left.cmp(&right), model);
        prop_assert_eq!(left == right, model == Ordering::Equal);
        prop_assert_eq!(left.as_str(), a.as_str());
        prop_assert_eq!(left.to_string(), a);
    }

    #[test]
    fn padding_changes_nothing_but_the_text(value in any::<u128>(), zeros in 0..80_usize) {
        let (bare, padded) = (number(&value.to_string()), number(&format!("{}{value}", "0".repeat(zeros))));
        prop_assert_eq!(&bare, &padded);
        prop_assert_eq!(hash(&bare), hash(&padded));
        prop_assert_eq!(bare.cmp(&number(&u128::MAX.to_string())), value.cmp(&u128::MAX));
    }

    #[test]
    fn only_one_to_129_digits_are_a_number(text in "[0-9]{0,2}[\\x00-\\x7f]{0,2}[0-9]{0,130}") {
        let expected = (1..=129).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        prop_assert_eq!(SequenceNumber::parse(text).is_ok(), expected);
    }

    #[test]
    fn positions_order_by_number_then_by_sub_sequence(a in digits(), b in digits(), i in 0..3_u64, j in 0..3_u64) {
        let left = Position { sequence: number(&a), sub_sequence: i };
        let right = Position { sequence: number(&b), sub_sequence: j };
        prop_assert_eq!(left.cmp(&right), number(&a).cmp(&number(&b)).then(i.cmp(&j)));
    }

    #[test]
    fn checkpoints_survive_the_lease_table(text in digits(), sub in any::<u64>()) {
        let at = Checkpoint::At(Position { sequence: number(&text), sub_sequence: sub });
        for checkpoint in [Checkpoint::AtTimestamp, Checkpoint::TrimHorizon, Checkpoint::Latest, at, Checkpoint::ShardEnd] {
            let (column, sub_column) = checkpoint.columns();
            prop_assert_eq!(Checkpoint::from_columns(column, sub_column), Ok(checkpoint.clone()));
        }
    }
}

#[test]
fn a_refused_number_says_why() {
    assert_eq!(
        SequenceNumber::parse(""),
        Err(InvalidSequenceNumber::Length { digits: 0 })
    );
    assert_eq!(
        SequenceNumber::parse("1".repeat(130)),
        Err(InvalidSequenceNumber::Length { digits: 130 })
    );
    assert_eq!(
        SequenceNumber::parse("12x"),
        Err(InvalidSequenceNumber::NotDecimal { at: 2 })
    );
    assert_eq!(
        SequenceNumber::parse("-1"),
        Err(InvalidSequenceNumber::NotDecimal { at: 0 })
    );
}

#[test]
fn checkpoints_order_as_kcl_orders_them() {
    let at = |text: &str, sub_sequence| {
        Checkpoint::At(Position {
            sequence: number(text),
            sub_sequence,
        })
    };
    let ascending = [
        Checkpoint::AtTimestamp,
        Checkpoint::TrimHorizon,
        Checkpoint::Latest,
        at("0", 0),
        at("9", 0),
        at("9", 10),
        at("10", 2),
        at(&"9".repeat(129), u64::MAX),
        Checkpoint::ShardEnd,
    ];
    assert!(ascending.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_column_that_is_neither_sentinel_nor_number_is_an_error_that_names_it() {
    for text in [
        "",
        "trim_horizon",
        "TRIM_HORIZON ",
        "LATEST2",
        "1.5",
        "null",
    ] {
        let error = Checkpoint::from_columns(text, 0).unwrap_err();
        assert_eq!(&*error.text, text);
    }
    // Whatever stands beside a sentinel, the sentinel is the whole truth.
    assert_eq!(
        Checkpoint::from_columns("SHARD_END", 7),
        Ok(Checkpoint::ShardEnd)
    );
}

#[test]
fn reading_begins_where_the_checkpoint_says() {
    let latest = InitialPosition::Latest;
    let at = Checkpoint::At(Position {
        sequence: number("0042"),
        sub_sequence: 3,
    });
    // At the record, not after it: user records 4 and up of its container may be due.
    assert_eq!(
        at.start_at(latest, None),
        Ok(StartAt::AtSequence(number("42")))
    );
    assert_eq!(
        Checkpoint::TrimHorizon.start_at(latest, Some(5)),
        Ok(StartAt::TrimHorizon)
    );
    assert_eq!(
        Checkpoint::Latest.start_at(InitialPosition::TrimHorizon, None),
        Ok(StartAt::Latest)
    );
    assert_eq!(
        Checkpoint::Latest.start_at(latest, Some(5)),
        Ok(StartAt::AtTimestamp(5)),
        "what an earlier owner was given to read is due"
    );
    assert_eq!(
        Checkpoint::AtTimestamp.start_at(InitialPosition::AtTimestamp(17), None),
        Ok(StartAt::AtTimestamp(17))
    );
    assert_eq!(
        Checkpoint::AtTimestamp.start_at(latest, None),
        Err(NoStart::TimestampUnknown)
    );
    assert_eq!(
        Checkpoint::ShardEnd.start_at(latest, None),
        Err(NoStart::ShardEnd)
    );
    for initial in [
        latest,
        InitialPosition::TrimHorizon,
        InitialPosition::AtTimestamp(1),
    ] {
        assert!(initial.checkpoint().start_at(initial, None).is_ok());
    }
}

proptest! {
    #[test]
    fn a_version_2_number_names_its_shard(shard in any::<u32>(), middle in any::<u64>(), high in 0..1_u64 << 56, low in 0..16_u64) {
        // The layout's top 56 + 64 bits carry the rest; put together by hand in base 10.
        let limbs = [(u64::from(shard) << 4) | low | (middle << 36), middle, (2 << 56) | high];
        prop_assert_eq!(number(&decimal(limbs)).shard_number(), Some(shard));
    }
}

/// Schoolbook division by ten.
fn decimal(mut limbs: [u64; 3]) -> String {
    let mut digits = Vec::new();
    while limbs != [0; 3] {
        let mut rest = 0_u128;
        for limb in limbs.iter_mut().rev() {
            let wide = (rest << 64) | u128::from(*limb);
            *limb = (wide / 10) as u64;
            rest = wide % 10;
        }
        digits.push(char::from(b'0' + rest as u8));
    }
    digits.iter().rev().collect()
}

#[test]
fn a_number_of_another_layout_names_no_shard() {
    for text in [
        "0",
        "7",
        &"9".repeat(57),
        &"9".repeat(129),
        &format!("{:0>56}", 21),
    ] {
        assert_eq!(number(text).shard_number(), None, "{text}");
    }
    // Numbers from the service's documentation, whose event ids name shardId-000000000006. Padding does not hide it.
    for real in [
        "49590338271490256608559692538361571095921575989136588898",
        "49590338271490256608559692540925702759324208523137515618",
    ] {
        assert_eq!(number(real).shard_number(), Some(6));
        assert_eq!(number(&format!("000{real}")).shard_number(), Some(6));
    }
}
