//! From bytes to instances: what is refused, what is cached, what there is room for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use shardwright::adapters::{CacheDir, InvalidEngine, WasmtimeRuntime, WasmtimeSettings};
use shardwright::ports::{CallError, PluginRuntime, PrepareError};

use super::fixture::{WIDE, emitted, guest, messages, prepare, reply, runtime, spec};

const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

async fn refused(bytes: Bytes) -> String {
    match runtime().prepare(spec(bytes, "{}", WIDE)).await {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_is_not_a_plugin_is_refused_with_a_way_out() {
    let said = refused(Bytes::from_static(b"#!/bin/sh\n")).await;
    assert!(said.contains("not a WebAssembly component"), "{said}");
    let said = refused(Bytes::from_static(EMPTY_MODULE)).await;
    assert!(said.contains("wasm32-wasip2"), "{said}");
    let said = refused(Bytes::from_static(EMPTY_COMPONENT)).await;
    assert!(
        said.contains("exports nothing") && said.contains("batch-handler@0.1.0"),
        "{said}"
    );
    let whole = guest("message-minimal");
    let said = refused(whole.slice(..whole.len() / 2)).await;
    assert!(said.contains("not a WebAssembly component"), "{said}");
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_refused_by_name() {
    let Err(PrepareError::Imports { imports }) = prepare("granted", "{}", WIDE).await else {
        panic!("wasi:keyvalue was given to a plugin that has no grant");
    };
    assert_eq!(imports, ["wasi:keyvalue/store@0.2.0"]);
}

#[tokio::test]
async fn a_refused_configuration_names_every_problem() {
    let Err(PrepareError::Config { problems }) =
        prepare("hostile", r#"{"configure":"invalid"}"#, WIDE).await
    else {
        panic!("the configuration was taken");
    };
    assert_eq!(problems, ["/configure: refused, as it asks"]);
    let Err(PrepareError::Config { problems }) = prepare("message-full", "7", WIDE).await else {
        panic!("the configuration was taken");
    };
    assert_eq!(problems, ["no object"]);
}

#[tokio::test]
async fn a_plugin_that_cannot_start_says_why() {
    let Err(PrepareError::Start(CallError::Trap { stderr, .. })) =
        prepare("hostile", r#"{"configure":"panic it cannot start"}"#, WIDE).await
    else {
        panic!("it started");
    };
    assert!(stderr.contains("it cannot start"), "{stderr}");
}

fn with_cache(dir: &Path) -> WasmtimeRuntime {
    WasmtimeRuntime::new(&WasmtimeSettings {
        instances: 4,
        cache: CacheDir::At(dir.to_owned()),
    })
    .unwrap()
}

fn only_file(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[tokio::test]
async fn a_component_is_compiled_once_for_all_starts() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let bytes = guest("hostile");
    with_cache(&dir)
        .prepare(spec(bytes.clone(), "{}", WIDE))
        .await
        .unwrap();
    let written = fs::metadata(only_file(&dir)).unwrap();
    assert_eq!(written.mode() & 0o777, 0o600);
    let plugin = with_cache(&dir)
        .prepare(spec(bytes.clone(), "{}", WIDE))
        .await
        .unwrap();
    // A second compilation would have put another file in its place.
    assert_eq!(fs::metadata(only_file(&dir)).unwrap().ino(), written.ino());
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    assert_eq!(
        reply(&mut *instance, &messages(&["echo x"]))
            .await
            .emissions
            .len(),
        1
    );
}

#[tokio::test]
async fn a_damaged_cache_file_is_compiled_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let bytes = guest("message-minimal");
    with_cache(&dir)
        .prepare(spec(bytes.clone(), "{}", WIDE))
        .await
        .unwrap();
    let file = only_file(&dir);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x40;
    for damaged in [&whole[..whole.len() / 3], &flipped, b""] {
        fs::write(&file, damaged).unwrap();
        let plugin = with_cache(&dir)
            .prepare(spec(bytes.clone(), "{}", WIDE))
            .await
            .unwrap();
        let mut instance = plugin.instantiate("s/0").await.unwrap();
        assert_eq!(
            reply(&mut *instance, &messages(&["x"]))
                .await
                .emissions
                .len(),
            1
        );
        assert_eq!(
            fs::read(only_file(&dir)).unwrap().len(),
            whole.len(),
            "it is whole again"
        );
    }
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    with_cache(root.path())
        .prepare(spec(guest("message-minimal"), "{}", WIDE))
        .await
        .unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_full_pool_names_its_setting_and_has_room_again() {
    let root = tempfile::tempdir().unwrap();
    let runtime = with_cache(&root.path().join("cache"));
    let plugin = runtime
        .prepare(spec(guest("hostile"), "{}", WIDE))
        .await
        .unwrap();
    let mut instances = Vec::new();
    for n in 0..4 {
        instances.push(plugin.instantiate(&format!("s/{n}")).await.unwrap());
    }
    let Err(full) = plugin.instantiate("s/4").await else {
        panic!("there was room for more");
    };
    assert!(matches!(full, CallError::Exhausted { .. }), "{full}");
    assert!(
        full.to_string().ends_with("raise --plugin-instances"),
        "{full}"
    );
    instances.pop();
    plugin.instantiate("s/4").await.unwrap();
}

#[tokio::test]
async fn more_instances_than_the_pool_has_are_refused_before_anything_runs() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = spec(guest("hostile"), "{}", WIDE);
    spec.instances = 5;
    let Err(full) = with_cache(&root.path().join("cache")).prepare(spec).await else {
        panic!("there was room for more");
    };
    assert!(
        full.to_string().ends_with("raise --plugin-instances"),
        "{full}"
    );
    let most = WasmtimeSettings {
        instances: u32::MAX,
        ..WasmtimeSettings::default()
    };
    assert!(matches!(
        WasmtimeRuntime::new(&most),
        Err(InvalidEngine::Instances { .. })
    ));
}

#[tokio::test]
async fn a_hundred_instances_live_side_by_side() {
    let plugin = prepare("hostile", "{}", WIDE).await.unwrap();
    let mut instances = Vec::new();
    for n in 0..100 {
        instances.push(plugin.instantiate(&format!("s/{n}")).await.unwrap());
    }
    for (n, instance) in instances.iter_mut().enumerate() {
        let command = format!("echo {n}");
        let answer = reply(&mut **instance, &messages(&[&command])).await;
        assert_eq!(emitted(&answer), [n.to_string()]);
    }
}

/// What a plugin says of itself goes into logs and tables.
#[tokio::test]
async fn a_plugin_says_no_more_of_itself_than_tables_can_bear() {
    let boasts = [
        ("name", "a name of 1000 bytes, and may use 128"),
        ("version", "a version of 1000 bytes, and may use 128"),
        (
            "schema",
            "a config schema of 2097152 bytes, and may use 1048576",
        ),
        ("output", "an output's name of 1000 bytes, and may use 128"),
        ("outputs", "a list of 1000 outputs, and may use 256"),
        ("bell", "control characters in a name"),
    ];
    for (boast, said) in boasts {
        let config = format!(r#"{{"boast":"{boast}"}}"#);
        let refused = prepare("message-full", &config, WIDE).await;
        let error = refused.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(said), "{boast}: {error}");
    }
}
