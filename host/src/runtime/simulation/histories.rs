//! A share of all histories.

use shardwright_sim::Plan;

use super::play;

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 0..20 {
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
fn a_share_of_all_seeds_holds() {
    let wanted = std::env::var("SHARDWRIGHT_SIM_SEEDS").unwrap_or_else(|_| "0..100".to_owned());
    let (first, end) = wanted.split_once("..").unwrap();
    let (first, end): (u64, u64) = (first.parse().unwrap(), end.parse().unwrap());
    let is_told = std::env::var_os("SHARDWRIGHT_SIM_TRACE").is_some();
    for seed in first..end {
        let report = play(Plan::draw(seed), is_told);
        for line in &report.lines {
            println!("{line}");
        }
        let violation = report.violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "seed {seed}");
    }
}
