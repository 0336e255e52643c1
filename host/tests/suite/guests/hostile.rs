//! What a guest does to itself it does to nobody else, and the error says what it was.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shardwright::ports::{CallError, PluginLimits};
use shardwright_core::InvalidReply;
use tracing_subscriber::layer::SubscriberExt;

use super::fixture::{MIB, WIDE, doing, fails, messages, prepare, reply};

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
    let error = fails("panic", WIDE).await;
    let CallError::Trap { stderr, .. } = &error else {
        panic!("{error}");
    };
    assert!(stderr.contains("this is what it says"), "{stderr}");
    assert!(error.to_string().contains("unreachable"), "{error}");
}

#[tokio::test]
async fn an_endless_loop_costs_nobody_else_on_its_thread() {
    let mut spinning = doing("loop", SHORT_TIME).await;
    let mut honest = doing("echo", SHORT_TIME).await;
    let batch = messages(&["x"]);
    let ended = Rc::new(Cell::new(false));
    let over = Rc::clone(&ended);
    let spin = async {
        let error = spinning.handle(&batch).await.unwrap_err();
        over.set(true);
        error
    };
    let others = async {
        let mut calls = 0;
        while !ended.get() {
            reply(&mut *honest, &batch).await;
            calls += 1;
            tokio::task::yield_now().await;
        }
        calls
    };
    let began = Instant::now();
    let (error, calls) = tokio::join!(spin, others);
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
    let mut spinning = doing(
        "loop",
        PluginLimits {
            time: 4 * SHORT,
            ..WIDE
        },
    )
    .await;
    let mut short = doing("loop", SHORT_TIME).await;
    let batch = messages(&["x"]);
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
    let error = fails("sleep", SHORT_WAIT).await;
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
    let mut napping = doing("naps", tight).await;
    reply(&mut *napping, &messages(&["x"])).await;
    // A spinning guest does not wait.
    let limits = PluginLimits {
        time: 2 * SHORT,
        wait: Duration::from_millis(20),
        ..WIDE
    };
    let error = fails("loop", limits).await;
    assert!(matches!(error, CallError::Time { .. }), "{error}");
}

#[tokio::test]
async fn growth_past_the_limit_is_told_in_bytes() {
    let limit = 16 * MIB;
    let error = fails(
        "grow",
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
        "batch-full",
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
    let error = fails("exit", WIDE).await;
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    assert!(error.to_string().contains("exit"), "{error}");
}

#[tokio::test]
async fn a_reply_larger_than_the_host_takes_is_refused() {
    let error = fails("huge-reply", WIDE).await;
    assert!(matches!(error, CallError::ReplySize { .. }), "{error}");
    let plugin = prepare("message-full", "{}", WIDE).await.unwrap();
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    let error = instance.handle(&messages(&["large"; 9])).await.unwrap_err();
    assert!(matches!(error, CallError::ReplySize { .. }), "{error}");
}

#[tokio::test]
async fn a_reply_that_does_not_fit_its_batch_is_found() {
    let batch = messages(&["x"]);
    let error = fails("wrong-ends", WIDE).await;
    assert!(
        matches!(error, CallError::Reply(InvalidReply::Column { .. })),
        "{error}"
    );
    let mut instance = doing("wrong-index", WIDE).await;
    let answer = reply(&mut *instance, &batch).await;
    let wrong = InvalidReply::Index {
        index: 1,
        messages: 1,
    };
    assert_eq!(answer.check(1, |_| false), Err(wrong));
    // A release of what was never held is the host's to drop.
    let mut instance = doing("forged-release", WIDE).await;
    let answer = reply(&mut *instance, &batch).await;
    assert_eq!(answer.releases[0].id, 99);
}

#[tokio::test]
async fn nobody_enters_an_instance_that_was_lost() {
    let batch = messages(&["x"]);
    let mut instance = doing("panic", WIDE).await;
    instance.handle(&batch).await.unwrap_err();
    let again = instance.handle(&batch).await.unwrap_err();
    assert!(again.to_string().contains("lost"), "{again}");
    // A fresh one takes its place.
    let mut fresh = doing("echo", WIDE).await;
    reply(&mut *fresh, &batch).await;
}

#[tokio::test]
async fn a_cancelled_call_loses_the_instance_and_nothing_else() {
    let batch = messages(&["x"]);
    for what in ["loop", "sleep"] {
        let mut instance = doing(what, WIDE).await;
        let cancelled = tokio::time::timeout(SHORT, instance.handle(&batch)).await;
        assert!(cancelled.is_err(), "{what} ended by itself");
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
    for what in ["log-flood", "stderr-flood", "stderr-line"] {
        let lines = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
        let _scope = tracing::subscriber::set_default(subscriber);
        let began = Instant::now();
        let mut instance = doing(what, WIDE).await;
        reply(&mut *instance, &messages(&["x"])).await;
        drop(instance);
        let (lines, took) = (lines.load(Ordering::Relaxed), began.elapsed());
        let most = 210 + 60 * usize::try_from(took.as_secs() + 1).unwrap();
        assert!(
            (1..=most).contains(&lines),
            "{what}: {lines} lines in {took:?}"
        );
    }
}

#[tokio::test]
async fn an_argument_larger_than_the_host_takes_is_a_trap() {
    let error = fails("log-huge", WIDE).await;
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
}

#[tokio::test]
async fn counters_are_bounded_in_number() {
    let plugin = prepare("batch-full", r#"{"do":"count"}"#, WIDE)
        .await
        .unwrap();
    let mut instance = plugin.instantiate("s/0").await.unwrap();
    reply(&mut *instance, &messages(&["x", "y"])).await;
    let counters = plugin.counters();
    assert_eq!(counters["seen"], 2);
    assert!(counters.len() < 100, "{}", counters.len());
    assert!(counters["refused"] > 900);
}
