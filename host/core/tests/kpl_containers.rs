//! Containers that the Python package aws-kinesis-agg wrote, and what damage to them must give.
//! `kpl/generate.py` writes them, with their contents as JSON.
#![expect(
    clippy::unwrap_used,
    reason = "without its fixtures this test must fail"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shardwright_core::{Contents, Deaggregator, Malformed};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kpl")
}

/// Every container in the folder, with the name of its file.
fn containers() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn containers_of_another_producer_open_to_what_was_put_in() {
    let mut deaggregator = Deaggregator::new();
    let containers = containers();
    assert_eq!(containers.len(), 7, "a case was added or lost: say so here");
    for (path, data) in containers {
        let Contents::Aggregate(records) = deaggregator.open(&data) else {
            panic!("{} is not opened", path.display());
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let opened: Vec<Value> = records
            .iter()
            .map(|record| {
                json!({
                    "key": text(record.key.of(&data)),
                    "explicit_hash_key": record.explicit_hash_key.map(|span| text(span.of(&data))),
                    "data_hex": hex(record.data.of(&data)),
                })
            })
            .collect();
        let expected = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(Value::Array(opened), expected, "{}", path.display());
    }
}

#[test]
fn damage_to_them_at_any_byte_is_noticed() {
    let mut deaggregator = Deaggregator::new();
    for (path, data) in containers() {
        for at in (0..data.len()).step_by(1 + data.len() / 100) {
            let expected = match at {
                0..4 => Contents::Plain,
                4..=20 => Contents::Malformed(Malformed::Truncated { bytes: at }),
                _ => Contents::Malformed(Malformed::Checksum),
            };
            assert_eq!(
                deaggregator.open(&data[..at]),
                expected,
                "{} cut at {at}",
                path.display()
            );

            let mut flipped = data.clone();
            flipped[at] ^= 0x40;
            let expected = if at < 4 {
                Contents::Plain
            } else {
                Contents::Malformed(Malformed::Checksum)
            };
            assert_eq!(
                deaggregator.open(&flipped),
                expected,
                "{} flipped at {at}",
                path.display()
            );
        }
    }
}
