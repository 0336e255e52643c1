//! A share of all histories, and those that once failed.

use std::time::Duration;

use shardwright_sim::{Odds, Operation, Plan, Start, simulate};

/// Seeds of lines `seed what it showed`.
fn kept() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines();
    let seeds = lines.filter(|line| !line.starts_with('#'));
    seeds
        .map(|line| line.split(' ').next().unwrap_or_default())
        .map(|seed| {
            seed.parse()
                .unwrap_or_else(|_| unreachable!("{seed} is no seed"))
        })
        .collect()
}

/// Fails with the first violation, and how to see it.
fn hold(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        let violation = simulate(&Plan::draw_more(seed), false).violation;
        let violation = violation.map(|violation| violation.to_string());
        assert_eq!(
            violation, None,
            "`cargo run -p shardwright-sim -- --seed {seed}` shows it"
        );
    }
}

#[test]
fn kept_seeds_hold() {
    hold(kept());
}

#[test]
fn a_share_of_all_seeds_holds() {
    hold(0..1_000);
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..40 {
        let plan = Plan::draw_more(seed);
        let (once, again) = (simulate(&plan, false), simulate(&plan, true));
        assert_eq!(
            (once.hash, once.events),
            (again.hash, again.events),
            "seed {seed}"
        );
    }
}

#[test]
fn other_seeds_are_other_histories() {
    let hash = |seed| simulate(&Plan::draw_more(seed), false).hash;
    let mut hashes: Vec<u64> = (0..200).map(hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 200);
}

/// A stream of a thousand shards, which three workers share out; one dies, and one stops in good order.
#[test]
fn a_thousand_shards_are_shared_out_and_read() {
    let mut plan = Plan::draw_more(1);
    plan.settings.shards = 1_000;
    plan.settings.start = Start::TrimHorizon;
    plan.settings.failover = Duration::from_secs(10);
    plan.settings.lanes = 1;
    plan.settings.in_flight_bytes = 100 * plan.settings.answer;
    plan.odds = Odds::default();
    plan.operations = vec![
        (0, Operation::Start(0)),
        (0, Operation::Put(300)),
        (1_000, Operation::Start(1)),
        (2_000, Operation::Start(2)),
        (15_000, Operation::Put(100)),
        (20_000, Operation::Crash(0)),
        (25_000, Operation::Split(500)),
        (40_000, Operation::Drain(0)),
    ];
    plan.calm_at = Duration::from_secs(45);
    let violation = simulate(&plan, false).violation;
    assert_eq!(violation.map(|violation| violation.to_string()), None);
}
