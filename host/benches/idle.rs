//! What instances cost that do nothing: how long each takes to start, and what it keeps in memory.
//!
//! `cargo bench --bench idle` prints a table, with `-- --write` into `docs/performance.md` too. The JavaScript guest is built by
//! `tests/guests/build.sh`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends at whatever goes wrong"
)]

#[path = "end_to_end/page.rs"]
mod page;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use page::Page;
use shardwright::adapters::{CacheDir, WasmtimeRuntime, WasmtimeSettings};
use shardwright::ports::{PluginInstance, PluginLimits, PluginRuntime, PluginSpec};
use shardwright_core::Messages;

/// Which guest, and how many of it.
const GUESTS: [(&str, usize); 2] = [("word-count (Rust)", 1_000), ("js-message (QuickJS)", 100)];

fn main() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = Command::new("sh")
        .arg(package.join("tests/guests/build.sh"))
        .arg("js-message")
        .output()
        .unwrap();
    let js = String::from_utf8(script.stdout).unwrap();
    let files = [
        package.join("builtin/word-count.wasm"),
        Path::new(js.trim()).to_owned(),
    ];
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut table =
        "| guest | instances | compile | start each | resident each, idle | after one message |\n\
         |---|---|---|---|---|---|\n"
            .to_owned();
    for ((name, count), file) in GUESTS.into_iter().zip(files) {
        let runtime = WasmtimeRuntime::new(&WasmtimeSettings {
            cache: CacheDir::At(cache.path().join("compiled")),
            ..WasmtimeSettings::default()
        })
        .unwrap();
        let component = Bytes::from(std::fs::read(file).unwrap());
        table += &threads.block_on(row(&runtime, name, count, component));
    }
    let is_written = std::env::args().any(|arg| arg == "--write");
    Page::of(is_written)
        .put("idle", &format!("{table}\n"))
        .unwrap();
}

async fn row(runtime: &WasmtimeRuntime, name: &str, count: usize, component: Bytes) -> String {
    let began = Instant::now();
    let spec = PluginSpec {
        label: "idle/1".into(),
        share: "idle".into(),
        bytes: component,
        config: "{}".into(),
        limits: PluginLimits {
            memory: 256 << 20,
            time: Duration::from_secs(10),
            wait: Duration::from_secs(10),
        },
        instances: u32::try_from(count).unwrap(),
    };
    let plugin = runtime.prepare(spec).await.unwrap();
    let compiled = began.elapsed();
    let before = resident_kib();
    let began = Instant::now();
    let mut instances: Vec<Box<dyn PluginInstance>> = Vec::new();
    for _ in 0..count {
        instances.push(plugin.instantiate("idle/0").await.unwrap());
    }
    let each = began.elapsed() / u32::try_from(count).unwrap();
    let idle = (resident_kib() - before) / count as u64;
    let message = message();
    for instance in &mut instances {
        instance.handle(&message).await.unwrap().unwrap();
    }
    let used = (resident_kib() - before) / count as u64;
    format!("| {name} | {count} | {compiled:.1?} | {each:.1?} | {idle} KiB | {used} KiB |\n")
}

fn message() -> Messages {
    let mut message = Messages::default();
    message.data.push(b"some words of a message");
    message.keys.push(b"key");
    message.sequence_numbers.push(b"1");
    message.sub_sequence_numbers.push(0);
    message.arrival_times.push(0);
    message
}

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
