//! Does the simulator find faults? Each of core's mutants is switched on in turn, and must break an invariant in one of the
//! first ten thousand seeds.

use shardwright_sim::{Mutant, Plan, simulate, with_mutant};

const SEEDS_MAX: u64 = 10_000;

/// The first seed that shows it, and the invariant that it breaks.
fn find(mutant: Mutant) -> Option<(u64, &'static str)> {
    with_mutant(mutant, || {
        (0..SEEDS_MAX).find_map(|seed| {
            let violation = simulate(&Plan::draw_more(seed), false).violation;
            violation.map(|violation| (seed, violation.invariant))
        })
    })
}

/// The table of docs/simulation.md.
#[test]
fn every_mutant_is_found() {
    let mut missed = Vec::new();
    println!("| fault | in | found by | in seed |\n|---|---|---|---|");
    for &mutant in Mutant::ALL {
        let (what, place) = (mutant.what(), mutant.place());
        match find(mutant) {
            Some((seed, invariant)) => println!("| {what} | `{place}` | {invariant} | {seed} |"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(Mutant::ALL.len() >= 20);
}
