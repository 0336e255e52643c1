//! Where the things in a run came from: messages of the batch, and messages that an earlier run left held.

use super::{Held, Origin, Run, Source, Unit, UnitState};
use crate::window::Slot;

impl Run<'_> {
    pub(super) fn hold(&mut self, step: usize, id: u64, message: usize, origin: &Origin) {
        let mut sources = Vec::new();
        let key = self.messages().keys.get(message).unwrap_or_default();
        let key: Box<str> = std::str::from_utf8(key).unwrap_or_default().into();
        let units: Vec<u32> = self.units_of(origin).collect();
        for index in units {
            let source = self.source(index);
            let Some(unit) = self
                .units
                .get_mut(index as usize)
                .filter(|unit| unit.state == UnitState::Live)
            else {
                continue;
            };
            unit.holds += 1;
            sources.push(source);
        }
        if let Some(held) = self.state.steps.get_mut(step) {
            held.insert(id, Held { key, sources });
        }
    }

    pub(super) fn source(&self, unit: u32) -> Source {
        let index = unit as usize;
        let beyond = index
            .checked_sub(self.batch.len())
            .and_then(|index| self.released.get(index));
        if let Some(source) = beyond {
            return source.clone();
        }
        let (sequence, sub) = self.batch.place(index);
        Source {
            slot: self
                .batch
                .slots
                .get(index)
                .copied()
                .unwrap_or(Slot(u64::MAX)),
            key_hash: self
                .batch
                .key_hashes
                .get(index)
                .copied()
                .unwrap_or_default(),
            attempt: self.attempt,
            place: (sequence.into(), sub),
            arrival_ms: self.arrival(unit),
        }
    }

    /// What a release stands for, and the key under which the step saw it.
    pub(super) fn release(&mut self, step: usize, id: u64) -> (Origin, Box<str>) {
        let Some(Held { key, sources }) = self
            .state
            .steps
            .get_mut(step)
            .and_then(|held| held.remove(&id))
        else {
            self.unknown_releases += 1;
            return (Origin::Nothing, Box::default());
        };
        let mut units = Vec::new();
        for source in sources {
            if let Some(unit) = self.unit_of_held(source) {
                if let Some(unit) = self.units.get_mut(unit as usize) {
                    unit.holds = unit.holds.saturating_sub(1);
                }
                units.push(unit);
            }
        }
        let origin = match units[..] {
            [] => Origin::Nothing,
            [unit] => Origin::Unit(unit),
            _ => {
                self.groups.push(units);
                Origin::Units(self.groups.len() as u32 - 1)
            }
        };
        (origin, key)
    }

    /// The unit of something that was held: of this batch if an earlier step of this run held it, else a new one, unless
    /// the message has been run again meanwhile.
    pub(super) fn unit_of_held(&mut self, source: Source) -> Option<u32> {
        if source.attempt == self.attempt {
            return self
                .batch
                .slots
                .iter()
                .position(|slot| *slot == source.slot)
                .map(|unit| unit as u32);
        }
        let beyond = self
            .released
            .iter()
            .position(|known| known.slot == source.slot && known.attempt == source.attempt);
        if let Some(index) = beyond {
            return Some((self.batch.len() + index) as u32);
        }
        let known = self
            .state
            .outstanding
            .get_mut(&source.slot)
            .filter(|known| known.attempt == source.attempt)?;
        known.is_out = true;
        self.units.push(Unit::new(known.holds, known.emitted));
        self.released.push(source);
        Some(self.units.len() as u32 - 1)
    }

    pub(super) fn units_of(&self, origin: &Origin) -> impl Iterator<Item = u32> {
        let (one, many) = match origin {
            Origin::Unit(unit) => (Some(*unit), None),
            Origin::Units(group) => (None, self.groups.get(*group as usize)),
            Origin::Nothing => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    pub(super) fn first_unit(&self, origin: &Origin) -> u32 {
        match origin {
            Origin::Unit(unit) => *unit,
            Origin::Units(group) => self
                .groups
                .get(*group as usize)
                .and_then(|units| units.first())
                .copied()
                .unwrap_or(u32::MAX),
            Origin::Nothing => u32::MAX,
        }
    }

    pub(super) fn is_live(&self, origin: &Origin) -> bool {
        match origin {
            Origin::Unit(unit) => self.is_live_unit(*unit),
            // A unit that is not live has a verdict: without any, a group is not walked for each of its emissions.
            Origin::Units(_) if self.verdicts.is_empty() => true,
            Origin::Units(group) => self
                .groups
                .get(*group as usize)
                .is_some_and(|units| units.iter().all(|unit| self.is_live_unit(*unit))),
            Origin::Nothing => false,
        }
    }

    pub(super) fn is_live_unit(&self, unit: u32) -> bool {
        self.units
            .get(unit as usize)
            .is_some_and(|unit| unit.state == UnitState::Live)
    }

    /// When the stream received a message; 0 if no step asked for that.
    pub(super) fn arrival(&self, unit: u32) -> i64 {
        let index = unit as usize;
        let released = index
            .checked_sub(self.batch.len())
            .and_then(|index| self.released.get(index));
        let times = &self.batch.messages.arrival_times;
        released.map_or_else(
            || times.get(index).copied().unwrap_or_default(),
            |source| source.arrival_ms,
        )
    }

    pub(super) fn place(&self, unit: u32) -> (&str, u64) {
        let index = unit as usize;
        match index
            .checked_sub(self.batch.len())
            .and_then(|index| self.released.get(index))
        {
            Some(source) => (&source.place.0, source.place.1),
            None => self.batch.place(index),
        }
    }
}
