//! The consumer with a runtime that answers late, fails, crashes, holds, and is stopped at any moment.

use proptest::prelude::*;

mod world;

use world::{Odds, Over, World};

fn odds() -> impl Strategy<Value = Odds> {
    (
        0_u64..30,
        0_u64..15,
        prop::sample::select(vec![0_u64, 0, 20]),
        0_u64..15,
        prop::sample::select(vec![0_u64, 1, 5, 1000]),
        prop::bool::weighted(0.2),
        prop::sample::select(vec![0_u64, 20, 200]),
        prop::sample::select(vec![None, Some(1), Some(4)]),
    )
        .prop_map(
            |(retry, reject, hold, crash, room, keeps, reconfigure, breaker)| Odds {
                retry,
                reject,
                hold,
                crash,
                keeps,
                room,
                reconfigure,
                breaker,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// CP-1, CP-2, CP-3, DL-1, SH-2 and LV-1 over stops, deaths and changes of settings at random moments; a graceful stop
    /// repeats nothing.
    #[test]
    fn a_shard_is_consumed_to_its_end_whatever_happens(
        seed: u64,
        records in 0_usize..40,
        lanes in 1_u16..4,
        lives in prop::collection::vec((any::<bool>(), 0_u32..120), 0..4),
        odds in odds(),
    ) {
        let mut world = World::new(seed, records, lanes, odds);
        for (is_graceful, turns) in lives {
            let before = world.repeated();
            let over = world.live(turns, is_graceful);
            if over == Over::Ended {
                break;
            }
            if over == Over::Drained && world.held() == 0 && !world.was_paused() {
                prop_assert_eq!(world.unstored(), 0, "a graceful stop leaves nothing that would be repeated");
            }
            prop_assert!(is_graceful || world.repeated() >= before);
        }
        if !world.has_ended() {
            prop_assert_eq!(world.live(u32::MAX, true), Over::Ended);
        }
        world.check_end();
    }

    /// Not one record is repeated over any number of graceful stops and changes of settings, the number of lanes among
    /// them, as long as no plugin holds any.
    #[test]
    fn graceful_stops_repeat_nothing(
        seed: u64,
        records in 0_usize..40,
        lanes in 1_u16..4,
        lives in prop::collection::vec(0_u32..80, 0..6),
        odds in odds(),
    ) {
        let mut world = World::new(seed, records, lanes, Odds { hold: 0, breaker: None, ..odds });
        for turns in lives {
            if world.live(turns, true) == Over::Ended {
                break;
            }
        }
        if !world.has_ended() {
            prop_assert_eq!(world.live(u32::MAX, true), Over::Ended);
        }
        world.check_end();
        prop_assert_eq!(world.repeated(), 0);
    }

    /// A plugin that fails everything gives up fewer messages than open the breaker, in each life; it neither keeps a stop
    /// from ending nor, once it is mended, anything from being done.
    #[test]
    fn a_plugin_that_fails_everything_does_not_eat_the_shard(
        seed: u64,
        records in 0_usize..40,
        lanes in 1_u16..4,
        crashes: bool,
        after in 1_u32..12,
        lives in prop::collection::vec(0_u32..400, 0..4),
        odds in odds(),
    ) {
        let broken = Odds {
            crash: if crashes { 100 } else { 0 },
            retry: 100,
            reject: 0,
            hold: 0,
            breaker: Some(after),
            ..odds
        };
        let mut world = World::new(seed, records, lanes, broken);
        for turns in lives {
            let before = world.buried();
            let over = world.live(turns, true);
            let is_eaten = world.buried() - before >= after;
            prop_assert!(!is_eaten, "{} of {after} were given up", world.buried() - before);
            if over == Over::Ended {
                break;
            }
        }
        world.mend();
        if !world.has_ended() {
            prop_assert_eq!(world.live(u32::MAX, true), Over::Ended);
        }
        world.check_end();
    }
}
