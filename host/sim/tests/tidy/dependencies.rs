//! Rules over manifests and the lock file.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Finding, Tree};

/// What a package may not reach, through any other and for its tests too. A name that ends in `-` stands for all that
/// begin with it.
const UNREACHABLE: [(&str, &[&str]); 4] = [
    (
        "shardwright-core",
        &[
            "aws-",
            "axum",
            "dynoxide-rs",
            "rusqlite",
            "tokio",
            "wasmtime",
            "wasmtime-",
        ],
    ),
    (
        "shardwright-guest",
        &[
            "aws-",
            "axum",
            "dynoxide-rs",
            "rusqlite",
            "tokio",
            "wasmtime",
            "wasmtime-",
        ],
    ),
    // Not all of `aws-`: its TLS is aws-lc, like everybody's.
    (
        "shardwright-local",
        &[
            "aws-config",
            "aws-runtime",
            "aws-sdk-",
            "aws-smithy-",
            "wasmtime",
            "wasmtime-",
        ],
    ),
    (
        "shardwright-sim",
        &[
            "aws-",
            "axum",
            "dynoxide-rs",
            "rusqlite",
            "tokio",
            "wasmtime",
            "wasmtime-",
        ],
    ),
];

pub(crate) fn versions_stand_in_one_place(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        let mut lists_dependencies = false;
        for (line, text) in file.lines() {
            if let Some(table) = text.strip_prefix('[') {
                lists_dependencies = table.trim_end_matches(']').ends_with("dependencies");
            } else if lists_dependencies
                && !text.trim().is_empty()
                && !text.starts_with('#')
                && !text.contains("workspace = true")
            {
                findings.push(file.finding(
                    line,
                    "a version outside the root Cargo.toml: say `workspace = true` here",
                ));
            }
        }
    }
    findings
}

/// Core's faults are switched on by tests of the simulator, and are in no other build.
pub(crate) fn mutants_are_for_the_simulator(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"))
    {
        let is_theirs = ["host/core/", "host/sim/"]
            .iter()
            .any(|package| file.path.starts_with(package));
        for (line, text) in file.lines() {
            let is_on = text.starts_with("default") || !is_theirs;
            if is_on && text.contains("mutants") {
                findings.push(file.finding(line, "`mutants` is for tests of the simulator alone"));
            }
        }
    }
    findings
}

pub(crate) fn packages_keep_their_direction(tree: &Tree) -> Vec<Finding> {
    let Some(lock) = tree.files.iter().find(|file| file.path == "Cargo.lock") else {
        return Vec::new();
    };
    let packages = packages(&lock.text);
    let mut findings = Vec::new();
    for (name, unreachable) in UNREACHABLE {
        let reached = reached(&packages, name);
        let line = packages.get(name).map_or(1, |package| package.line);
        for other in reached {
            let is_banned = unreachable.iter().any(|banned| {
                if banned.ends_with('-') {
                    other.starts_with(banned)
                } else {
                    other == *banned
                }
            });
            if is_banned {
                findings.push(lock.finding(
                    line,
                    format!("{name} reaches {other} (`cargo tree -p {name} -i {other}` says how): take it out of there"),
                ));
            }
        }
    }
    findings
}

struct Package<'a> {
    line: usize,
    dependencies: Vec<&'a str>,
}

/// By name; two versions of one are taken together, which can only find more.
fn packages(lock: &str) -> BTreeMap<&str, Package<'_>> {
    let mut packages: BTreeMap<&str, Package<'_>> = BTreeMap::new();
    let mut current = "";
    for (index, line) in lock.lines().enumerate() {
        if let Some(name) = line.strip_prefix("name = ") {
            current = name.trim_matches('"');
            packages.entry(current).or_insert(Package {
                line: index + 1,
                dependencies: Vec::new(),
            });
        } else if let Some(dependency) = line.strip_prefix(" \"")
            && let Some(package) = packages.get_mut(current)
        {
            package
                .dependencies
                .extend(dependency.split([' ', '"']).next());
        }
    }
    packages
}

fn reached<'a>(packages: &BTreeMap<&'a str, Package<'a>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(name) = ahead.pop() {
        for dependency in packages
            .get(name)
            .map_or(&[][..], |package| &package.dependencies)
        {
            if reached.insert(*dependency) {
                ahead.push(dependency);
            }
        }
    }
    reached
}
