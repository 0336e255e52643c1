//! What a guest does to itself it does to nobody else, and the error says what it was.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shardwright::ports::{CallError, PluginLimits};
use shardwright_core::{Failure, InvalidReply};
use tracing_subscriber::layer::SubscriberExt;

use super::fixture::{MIB, WIDE, fails, hostile, instance, messages, prepare, reply};

const SHORT: Duration = Duration::from_millis(100);

const SHORT_TIME: PluginLimits = PluginLimits {
    time: SHORT,
    ..WIDE
};
const SHORT_WAIT: PluginLimits = PluginLimits {
    wait: SHORT,
    ..WIDE
};

#[tokio::test]
async fn a_panic_is_a_trap_with_the_text_of_stderr() {
    let error = fails("panic this is what it says", WIDE).await;
    let CallError::Trap { stderr, .. } = &error else {
        panic!("{error}");
    };
    assert!(stderr.contains("this is what it says"), "{stderr}");
    assert!(error.to_string().contains("unreachable"), "{error}");
}

#[tokio::test]
async fn an_endless_loop_costs_nobody_else_on_its_thread() {
    let mut spinning = hostile(SHORT_TIME).await;
    let mut honest = hostile(SHORT_TIME).await;
    let (spin, echo) = (messages(&["spin"]), messages(&["echo x"]));
    let ended = Rc::new(Cell::new(false));
    let over = Rc::clone(&ended);
    let spun = async {
        let error = spinning.handle(&spin).await.unwrap_err();
        over.set(true);
        error
    };
    let others = async {
        let mut calls = 0;
        while !ended.get() {
            reply(&mut *honest, &echo).await;
            calls += 1;
            tokio::task::yield_now().await;
        }
        calls
    };
    let began = Instant::now();
    let (error, calls) = tokio::join!(spun, others);
    assert!(
        matches!(error, CallError::Time { limit: SHORT, .. }),
        "{error}"
    );
    // Each tick of the spinning guest lets the other one in at least once.
    assert!(
        calls >= 10,
        "{calls} calls beside it in {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_guest_that_shares_its_thread_is_charged_for_its_own_time_only() {
    let mut spinning = hostile(PluginLimits {
        time: 4 * SHORT,
        ..WIDE
    })
    .await;
    let mut short = hostile(SHORT_TIME).await;
    let batch = messages(&["spin"]);
    let began = Instant::now();
    let (_, (error, took)) = tokio::join!(spinning.handle(&batch), async {
        let error = short.handle(&batch).await.unwrap_err();
        (error, began.elapsed())
    });
    assert!(matches!(error, CallError::Time { .. }), "{error}");
    // Both run by turns, so that its own time is about half of what passed.
    assert!(took > SHORT * 3 / 2, "{took:?}");
}

#[tokio::test]
async fn a_sleeping_guest_is_ended_by_the_bound_on_waiting() {
    let began = Instant::now();
    let error = fails("sleep 3600000", SHORT_WAIT).await;
    assert!(
        matches!(error, CallError::Wait { limit: SHORT, .. }),
        "{error}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn waiting_is_no_running_and_running_is_no_waiting() {
    // Fifty naps last longer than this guest may run.
    let tight = PluginLimits {
        time: Duration::from_millis(60),
        ..WIDE
    };
    let mut napping = hostile(tight).await;
    reply(&mut *napping, &messages(&["sleep 2"; 50])).await;
    // A spinning guest does not wait.
    let limits = PluginLimits {
        time: 2 * SHORT,
        wait: Duration::from_millis(20),
        ..WIDE
    };
    let error = fails("spin", limits).await;
    assert!(matches!(error, CallError::Time { .. }), "{error}");
}

#[tokio::test]
async fn growth_past_the_limit_is_told_in_bytes() {
    let limit = 16 * MIB;
    let error = fails(
        "allocate",
        PluginLimits {
            memory: limit,
            ..WIDE
        },
    )
    .await;
    let CallError::Memory {
        asked, limit: told, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(told, limit);
    assert!(asked > limit && asked < limit + 4 * MIB, "{asked}");
}

#[tokio::test]
async fn a_guest_that_starts_larger_than_its_limit_does_not_start() {
    let error = prepare(
        "hostile",
        "{}",
        PluginLimits {
            memory: MIB / 2,
            ..WIDE
        },
    )
    .await;
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("limits.memory"), "{error}");
}

#[tokio::test]
async fn endless_recursion_and_exit_are_traps() {
    let error = fails("recurse", WIDE).await;
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    let error = fails("exit 3", WIDE).await;
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    assert!(error.to_string().contains("exit"), "{error}");
}

#[tokio::test]
async fn a_reply_larger_than_the_host_takes_is_refused() {
    let error = fails("huge 65", WIDE).await;
    assert!(matches!(error, CallError::ReplySize { .. }), "{error}");
    let mut instance = instance("message-full", WIDE).await;
    let error = instance.handle(&messages(&["large"; 9])).await.unwrap_err();
    assert!(matches!(error, CallError::ReplySize { .. }), "{error}");
}

#[tokio::test]
async fn every_forged_reply_is_found() {
    for forged in ["data-ends", "data-order", "data-left", "key-count"] {
        let error = fails(&format!("forge {forged}"), WIDE).await;
        assert!(
            matches!(error, CallError::Reply(InvalidReply::Column { .. })),
            "{forged}: {error}"
        );
    }
    for forged in [
        "failure-index",
        "failure-twice",
        "hold-index",
        "hold-twice",
        "hold-two-ids",
        "hold-and-fail",
        "source",
        "output",
        "output-count",
        "key-utf8",
        "source-count",
    ] {
        let mut instance = hostile(WIDE).await;
        let command = format!("forge {forged}");
        let answer = reply(&mut *instance, &messages(&[&command])).await;
        assert!(answer.check(1, |_| false).is_err(), "{forged}: {answer:?}");
    }
}

#[tokio::test]
async fn emissions_are_bounded_in_number_and_reasons_in_length() {
    let mut instance = hostile(WIDE).await;
    let answer = reply(&mut *instance, &messages(&["many 250000"])).await;
    answer.check(1, |_| false).unwrap();
    let answer = reply(&mut *instance, &messages(&["many 250001"])).await;
    let error = answer.check(1, |_| false).unwrap_err();
    assert!(
        matches!(error, InvalidReply::TooManyEmissions { .. }),
        "{error}"
    );
    let answer = reply(&mut *instance, &messages(&["reason 1000"])).await;
    let (_, Failure::Reject { reason }) = &answer.failures[0] else {
        panic!("{answer:?}");
    };
    assert!(reason.len() < 5 << 10, "{}", reason.len());
}

#[tokio::test]
async fn nobody_enters_an_instance_that_was_lost() {
    let mut instance = hostile(WIDE).await;
    instance.handle(&messages(&["panic"])).await.unwrap_err();
    let again = instance.handle(&messages(&["echo x"])).await.unwrap_err();
    assert!(again.to_string().contains("lost"), "{again}");
    // A fresh one takes its place.
    let mut fresh = hostile(WIDE).await;
    reply(&mut *fresh, &messages(&["echo x"])).await;
}

#[tokio::test]
async fn a_cancelled_call_loses_the_instance_and_nothing_else() {
    for command in ["spin", "sleep 3600000"] {
        let batch = messages(&[command]);
        let mut instance = hostile(WIDE).await;
        let cancelled = tokio::time::timeout(SHORT, instance.handle(&batch)).await;
        assert!(cancelled.is_err(), "{command} ended by itself");
        let again = instance.handle(&batch).await.unwrap_err();
        assert!(again.to_string().contains("lost"), "{again}");
    }
}

/// Counts lines of plugins.
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == "plugin" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_harms_nobody() {
    for command in ["log 100000", "stderr 100000", "stdout 100000"] {
        let lines = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
        let _scope = tracing::subscriber::set_default(subscriber);
        let began = Instant::now();
        let mut instance = hostile(WIDE).await;
        reply(&mut *instance, &messages(&[command])).await;
        drop(instance);
        let (lines, took) = (lines.load(Ordering::Relaxed), began.elapsed());
        let most = 210 + 55 * usize::try_from(took.as_secs() + 1).unwrap();
        assert!(
            (1..=most).contains(&lines),
            "{command}: {lines} lines in {took:?}"
        );
    }
}

#[tokio::test]
async fn an_argument_larger_than_the_host_takes_is_a_trap() {
    let error = fails("log-long 65", WIDE).await;
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
}

#[tokio::test]
async fn counters_are_bounded_in_number() {
    let plugin = prepare("hostile", "{}", WIDE).await.unwrap();
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    let batch = messages(&[
        "count-named seen",
        "count 1000",
        "count-named seen",
        "count-named Not-A-Name",
    ]);
    reply(&mut *instance, &batch).await;
    let counters = plugin.counters();
    assert_eq!(counters["seen"], 2);
    assert!(counters.len() < 100, "{}", counters.len());
    assert!(counters["refused"] > 900);
}

#[tokio::test]
async fn a_guest_reaches_nothing_of_the_world_outside() {
    let mut instance = hostile(WIDE).await;
    let answer = reply(&mut *instance, &messages(&["reach"])).await;
    let seen: serde_json::Value =
        serde_json::from_slice(answer.emissions.data.get(0).unwrap()).unwrap();
    let nothing = serde_json::json!({
        "env": 0, "args": 0, "root": null, "file": false, "network": false, "name": null,
    });
    assert_eq!(seen, nothing);
}
