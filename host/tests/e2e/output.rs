//! The file that a mirror of the load writes, and what must hold of it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::load::Produced;

#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Where it ends in the file.
    pub(super) end: u64,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) number: u64,
}

impl Line {
    pub(super) fn shard(&self) -> &str {
        self.id.split('/').nth(1).unwrap()
    }
}

/// The whole lines of a file, each of which must parse. What follows the last line ending is being written.
pub(super) fn lines(path: &Path) -> Vec<Line> {
    lines_from(path, 0)
}

/// The same of those that begin at this byte or after it, where a line begins.
pub(super) fn lines_from(path: &Path, from: u64) -> Vec<Line> {
    lines_with(path, from, |text| {
        parse(text).unwrap_or_else(|| panic!("torn: {}", String::from_utf8_lossy(text)))
    })
}

/// The whole lines of a file that others wrote to when somebody was killed: a line that this tore has another's behind it.
pub(super) fn lines_after_kills(path: &Path) -> Vec<Line> {
    lines_with(path, 0, |text| {
        let torn = || {
            let begin = text.windows(BEGIN.len()).rposition(|part| part == BEGIN)?;
            parse(&text[begin..])
        };
        let line = parse(text).or_else(torn);
        line.unwrap_or_else(|| panic!("no line: {}", String::from_utf8_lossy(text)))
    })
}

/// How every line begins.
const BEGIN: &[u8] = br#"{"id":""#;

fn parse(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

fn lines_with(path: &Path, from: u64, parse: impl Fn(&[u8]) -> Value) -> Vec<Line> {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.seek(SeekFrom::Start(from)).unwrap();
        file.read_to_end(&mut text).unwrap();
    }
    let mut end = from;
    let whole = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    whole
        .map(|line| {
            end += line.len() as u64;
            let value = parse(line);
            Line {
                end,
                id: value["id"].as_str().unwrap().to_owned(),
                key: value["key"].as_str().unwrap().to_owned(),
                number: value["data"].as_str().unwrap().parse().unwrap(),
            }
        })
        .collect()
}

/// The lines of a file that nobody writes to any more: it ends with a line ending.
pub(super) fn final_lines(path: &Path) -> Vec<Line> {
    let text = fs::read(path).unwrap();
    assert!(text.ends_with(b"\n"), "the last line is torn");
    lines(path)
}

/// Bytes of whole lines.
pub(super) fn whole_bytes(path: &Path) -> u64 {
    let text = fs::read(path).unwrap_or_default();
    text.iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last as u64 + 1)
}

/// Nothing is lost, and the first attempts of each key are in the order of the stream (OR-1).
pub(super) fn assert_complete_and_in_order(lines: &[Line], produced: &Produced) {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        let next = next.entry(line.key.as_str()).or_default();
        assert!(
            line.number <= *next,
            "{} {} came before {}: {}",
            line.key,
            line.number,
            *next,
            line.id
        );
        *next = (*next).max(line.number + 1);
    }
    for (key, count) in produced.keys.iter().enumerate() {
        let seen = next
            .get(format!("key-{key}").as_str())
            .copied()
            .unwrap_or_default();
        assert_eq!(seen, *count, "key-{key}: handled and acknowledged");
    }
}

/// How many lines of each part of a file say again what a line before said. `cuts` are the ends of the parts but the last.
pub(super) fn repeats(lines: &[Line], cuts: &[u64]) -> Vec<u64> {
    let mut repeats = vec![0; cuts.len() + 1];
    let mut seen = HashSet::new();
    for line in lines {
        let part = cuts.partition_point(|cut| *cut < line.end);
        if !seen.insert(line.id.as_str()) {
            repeats[part] += 1;
        }
    }
    repeats
}
