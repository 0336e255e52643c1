//! Plays histories from the command line.

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use shardwright_sim::{Plan, Report, shrink, simulate};

const USAGE: &str = "\
Plays histories of workers over a modelled stream and lease table.

  --seed N            plays one seed; exits with 1 if an invariant does not hold
  --seed N --trace    and prints what happens, one event a line
  --seeds A..B        plays the seeds from A up to B, stops at the first that fails, and prints it, shrunk
  --no-shrink         prints a failing history as it is
";

struct Wanted {
    seeds: Range<u64>,
    is_traced: bool,
    is_shrunk: bool,
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprint!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut told = began;
    let (mut events, mut virtual_time) = (0, Duration::ZERO);
    let first = wanted.seeds.start;
    for seed in wanted.seeds.clone() {
        let plan = Plan::draw_more(seed);
        let report = simulate(&plan, wanted.is_traced);
        if wanted.is_traced {
            print_lines(&report);
        }
        if report.violation.is_some() {
            return fail(seed, plan, &report, &wanted);
        }
        events += report.events;
        virtual_time += report.ended_at;
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let done = seed + 1 - first;
            let rate = done as f64 / began.elapsed().as_secs_f64();
            eprint!("\r{done} seeds, {rate:.0} a second ");
        }
        if wanted.seeds.end - first == 1 {
            println!(
                "seed {seed}: no violation; {} events, {} faults, {:.1} s of virtual time, hash {:016x}",
                report.events,
                report.faults,
                report.ended_at.as_secs_f64(),
                report.hash
            );
            return ExitCode::SUCCESS;
        }
    }
    let done = wanted.seeds.end - first;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!();
    println!(
        "{done} seeds without a violation: {events} events, {:.0} h of virtual time, in {seconds:.1} s ({:.0} seeds a second)",
        virtual_time.as_secs_f64() / 3600.0,
        done as f64 / seconds
    );
    ExitCode::SUCCESS
}

fn wanted(arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut seeds = None;
    let (mut is_traced, mut is_shrunk) = (false, true);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match &*argument {
            "--seed" => {
                let seed: u64 = number(&value()?)?;
                seeds = Some(seed..seed + 1);
            }
            "--seeds" => {
                let text = value()?;
                let (first, end) = text.split_once("..").ok_or("--seeds takes A..B")?;
                seeds = Some(number(first)?..number(end)?);
            }
            "--trace" => is_traced = true,
            "--no-shrink" => is_shrunk = false,
            other => return Err(format!("what is {other}?")),
        }
    }
    let seeds = seeds.filter(|seeds: &Range<u64>| !seeds.is_empty());
    Ok(Wanted {
        seeds: seeds.ok_or("say --seed N or --seeds A..B, with A below B")?,
        is_traced,
        is_shrunk,
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no seed"))
}

fn print_lines(report: &Report) {
    let mut out = std::io::stdout().lock();
    for line in &report.lines {
        // Whoever closes the pipe has seen enough.
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn fail(seed: u64, plan: Plan, report: &Report, wanted: &Wanted) -> ExitCode {
    let Some(violation) = &report.violation else {
        return ExitCode::SUCCESS;
    };
    println!("\nseed {seed} breaks {violation}");
    if wanted.is_shrunk {
        let (plan, report) = shrink(plan, violation.invariant);
        println!(
            "\nshrunk, it is\n{:?}\n{:?}\n",
            plan.settings, plan.operations
        );
        print_lines(&report);
        if let Some(violation) = &report.violation {
            println!("\n{violation}");
        }
    }
    ExitCode::FAILURE
}
