//! Both handlers, in both worlds, behind one trait.

use std::time::Duration;

use shardwright_core::{ColumnsWanted, Failure, FlushReason, Hold, Release, Reply, SOURCE_CALL};

use super::fixture::{WIDE, emitted, hostile, instance, messages, prepare, reply};

#[tokio::test]
async fn a_columnar_plugin_answers_in_columns() {
    let batch = messages(&[
        "echo one",
        "to late two",
        "nothing",
        "whole three",
        "reject",
    ]);
    let mut instance = hostile(WIDE).await;
    let answer = reply(&mut *instance, &batch).await;
    answer.check(batch.len(), |_| false).unwrap();
    assert_eq!(emitted(&answer), ["one", "two", "three"]);
    assert_eq!(answer.emissions.sources, [0, 1, SOURCE_CALL]);
    let outputs: Vec<&str> = (0..3).map(|n| answer.emissions.output(n)).collect();
    assert_eq!(outputs, ["default", "late", "default"]);
    let reason = "as it asks".to_owned();
    assert_eq!(answer.failures, [(4, Failure::Reject { reason })]);
}

#[tokio::test]
async fn a_plugin_says_what_it_is() {
    let plugin = prepare("hostile", "{}", WIDE).await.unwrap();
    let said = plugin.description();
    assert_eq!(said.name, "hostile");
    assert!(!said.version.is_empty());
    assert_eq!(said.handler, "batch-handler");
    assert_eq!(said.outputs, Some(vec!["default".into(), "late".into()]));
    assert_eq!(said.columns, ColumnsWanted::ALL);
}

#[tokio::test]
async fn a_plugin_that_says_nothing_is_named_by_its_digest_and_gets_everything() {
    for (guest, handler) in [
        ("batch-minimal", "batch-handler"),
        ("message-minimal", "message-handler"),
    ] {
        let plugin = prepare(guest, "{}", WIDE).await.unwrap();
        let said = plugin.description();
        let digest = plugin.digest().strip_prefix("sha256:").unwrap();
        assert!(
            digest.len() == 64 && digest.starts_with(&said.name),
            "{said:?}"
        );
        assert_eq!(said.handler, handler);
        assert_eq!(said.columns, ColumnsWanted::ALL);
        assert_eq!(said.outputs, None);
    }
}

#[tokio::test]
async fn the_least_columnar_plugin_runs() {
    let mut instance = instance("batch-minimal", WIDE).await;
    let answer = reply(&mut *instance, &messages(&["bad", "good"])).await;
    let reason = "bad".to_owned();
    assert_eq!(answer.failures, [(0, Failure::Reject { reason })]);
    let flushed = instance.flush(FlushReason::Full).await.unwrap().unwrap();
    assert_eq!(flushed, Reply::default(), "it has no flush");
}

#[tokio::test]
async fn a_message_plugin_gets_one_message_at_a_time_with_everything() {
    let plugin = prepare("message-full", "{}", WIDE).await.unwrap();
    assert_eq!(plugin.description().columns, ColumnsWanted::ALL);
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    let batch = messages(&["one", "two", "late", "nothing", "reject", "clé:é"]);
    let answer = reply(&mut *instance, &batch).await;
    answer.check(batch.len(), |_| false).unwrap();
    assert_eq!(
        emitted(&answer),
        [
            "one a 1000 0 -1",
            "two b 1001 1 -2",
            "late",
            "é clé 1005 5 -6"
        ]
    );
    let keys: Vec<&[u8]> = answer.emissions.keys.iter().collect();
    assert_eq!(keys, ["a".as_bytes(), b"b", b"other", "clé".as_bytes()]);
    assert_eq!(answer.emissions.sources, [0, 1, 2, 5]);
    let outputs: Vec<&str> = (0..4).map(|n| answer.emissions.output(n)).collect();
    assert_eq!(outputs, ["default", "default", "late", "default"]);
    let reason = "bad".to_owned();
    assert_eq!(answer.failures, [(4, Failure::Reject { reason })]);
    assert_eq!(plugin.counters()["called"], 6);
}

#[tokio::test]
async fn messages_behind_a_retry_of_their_key_are_not_called() {
    let plugin = prepare("message-full", "{}", WIDE).await.unwrap();
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    let answer = reply(
        &mut *instance,
        &messages(&["k:retry", "j:one", "k:two", "k:panic"]),
    )
    .await;
    let failure = Failure::Retry {
        after: Some(Duration::from_millis(250)),
        reason: "busy".into(),
    };
    assert_eq!(answer.failures, [(0, failure)]);
    assert_eq!(answer.emissions.sources, [1]);
    assert_eq!(plugin.counters()["called"], 2);
}

#[tokio::test]
async fn the_least_message_plugin_runs() {
    let mut instance = instance("message-minimal", WIDE).await;
    let answer = reply(&mut *instance, &messages(&["one", "two"])).await;
    assert_eq!(emitted(&answer), ["one", "two"]);
}

#[tokio::test]
async fn an_instance_goes_on_after_a_failure_that_is_a_value() {
    let mut instance = hostile(WIDE).await;
    let failure = Failure::Retry {
        after: Some(Duration::from_millis(5)),
        reason: "as it asks".into(),
    };
    let batch = messages(&["retry-call 5"]);
    assert_eq!(instance.handle(&batch).await.unwrap(), Err(failure));
    let answer = reply(&mut *instance, &messages(&["echo on"])).await;
    assert_eq!(emitted(&answer), ["on"]);
}

#[tokio::test]
async fn a_plugin_holds_and_is_asked_to_flush() {
    let plugin = prepare("hostile", r#"{"flush":"release-reject"}"#, WIDE)
        .await
        .unwrap();
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    let answer = reply(&mut *instance, &messages(&["x", "hold"])).await;
    assert_eq!(answer.holds, [Hold { index: 1, id: 1 }]);
    let flushed = instance
        .flush(FlushReason::ShardEnd)
        .await
        .unwrap()
        .unwrap();
    flushed.check(0, |_| false).unwrap();
    let reason = "as it asks".to_owned();
    let failure = Some(Failure::Reject { reason });
    assert_eq!(flushed.releases, [Release { id: 1, failure }]);
}

#[tokio::test]
async fn an_empty_batch_is_a_batch() {
    for guest in ["hostile", "message-minimal"] {
        let mut instance = instance(guest, WIDE).await;
        let answer = reply(&mut *instance, &messages(&[])).await;
        assert_eq!(answer, Reply::default());
    }
}
