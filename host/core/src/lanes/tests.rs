//! Lanes under random histories of acks, retries, rejects, holds and crashes.

use proptest::prelude::*;

use super::*;

mod world;

use world::{BOUNDS, Odds, RETRY, World, cause};

fn odds(hold: u64) -> impl Strategy<Value = Odds> {
    (
        0_u64..40,
        0_u64..20,
        0..=hold,
        prop::sample::select(vec![0_u64, 10, 100]),
        prop::sample::select(vec![0_u64, 0, 7]),
        any::<bool>(),
        prop::sample::select(vec![None, Some(1), Some(3), Some(8)]),
    )
        .prop_map(
            |(retry, reject, hold, crash, poison, relane, breaker)| Odds {
                retry,
                reject,
                hold,
                crash,
                poison,
                relane,
                breaker,
            },
        )
}

fn play(seed: u64, lanes: u16, keys: u64, odds: Odds) {
    let mut world = World::new(seed, lanes, odds);
    for _ in 0..60 {
        for _ in 0..world.below(4) {
            world.admit(keys);
        }
        match world.below(8) {
            0..=2 => {
                let hurry = world.percent(30);
                world.dispatch(hurry);
            }
            3..=5 => {
                world.finish_any();
            }
            6 => {
                let _ = world.bury() || world.settle_held(false) || (odds.relane && world.relane());
            }
            _ => world.now = world.now + Duration::from_millis(world.entropy.draw() as u64 % 150),
        }
    }
    if odds.breaker.is_some() {
        world.mend();
    }
    world.run_out();
    world.check_end();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// OR-1, batch bounds, finite tries, and every message is acked or dead exactly once.
    #[test]
    fn order_holds_per_key_and_everything_ends(
        seed: u64, lanes in 1_u16..4, keys in 1_u64..6, odds in odds(0),
    ) {
        play(seed, lanes, keys, odds);
    }

    /// The same with messages that instances hold, release, fail and lose.
    #[test]
    fn held_messages_end_as_well(
        seed: u64, lanes in 1_u16..4, keys in 1_u64..6, odds in odds(40),
    ) {
        play(seed, lanes, keys, odds);
    }
}

/// A message that crashes every call is found by halving; it alone is given up, and only when it was alone is it a try.
#[test]
fn a_poison_message_alone_is_given_up() {
    let bounds = BatchBounds {
        records: 64,
        bytes: u64::MAX,
        wait: Duration::ZERO,
    };
    for poison in 0..64_u64 {
        let mut lanes = Lanes::new(1, bounds, RETRY);
        let mut now = Instant::default();
        for slot in 0..64 {
            lanes.admit(
                now,
                Admitted {
                    slot: Slot(slot),
                    key_hash: slot,
                    bytes: 1,
                },
            );
        }
        let (mut crashes, mut acked) = (0, Vec::new());
        let mut batch = Vec::new();
        let dead = loop {
            if !lanes.take(0, now, true, &mut batch) {
                now = lanes
                    .next_deadline()
                    .expect("the poison message is not dead yet");
                continue;
            }
            let mut settled = Settled::default();
            let result = if batch.iter().any(|(slot, _)| slot.0 == poison) {
                crashes += 1;
                RunResult::Crashed(cause("trap"))
            } else {
                RunResult::Done(Vec::new())
            };
            lanes.settle(0, now, result, 0, &mut settled);
            acked.extend(settled.acked);
            if let Some(dead) = settled.dead.pop() {
                break dead;
            }
        };
        assert_eq!(
            (dead.slot, dead.attempts, dead.cause.kind),
            (Slot(poison), 3, "trap")
        );
        lanes.buried(now, dead.slot, poison);
        while lanes.take(0, now, true, &mut batch) {
            let mut settled = Settled::default();
            lanes.settle(0, now, RunResult::Done(Vec::new()), 0, &mut settled);
            acked.extend(settled.acked);
        }
        acked.sort_unstable();
        let others: Vec<Slot> = (0..64).filter(|slot| *slot != poison).map(Slot).collect();
        assert_eq!(acked, others);
        assert_eq!(crashes, 6 + 3, "six halvings, then three tries");
        assert!(lanes.is_idle());
    }
}

/// Both messages fail together, for an emission of the whole call fell with the younger: the older is still the first.
#[test]
fn a_message_that_runs_again_is_not_put_behind_a_younger_one() {
    let mut lanes = Lanes::new(1, BOUNDS, RETRY);
    let now = Instant::default();
    for slot in 0..3 {
        lanes.admit(
            now,
            Admitted {
                slot: Slot(slot),
                key_hash: 1,
                bytes: 1,
            },
        );
    }
    let mut batch = Vec::new();
    assert!(lanes.take(0, now, true, &mut batch));
    let verdicts = vec![
        (0, Verdict::Again),
        (
            1,
            Verdict::Retry {
                after: None,
                cause: cause("retry"),
            },
        ),
        (2, Verdict::Again),
    ];
    lanes.settle(
        0,
        now,
        RunResult::Done(verdicts),
        0,
        &mut Settled::default(),
    );
    assert!(lanes.take(0, now + BOUNDS.wait, false, &mut batch));
    assert_eq!(batch, [(Slot(0), 1)]);
}

/// It came back while a younger message of its key ran, which is given up: those behind that one go on behind both.
#[test]
fn what_waits_for_a_dead_letter_goes_on_behind_what_came_back_meanwhile() {
    let mut lanes = Lanes::new(1, BOUNDS, RETRY);
    let now = Instant::default();
    let message = |slot| Admitted {
        slot: Slot(slot),
        key_hash: 1,
        bytes: 1,
    };
    let mut settled = Settled::default();
    let mut batch = Vec::new();
    lanes.admit(now, message(0));
    assert!(lanes.take(0, now, true, &mut batch));
    let held = RunResult::Done(vec![(0, Verdict::Held)]);
    lanes.settle(0, now, held, 0, &mut settled);
    lanes.admit(now, message(1));
    lanes.admit(now, message(2));
    assert!(lanes.take(0, now, true, &mut batch));
    lanes.settle_held(now, message(0), Some(Verdict::Again), 0, &mut settled);
    let verdicts = vec![(0, Verdict::Reject(cause("reject"))), (1, Verdict::Again)];
    lanes.settle(0, now, RunResult::Done(verdicts), 0, &mut settled);
    lanes.buried(now, Slot(1), 1);
    assert!(lanes.take(0, now, true, &mut batch));
    assert_eq!(batch, [(Slot(0), 1), (Slot(2), 1)], "OR-1");
}

/// Histories that once went wrong: a younger message of a key came back from its pause before an older one had run.
#[test]
fn histories_that_went_wrong() {
    let odds = |retry, reject, hold, crash| Odds {
        retry,
        reject,
        hold,
        crash,
        poison: 7,
        relane: false,
        breaker: None,
    };
    play(6_073_774_168_269_077_221, 2, 3, odds(11, 14, 0, 6));
    play(18_362_514_147_108_756, 1, 3, odds(11, 6, 28, 14));
    let odds = Odds {
        poison: 0,
        ..odds(33, 6, 0, 9)
    };
    play(16_975_492_573_633_281_642, 1, 5, odds);
    // A held message failed while a younger one of its key, whose turn had come, was still queued: that one was passed.
    let odds = Odds {
        retry: 25,
        reject: 9,
        hold: 11,
        crash: 0,
        poison: 0,
        relane: false,
        breaker: None,
    };
    play(7_045_784_788_536_475_912, 3, 5, odds);
    // A held message that ran again was put before an older one of its key.
    let odds = Odds {
        retry: 22,
        reject: 1,
        hold: 34,
        ..odds
    };
    play(6_224_387_160_693_388_543, 1, 2, odds);
}
