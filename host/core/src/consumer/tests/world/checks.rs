//! What must hold of everything that a consumer wants done.

use std::collections::BTreeSet;

use super::super::super::*;
use super::{Over, Pending, RETRY, World, position};

impl World {
    pub(super) fn handle(&mut self, consumer: &mut Consumer, event: ConsumerEvent) {
        let limit = self.odds.room;
        let mut given = 0;
        let refusal = [Grant::Wait, Grant::SpanShort, Grant::TurnOver][self.below(3) as usize];
        let room = |usage: Usage| {
            given = match usage.records {
                0 => limit.max(1),
                held => limit.saturating_sub(held),
            };
            if given == 0 {
                refusal
            } else {
                Grant::Room(given)
            }
        };
        let random = self.entropy.draw() as u64;
        let was_draining = consumer.phase == Phase::Draining;
        let admitted = consumer.intake().admitted;
        let mut effects = Vec::new();
        consumer.handle(self.now, event, room, random, &mut effects);
        assert!(
            !was_draining || consumer.intake().admitted == admitted,
            "a stop takes nothing new"
        );
        assert!(consumer.intake().admitted <= admitted + given);
        self.check_watermark(consumer.watermark());
        for effect in effects {
            assert_eq!(self.over, None, "it is over, and wants {effect:?}");
            self.execute(consumer, effect);
        }
    }

    fn check_watermark(&self, watermark: Option<Position>) {
        if let Some(watermark) = watermark {
            for position in self
                .payloads
                .keys()
                .take_while(|position| **position <= watermark)
            {
                assert!(
                    self.done.contains(position),
                    "CP-1: {watermark} passes {position}"
                );
            }
        }
    }

    fn execute(&mut self, consumer: &Consumer, effect: ConsumerEffect) {
        let is_storing = self
            .pending
            .iter()
            .any(|pending| matches!(pending, Pending::Store(_)));
        match effect {
            ConsumerEffect::Run(batch) => {
                self.check_batch(&batch);
                self.pending.push(Pending::Run(batch));
            }
            ConsumerEffect::Bury(dead) => {
                for dead in &dead {
                    assert_eq!(dead.data, self.payloads[&dead.position]);
                    // A breaker that closes lets tries begin anew.
                    let is_finite = dead.attempts <= RETRY.attempts || self.odds.breaker.is_some();
                    assert!(dead.attempts >= 1 && is_finite);
                }
                let dead = dead.into_iter().map(|dead| (dead.slot, dead.position));
                self.pending.push(Pending::Bury(dead.collect()));
            }
            ConsumerEffect::Store(delta) => {
                assert!(!is_storing, "two moves at once");
                assert_eq!(delta.from, self.requested, "CP-3");
                assert!(delta.from < delta.to, "CP-2");
                self.check_watermark(delta.to.position().cloned());
                self.requested = delta.to.clone();
                self.pending.push(Pending::Store(delta.to));
            }
            ConsumerEffect::Flush(_) => {
                assert!(
                    !self
                        .pending
                        .iter()
                        .any(|pending| matches!(pending, Pending::Run(_)))
                );
                self.pending
                    .extend((0..usize::from(self.lanes)).map(Pending::Flush));
            }
            ConsumerEffect::TakeBack(lane) => {
                let is_lost_on = |pending: &Pending| match pending {
                    Pending::TakeBack(other) => *other == lane,
                    // It would never be answered.
                    Pending::Relane(_) => true,
                    _ => false,
                };
                assert!(!self.pending.iter().any(is_lost_on));
                self.pending.push(Pending::TakeBack(lane));
            }
            ConsumerEffect::Relane(lanes) => {
                assert_eq!(lanes, self.lanes_wanted);
                let is_out = |pending: &Pending| {
                    matches!(
                        pending,
                        Pending::Run(_) | Pending::Flush(_) | Pending::Relane(_)
                    )
                };
                assert!(!self.pending.iter().any(is_out), "a lane is at work");
                self.pending.push(Pending::Relane(lanes));
            }
            ConsumerEffect::Ended { from, .. } => {
                assert!(!is_storing && from == self.requested, "CP-3");
                assert_eq!(self.done.len(), self.payloads.len(), "SH-2");
                // The span is given back only when the end is durable.
                let usage = consumer.usage();
                assert_eq!((usage.records, usage.bytes), (0, 0));
                self.ended = true;
                self.over = Some(Over::Ended);
            }
            ConsumerEffect::Drained => {
                assert!(!is_storing && self.stored == self.requested);
                let held: BTreeSet<&Position> =
                    self.held.values().map(|held| &held.position).collect();
                let begun = self
                    .begun
                    .iter()
                    .filter(|position| !self.done.contains(*position));
                self.was_paused = consumer.status().paused.is_some();
                if !self.was_paused {
                    assert!(
                        begun.clone().all(|position| held.contains(position)),
                        "{begun:?} was begun"
                    );
                    assert_eq!(consumer.intake().admitted, self.begun.len() as u64);
                }
                let is_out =
                    |pending: &Pending| matches!(pending, Pending::Run(_) | Pending::Bury(_));
                assert!(!self.pending.iter().any(is_out), "something is out");
                let watermark = consumer.watermark().map(Checkpoint::At);
                assert!(watermark.is_none_or(|watermark| watermark == self.stored));
                self.over = Some(Over::Drained);
            }
        }
    }

    fn check_batch(&mut self, batch: &Batch) {
        assert!(!batch.is_empty() && batch.len() <= self.batch_records);
        assert!(batch.lane < usize::from(self.lanes));
        assert_eq!(batch.len(), batch.messages.len());
        for pending in &self.pending {
            assert!(!matches!(pending, Pending::Run(other) if other.lane == batch.lane));
            assert!(!matches!(pending, Pending::Relane(_)), "the lanes go");
        }
        for index in 0..batch.len() {
            let (sequence, sub) = batch.place(index);
            let position = position(sequence, sub);
            assert_eq!(
                batch.messages.data.get(index),
                Some(self.payloads[&position].as_bytes())
            );
            assert_eq!(
                batch.messages.sequence_numbers.get(index),
                Some(sequence.as_bytes())
            );
            assert!(
                !self.done.contains(&position),
                "{position} runs though it is done"
            );
            assert!(
                !self.held.contains_key(&batch.slots[index]),
                "{position} runs though it is held"
            );
            self.begun.insert(position);
        }
    }
}
