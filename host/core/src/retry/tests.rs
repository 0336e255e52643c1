use proptest::prelude::*;

use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    attempts: 5,
    backoff_min: Duration::from_millis(200),
    backoff_max: Duration::from_secs(30),
    max_age: Duration::from_hours(1),
};

fn tried(attempts: u32) -> Tried {
    Tried {
        attempts,
        since: Instant::from_nanos(0),
    }
}

proptest! {
    #[test]
    fn a_pause_grows_stays_in_its_bounds_and_keeps_half(failures in 1_u32..100, random: u64) {
        let pause = POLICY.pause(failures, random);
        let full = POLICY.backoff_min.saturating_mul(1 << (failures - 1).min(20)).min(POLICY.backoff_max);
        prop_assert!(pause <= full && pause >= full / 2, "{pause:?} of {full:?}");
    }

    #[test]
    fn tries_are_finite(random: u64, asked_ms in 0_u64..10_000) {
        let asked = Some(Duration::from_millis(asked_ms));
        for attempts in 1..5 {
            let Next::TryAt(at) = POLICY.next(Instant::from_nanos(0), tried(attempts), asked, random) else {
                return Err(TestCaseError::fail("gave up early"));
            };
            prop_assert!(at >= Instant::from_nanos(0) + Duration::from_millis(asked_ms));
        }
        prop_assert_eq!(POLICY.next(Instant::from_nanos(0), tried(5), asked, random), Next::OutOfAttempts);
    }
}

#[test]
fn a_message_is_not_tried_past_its_age() {
    let late = Instant::from_nanos(0) + Duration::from_hours(1);
    assert_eq!(POLICY.next(late, tried(1), None, 0), Next::TooOld);
    let patient = Some(Duration::from_hours(2));
    assert_eq!(
        POLICY.next(Instant::from_nanos(0), tried(1), patient, 0),
        Next::TooOld
    );
}
