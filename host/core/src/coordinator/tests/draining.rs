//! Stopping in good order.

use super::*;

/// The stop may be the first thing that a worker hears after it has stood still.
#[test]
fn a_drain_ends_though_the_leases_without_a_consumer_have_run_out() {
    let (mut bench, effects) = Bench::with_rows(vec![row("ended", None, Checkpoint::ShardEnd)]);
    assert_eq!(started(&bench.grant(&effects)), []);
    bench.now = bench.now + FAILOVER * 2;
    let effects = bench.tell(CoordinatorEvent::Drain);
    assert!(
        effects.contains(&CoordinatorEffect::Finished),
        "{effects:?}"
    );
}
