//! Every example does what its README says: the first command block there is run as it stands, in a copy of the folder.
//!
//! A file in `expected/` is held against the one of its name in `out/`, as far as it names fields, in any order of lines;
//! a line whose data has a `count` stands for that many lines. `expected/stdout.txt` has the ends of lines that the block
//! prints, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::machine::{LIMIT, Machine};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn every_example_does_what_its_readme_says() {
    let folders = names(&Path::new(ROOT).join("examples"));
    assert!(!folders.is_empty());
    for name in folders {
        does_what_it_says(&name);
    }
}

/// The words of the licence are counted as the README says, and come to what it says.
#[test]
fn the_readme_counts_words() {
    let machine = Machine::new();
    let source = Path::new(ROOT);
    let readme = fs::read_to_string(source.join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Count your own words\n").unwrap();
    let root = root(&machine);
    fs::copy(source.join("LICENSE"), root.join("LICENSE")).unwrap();
    copy(
        &source.join("examples/word-count"),
        &root.join("examples/word-count"),
    );
    let printed = run(&machine, "the README", &root, block(section, "sh"));
    assert_eq!(printed, block(section, "text"));
}

fn does_what_it_says(name: &str) {
    let machine = Machine::new();
    let root = root(&machine);
    let folder = root.join("examples").join(name);
    copy(&Path::new(ROOT).join("examples").join(name), &folder);
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let printed = run(&machine, name, &root, block(&readme, "sh"));
    let expected = folder.join("expected");
    let files = names(&expected);
    assert!(!files.is_empty(), "{name} expects nothing");
    for file in files {
        let wanted = fs::read_to_string(expected.join(&file)).unwrap();
        if file == "stdout.txt" {
            holds_lines_that_end_so(name, &printed, &wanted);
        } else {
            let got = fs::read_to_string(folder.join("out").join(&file)).unwrap();
            let fields = fields(&wanted);
            assert_eq!(
                counted(&got, &fields),
                counted(&wanted, &fields),
                "{name}: {file}"
            );
        }
    }
}

/// A folder that looks like a clone in which the binary was built.
fn root(machine: &Machine) -> PathBuf {
    let root = machine.path("root");
    fs::create_dir_all(root.join("target/release")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_shardwright"),
        root.join("target/release/shardwright"),
    )
    .unwrap();
    root
}

/// Runs commands there and gives what they print.
fn run(machine: &Machine, name: &str, root: &Path, commands: &str) -> String {
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-u", "-c", commands])
        .env_remove("SHARDWRIGHT_DATA_DIR")
        .current_dir(root)
        .stdin(Stdio::null());
    let mut process = machine.spawn(shell);
    let status = process.wait(LIMIT);
    assert!(status.success(), "{name}: {status}: {}", process.story());
    process.stdout()
}

/// The first block of this kind.
fn block<'a>(page: &'a str, kind: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{kind}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies a folder, but for what a person's own run has left in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(from).iter().filter(|name| *name != "out") {
        let (from, to) = (from.join(name), to.join(name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn fields(lines: &str) -> BTreeSet<String> {
    values(lines)
        .flat_map(|value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        })
        .collect()
}

fn values(lines: &str) -> impl Iterator<Item = Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
}

/// How often each line is there, only these fields looked at.
fn counted(lines: &str, fields: &BTreeSet<String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for mut value in values(lines) {
        value
            .as_object_mut()
            .unwrap()
            .retain(|name, _| fields.contains(name));
        let count = value
            .pointer_mut("/data/count")
            .map_or(1, |count| count.take().as_u64().unwrap());
        *counts.entry(value.to_string()).or_default() += count;
    }
    counts
}

fn holds_lines_that_end_so(name: &str, printed: &str, wanted: &str) {
    let mut printed_lines = printed.lines();
    for end in wanted.lines() {
        assert!(
            printed_lines.any(|line| line.ends_with(end)),
            "{name}: no line after the last one found ends in {end:?}:\n{printed}"
        );
    }
}
