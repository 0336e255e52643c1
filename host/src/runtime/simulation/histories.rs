//! A share of all histories, and those that once failed.

use std::ops::Range;

use shardwright_sim::Plan;

use super::play;

/// What is played unless something else is asked for: all that is promised, since it takes seconds.
const SEEDS: Range<u64> = 0..2_000;

/// Which seeds are played instead: `A..B`.
const SEEDS_VARIABLE: &str = "SHARDWRIGHT_SIM_SEEDS";

/// Prints what happens, one event a line, and what the shells log.
const TRACE_VARIABLE: &str = "SHARDWRIGHT_SIM_TRACE";

/// Seeds that once failed, and what they showed.
const KEPT: [(u64, &str); 2] = [
    (
        99,
        "a stop was the first that a worker heard after its leases had run out, and it never came to its end",
    ),
    (
        20_683,
        "what waited for a dead letter went on before an older message of its key that a generation had given back",
    ),
];

fn wanted() -> Range<u64> {
    let Ok(text) = std::env::var(SEEDS_VARIABLE) else {
        return SEEDS;
    };
    let (first, end) = text.split_once("..").unwrap();
    first.parse().unwrap()..end.parse().unwrap()
}

/// The violation of a history, if there is one, and how to see it.
fn violation_of(seed: u64, is_told: bool) -> Option<String> {
    let report = play(Plan::draw(seed), is_told);
    for line in &report.lines {
        println!("{line}");
    }
    let violation = report.violation?;
    Some(format!(
        "seed {seed} breaks {violation}\n  {TRACE_VARIABLE}=1 {SEEDS_VARIABLE}={seed}..{} cargo test --release -p shardwright \
         --lib a_share_of_all_seeds_holds shows it",
        seed + 1
    ))
}

fn hold(seeds: impl IntoIterator<Item = u64>, is_told: bool) {
    let broken = seeds.into_iter();
    let broken: Vec<String> = broken
        .filter_map(|seed| violation_of(seed, is_told))
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn a_share_of_all_seeds_holds() {
    let is_told = std::env::var_os(TRACE_VARIABLE).is_some();
    hold(wanted(), is_told);
}

#[test]
fn kept_seeds_hold() {
    hold(KEPT.map(|(seed, _)| seed), false);
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..100 {
        let once = play(Plan::draw(seed), false);
        let again = play(Plan::draw(seed), true);
        assert_eq!(
            (once.hash, once.events),
            (again.hash, again.events),
            "seed {seed}"
        );
    }
}

#[test]
fn other_seeds_are_other_histories() {
    let hash = |seed| play(Plan::draw(seed), false).hash;
    let mut hashes: Vec<u64> = (0..100).map(hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 100);
}
