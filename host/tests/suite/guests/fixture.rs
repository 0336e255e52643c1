//! Guests built from source, a runtime to run them, and messages to give them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shardwright::adapters::{CacheDir, WasmtimeRuntime, WasmtimeSettings};
use shardwright::ports::{
    CallError, PluginInstance, PluginLimits, PluginRuntime, PluginSpec, PrepareError,
    PreparedPlugin,
};
use shardwright_core::{Messages, Reply};

pub(super) const MIB: u64 = 1 << 20;

/// Where the guests of this folder are, next to those of other languages.
const WORLDS: [&str; 4] = [
    "batch-minimal",
    "granted",
    "message-full",
    "message-minimal",
];

/// The component of a guest: one of `worlds/examples`, or one that `tests/guests/build.sh` builds. Each is built once.
pub(super) fn guest(name: &str) -> Bytes {
    static BUILT: Mutex<BTreeMap<String, Bytes>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = built.get(name) {
        return bytes.clone();
    }
    let path = if WORLDS.contains(&name) {
        build_worlds(name)
    } else {
        build_guest(name)
    };
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    built.insert(name.to_owned(), bytes.clone());
    bytes
}

/// Cargo without what the tests are built with, which is not for another target.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    cargo
}

fn build_worlds(name: &str) -> PathBuf {
    let manifest = tests().join("suite/guests/worlds/Cargo.toml");
    let target = scratch().join("worlds");
    let status = cargo()
        .args([
            "build",
            "--profile",
            "guest",
            "--locked",
            "--examples",
            "--quiet",
        ])
        .args(["--target", "wasm32-wasip2", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success(), "{} does not build", manifest.display());
    let file = format!("{}.wasm", name.replace('-', "_"));
    target.join("wasm32-wasip2/guest/examples").join(file)
}

/// A component from text: a component's own, or that of a core module which is to be one of this world.
pub(super) fn handmade(text: &str, world: Option<&str>) -> Bytes {
    let manifest = tests().join("suite/guests/handmade/Cargo.toml");
    let mut making = cargo();
    making
        .args(["run", "--locked", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(scratch().join("handmade"))
        .arg("--");
    if let Some(world) = world {
        making.arg(tests().join("../../wit")).arg(world);
    }
    let mut making = making
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = making.stdin.take().unwrap();
    let made = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(text.as_bytes()).unwrap());
        making.wait_with_output().unwrap()
    });
    assert!(made.status.success(), "{} fails", manifest.display());
    made.stdout.into()
}

fn build_guest(name: &str) -> PathBuf {
    let script = tests().join("guests/build.sh");
    let built = Command::new("sh").arg(&script).arg(name).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{name} does not build: {said}");
    String::from_utf8(built.stdout).unwrap().trim().into()
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A runtime for all tests of the process.
pub(super) fn runtime() -> &'static WasmtimeRuntime {
    static RUNTIME: OnceLock<WasmtimeRuntime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        WasmtimeRuntime::new(&WasmtimeSettings {
            cache: CacheDir::At(scratch().join("compiled")),
            ..WasmtimeSettings::default()
        })
        .unwrap()
    })
}

/// Limits that no test reaches by accident.
pub(super) const WIDE: PluginLimits = PluginLimits {
    memory: 256 * MIB,
    time: Duration::from_mins(1),
    wait: Duration::from_mins(1),
};

pub(super) fn spec(bytes: Bytes, config: &str, limits: PluginLimits) -> PluginSpec {
    PluginSpec {
        label: "orders/step".into(),
        share: "orders".into(),
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

/// An instance of a guest, configured with nothing.
pub(super) async fn instance(name: &str, limits: PluginLimits) -> Box<dyn PluginInstance> {
    let plugin = prepare(name, "{}", limits).await.unwrap();
    plugin.instantiate("shard-0/3").await.unwrap()
}

/// An instance that does what its messages say (`tests/guests/hostile`).
pub(super) async fn hostile(limits: PluginLimits) -> Box<dyn PluginInstance> {
    instance("hostile", limits).await
}

/// Messages with these payloads. Their keys are a, b and c by turns, unless one has its own: `key:payload`.
pub(super) fn messages(payloads: &[&str]) -> Messages {
    let mut messages = Messages::default();
    for (index, payload) in payloads.iter().enumerate() {
        let (key, data) = payload
            .split_once(':')
            .unwrap_or((["a", "b", "c"][index % 3], payload));
        messages.data.push(data.as_bytes());
        messages.keys.push(key.as_bytes());
        let sequence_number = (1_000 + index).to_string();
        messages.sequence_numbers.push(sequence_number.as_bytes());
        messages.sub_sequence_numbers.push(index as u64);
        messages
            .arrival_times
            .push(-1 - i64::try_from(index).unwrap());
    }
    messages
}

/// What a plugin that answers is expected to answer.
pub(super) async fn reply(instance: &mut dyn PluginInstance, messages: &Messages) -> Reply {
    instance.handle(messages).await.unwrap().unwrap()
}

/// The error that a fresh hostile guest ends in when it is told to do this.
pub(super) async fn fails(command: &str, limits: PluginLimits) -> CallError {
    let mut instance = hostile(limits).await;
    instance.handle(&messages(&[command])).await.unwrap_err()
}

pub(super) fn emitted(reply: &Reply) -> Vec<String> {
    let text = |data| String::from_utf8(Vec::from(data)).unwrap();
    reply.emissions.data.iter().map(text).collect()
}
