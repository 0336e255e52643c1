//! The main job on real text: counted words equal an independent count of the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::machine::Machine;
use super::standins::Standins;

/// The licences that every Debian machine has.
const LICENCES: &str = "/usr/share/common-licenses";

type Counts = BTreeMap<Vec<u8>, u64>;

/// Regular files of real text; elsewhere than on Debian, the project's own.
fn texts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [PathBuf::from(LICENCES), root.join("docs")];
    let folder = folders.iter().find(|folder| folder.is_dir()).unwrap();
    let mut files = vec![root.join("LICENSE").canonicalize().unwrap()];
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// How often each word is in the files. A word is what stands between the white space of the C locale.
fn count(files: &[PathBuf]) -> Counts {
    let mut counts = Counts::new();
    for file in files {
        let bytes = fs::read(file).unwrap();
        let words = bytes.split(|byte| byte.is_ascii_whitespace() || *byte == b'\x0b');
        for word in words.filter(|word| !word.is_empty()) {
            *counts.entry(word.to_vec()).or_default() += 1;
        }
    }
    counts
}

/// The sums of what the plugin emitted.
fn counted(out: &Path) -> Counts {
    let mut counts = Counts::new();
    for line in fs::read_to_string(out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let data = &line["data"];
        let word = match data["word_base64"].as_str() {
            Some(word) => STANDARD.decode(word).unwrap(),
            None => data["word"].as_str().unwrap().as_bytes().to_vec(),
        };
        *counts.entry(word).or_default() += data["count"].as_u64().unwrap();
    }
    counts
}

fn words_of(shards: u32) {
    let machine = Machine::new();
    let (_endpoint, _client) = machine.endpoint();
    let files = texts();
    let expected = count(&files);
    let total: u64 = expected.values().sum();
    assert!(total > 1_000, "{total} words");
    for aggregate in [None, Some("40")] {
        let stream = if aggregate.is_some() {
            "packed"
        } else {
            "plain"
        };
        machine.run(&["stream", "create", stream, "--shards", &shards.to_string()]);
        let mut put: Vec<String> = ["stream", "put", stream, "--lines", "--from"]
            .map(str::to_owned)
            .to_vec();
        put.extend(files.iter().map(|file| file.to_str().unwrap().to_owned()));
        if let Some(records) = aggregate {
            put.extend(["--aggregate", records].map(str::to_owned));
        }
        machine.run(&put);
        for lanes in [1, 8] {
            let name = format!("{stream}-{lanes}");
            let pipeline = machine.write(
                &format!("{name}.yaml"),
                &format!(
                    "version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: {stream}, endpoint: local }} }}\n\
                     flow: {{ lanes: {lanes} }}\nsteps: [{{ plugin: \"builtin:word-count\" }}]\n\
                     sinks: {{ counts: {{ file: {{ path: {name}.jsonl, format: json }} }} }}\n"
                ),
            );
            machine.run(&["run", &pipeline, "--until-tip"]);
            let counted = counted(&machine.path(&format!("{name}.jsonl")));
            assert!(
                counted == expected,
                "{shards} shards, {lanes} lanes, {stream}: {}",
                difference(&counted, &expected)
            );
            // What is checkpointed is not counted again.
            machine.run(&["run", &pipeline, "--until-tip"]);
            assert!(
                self::counted(&machine.path(&format!("{name}.jsonl"))) == expected,
                "counted again"
            );
        }
    }
    println!(
        "{shards} shards: {total} words, {} different, four times",
        expected.len()
    );
}

fn difference(one: &Counts, other: &Counts) -> String {
    let words: Vec<_> = one
        .keys()
        .chain(other.keys())
        .filter(|word| one.get(*word) != other.get(*word))
        .take(10)
        .map(|word| {
            format!(
                "{:?}: {:?} and {:?}",
                String::from_utf8_lossy(word),
                one.get(word),
                other.get(word)
            )
        })
        .collect();
    format!(
        "{} counted, {} there; {}",
        one.values().sum::<u64>(),
        other.values().sum::<u64>(),
        words.join(", ")
    )
}

#[test]
fn real_text_is_counted_right_in_one_shard() {
    words_of(1);
}

#[test]
fn real_text_is_counted_right_in_four_shards() {
    words_of(4);
}

#[test]
fn real_text_is_counted_right_in_sixteen_shards() {
    words_of(16);
}

/// The same job, with a stream and a lease table that nobody here wrote.
#[test]
fn real_text_is_counted_right_on_servers_of_others() {
    let machine = Machine::new();
    let standins = Standins::start(&machine);
    let files = texts();
    let expected = count(&files);
    let service = ["--endpoint", &standins.kinesis, "--region", "us-east-1"];
    // More shards show nothing more of these servers, and cost their starting.
    let all_shards: &[u32] = if standins.are_given {
        &[1, 4, 16]
    } else {
        &[4]
    };
    for shards in all_shards {
        for (kind, aggregate) in [("plain", None), ("packed", Some("40"))] {
            let stream = format!("{kind}-{shards}");
            let create = ["stream", "create", &stream, "--shards", &shards.to_string()];
            machine.run(&[&create[..], &service].concat());
            let mut put = vec!["stream", "put", &stream, "--lines", "--from"];
            put.extend(files.iter().map(|file| file.to_str().unwrap()));
            put.extend(
                aggregate
                    .map(|records| ["--aggregate", records])
                    .into_iter()
                    .flatten(),
            );
            machine.run(&[&put[..], &service].concat());
            for lanes in [1, 8] {
                let name = format!("{stream}-{lanes}");
                let pipeline = machine.write(
                    &format!("{name}.yaml"),
                    &format!(
                        "version: 1\npipeline: {name}-words\nsource: {{ kinesis: {{ stream: {stream}, region: us-east-1, \
                         endpoint: \"{}\", leases: {{ endpoint: \"{}\" }} }} }}\nflow: {{ lanes: {lanes} }}\n\
                         steps: [{{ plugin: \"builtin:word-count\" }}]\n\
                         sinks: {{ counts: {{ file: {{ path: {name}.jsonl, format: json }} }} }}\n",
                        standins.kinesis, standins.dynamodb
                    ),
                );
                machine.run(&["run", &pipeline, "--until-tip"]);
                let counted = counted(&machine.path(&format!("{name}.jsonl")));
                assert!(
                    counted == expected,
                    "{name}: {}",
                    difference(&counted, &expected)
                );
                println!("{name}: equal");
            }
        }
    }
}
