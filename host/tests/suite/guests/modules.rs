//! Components that no toolchain would make: their modules are written by hand.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use shardwright::ports::{PluginInstance, PluginLimits, PluginRuntime, PrepareError};

use super::fixture::{MIB, WIDE, handmade, messages, reply, runtime, spec};

const SHORT: Duration = Duration::from_millis(100);

/// A message handler that acks everything, after it has done this. `fields` are further ones of its module.
fn component(body: &str, fields: &str) -> Bytes {
    let text = format!(
        "(module
            {fields}
            (memory (export \"memory\") 1)
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export \"shardwright:plugin/message-handler@0.1.0#handle\")
                (param i32 i32 i32 i32 i32 i32 i64 i64) (result i32)
                {body}
                i32.const 16))"
    );
    handmade(&text, Some("message-minimal"))
}

/// What comes of preparing it, and of one message if it can be prepared.
async fn outcome(component: Bytes, limits: PluginLimits) -> Result<(), String> {
    let prepared = runtime().prepare(spec(component, "{}", limits)).await;
    let plugin = prepared.map_err(|error| error.to_string())?;
    let mut instance = plugin
        .instantiate("s/0")
        .await
        .map_err(|error| error.to_string())?;
    let answer = instance.handle(&messages(&["x"])).await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn one_that_does_nothing_odd_is_a_plugin() {
    outcome(component("", ""), WIDE).await.unwrap();
}

/// By a little at a time, or by much at once and regardless of the refusal: the error names the bound.
#[tokio::test]
async fn tables_do_not_grow_without_end() {
    let table = "(table $t 1 funcref)";
    for elements in [100, 10_000, 2_000_000_000] {
        let grow = format!(
            "(loop $more
                (drop (table.grow $t (ref.null func) (i32.const {elements})))
                (br $more))"
        );
        let error = outcome(component(&grow, table), WIDE).await.unwrap_err();
        assert!(
            error.contains("it asked for tables of"),
            "{elements}: {error}"
        );
    }
}

/// Too much of something from the beginning: it does not come to be a plugin.
#[tokio::test]
async fn a_module_that_begins_too_large_does_not_start() {
    let many = "(table 1 funcref)".repeat(100);
    let fields = ["(table 3000000 funcref)", &many];
    for fields in fields {
        let error = outcome(component("", fields), WIDE).await.unwrap_err();
        assert!(error.contains("table"), "{error}");
    }
    let tight = PluginLimits {
        memory: MIB / 32,
        ..WIDE
    };
    let error = outcome(component("", ""), tight).await.unwrap_err();
    assert!(error.contains("limits.memory"), "{error}");
}

/// A start function runs before anything of the contract does, and within the same bounds.
#[tokio::test]
async fn a_start_function_is_bounded_like_a_call() {
    let short = PluginLimits {
        time: SHORT,
        ..WIDE
    };
    let spins = "(func $start (loop $more (br $more))) (start $start)";
    let error = outcome(component("", spins), short).await.unwrap_err();
    assert!(error.contains("limits.time"), "{error}");
    let traps = "(func $start unreachable) (start $start)";
    let error = outcome(component("", traps), WIDE).await.unwrap_err();
    assert!(error.contains("it trapped"), "{error}");
}

/// Much code takes its time to compile, at low priority and on threads of its own: what runs meanwhile runs on.
#[tokio::test]
async fn much_code_is_compiled_beside_what_runs() {
    let function = format!(
        "(func (param i32) (result i32) local.get 0 {})",
        "i32.const 7 i32.mul ".repeat(200)
    );
    let bomb = component("", &function.repeat(1_000));
    let honest = runtime()
        .prepare(spec(component("", ""), "{}", WIDE))
        .await
        .unwrap();
    let mut honest = honest.instantiate("s/0").await.unwrap();
    let compiled = async { outcome(bomb, WIDE).await };
    tokio::pin!(compiled);
    let mut calls = 0;
    loop {
        tokio::select! {
            biased;
            done = &mut compiled => break done.unwrap(),
            () = reply_to(&mut *honest) => calls += 1,
        }
    }
    assert!(calls > 0);
}

async fn reply_to(instance: &mut dyn PluginInstance) {
    reply(instance, &messages(&["x"])).await;
    tokio::task::yield_now().await;
}

/// What a component is told to be lacking names some of what it has, not a million things.
#[tokio::test]
async fn a_refusal_is_short_however_much_there_is_to_say() {
    let mut exports = String::new();
    for n in 0..50_000 {
        write!(
            exports,
            "(export \"shardwright-is-none-of-these-{n}\" (func $f))"
        )
        .unwrap();
    }
    let text = format!(
        "(component
            (core module $m (func (export \"f\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            {exports})"
    );
    let refused = runtime()
        .prepare(spec(handmade(&text, None), "{}", WIDE))
        .await;
    let error = refused.map(|_| ()).unwrap_err();
    assert!(matches!(
        error,
        PrepareError::World { .. } | PrepareError::NotAComponent { .. }
    ));
    assert!(error.to_string().len() < 2_000, "{error}");
}
