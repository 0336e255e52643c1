//! What a seed stands for, spelled out so that it can be made smaller.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use shardwright_core::OutsideRange;

use crate::dice::Dice;
use crate::faults::{Fault, Odds};

mod more;

/// One history to be: everything but the outcome of the dice on the way.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides whatever the rest leaves open.
    pub seed: u64,
    /// How workers and stream are set up.
    pub settings: Settings,
    /// How often faults strike.
    pub odds: Odds,
    /// What is done from outside, in order of time: milliseconds from the start.
    pub operations: Vec<(u64, Operation)>,
    /// When faults stop.
    pub calm_at: Duration,
    /// Faults that do not strike, by their number in the history: what a shrunk plan leaves out.
    pub spared: BTreeSet<u32>,
}

/// How workers and stream are set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The lease's duration.
    pub failover: Duration,
    /// Shards that the stream begins with.
    pub shards: u64,
    /// Different keys of user records.
    pub keys: u64,
    /// The number of the stream's first record. Numbers of unequal length must still be compared as numbers.
    pub first_sequence: u64,
    /// Whether sequence numbers are padded with zeros.
    pub is_padded: bool,
    /// Of a thousand records, so many are KPL containers.
    pub containers: u16,
    /// Where shards without a lease begin.
    pub start: Start,
    /// What happens to user records outside their shard's range.
    pub outside: OutsideRange,
    /// Steps of the pipeline, 1 or 2.
    pub steps: usize,
    /// Sinks, 1 or 2.
    pub sinks: u32,
    /// Of a thousand messages, so many lead to an emission.
    pub emissions: u16,
    /// Lanes of a shard.
    pub lanes: u16,
    /// Messages in a batch.
    pub batch: usize,
    /// How long a batch waits for more.
    pub batch_wait: Duration,
    /// Tries of a message.
    pub attempts: u32,
    /// Unresolved messages per worker.
    pub in_flight: u64,
    /// The most that one read brings, bytes.
    pub answer: u64,
    /// Unresolved bytes per worker.
    pub in_flight_bytes: u64,
    /// Messages from the checkpoint to the newest one, per worker.
    pub span: u64,
    /// The time between two checkpoints.
    pub checkpoint_every: Duration,
    /// The pause after a read that reached the tip.
    pub poll: Duration,
    /// Records that a read asks for.
    pub records_max: u32,
    /// How far clocks run apart, parts per million.
    pub drift: u64,
    /// Of a thousand records, so many make every handler trap that gets them.
    pub poison: u16,
    /// So many different messages a step must have failed until its shard is paused. If it ever is, handlers take the
    /// poison too once faults stop: a shard in which nothing else is left would be paused for good.
    pub breaker: Option<NonZeroU32>,
    /// The most leases that a worker takes while faults strike.
    pub max_leases: usize,
}

/// Where shards without a lease begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record.
    TrimHorizon,
    /// With what comes next.
    Latest,
    /// With what arrived so many milliseconds after the world's beginning.
    At(u64),
}

/// Something that is done to the world from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// So many records are put.
    Put(u64),
    /// An open shard is split; which one, the number decides.
    Split(u64),
    /// Two neighbours are merged.
    Merge(u64),
    /// Retention moves on to a moment so many milliseconds ago, but takes nothing that is not done.
    Trim(u64),
    /// Retention moves on to a moment so many milliseconds ago, and takes what nobody has read.
    Outrun(u64),
    /// A process of this name is started. One of that name may be running.
    Start(u64),
    /// A process dies.
    Crash(u64),
    /// A process stands still for so many milliseconds.
    Pause(u64, u64),
    /// A process is told to stop in good order.
    Drain(u64),
    /// Something is away for so many milliseconds.
    Outage(Target, u64),
    /// A newer generation of the plugin takes over in a process.
    Reload(u64),
}

/// What can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The lease table.
    Table,
    /// The stream.
    Stream,
    /// The sinks, dead letters included.
    Sinks,
    /// The plugins: every call of one traps.
    Plugins,
}

impl Target {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Table, Self::Stream, Self::Sinks, Self::Plugins];
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Settings {
    fn draw(dice: &mut Dice) -> Self {
        let batch = *dice.one_of(&[1_u64, 2, 5, 20]);
        let in_flight = batch + dice.below(40);
        let answer = *dice.one_of(&[600, 2_000, 8_000]);
        Self {
            failover: ms(*dice.one_of(&[2_000, 5_000, 10_000])),
            shards: if dice.strikes(10) {
                40
            } else {
                dice.between(1, 4)
            },
            keys: *dice.one_of(&[1, 3, 12]),
            first_sequence: *dice.one_of(&[1, 8, 95, 990, 99_990]),
            is_padded: dice.strikes(100),
            containers: *dice.one_of(&[0, 300, 1000]),
            start: match dice.below(10) {
                0 => Start::Latest,
                1 => Start::At(dice.below(10_000)),
                _ => Start::TrimHorizon,
            },
            outside: *dice.one_of(&[
                OutsideRange::Keep,
                OutsideRange::Keep,
                OutsideRange::DropRecord,
                OutsideRange::DropContainer,
            ]),
            steps: dice.between(1, 2) as usize,
            sinks: dice.between(1, 2) as u32,
            emissions: *dice.one_of(&[0, 300, 900]),
            lanes: *dice.one_of(&[1, 2, 5]),
            batch: batch as usize,
            batch_wait: ms(*dice.one_of(&[0, 100, 700])),
            attempts: dice.between(1, 4) as u32,
            in_flight,
            answer,
            in_flight_bytes: answer * dice.between(1, 4),
            span: in_flight + dice.below(100),
            checkpoint_every: ms(*dice.one_of(&[200, 1_000, 5_000])),
            poll: ms(*dice.one_of(&[300, 1_000, 3_000])),
            records_max: *dice.one_of(&[3, 50, 10_000]),
            drift: *dice.one_of(&[0, 500, 30_000]),
            poison: *dice.one_of(&[0, 0, 20, 100]),
            breaker: None,
            max_leases: usize::MAX,
        }
    }
}

impl Plan {
    /// What a seed stands for.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let mut settings = Settings::draw(&mut dice);
        let odds = draw_odds(&mut dice);
        let length = dice.between(10_000, 50_000);
        let mut operations = vec![
            (0, Operation::Start(0)),
            (0, Operation::Put(dice.below(30))),
        ];
        let workers = dice.between(1, 4);
        for name in 1..workers {
            operations.push((dice.below(length / 2), Operation::Start(name)));
        }
        for _ in 0..dice.below(6) {
            operations.push((dice.below(length), Operation::Put(dice.between(1, 12))));
        }
        let is_rough = dice.strikes(700);
        for _ in 0..dice.below(5) {
            operations.push((dice.below(length), draw_reshard(&mut dice)));
        }
        for _ in 0..if is_rough { dice.below(9) } else { 0 } {
            let at = dice.below(length);
            operations.push((at, draw_blow(&mut dice, workers, &settings)));
        }
        if let Start::At(start) = settings.start {
            // Nobody asks for a moment that is yet to come.
            for (at, operation) in &mut operations {
                if matches!(operation, Operation::Start(_)) {
                    *at += start;
                }
            }
        }
        // Dice of its own, so that histories are otherwise what they were before there was a breaker.
        let mut dice = Dice::new(seed, 4);
        settings.breaker = NonZeroU32::new(*dice.one_of(&[0, 0, 1, 3, 10]));
        if settings.breaker.is_some() && dice.strikes(500) {
            let outage = Operation::Outage(Target::Plugins, dice.between(1_000, 40_000));
            operations.push((dice.below(length), outage));
        }
        operations.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            settings,
            odds,
            operations,
            calm_at: ms(length),
            spared: BTreeSet::new(),
        }
    }

    /// The same, and what only some histories of the machines have.
    pub fn draw_more(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        more::draw(&mut plan);
        plan
    }
}

/// Some histories are quiet, some have one kind of fault only, some have many.
fn draw_odds(dice: &mut Dice) -> Odds {
    let mut odds = Odds::default();
    let share = *dice.one_of(&[0, 80, 300, 700]);
    let harshest = *dice.one_of(&[10, 60, 250]);
    for fault in Fault::ALL {
        if dice.strikes(share) {
            odds.set(fault, dice.between(1, harshest) as u16);
        }
    }
    odds
}

fn draw_reshard(dice: &mut Dice) -> Operation {
    let chosen = dice.draw();
    if dice.strikes(550) {
        Operation::Split(chosen)
    } else {
        Operation::Merge(chosen)
    }
}

fn draw_blow(dice: &mut Dice, workers: u64, settings: &Settings) -> Operation {
    let chosen = dice.draw();
    let failover = settings.failover.as_millis() as u64;
    let while_away = dice.between(100, failover * 2);
    match dice.below(12) {
        0 | 1 => Operation::Crash(chosen),
        2..=4 => Operation::Pause(chosen, while_away),
        5 | 6 => Operation::Start(dice.below(workers)),
        7 => Operation::Drain(chosen),
        8 => Operation::Outage(Target::Table, while_away),
        9 => Operation::Outage(*dice.one_of(&[Target::Stream, Target::Sinks]), while_away),
        10 => Operation::Trim(dice.between(5_000, 30_000)),
        _ => Operation::Reload(chosen),
    }
}
