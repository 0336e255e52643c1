//! Rules over Rust sources.

use super::tree::{File, Finding, Tree};

const LINES_MAX: usize = 500;

/// Names that say nothing of what a module holds.
const NAMELESS: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "types", "util", "utils",
];

const AWS: [&str; 4] = [
    "aws_config::",
    "aws_credential_types::",
    "aws_sdk_",
    "aws_smithy_",
];
const WASMTIME: [&str; 2] = ["wasmtime::", "wasmtime_wasi::"];
const SQLITE: [&str; 2] = ["dynoxide::", "rusqlite::"];

/// What a module of the host may not name, by folder. `app` names all of them.
const DIRECTIONS: [(&str, &[&str]); 4] = [
    ("host/src/adapters", &["app", "runtime"]),
    ("host/src/plugin", &["adapters", "app"]),
    ("host/src/ports", &["adapters", "app", "plugin", "runtime"]),
    ("host/src/runtime", &["adapters", "app"]),
];

/// Spelled so that these lines are no findings of their own.
const LEFTOVERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
];

pub(crate) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|file| {
            let lines = file.text.lines().count();
            (lines > LINES_MAX).then(|| {
                file.finding(
                    lines,
                    format!("over {LINES_MAX} lines: split it along a seam"),
                )
            })
        })
        .collect()
}

pub(crate) fn modules_are_named_for_what_they_hold(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        if file.path.ends_with("/mod.rs") {
            findings.push(file.finding(
                1,
                "a module `foo` with children is `foo.rs` and `foo/`, not `foo/mod.rs`",
            ));
        }
        if let Some(name) = file
            .path
            .trim_end_matches(".rs")
            .split('/')
            .find(|part| NAMELESS.contains(part))
        {
            findings.push(file.finding(
                1,
                format!("`{name}` names nothing: name the module for what it holds"),
            ));
        }
        for (line, code) in file.code() {
            let inline = code
                .trim()
                .strip_suffix('{')
                .and_then(|head| head.trim().rsplit_once("mod "));
            if let Some((_, name)) = inline
                && NAMELESS.contains(&name)
            {
                findings.push(file.finding(
                    line,
                    format!("`{name}` names nothing: name the module for what it holds"),
                ));
            }
        }
    }
    findings
}

/// Tests and benches may be clients of anything.
pub(crate) fn vendor_types_stay_in_adapters(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| is_shipped(file)) {
        let is_adapter = file.is_under("host/src/adapters") || file.path == "host/src/adapters.rs";
        let banned: Vec<&str> = if is_adapter {
            SQLITE.to_vec()
        } else if file.is_under("host/local") {
            [&AWS[..], &WASMTIME].concat()
        } else {
            [&AWS[..], &WASMTIME, &SQLITE].concat()
        };
        for (line, code) in file.code() {
            if let Some(vendor) = banned.iter().find(|vendor| names_path(code, vendor)) {
                findings.push(file.finding(
                    line,
                    format!("`{vendor}` outside its adapter: speak to a port, or through what `adapters` re-exports"),
                ));
            }
        }
    }
    findings
}

pub(crate) fn modules_keep_their_direction(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| is_shipped(file)) {
        for (folder, others) in DIRECTIONS {
            if !file.is_under(folder) && file.path != format!("{folder}.rs") {
                continue;
            }
            for (line, code) in file.code() {
                if let Some(other) = others.iter().find(|other| names_module(code, other)) {
                    findings.push(file.finding(
                        line,
                        format!("{folder} may not know `crate::{other}`: put a port between them"),
                    ));
                }
            }
        }
        let is_below_the_host = [
            "host/core",
            "host/sim",
            "host/local",
            "guest-sdk",
            "plugins",
        ]
        .iter()
        .any(|folder| file.is_under(folder));
        for (line, code) in file.code() {
            let local = names_path(code, "shardwright_local::") && !file.is_under("host/local");
            if is_below_the_host
                && (local || names_path(code, "shardwright::") && !code.contains("::shardwright::"))
            {
                findings.push(file.finding(
                    line,
                    "what is below the host may not know it: turn the dependency round",
                ));
            }
        }
    }
    findings
}

pub(crate) fn nothing_is_left_for_later(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (line, text) in file.lines() {
            if let Some(word) = LEFTOVERS.iter().find(|word| names_word(text, word)) {
                findings.push(file.finding(
                    line,
                    format!("`{word}`: finish it, or leave it out and say so in the docs"),
                ));
            }
        }
    }
    findings.retain(|finding| finding.path != "host/sim/tests/tidy.rs");
    findings
}

/// A test on paused time may: its sleep takes none. So may a guest, which is what a test is about.
pub(crate) fn tests_do_not_sleep(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let Some(begins) = tests_begin(file) else {
            continue;
        };
        let may_sleep = file.is_under("host/tests/guests") || file.text.contains("start_paused");
        if may_sleep || file.path == "host/sim/tests/tidy.rs" {
            continue;
        }
        for (line, code) in file.code().filter(|(line, _)| *line >= begins) {
            if names_path(code, "sleep(") && !code.contains("fn sleep(") {
                findings.push(file.finding(
                    line,
                    "a test sleeps: wait for the event itself, with a deadline",
                ));
            }
        }
    }
    findings
}

/// The first line of tests: a whole file's, or that of the test module at its end.
fn tests_begin(file: &File) -> Option<usize> {
    if is_test(file) {
        return Some(1);
    }
    let mut after_attribute = false;
    for (line, code) in file.code() {
        if after_attribute && code.starts_with("mod ") && code.ends_with('{') {
            return Some(line);
        }
        after_attribute = code.trim() == "#[cfg(test)]";
    }
    None
}

fn is_test(file: &File) -> bool {
    file.path.contains("/tests/")
        || file.path.ends_with("/tests.rs")
        || file.path.ends_with("_tests.rs")
}

fn is_shipped(file: &File) -> bool {
    !is_test(file) && !file.path.contains("/benches/")
}

/// `prefix` stands in `code` as the begin of a path or word, not as the end of a longer one.
fn names_path(code: &str, prefix: &str) -> bool {
    code.match_indices(prefix).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// Like `names_path`, and the word ends there too unless it ends in a sign.
fn names_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let after = &text[at + word.len()..];
        let ends = !word.ends_with(char::is_alphanumeric)
            || !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        ends && !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// `crate::other`, also within a group.
fn names_module(code: &str, other: &str) -> bool {
    if names_word(code, &format!("crate::{other}")) {
        return true;
    }
    code.split_once("crate::{").is_some_and(|(_, group)| {
        group
            .split([',', '{', '}'])
            .any(|item| item.trim().split("::").next() == Some(other))
    })
}
