//! Other settings for a shard that is being consumed: what a new generation of its pipeline brings.

use super::{Consumer, ConsumerEffect, ConsumerSettings, Flush};
use crate::lanes::BatchBounds;
use crate::message::ColumnsWanted;
use crate::time::Instant;
use crate::window::key_hash;

impl ConsumerSettings {
    /// What suits lanes of this generation and lanes of the next one, while there are both: a batch within the bounds of
    /// either, with the columns that either reads.
    #[must_use]
    pub fn suiting_both(&self, next: &Self) -> Self {
        let (one, other) = (self.wanted, next.wanted);
        Self {
            batch: BatchBounds {
                records: self.batch.records.min(next.batch.records),
                bytes: self.batch.bytes.min(next.batch.bytes),
                wait: next.batch.wait,
            },
            wanted: ColumnsWanted {
                keys: one.keys || other.keys,
                sequence_numbers: one.sequence_numbers || other.sequence_numbers,
                sub_sequence_numbers: one.sub_sequence_numbers || other.sub_sequence_numbers,
                arrival_times: one.arrival_times || other.arrival_times,
            },
            ..*next
        }
    }
}

impl Consumer {
    pub(super) fn reconfigure(&mut self, now: Instant, settings: ConsumerSettings) {
        self.lanes.set_bounds(settings.batch, settings.retry);
        self.lanes.set_breaker(settings.breaker);
        self.lanes.probe_now(now);
        self.progress.set_every(settings.checkpoint_every);
        self.holds.set_limit(settings.hold_max);
        self.settings = ConsumerSettings {
            opening: self.settings.opening,
            ..settings
        };
        // Buffers of batches of another size would stay as large as they are.
        self.spare.clear();
    }

    /// Whether no batch may go out, since there are to be as many lanes as there are not.
    pub(super) fn waits_for_lanes(&self) -> bool {
        self.is_relaning || self.lanes.count() != usize::from(self.settings.lanes.max(1))
    }

    pub(super) fn relane_when_idle(&mut self, effects: &mut Vec<ConsumerEffect>) {
        // A flush that was asked for is answered by the lanes that were asked.
        let is_flushing = matches!(self.flush, Flush::Waiting(..));
        if !self.is_relaning && !is_flushing && !self.lanes.is_running() {
            self.is_relaning = true;
            effects.push(ConsumerEffect::Relane(self.settings.lanes.max(1)));
        }
    }

    pub(super) fn relaned(&mut self, lanes: u16) {
        self.is_relaning = false;
        let window = &self.window;
        self.lanes
            .relane(lanes, |slot| Some(key_hash(window.message(slot)?.key)));
        if let Flush::Done(_) = self.flush {
            // What the new lanes come to hold was not asked for yet.
            self.flush = Flush::NotAsked;
        }
    }
}
