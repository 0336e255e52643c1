//! Guests built from source, a runtime to run them, and messages to give them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use shardwright::adapters::{CacheDir, WasmtimeRuntime, WasmtimeSettings};
use shardwright::ports::{
    CallError, PluginInstance, PluginLimits, PluginRuntime, PluginSpec, PrepareError,
    PreparedPlugin,
};
use shardwright_core::{Messages, Reply};

pub(super) const MIB: u64 = 1 << 20;

/// The component of one of the guests in `hostile/examples`. All are built once, with an environment of their own.
pub(super) fn guest(name: &str) -> Bytes {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let manifest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/suite/guests/hostile/Cargo.toml"
        );
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let mut cargo = Command::new(env!("CARGO"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("RUSTFLAGS")
                || name.starts_with("CARGO_ENCODED_RUSTFLAGS")
                || name.starts_with("RUSTC_")
                || name.starts_with("CARGO_BUILD_")
            {
                cargo.env_remove(&*name);
            }
        }
        let status = cargo
            .args(["build", "--release", "--locked", "--examples", "--quiet"])
            .args(["--target", "wasm32-wasip2", "--manifest-path", manifest])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .unwrap();
        assert!(status.success(), "the guests do not build");
        target.join("wasm32-wasip2/release/examples")
    });
    std::fs::read(built.join(format!("{name}.wasm")))
        .unwrap()
        .into()
}

/// A runtime for all tests of the process.
pub(super) fn runtime() -> &'static WasmtimeRuntime {
    static RUNTIME: OnceLock<WasmtimeRuntime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        WasmtimeRuntime::new(&WasmtimeSettings {
            cache: CacheDir::At(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
            ..WasmtimeSettings::default()
        })
        .unwrap()
    })
}

/// Limits that no test reaches by accident.
pub(super) const WIDE: PluginLimits = PluginLimits {
    memory: 256 * MIB,
    time: Duration::from_secs(60),
    wait: Duration::from_secs(60),
};

pub(super) fn spec(bytes: Bytes, config: &str, limits: PluginLimits) -> PluginSpec {
    PluginSpec {
        label: "orders/step".into(),
        bytes,
        config: config.into(),
        limits,
        instances: 1,
    }
}

pub(super) async fn prepare(
    name: &str,
    config: &str,
    limits: PluginLimits,
) -> Result<Arc<dyn PreparedPlugin>, PrepareError> {
    runtime().prepare(spec(guest(name), config, limits)).await
}

/// An instance of `batch-full` that does `what` in each call.
pub(super) async fn doing(what: &str, limits: PluginLimits) -> Box<dyn PluginInstance> {
    let config = format!(r#"{{"do":"{what}"}}"#);
    let plugin = prepare("batch-full", &config, limits).await.unwrap();
    plugin.instantiate("shard-0/3").await.unwrap()
}

/// Messages with these payloads, whose keys are the letters a, b, c by turns unless the payload has one: `key:payload`.
pub(super) fn messages(payloads: &[&str]) -> Messages {
    let mut messages = Messages::default();
    for (index, payload) in payloads.iter().enumerate() {
        let (key, data) = payload
            .split_once(':')
            .unwrap_or((["a", "b", "c"][index % 3], payload));
        messages.data.push(data.as_bytes());
        messages.keys.push(key.as_bytes());
        messages
            .sequence_numbers
            .push((1_000 + index).to_string().as_bytes());
        messages.sub_sequence_numbers.push(index as u64);
        messages.arrival_times.push(-1 - index as i64);
    }
    messages
}

/// What a plugin that answers is expected to answer.
pub(super) async fn reply(instance: &mut dyn PluginInstance, messages: &Messages) -> Reply {
    instance.handle(messages).await.unwrap().unwrap()
}

/// The error that one call of a guest which does `what` ends in.
pub(super) async fn fails(what: &str, limits: PluginLimits) -> CallError {
    let mut instance = doing(what, limits).await;
    instance.handle(&messages(&["x"])).await.unwrap_err()
}

pub(super) fn emitted(reply: &Reply) -> Vec<String> {
    let text = |data| String::from_utf8(Vec::from(data)).unwrap();
    reply.emissions.data.iter().map(text).collect()
}
