use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;

fn frame(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &Md5::digest(message)[..]].concat()
}

fn varint(field: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::Varint, &mut bytes);
    encode_varint(value, &mut bytes);
    bytes
}

fn nested(field: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn user_record(key_index: u64, hash_key_index: Option<u64>, data: &[u8]) -> Vec<u8> {
    let hash_key = hash_key_index.map_or(Vec::new(), |index| varint(2, index));
    nested(
        3,
        &[varint(1, key_index), hash_key, nested(3, data)].concat(),
    )
}

/// Opens a message under a right checksum; keys, hash keys and payloads as text.
fn open(message: &[Vec<u8>]) -> Result<Vec<[String; 3]>, Malformed> {
    let data = frame(&message.concat());
    let text = |span: Span| String::from_utf8_lossy(span.of(&data)).into_owned();
    match Deaggregator::new().open(&data) {
        Contents::Plain => panic!("it has the magic"),
        Contents::Malformed(malformed) => Err(malformed),
        Contents::Aggregate(records) => Ok(records
            .iter()
            .map(|record| {
                [
                    text(record.key),
                    record.explicit_hash_key.map_or("-".into(), text),
                    text(record.data),
                ]
            })
            .collect()),
    }
}

fn row(key: &str, hash_key: &str, data: &str) -> [String; 3] {
    [key, hash_key, data].map(str::to_owned)
}

#[test]
fn a_record_without_the_magic_is_plain() {
    for data in [
        &b""[..],
        b"\xf3",
        b"\xf3\x89\x9a",
        b"\xf3\x89\x9a\xc3 and more than sixteen bytes after",
        b"{}",
    ] {
        assert_eq!(Deaggregator::new().open(data), Contents::Plain);
    }
}

#[test]
fn a_container_without_room_for_a_message_is_malformed() {
    for rest in 0..=16 {
        let data = [&MAGIC[..], &vec![7; rest]].concat();
        let expected = Malformed::Truncated { bytes: 4 + rest };
        assert_eq!(
            Deaggregator::new().open(&data),
            Contents::Malformed(expected)
        );
    }
    // Even with the right checksum of no message at all, as KCL has it.
    assert_eq!(open(&[]), Err(Malformed::Truncated { bytes: 20 }));
}

#[test]
fn a_container_may_hold_no_user_records() {
    assert_eq!(open(&[nested(1, b"unused")]), Ok(vec![]));
    assert_eq!(open(&[nested(2, b"0")]), Ok(vec![]));
    assert_eq!(open(&[varint(9, 1)]), Ok(vec![]));
}

#[test]
fn tables_may_follow_the_records_that_use_them() {
    let message = [
        user_record(1, Some(0), b"x"),
        nested(1, b"k0"),
        nested(2, b"17"),
        nested(1, b"k1"),
    ];
    assert_eq!(open(&message), Ok(vec![row("k1", "17", "x")]));
}

#[test]
fn the_last_of_several_values_of_a_field_counts() {
    let twice = [
        varint(1, 9),
        nested(3, b"old"),
        varint(2, 9),
        varint(1, 0),
        varint(2, 0),
        nested(3, b"new"),
    ];
    let message = [nested(1, b"k"), nested(2, b"5"), nested(3, &twice.concat())];
    assert_eq!(open(&message), Ok(vec![row("k", "5", "new")]));
}

#[test]
fn tags_and_unknown_fields_change_nothing() {
    let tag = nested(
        4,
        &[nested(1, b"name"), nested(2, b"value"), varint(7, 1)].concat(),
    );
    let group = [vec![0x2b], varint(1, 5), vec![0x2c]].concat();
    let record = [
        varint(1, 0),
        tag,
        group.clone(),
        varint(99, 3),
        nested(3, b"x"),
    ]
    .concat();
    let fixed = [vec![0x31], vec![0; 8], vec![0x3d], vec![0; 4]].concat();
    let message = [
        fixed,
        nested(1, b"k"),
        group,
        nested(3, &record),
        nested(1000, b"later version"),
    ];
    assert_eq!(open(&message), Ok(vec![row("k", "-", "x")]));
}

#[test]
fn every_fault_makes_the_whole_container_opaque_and_says_why() {
    let sound = [
        nested(1, b"k"),
        nested(2, b"0"),
        user_record(0, Some(0), b"first"),
    ];
    assert_eq!(open(&sound), Ok(vec![row("k", "0", "first")]));
    let wide = |index: u64| [varint(1, index), nested(3, b"x")].concat();
    let cases: [(Vec<u8>, Malformed); 18] = [
        (
            user_record(1, None, b"x"),
            Malformed::KeyIndex {
                record: 1,
                index: 1,
                table: 1,
            },
        ),
        (
            nested(3, &wide(u64::MAX)),
            Malformed::KeyIndex {
                record: 1,
                index: u64::MAX,
                table: 1,
            },
        ),
        (
            user_record(0, Some(1), b"x"),
            Malformed::HashKeyIndex {
                record: 1,
                index: 1,
                table: 1,
            },
        ),
        (
            nested(3, &varint(1, 0)),
            Malformed::MissingField { field: 3 },
        ),
        (
            nested(3, &nested(3, b"x")),
            Malformed::MissingField { field: 1 },
        ),
        (nested(3, b""), Malformed::MissingField { field: 1 }),
        (nested(1, b"\xff"), Malformed::Utf8),
        (nested(2, b"\xc3"), Malformed::Utf8),
        (
            nested(3, &[wide(0), nested(4, &nested(1, b"\xff"))].concat()),
            Malformed::Utf8,
        ),
        (
            nested(3, &[wide(0), nested(4, &nested(2, b"no key"))].concat()),
            Malformed::MissingField { field: 1 },
        ),
        // The wrong type, in the message, in a record and in a tag.
        (varint(1, 1), Malformed::Protobuf),
        (varint(3, 1), Malformed::Protobuf),
        (
            nested(3, &[nested(1, b"k"), nested(3, b"x")].concat()),
            Malformed::Protobuf,
        ),
        (
            nested(3, &[varint(1, 0), varint(3, 1)].concat()),
            Malformed::Protobuf,
        ),
        (
            nested(3, &[wide(0), nested(4, &varint(1, 1))].concat()),
            Malformed::Protobuf,
        ),
        // A length past the end, a varint without one, field number 0.
        (vec![0x1a, 0x7f, 0x08], Malformed::Protobuf),
        (vec![0x08, 0xff, 0xff], Malformed::Protobuf),
        (vec![0x00, 0x00], Malformed::Protobuf),
    ];
    for (fault, expected) in cases {
        assert_eq!(
            open(&[sound.concat(), fault.clone()]),
            Err(expected),
            "{fault:x?}"
        );
        // The reason is also a metric's label, so it is one plain word.
        assert!(
            expected
                .reason()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'8')
        );
    }
}

#[test]
fn scratch_is_given_back_after_an_absurd_container() {
    let records: Vec<Vec<u8>> =
        std::iter::repeat_n(user_record(0, None, b""), SCRATCH_RECORDS_KEPT * 2).collect();
    let huge = frame(&[nested(1, b"k"), records.concat()].concat());
    let small = frame(&[nested(1, b"k"), user_record(0, None, b"x")].concat());
    let mut deaggregator = Deaggregator::new();
    assert!(
        matches!(deaggregator.open(&huge), Contents::Aggregate(records) if records.len() == SCRATCH_RECORDS_KEPT * 2)
    );
    assert!(matches!(
        deaggregator.open(&small),
        Contents::Aggregate([_])
    ));
    assert!(deaggregator.records.capacity() <= SCRATCH_RECORDS_KEPT);
    assert!(deaggregator.parsed.capacity() <= SCRATCH_RECORDS_KEPT);
}

proptest! {
    /// Few keys over few hash keys, so that equal neighbours and changes both come up.
    #[test]
    fn each_policy_drops_what_it_says(
        picks in proptest::collection::vec((0..4_u64, proptest::option::of(0..4_u64)), 0..10),
        start in any::<u128>(),
        end in any::<u128>(),
    ) {
        let range = HashRange { start: start.min(end), end: start.max(end) };
        let keys = ["a", "b", "c", "d"];
        let hash_keys = ["0", "85070591730234615865843651857942052864", "340282366920938463463374607431768211455", "not a number"];
        let mut message: Vec<u8> = keys.iter().flat_map(|key| nested(1, key.as_bytes())).collect();
        message.extend(hash_keys.iter().flat_map(|key| nested(2, key.as_bytes())));
        message.extend(picks.iter().flat_map(|(key, hash_key)| user_record(*key, *hash_key, b"x")));
        let data = frame(&message);
        let mut deaggregator = Deaggregator::new();
        let Contents::Aggregate(records) = deaggregator.open(&data) else { panic!("it is sound") };

        let is_outside = |(key, hash_key): &(u64, Option<u64>)| {
            let hash_key = hash_key.map(|index| hash_keys[index as usize]);
            // What cannot be judged is kept.
            effective_hash(keys[*key as usize], hash_key).is_ok_and(|hash| !range.contains(hash))
        };
        let outside: Vec<u32> = (0..).zip(&picks).filter(|(_, pick)| is_outside(pick)).map(|(index, _)| index).collect();
        let all: Vec<u32> = (0..picks.len() as u32).collect();
        let mut dropped = vec![99];
        OutsideRange::Keep.dropped(&data, records, range, &mut dropped);
        prop_assert_eq!(&dropped, &[]);
        OutsideRange::DropRecord.dropped(&data, records, range, &mut dropped);
        prop_assert_eq!(&dropped, &outside);
        OutsideRange::DropContainer.dropped(&data, records, range, &mut dropped);
        prop_assert_eq!(&dropped, if outside.is_empty() { &outside } else { &all });
        OutsideRange::DropContainer.dropped(&data, records, HashRange::FULL, &mut dropped);
        prop_assert_eq!(&dropped, &[]);
    }
}
