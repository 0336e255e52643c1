//! KPL containers that others wrote, whole and damaged, through the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::machine::Machine;
use super::wire::Client;

/// A right checksum over two user records, the second of which names a key that the table does not have.
const BAD_INDEX: &str = "84mawgoBaxoICAAaBGdvb2QaCAgJGgRsb3N088N4gerCCXAJnke7h+DQ/A==";

/// A right checksum over a table of keys, and no user record.
const NO_RECORDS: &str = "84mawgoGdW51c2VktYkfILW3tCsQb0E52bQlQA==";

/// Ends of the range of hash keys: the first is in the first of two shards, the other in the second.
const LOWEST: &str = "0";
const HIGHEST: &str = "340282366920938463463374607431768211455";

/// Partition key and payload, as often as they are there.
type Delivered = BTreeMap<(String, Vec<u8>), usize>;

/// What aws-kinesis-agg wrote, as files with their contents beside them.
fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/kpl");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 7, "a case was added or lost: say so here");
    paths
}

fn add(delivered: &mut Delivered, key: &str, data: Vec<u8>) {
    *delivered.entry((key.to_owned(), data)).or_default() += 1;
}

/// Adds what is in a container of `fixtures`.
fn add_contents(delivered: &mut Delivered, fixture: &Path) {
    let contents = fs::read_to_string(fixture.with_extension("json")).unwrap();
    let contents: Value = serde_json::from_str(&contents).unwrap();
    for record in contents.as_array().unwrap() {
        let hex = record["data_hex"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let data = (0..hex.len()).step_by(2).map(byte).collect();
        add(delivered, record["key"].as_str().unwrap(), data);
    }
}

fn read(out: &Path) -> Delivered {
    let mut delivered = Delivered::new();
    for line in fs::read_to_string(out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let data = match line["data_base64"].as_str() {
            Some(data) => STANDARD.decode(data).unwrap(),
            None => line["data"].as_str().unwrap().as_bytes().to_vec(),
        };
        add(&mut delivered, line["key"].as_str().unwrap(), data);
    }
    delivered
}

/// A machine whose stream `packed` has two shards and nothing in them.
fn two_shards() -> (Machine, super::machine::Process, Client) {
    let machine = Machine::new();
    let (endpoint, client) = machine.endpoint();
    machine.run(&["stream", "create", "packed", "--shards", "2"]);
    (machine, endpoint, client)
}

/// Mirrors `packed` to its tip; what came out, and what was told.
fn mirror(machine: &Machine, name: &str, deaggregate: &str) -> (Delivered, String) {
    let pipeline = machine.write(
        &format!("{name}.yaml"),
        &format!(
            "version: 1\npipeline: {name}\nsource: {{ kinesis: {{ stream: packed, endpoint: local{deaggregate} }} }}\n\
             sinks: {{ out: {{ file: {{ path: {name}.jsonl }} }} }}\n"
        ),
    );
    let told = machine.run_told(&["run", &pipeline, "--until-tip"]);
    let out = read(&machine.path(&format!("{name}.jsonl")));
    // Whatever was passed by is behind the checkpoint: a second run has nothing to do.
    machine.run(&["run", &pipeline, "--until-tip"]);
    assert_eq!(read(&machine.path(&format!("{name}.jsonl"))), out);
    (out, told)
}

/// They come as their user records, each with the key that it was put with.
#[test]
fn containers_of_another_producer_are_opened() {
    let (machine, _endpoint, client) = two_shards();
    let mut expected = Delivered::new();
    for fixture in fixtures() {
        // The container's own key is none of theirs.
        client
            .put_at("packed", LOWEST, "a", &fs::read(&fixture).unwrap())
            .unwrap();
        add_contents(&mut expected, &fixture);
    }
    let (delivered, told) = mirror(&machine, "opened", "");
    assert_eq!(delivered, expected);
    assert!(!told.contains("WARN"), "{told}");
}

/// Delivered whole under the container's key, counted, told, and what stands behind them comes as well. A container
/// without user records has nothing to deliver, and is passed.
#[test]
fn damaged_containers_are_delivered_whole_and_counted() {
    let (machine, _endpoint, client) = two_shards();
    let sound = fs::read(&fixtures()[1]).unwrap();
    let mut bad_checksum = sound.clone();
    *bad_checksum.last_mut().unwrap() ^= 1;
    let damaged = [
        ("bad-checksum", bad_checksum),
        ("truncated", sound[..sound.len() / 2].to_vec()),
        ("magic-alone", sound[..4].to_vec()),
        ("bad-index", STANDARD.decode(BAD_INDEX).unwrap()),
    ];
    let mut expected = Delivered::new();
    for (key, data) in &damaged {
        client.put_at("packed", LOWEST, key, data).unwrap();
        add(&mut expected, key, data.clone());
    }
    let nothing = STANDARD.decode(NO_RECORDS).unwrap();
    client
        .put_at("packed", LOWEST, "nothing", &nothing)
        .unwrap();
    client
        .put_at("packed", LOWEST, "a", &fs::read(&fixtures()[1]).unwrap())
        .unwrap();
    add_contents(&mut expected, &fixtures()[1]);
    // And as the last of its shard, where only the checkpoint can show that it was passed.
    client
        .put_at("packed", HIGHEST, "nothing", &nothing)
        .unwrap();
    let (delivered, told) = mirror(&machine, "damaged", "");
    assert_eq!(delivered, expected);
    let count = format!("malformed={}", damaged.len());
    assert!(told.contains(&count), "{count} is not in: {told}");
}

/// Its user records belong to both shards, and only one of them has it: by default nothing is lost.
#[test]
fn a_container_outside_its_shards_range_loses_nothing_by_default() {
    let (machine, _endpoint, client) = two_shards();
    let many_keys = fixtures()
        .into_iter()
        .find(|path| path.ends_with("many_keys.bin"))
        .unwrap();
    let container = fs::read(&many_keys).unwrap();
    for hash in [LOWEST, HIGHEST] {
        client.put_at("packed", hash, "a", &container).unwrap();
    }
    let mut expected = Delivered::new();
    add_contents(&mut expected, &many_keys);
    let once: usize = expected.values().sum();
    let (kept, _) = mirror(&machine, "kept", "");
    assert_eq!(kept.values().sum::<usize>(), 2 * once);
    // As KCL has it, each is dropped as a whole; taken one by one, each shard keeps its own half.
    let (as_kcl, told) = mirror(
        &machine,
        "as-kcl",
        ", deaggregate: { outside_range: drop-container }",
    );
    assert!(as_kcl.is_empty(), "{as_kcl:?}");
    let count = format!("outside_range={once}");
    assert_eq!(told.matches(&count).count(), 2, "{count} twice: {told}");
    let (halves, _) = mirror(
        &machine,
        "halves",
        ", deaggregate: { outside_range: drop-record }",
    );
    assert_eq!(halves, expected);
}
