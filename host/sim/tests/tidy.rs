//! Rules that hold over the whole tree and that neither the compiler nor clippy can hold.
//!
//! They live here because the simulator has nothing heavy to compile: `cargo test -p shardwright-sim --test tidy` answers
//! in seconds. A rule is a function from the tree to its findings, and each is also shown a small tree that breaks it.
#![expect(
    clippy::expect_used,
    reason = "a tree that cannot be read fails the test"
)]

mod tidy {
    pub(crate) mod dependencies;
    pub(crate) mod documents;
    pub(crate) mod sources;
    pub(crate) mod tree;
}

use tidy::tree::{Finding, Tree};
use tidy::{dependencies, documents, sources};

/// Fails with every finding, each with its place, the rule and what to do.
fn hold(rule: fn(&Tree) -> Vec<Finding>) {
    let findings = rule(&Tree::of_this_repository());
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The places that `rule` finds in a tree of `files`.
fn places(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
    rule(&Tree::of(files))
        .iter()
        .map(|finding| format!("{}:{}", finding.path, finding.line))
        .collect()
}

macro_rules! rules {
    ($($module:ident::$rule:ident, [$($path:literal => $text:expr),+] finds [$($place:literal),+];)+) => {$(
        mod $rule {
            #[test]
            fn holds() {
                super::hold(super::$module::$rule);
            }

            #[test]
            fn can_fail() {
                assert_eq!(super::places(super::$module::$rule, &[$(($path, $text)),+]), [$($place),+]);
            }
        }
    )+};
}

rules! {
    sources::files_are_short,
        ["host/src/a.rs" => &"\n".repeat(501), "host/src/b.rs" => &"\n".repeat(500)]
        finds ["host/src/a.rs:501"];
    sources::modules_are_named_for_what_they_hold,
        ["host/src/helpers.rs" => "", "host/core/src/lease/mod.rs" => "", "host/src/utils/path.rs" => "",
         "host/src/c.rs" => "\nmod common {"]
        finds ["host/core/src/lease/mod.rs:1", "host/src/c.rs:2", "host/src/helpers.rs:1", "host/src/utils/path.rs:1"];
    sources::vendor_types_stay_in_adapters,
        ["host/src/runtime/read.rs" => "// wasmtime::Engine is named in a comment only\nuse wasmtime::Engine;",
         "host/src/adapters/aws.rs" => "use aws_sdk_kinesis::Client;", "host/local/src/store.rs" => "use rusqlite::Row;",
         "host/local/src/sdk.rs" => "use aws_sdk_kinesis::Client;"]
        finds ["host/local/src/sdk.rs:1", "host/src/runtime/read.rs:2"];
    sources::modules_keep_their_direction,
        ["host/src/runtime.rs" => "use crate::adapters::Kinesis;", "host/src/adapters/file.rs" => "use crate::{ports, runtime};",
         "host/src/app.rs" => "use crate::adapters::Kinesis;", "host/core/src/lib.rs" => "use shardwright_local::Endpoint;"]
        finds ["host/core/src/lib.rs:1", "host/src/adapters/file.rs:1", "host/src/runtime.rs:1"];
    sources::nothing_is_left_for_later,
        // Escaped, so that no search of the tree takes what must be found for something that was left.
        ["host/src/a.rs" => "fn a() {\n    to\x64o!()\n}\n#[ign\x6fre]", "docs/a.md" => "FI\x58ME: finish"]
        finds ["docs/a.md:1", "host/src/a.rs:2", "host/src/a.rs:4"];
    sources::tests_do_not_sleep,
        ["host/tests/suite/a.rs" => "thread::sleep(SECOND);", "host/src/b.rs" => "sleep(d).await;\n#[cfg(test)]\nmod tests {\nsleep(d).await;",
         "host/src/c/tests.rs" => "#[tokio::test(start_paused = true)]\nsleep(d).await;"]
        finds ["host/src/b.rs:4", "host/tests/suite/a.rs:1"];
    documents::files_name_no_machine,
        ["docs/a.md" => "see\n/home/ann/notes", "b.sh" => "cd /root/b"]
        finds ["b.sh:1", "docs/a.md:2"];
    documents::the_root_is_short,
        ["tools/a.sh" => "", "notes.md" => "", "host/Cargo.toml" => ""]
        finds ["notes.md:1", "tools/a.sh:1"];
    documents::links_lead_somewhere,
        ["docs/a.md" => "[b](b.md) [c](../README.md#c) [d](https://example.com) [e](#e)", "README.md" => ""]
        finds ["docs/a.md:1"];
    documents::scenarios_have_their_tests,
        ["docs/kcl-scenarios.md" => "| 1 | a | `a_lease_is_taken`, `a.rs` |\n| 2 | b | `a_lease_is_lost` |",
         "host/src/a.rs" => "fn a_lease_is_taken() {}"]
        finds ["docs/kcl-scenarios.md:2"];
    documents::invariants_are_defined_and_held,
        ["ARCHITECTURE.md" => "| CP-1 | a |\n| LE-1 | b |", "host/src/a.rs" => "// CP-1\n// CP-9"]
        finds ["ARCHITECTURE.md:2", "host/src/a.rs:2"];
    documents::decisions_are_numbered,
        ["docs/decisions/0001-a.md" => "# 1. A", "docs/decisions/0003-b.md" => "# 3. B"]
        finds ["docs/decisions/0003-b.md:1"];
    dependencies::versions_stand_in_one_place,
        ["host/core/Cargo.toml" => "[dependencies]\nbytes.workspace = true\nmd-5 = \"0.10\"\n[features]\na = []"]
        finds ["host/core/Cargo.toml:3"];
    dependencies::mutants_are_for_the_simulator,
        ["host/Cargo.toml" => "shardwright-core = { features = [\"mutants\"] }",
         "host/core/Cargo.toml" => "[features]\nmutants = []\ndefault = [\"mutants\"]"]
        finds ["host/Cargo.toml:1", "host/core/Cargo.toml:3"];
    dependencies::packages_keep_their_direction,
        ["Cargo.lock" => "[[package]]\nname = \"shardwright-core\"\ndependencies = [\n \"a\",\n]\n\n\
                          [[package]]\nname = \"a\"\nversion = \"1.0.0\"\ndependencies = [\n \"tokio 1.0.0\",\n]\n\n\
                          [[package]]\nname = \"tokio\"\nversion = \"1.0.0\"\n"]
        finds ["Cargo.lock:2"];
}
