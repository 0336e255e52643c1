//! Rules over documents and the shape of the tree.

use std::collections::BTreeSet;

use super::tree::{Finding, Tree};

/// All that may stand at the root.
const ROOT: [&str; 19] = [
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "guest-sdk",
    "host",
    "plugins",
    "rust-toolchain.toml",
    "rustfmt.toml",
];
const ROOT_CONTRACT: &str = "wit";

/// Where somebody's machine keeps things.
const MACHINES: [&str; 4] = ["/home/", "/root/", "/work/", "/Users/"];

const INVARIANTS: [&str; 9] = [
    "BP-", "CP-", "DL-", "HR-", "LE-", "LV-", "OR-", "SH-", "TN-",
];
const INVARIANT_TABLE: &str = "ARCHITECTURE.md";

const SCENARIOS: &str = "docs/kcl-scenarios.md";

pub(crate) fn files_name_no_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| !file.is_under("host/sim/tests"))
    {
        for (line, text) in file.lines() {
            for machine in MACHINES {
                let starts_a_path = text.match_indices(machine).any(|(at, _)| {
                    !text[..at].ends_with(|before: char| {
                        before.is_alphanumeric() || "._-~}/".contains(before)
                    })
                });
                if starts_a_path {
                    findings.push(file.finding(
                        line,
                        format!("`{machine}` is on one machine: use a relative path"),
                    ));
                }
            }
        }
    }
    findings
}

pub(crate) fn the_root_is_short(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in &tree.paths {
        let top = path.split('/').next().unwrap_or(path);
        if !ROOT.contains(&top) && top != ROOT_CONTRACT {
            findings.push(Finding {
                path: path.clone(),
                line: 1,
                rule: format!("`{top}` is new at the root: put it where it belongs, or argue for it in a decision"),
            });
        }
    }
    findings
}

pub(crate) fn links_lead_somewhere(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.has_extension("md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (line, text) in file.lines() {
            for link in text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let target = link.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                let target = resolve(folder, target);
                let exists = tree
                    .paths
                    .iter()
                    .any(|path| *path == target || path.starts_with(&format!("{target}/")));
                if !exists {
                    findings.push(file.finding(
                        line,
                        format!("the link leads to `{target}`, which is not there"),
                    ));
                }
            }
        }
    }
    findings
}

/// Every test that the table of KCL's scenarios names is there.
pub(crate) fn scenarios_have_their_tests(tree: &Tree) -> Vec<Finding> {
    let sources: Vec<&str> = tree
        .files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| file.text.as_str())
        .collect();
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path == SCENARIOS) {
        for (line, text) in file.lines() {
            let quoted = text.split('`').skip(1).step_by(2);
            for test in quoted.filter(|quoted| is_test_name(quoted)) {
                let definition = format!("fn {test}(");
                if !sources.iter().any(|source| source.contains(&definition)) {
                    let rule = format!("no test is named `{test}`: name the one that holds this");
                    findings.push(file.finding(line, rule));
                }
            }
        }
    }
    findings
}

fn is_test_name(text: &str) -> bool {
    let is_of_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.matches('_').count() > 1 && text.chars().all(is_of_names)
}

/// Every invariant that is named is defined, and every one that is defined is named by code that holds or checks it.
pub(crate) fn invariants_are_defined_and_held(tree: &Tree) -> Vec<Finding> {
    let mut defined = Vec::new();
    let mut named = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.path != "host/sim/tests/tidy.rs")
    {
        for (line, text) in file.lines() {
            let row = text
                .strip_prefix("| ")
                .filter(|_| file.path == INVARIANT_TABLE);
            let first = row
                .and_then(|row| row.split(' ').next())
                .filter(|id| invariants(id).any(|found| found == *id));
            if let Some(id) = first {
                defined.push((id.to_owned(), file, line));
            }
            named.extend(invariants(text).map(|id| (id.to_owned(), file, line)));
        }
    }
    let ids: BTreeSet<&str> = defined.iter().map(|(id, ..)| id.as_str()).collect();
    let held: BTreeSet<&str> = named
        .iter()
        .filter(|(_, file, _)| file.is_rust())
        .map(|(id, ..)| id.as_str())
        .collect();
    let mut findings: Vec<Finding> = Vec::new();
    for (id, file, line) in &defined {
        if !held.contains(id.as_str()) {
            findings.push(file.finding(
                *line,
                format!("{id} is defined and no code names it: check it in a test that does"),
            ));
        }
    }
    for (id, file, line) in &named {
        if !ids.contains(id.as_str()) {
            findings.push(file.finding(
                *line,
                format!("{id} has no row in the table of {INVARIANT_TABLE}"),
            ));
        }
    }
    findings
}

pub(crate) fn decisions_are_numbered(tree: &Tree) -> Vec<Finding> {
    let records = tree
        .files
        .iter()
        .filter(|file| file.is_under("docs/decisions") && file.has_extension("md"));
    let mut findings = Vec::new();
    for (index, file) in records.enumerate() {
        let number = index + 1;
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if !name.starts_with(&format!("{number:04}-"))
            || !file.text.starts_with(&format!("# {number}. "))
        {
            findings.push(file.finding(
                1,
                format!("the next record is {number:04}-…, and begins `# {number}. `"),
            ));
        }
    }
    findings
}

/// A path from the root, of one that is relative to `folder`.
fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn invariants(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| {
            INVARIANTS.iter().any(|prefix| {
                word.strip_prefix(prefix).is_some_and(|number| {
                    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
                })
            })
        })
}
