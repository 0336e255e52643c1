//! A share of all histories, and those that once failed.

use shardwright_sim::{Plan, simulate};

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
        let violation = simulate(&Plan::draw(seed), false).violation;
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
        let plan = Plan::draw(seed);
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
    let hash = |seed| simulate(&Plan::draw(seed), false).hash;
    let mut hashes: Vec<u64> = (0..200).map(hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 200);
}
