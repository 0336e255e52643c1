//! Handlers in other languages, without the SDK for Rust: through one message at a time and through the columns.

use std::time::Duration;

use shardwright::ports::{CallError, PluginInstance};
use shardwright_core::{Failure, Reply};

use super::fixture::{WIDE, emitted, instance, messages, reply};

fn reason(failure: &Failure) -> &str {
    match failure {
        Failure::Retry { reason, .. } | Failure::Reject { reason } => reason,
    }
}

/// A handler that upper-cases, in any language. `throws` is the word at which it throws.
async fn upper_cases(guest: &str, throws: &str) {
    let mut instance = instance(guest, WIDE).await;
    let payloads = ["k:one", "j:key", "l:reject", "m:retry", "m:after", "n:x"];
    let answer = reply(&mut *instance, &messages(&payloads)).await;
    answer.check(payloads.len(), |_| false).unwrap();
    assert_eq!(emitted(&answer), ["ONE", "KEY", "X"], "{guest}");
    let keys: Vec<&[u8]> = answer.emissions.keys.iter().collect();
    assert_eq!(keys, [b"k".as_slice(), b"own", b"n"], "{guest}");
    assert_eq!(answer.emissions.output(1), "late", "{guest}");
    let [(2, rejected), (3, retried)] = &answer.failures[..] else {
        panic!("{guest}: {:?}", answer.failures);
    };
    assert!(matches!(rejected, Failure::Reject { .. }), "{rejected:?}");
    assert!(reason(rejected).contains("never"), "{rejected:?}");
    let after = Duration::from_millis(250);
    assert!(
        matches!(retried, Failure::Retry { after: Some(wait), .. } if *wait == after),
        "{retried:?}"
    );

    // What is thrown inside the SDK's wrapper fails its message, and the instance lives.
    let answer = reply(&mut *instance, &messages(&[throws, "after"])).await;
    assert_eq!(emitted(&answer), ["AFTER"], "{guest}");
    let [(0, thrown)] = &answer.failures[..] else {
        panic!("{guest}: {:?}", answer.failures);
    };
    assert!(reason(thrown).contains("in the handler"), "{thrown:?}");
    traps(guest, &mut *instance).await;
}

/// What is thrown around the wrapper traps, and its text is in the error.
async fn traps(guest: &str, instance: &mut dyn PluginInstance) {
    let error = instance.handle(&messages(&["trap"])).await.unwrap_err();
    let CallError::Trap { stderr, .. } = &error else {
        panic!("{guest}: {error}");
    };
    assert!(stderr.contains("around the wrapper"), "{guest}: {stderr}");
}

fn counts(reply: &Reply) -> Vec<String> {
    let mut counts: Vec<String> = emitted(reply)
        .into_iter()
        .map(|text| {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            format!("{} {}", value["word"].as_str().unwrap(), value["count"])
        })
        .collect();
    counts.sort_unstable();
    counts
}

/// A handler that counts the words of a batch, in any language.
async fn counts_words(guest: &str, throws: &str) {
    let mut instance = instance(guest, WIDE).await;
    let payloads = ["a b", "reject", "b é b", throws];
    let answer = reply(&mut *instance, &messages(&payloads)).await;
    answer.check(payloads.len(), |_| false).unwrap();
    assert_eq!(counts(&answer), ["a 1", "b 3", "é 1"], "{guest}");
    let [(1, rejected), (3, thrown)] = &answer.failures[..] else {
        panic!("{guest}: {:?}", answer.failures);
    };
    assert!(matches!(rejected, Failure::Reject { .. }), "{rejected:?}");
    assert!(
        reason(thrown).contains("for a 1003"),
        "key and sequence number: {thrown:?}"
    );

    let failed = instance
        .handle(&messages(&["fail"]))
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        reason(&failed).contains("the whole batch failed"),
        "{failed:?}"
    );
    let answer = reply(&mut *instance, &messages(&["c"])).await;
    assert_eq!(counts(&answer), ["c 1"], "{guest}");
    traps(guest, &mut *instance).await;
}

#[tokio::test]
async fn python_one_message_at_a_time() {
    upper_cases("python-message", "raise").await;
}

#[tokio::test]
async fn python_through_the_columns() {
    counts_words("python-batch", "raise").await;
}

#[tokio::test]
async fn javascript_one_message_at_a_time() {
    upper_cases("js-message", "throw").await;
}

#[tokio::test]
async fn javascript_through_the_columns() {
    counts_words("js-batch", "throw").await;
}
