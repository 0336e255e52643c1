//! Opening KPL containers against prost as the model: whatever prost writes we open to the same user records, and
//! whatever we open prost reads the same way. No input makes us panic or hand out a part of a container.

use md5::{Digest, Md5};
use proptest::prelude::*;
use prost::Message;
use shardwright_core::{Contents, Deaggregator, Malformed};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    data: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
struct Tag {
    #[prost(string, required, tag = "1")]
    key: String,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

type UserRecord = (String, Option<String>, Vec<u8>);

fn frame(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &Md5::digest(message)[..]].concat()
}

/// What opening makes of a record, with the spans read out.
fn open(
    deaggregator: &mut Deaggregator,
    data: &[u8],
) -> Result<Option<Vec<UserRecord>>, Malformed> {
    // A key that is no text would come out changed, and so be unlike the model's.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match deaggregator.open(data) {
        Contents::Plain => Ok(None),
        Contents::Malformed(malformed) => Err(malformed),
        Contents::Aggregate(records) => Ok(Some(
            records
                .iter()
                .map(|record| {
                    let hash_key = record.explicit_hash_key.map(|span| text(span.of(data)));
                    (
                        text(record.key.of(data)),
                        hash_key,
                        record.data.of(data).to_vec(),
                    )
                })
                .collect(),
        )),
    }
}

/// What the message says by prost's reading, or `None` if an index is out of its table.
fn model(message: &AggregatedRecord) -> Option<Vec<UserRecord>> {
    let entry = |table: &[String], index: u64| table.get(usize::try_from(index).ok()?).cloned();
    let read = |record: &Record| {
        let hash_key = match record.explicit_hash_key_index {
            None => None,
            Some(index) => Some(entry(&message.explicit_hash_key_table, index)?),
        };
        Some((
            entry(&message.partition_key_table, record.partition_key_index)?,
            hash_key,
            record.data.clone(),
        ))
    };
    message.records.iter().map(read).collect()
}

prop_compose! {
    fn tag()(key in "\\PC{0,4}", value in proptest::option::of("\\PC{0,4}")) -> Tag {
        Tag { key, value }
    }
}

prop_compose! {
    fn record(indexes: u64)(
        partition_key_index in 0..indexes,
        explicit_hash_key_index in proptest::option::of(0..indexes),
        data in proptest::collection::vec(any::<u8>(), 0..40),
        tags in proptest::collection::vec(tag(), 0..2),
    ) -> Record {
        Record { partition_key_index, explicit_hash_key_index, data, tags }
    }
}

prop_compose! {
    /// Mostly sound; about every second one has an index out of its table.
    fn message()(
        partition_key_table in proptest::collection::vec("\\PC{0,8}", 1..6),
        explicit_hash_key_table in proptest::collection::vec("[0-9]{1,39}", 1..6),
        indexes in prop_oneof![Just(1_u64), Just(2), Just(7), Just(u64::MAX)],
    )(
        records in proptest::collection::vec(record(indexes), 0..12),
        partition_key_table in Just(partition_key_table),
        explicit_hash_key_table in Just(explicit_hash_key_table),
    ) -> AggregatedRecord {
        AggregatedRecord { partition_key_table, explicit_hash_key_table, records }
    }
}

/// Bytes that are nearly a message: fields of the right and of other types, repeated, unknown, cut off.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let varint = prop_oneof![0..4_u64, any::<u64>()];
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..6),
        "[a-z]{0,3}".prop_map(String::into_bytes),
        record(2).prop_map(|record| record.encode_to_vec()),
        (record(2), record(2)).prop_map(|(a, b)| [a.encode_to_vec(), b.encode_to_vec()].concat()),
        (record(2), 1..9_usize).prop_map(|(record, keep)| record
            .encode_to_vec()
            .into_iter()
            .take(keep)
            .collect()),
    ];
    let field = (1..6_u32, 0..8_u32, varint, payload, 0..12_u8).prop_map(
        |(tag, wire_type, varint, payload, dice)| {
            // Most fields have the type they should have, or nothing would ever be accepted.
            let wire_type = if dice > 0 { 2 } else { wire_type };
            let mut bytes = vec![(tag << 3 | wire_type) as u8];
            match wire_type {
                0 => prost::encoding::encode_varint(varint, &mut bytes),
                1 => bytes.extend(varint.to_le_bytes()),
                2 => {
                    prost::encoding::encode_varint(payload.len() as u64, &mut bytes);
                    bytes.extend(payload);
                }
                3 => bytes.push((tag << 3 | 4) as u8),
                5 => bytes.extend((varint as u32).to_le_bytes()),
                _ => {}
            }
            bytes
        },
    );
    proptest::collection::vec(field, 0..8).prop_map(|fields| fields.concat())
}

fn check_against_prost(message: &[u8]) -> Result<(), TestCaseError> {
    let data = frame(message);
    let opened = open(&mut Deaggregator::new(), &data);
    let theirs = AggregatedRecord::decode(message)
        .ok()
        .and_then(|decoded| model(&decoded));
    match (opened, theirs) {
        (Ok(opened), theirs) => prop_assert_eq!(opened, theirs),
        // prost takes an absent required field for its default; a protobuf reader that keeps the rule refuses it.
        (Err(Malformed::MissingField { .. } | Malformed::Truncated { .. }), _) => {}
        (Err(malformed), theirs) => prop_assert_eq!(theirs, None, "refused as {}", malformed),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_prost_writes_we_open_identically(message in message(), next in message()) {
        let mut deaggregator = Deaggregator::new();
        // Twice with one scratch: nothing of one container may show in the next.
        for message in [message, next] {
            let opened = open(&mut deaggregator, &frame(&message.encode_to_vec()));
            let is_index = matches!(opened, Err(Malformed::KeyIndex { .. } | Malformed::HashKeyIndex { .. }));
            let records = model(&message);
            prop_assert!(opened == Ok(records.clone()) || is_index && records.is_none(), "{:?}", opened);
        }
    }

    #[test]
    fn what_we_accept_prost_reads_alike(message in fields()) {
        check_against_prost(&message)?;
    }

    #[test]
    fn any_bytes_under_a_right_checksum_are_read_as_prost_reads_them(
        message in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        check_against_prost(&message)?;
    }

    #[test]
    fn a_flipped_bit_under_a_right_checksum_is_read_as_prost_reads_it(message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = message.encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        check_against_prost(&bytes)?;
    }

    #[test]
    fn any_damage_leaves_one_opaque_record(message in message(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let sound = frame(&message.encode_to_vec());
        let mut deaggregator = Deaggregator::new();
        let at = at.index(sound.len());
        let mut flipped = sound.clone();
        flipped[at] ^= 1_u8 << bit;
        let expected = if at < MAGIC.len() { Ok(None) } else { Err(Malformed::Checksum) };
        prop_assert_eq!(open(&mut deaggregator, &flipped), expected);

        let cut = open(&mut deaggregator, &sound[..at]);
        match at {
            0..4 => prop_assert_eq!(cut, Ok(None)),
            4..=20 => prop_assert_eq!(cut, Err(Malformed::Truncated { bytes: at })),
            _ => prop_assert_eq!(cut, Err(Malformed::Checksum)),
        }
    }

    #[test]
    fn any_bytes_at_all_are_plain_or_malformed(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), marked in any::<bool>()) {
        if marked {
            bytes.splice(0..0, MAGIC);
        }
        let opened = open(&mut Deaggregator::new(), &bytes);
        prop_assert_eq!(opened.is_err(), bytes.starts_with(&MAGIC));
        prop_assert!(!matches!(opened, Ok(Some(_))));
    }
}
