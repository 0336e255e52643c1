//! What only some histories have, drawn from dice of its own, so that all others stay as they were.

use super::{Operation, Plan, Start};
use crate::dice::Dice;
use crate::faults::Fault;

/// The dice's number. With it the seeds that are kept have nothing of this.
const DICE: u64 = 7;

/// Those of the histories in which the first rows come late.
const LATE_ROWS_DICE: u64 = 8;

pub(super) fn draw(plan: &mut Plan) {
    let mut dice = Dice::new(plan.seed, LATE_ROWS_DICE);
    if dice.strikes(50) {
        make_rows_late(&mut dice, plan);
        return;
    }
    let mut dice = Dice::new(plan.seed, DICE);
    let length = plan.calm_at.as_millis() as u64;
    let (settings, operations) = (&mut plan.settings, &mut plan.operations);
    if !dice.strikes(400) {
        return;
    }
    if dice.strikes(300) {
        settings.max_leases = dice.between(1, 4) as usize;
    }
    if dice.strikes(300) {
        crowd(&mut dice, settings.start, operations);
    }
    if dice.strikes(300) {
        for _ in 0..dice.between(1, 2) {
            let at = dice.below(length);
            operations.push((at, Operation::Outrun(dice.below(20_000))));
        }
    }
    operations.sort_by_key(|(at, _)| *at);
}

/// All workers begin at once, on a stream that is resharded while they do: the first rows are made from what each saw.
fn crowd(dice: &mut Dice, start: Start, operations: &mut [(u64, Operation)]) {
    let earliest = match start {
        Start::At(at) => at,
        Start::TrimHorizon | Start::Latest => 0,
    };
    for (at, operation) in operations {
        match operation {
            Operation::Start(_) => *at = earliest + dice.below(300),
            Operation::Split(_) | Operation::Merge(_) | Operation::Put(_) => {
                *at = dice.below(10_000);
            }
            _ => {}
        }
    }
}

/// A stream is split while its first rows are made, at what comes next, and some of the rows arrive when their askers have
/// given them up: a child's can then be there before its parent's.
fn make_rows_late(dice: &mut Dice, plan: &mut Plan) {
    let operations = &mut plan.operations;
    plan.settings.start = Start::Latest;
    plan.settings.shards = dice.between(1, 2);
    plan.odds
        .set(Fault::RequestLate, dice.between(100, 400) as u16);
    operations.retain(|(_, operation)| !matches!(operation, Operation::Start(_)));
    for name in 0..dice.between(2, 4) {
        operations.push((dice.below(3_000), Operation::Start(name)));
    }
    for _ in 0..dice.between(1, 3) {
        operations.push((dice.below(3_000), Operation::Split(dice.draw())));
    }
    for _ in 0..dice.between(4, 12) {
        operations.push((dice.below(8_000), Operation::Put(dice.between(1, 12))));
    }
    operations.sort_by_key(|(at, _)| *at);
}
