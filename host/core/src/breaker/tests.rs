use super::*;
use crate::lanes::{BatchBounds, Lanes, RunResult, Settled};
use crate::retry::RetryPolicy;
use crate::window::{Admitted, Slot};
use std::time::Duration;

const AFTER: u32 = 10;

fn cause(step: usize) -> Cause {
    Cause {
        step: Some(step),
        kind: "trap",
        reason: String::new(),
    }
}

fn one(step: usize) -> StepSet {
    let mut steps = StepSet::default();
    steps.add(step);
    steps
}

fn lanes(messages: u64) -> Lanes {
    let bounds = BatchBounds {
        records: 100,
        bytes: u64::MAX,
        wait: Duration::ZERO,
    };
    let retry = RetryPolicy {
        attempts: 5,
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(30),
        max_age: Duration::from_hours(1),
    };
    let mut lanes = Lanes::new(1, bounds, retry);
    lanes.set_breaker(NonZeroU32::new(AFTER));
    for slot in 0..messages {
        let message = Admitted {
            slot: Slot(slot),
            key_hash: slot,
            bytes: 1,
        };
        lanes.admit(Instant::default(), message);
    }
    lanes
}

/// Lets lanes run until then, and answers with how many calls there were, what was acked and how many were given up.
fn run_until(
    lanes: &mut Lanes,
    now: &mut Instant,
    until: Instant,
    is_bad: impl Fn(u64) -> bool,
) -> (u32, Vec<Slot>, usize) {
    let (mut calls, mut batch) = (0, Vec::new());
    let mut all = Settled::default();
    while *now < until {
        if !lanes.take(0, *now, true, &mut batch) {
            let Some(next) = lanes.next_deadline() else {
                break;
            };
            *now = next;
            continue;
        }
        calls += 1;
        let result = if batch.iter().any(|(slot, _)| is_bad(slot.0)) {
            RunResult::Crashed(cause(0))
        } else {
            lanes.answered(*now, one(0));
            RunResult::Done(Vec::new())
        };
        // A call takes a moment: what is acked now did not fail now.
        *now = *now + Duration::from_micros(100);
        lanes.settle(0, *now, result, 0, &mut all);
        for dead in std::mem::take(&mut all.dead) {
            lanes.buried(*now, dead.slot, dead.slot.0);
            all.dead.push(dead);
        }
    }
    (calls, all.acked, all.dead.len())
}

/// The point of it all: for hours nothing is lost to a plugin that traps at everything, which costs next to nothing
/// meanwhile; within a pause of its being mended, everything goes on, and nothing has lost a try.
#[test]
fn a_broken_plugin_pauses_the_shard_and_a_mended_one_loses_nothing() {
    let mut lanes = lanes(1_000);
    let mut now = Instant::default();
    let hour = now + Duration::from_hours(1);
    run_until(&mut lanes, &mut now, hour, |_| true);
    assert!(lanes.paused().is_some_and(|paused| paused.probes > 100));
    let day = now + Duration::from_hours(24);
    let (calls, acked, dead) = run_until(&mut lanes, &mut now, day, |_| true);
    assert_eq!((acked.len(), dead), (0, 0));
    let most = 24 * 3600 / (PROBE_PAUSE_MAX.as_secs() / 2) * 6;
    assert!(u64::from(calls) < most, "{calls} calls in a day");
    let mended = now + PROBE_PAUSE_MAX * 2;
    let (_, mut acked, dead) = run_until(&mut lanes, &mut now, mended, |_| false);
    acked.sort_unstable();
    assert_eq!(dead, 0);
    assert_eq!(acked, (0..1_000).map(Slot).collect::<Vec<_>>());
    assert!(lanes.is_idle() && lanes.paused().is_none());
}

/// Fewer messages than that cannot be told from messages that are wrong themselves: they are given up as ever.
#[test]
fn a_few_poison_messages_by_themselves_are_given_up() {
    let messages = u64::from(AFTER) - 1;
    let mut lanes = lanes(messages);
    let mut now = Instant::default();
    let hour = now + Duration::from_hours(1);
    let (_, _, dead) = run_until(&mut lanes, &mut now, hour, |_| true);
    assert_eq!(dead as u64, messages);
    assert!(lanes.paused().is_none());
}

/// Poison in front of good messages, enough of it to open the breaker: the good ones get through, and the poison is given up.
#[test]
fn poison_is_given_up_once_the_plugin_has_answered_for_another() {
    let mut lanes = lanes(200);
    let mut now = Instant::default();
    let hour = now + Duration::from_hours(1);
    let (_, acked, dead) = run_until(&mut lanes, &mut now, hour, |slot| slot < 50);
    assert_eq!((acked.len(), dead), (150, 50));
    assert!(lanes.is_idle() && lanes.paused().is_none());
}

/// The second step is broken, and most messages do not even come to it.
#[test]
fn steps_before_the_broken_one_may_answer() {
    let mut breaker = Breaker::default();
    breaker.set_after(NonZeroU32::new(2));
    let at = |seconds| Instant::default() + Duration::from_secs(seconds);
    for second in 1..=2 {
        breaker.failed(&cause(1));
        breaker.answered(at(second), one(0));
    }
    assert!(!breaker.spares(at(3), at(1), &cause(0), 0));
    assert!(breaker.spares(at(3), at(1), &cause(1), 0));
    assert_eq!(breaker.answered(at(4), one(0)), None);
    assert!(breaker.paused().is_some());
    assert_eq!(
        breaker.answered(at(5), one(1)),
        Some(Closed { last_answer: None })
    );
    assert!(breaker.paused().is_none());
    // It failed before the answer, and was tried since: its tries are its own.
    assert!(!breaker.spares(at(6), at(1), &cause(1), 0));
}

#[test]
fn a_sink_opens_nothing() {
    let mut breaker = Breaker::default();
    breaker.set_after(NonZeroU32::new(1));
    let refused = Cause {
        step: None,
        ..cause(0)
    };
    breaker.failed(&refused);
    assert!(!breaker.spares(Instant::default(), Instant::default(), &refused, 0));
}

#[test]
fn steps_are_told_apart() {
    assert_eq!(StepSet::before(0), StepSet::default());
    let mut steps = StepSet::before(3);
    assert!(steps.has(0) && steps.has(2) && !steps.has(3));
    steps.add_all(one(5));
    assert!(steps.has(5) && !steps.has(4));
    assert!(StepSet::before(64).has(63) && !StepSet::before(100).has(64));
}
