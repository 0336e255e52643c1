//! One lease and a table that answers as the test says.

use super::*;
use crate::lease::{Incarnation, WorkerId};
use crate::lease_write::TroubleKind;
use crate::position::{Position, SequenceNumber};

const TIMING: LeaseTiming = LeaseTiming {
    failover: Duration::from_secs(10),
};

fn at(number: u64) -> Checkpoint {
    Checkpoint::At(Position {
        sequence: SequenceNumber::parse(number.to_string()).unwrap(),
        sub_sequence: 0,
    })
}

fn delta(from: u64, to: u64) -> KeeperEvent {
    KeeperEvent::Checkpoint(CheckpointDelta {
        from: at(from),
        to: at(to),
    })
}

fn no_answer() -> KeeperEvent {
    KeeperEvent::Written(Err(WriteFailure::Trouble(Trouble {
        kind: TroubleKind::Transient,
        what: String::new(),
    })))
}

fn seconds(seconds: f64) -> Instant {
    Instant::default() + Duration::from_secs_f64(seconds)
}

struct Kept(LeaseKeeper);

impl Kept {
    /// A lease taken at zero, at checkpoint 1.
    fn new() -> Self {
        let held = HeldLease {
            shard: ShardId::from("a"),
            owner: WorkerId::new("me"),
            counter: 7,
            incarnation: Incarnation(1),
        };
        Self(LeaseKeeper::new(held, at(1), Instant::default(), TIMING))
    }

    fn tell(&mut self, now: f64, event: KeeperEvent) -> Vec<KeeperEffect> {
        let mut effects = Vec::new();
        self.0.handle(seconds(now), 0, event, &mut effects);
        effects
    }

    /// What is sent to the table.
    fn sent(&mut self, now: f64, event: KeeperEvent) -> Vec<LeaseChange> {
        let effects = self.tell(now, event);
        let writes = effects.into_iter().filter_map(|effect| match effect {
            KeeperEffect::Write(write) => Some(write.change),
            _ => None,
        });
        writes.collect()
    }
}

fn checkpoint(number: u64) -> LeaseChange {
    LeaseChange::Checkpoint {
        to: at(number),
        children: Vec::new(),
    }
}

#[test]
fn a_checkpoint_goes_at_once_and_puts_off_the_renewal() {
    let mut kept = Kept::new();
    assert_eq!(kept.sent(1.0, delta(1, 2)), [checkpoint(2)]);
    kept.tell(1.5, KeeperEvent::Written(Ok(8)));
    assert_eq!(kept.sent(4.2, KeeperEvent::Tick), []);
    // A third of ten seconds, less 25 ms, after the write was sent.
    assert_eq!(
        kept.0.next_deadline(),
        Some(seconds(1.0) + TIMING.renew_after())
    );
    assert_eq!(kept.sent(4.31, KeeperEvent::Tick), [LeaseChange::Renew]);
}

#[test]
fn checkpoints_that_wait_for_a_write_become_one() {
    let mut kept = Kept::new();
    kept.tell(1.0, delta(1, 2));
    assert_eq!(kept.sent(1.1, delta(2, 5)), []);
    assert_eq!(kept.sent(1.2, delta(5, 9)), []);
    assert_eq!(kept.sent(1.3, KeeperEvent::Written(Ok(8))), [checkpoint(9)]);
    let effects = kept.tell(1.4, KeeperEvent::Written(Ok(9)));
    assert!(effects.contains(&KeeperEffect::Stored(at(9))));
}

#[test]
fn a_write_without_an_answer_is_sent_again_unchanged_before_anything_newer() {
    let mut kept = Kept::new();
    kept.tell(1.0, delta(1, 2));
    kept.tell(1.1, no_answer());
    assert_eq!(kept.sent(1.12, delta(2, 3)), []);
    assert_eq!(kept.sent(1.3, KeeperEvent::Tick), [checkpoint(2)]);
    assert_eq!(kept.sent(1.4, KeeperEvent::Written(Ok(8))), [checkpoint(3)]);
}

#[test]
fn a_lease_counts_from_the_first_try_of_its_last_write() {
    let mut kept = Kept::new();
    kept.tell(3.4, KeeperEvent::Tick);
    kept.tell(3.5, no_answer());
    kept.tell(5.0, KeeperEvent::Tick);
    let effects = kept.tell(5.1, KeeperEvent::Written(Ok(8)));
    let until = seconds(3.4) + TIMING.dispatch_for();
    assert!(effects.contains(&KeeperEffect::DispatchUntil(until)));
}

#[test]
fn dispatch_stops_before_the_lease_ends_and_goes_on_if_a_renewal_makes_it() {
    let mut kept = Kept::new();
    kept.tell(3.4, KeeperEvent::Tick);
    assert_eq!(kept.0.next_deadline(), Some(seconds(8.75)));
    assert_eq!(
        kept.tell(8.75, KeeperEvent::Tick),
        [KeeperEffect::StopDispatch]
    );
    let until = seconds(3.4) + TIMING.dispatch_for();
    let effects = kept.tell(9.0, KeeperEvent::Written(Ok(8)));
    assert_eq!(effects[0], KeeperEffect::DispatchUntil(until));
}

#[test]
fn a_lease_that_was_not_renewed_is_lost_though_nobody_took_it() {
    let mut kept = Kept::new();
    kept.tell(3.4, KeeperEvent::Tick);
    let effects = kept.tell(10.0, KeeperEvent::Tick);
    assert_eq!(
        effects,
        [
            KeeperEffect::StopDispatch,
            KeeperEffect::Lost(LostReason::Expired)
        ]
    );
    assert!(
        kept.0.is_writing(),
        "the write that is out still has to come back"
    );
    assert_eq!(kept.tell(10.1, KeeperEvent::Written(Ok(8))), []);
    assert!(!kept.0.is_writing());
}

#[test]
fn refuses_what_breaks_the_chain() {
    let mut kept = Kept::new();
    let refused = |effects: Vec<KeeperEffect>| match effects.into_iter().next() {
        Some(KeeperEffect::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    assert!(
        matches!(
            refused(kept.tell(1.0, delta(2, 3))),
            CheckpointRefused::Unchained { .. }
        ),
        "CP-3"
    );
    assert!(
        matches!(
            refused(kept.tell(1.0, delta(1, 0))),
            CheckpointRefused::Backwards { .. }
        ),
        "CP-2"
    );
    let end = KeeperEvent::Checkpoint(CheckpointDelta {
        from: at(1),
        to: Checkpoint::ShardEnd,
    });
    assert_eq!(
        refused(kept.tell(1.0, end)),
        CheckpointRefused::EndUnproven,
        "SH-2"
    );
    kept.tell(1.0, KeeperEvent::Release { to: None });
    assert!(matches!(
        refused(kept.tell(1.0, delta(1, 2))),
        CheckpointRefused::NotHeld(_)
    ));
}

#[test]
fn a_release_waits_for_the_write_that_is_out_and_for_the_last_checkpoint() {
    let mut kept = Kept::new();
    assert_eq!(kept.sent(3.4, KeeperEvent::Tick), [LeaseChange::Renew]);
    kept.tell(3.5, delta(1, 2));
    assert_eq!(kept.sent(3.5, KeeperEvent::Release { to: None }), []);
    assert_eq!(kept.sent(3.6, KeeperEvent::Written(Ok(8))), [checkpoint(2)]);
    assert_eq!(
        kept.sent(3.7, KeeperEvent::Written(Ok(9))),
        [LeaseChange::Release { to: None }]
    );
    assert_eq!(
        kept.tell(3.8, KeeperEvent::Written(Ok(10))),
        [KeeperEffect::Released { to: None }]
    );
    assert_eq!(kept.0.next_deadline(), None);
}

#[test]
fn the_end_of_the_shard_is_the_last_checkpoint() {
    let mut kept = Kept::new();
    let children = vec![ShardId::from("b")];
    let ended = KeeperEvent::Ended {
        from: at(1),
        children: children.clone(),
    };
    let to = Checkpoint::ShardEnd;
    let end = LeaseChange::Checkpoint { to, children };
    assert_eq!(kept.sent(1.0, ended), std::slice::from_ref(&end));
    // KCL's testCallWhenApplicationDoesNotCheckpoint: the shard is not over before its end is durable.
    let effects = kept.tell(1.05, no_answer());
    assert!(!effects.contains(&KeeperEffect::Ended), "{effects:?}");
    assert_eq!(kept.sent(1.2, KeeperEvent::Tick), [end]);
    let effects = kept.tell(1.3, KeeperEvent::Written(Ok(8)));
    assert_eq!(
        effects,
        [
            KeeperEffect::Stored(Checkpoint::ShardEnd),
            KeeperEffect::Ended
        ]
    );
    let more = delta(1, 2);
    assert_eq!(kept.sent(1.4, more), [], "SHARD_END is the last one");
    // It is kept on like any other lease, until its row is deleted or somebody else is to have it.
    assert_eq!(kept.sent(4.5, KeeperEvent::Tick), [LeaseChange::Renew]);
    kept.tell(4.6, KeeperEvent::Written(Ok(9)));
    let to = Some(WorkerId::new("heir"));
    let release = KeeperEvent::Release { to: to.clone() };
    assert_eq!(kept.sent(5.0, release), [LeaseChange::Release { to }]);
}
