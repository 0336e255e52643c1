//! The in-flight window of one shard: what has been read and is not yet done with.
//!
//! Records enter whole and in order. Containers are opened one user record at a time, as far as there is room, so that a
//! container of any size passes through a window of any size. Each user record gets a [`Slot`]; slots are resolved in any
//! order, and the watermark is the highest position with nothing unresolved below it (CP-1).
//!
//! A container's bytes count until the last of its user records is resolved, because that is how long they are held. The
//! payload is never copied: an entry is two spans into its container.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::deaggregate::{Deaggregator, OutsideRange};
use crate::position::{Position, SequenceNumber};
use crate::record::Record;
use crate::shard::HashRange;

mod opening;
mod ring;
#[cfg(test)]
mod tests;

use ring::{Container, Entry, Front, release_if_done};

/// A user record's number in its window, rising by one; it is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// How records are taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// What happens to user records outside the shard's range; none: containers are not opened at all.
    pub deaggregate: Option<OutsideRange>,
    /// The shard's range.
    pub range: HashRange,
}

/// A user record that has just got its slot.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// Its slot.
    pub slot: Slot,
    /// A hash of its key: what lanes and parking go by. Two keys that share one are treated as one key.
    pub key_hash: u64,
    /// Bytes of payload.
    pub bytes: u32,
}

/// A user record in the window.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its payload.
    pub data: &'a [u8],
    /// The sequence number of the record that carried it.
    pub sequence: &'a SequenceNumber,
    /// Its index in that record.
    pub sub_sequence: u64,
    /// When the stream received that record, milliseconds since the Unix epoch.
    pub arrival_ms: i64,
    /// Tells containers apart; equal for messages of one container.
    pub container: u64,
}

/// A user record in the window as it goes into a batch: its key is not looked at again.
#[derive(Clone, Copy, Debug)]
pub struct RawMessage<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) sequence: &'a SequenceNumber,
    pub(crate) sub_sequence: u64,
    pub(crate) arrival_ms: i64,
    pub(crate) container: u64,
}

impl<'a> From<&MessageRef<'a>> for RawMessage<'a> {
    fn from(message: &MessageRef<'a>) -> Self {
        Self {
            key: message.key.as_bytes(),
            data: message.data,
            sequence: message.sequence,
            sub_sequence: message.sub_sequence,
            arrival_ms: message.arrival_ms,
            container: message.container,
        }
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User records that are unresolved.
    pub records: u64,
    /// User records from the watermark to the newest one; of a consumer, from the durable checkpoint on.
    pub span: u64,
    /// Bytes of the records held, unopened ones included.
    pub bytes: u64,
}

/// Things that happened on the way in, since the window was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// User records that got a slot.
    pub admitted: u64,
    /// Records that begin like a container and are none, by reason. Each was admitted whole.
    pub malformed: BTreeMap<&'static str, u64>,
    /// User records dropped by the range filter that was asked for.
    pub outside_range: u64,
    /// Records that were read a second time, and user records at or below the checkpoint that was resumed.
    pub repeated: u64,
}

/// The window of one shard.
#[derive(Debug)]
pub struct Window {
    opening: Opening,
    /// User records at or below are done already: they were before the process started.
    resume_after: Option<Position>,
    /// The newest record taken in, once it has left.
    last_left: Option<SequenceNumber>,
    /// Nothing more is taken in or opened.
    is_closed: bool,
    deaggregator: Deaggregator,
    containers: VecDeque<Container>,
    first_container: u64,
    /// How many containers, from the front, are opened.
    opened: usize,
    front: Option<Front>,
    spare: Front,
    entries: VecDeque<Entry>,
    first_slot: u64,
    done: Option<Position>,
    /// In the first container, the highest sub-sequence number below the first entry.
    done_in_front: Option<u32>,
    records: u64,
    bytes: u64,
    intake: Intake,
}

impl Window {
    /// An empty window of a shard that is done up to and including `resume_after`.
    pub fn new(opening: Opening, resume_after: Option<Position>) -> Self {
        Self {
            opening,
            done: resume_after.clone(),
            resume_after,
            last_left: None,
            is_closed: false,
            deaggregator: Deaggregator::new(),
            containers: VecDeque::new(),
            first_container: 0,
            opened: 0,
            front: None,
            spare: Front::default(),
            entries: VecDeque::new(),
            first_slot: 0,
            done_in_front: None,
            records: 0,
            bytes: 0,
            intake: Intake::default(),
        }
    }

    /// Takes records in, in sequence order. What was read before, or lies below the checkpoint, is left out.
    pub fn push(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            let is_known = self
                .last_read()
                .is_some_and(|last| record.sequence <= *last)
                || self
                    .resume_after
                    .as_ref()
                    .is_some_and(|done| record.sequence < done.sequence);
            if is_known || self.is_closed {
                self.intake.repeated += 1;
                continue;
            }
            let bytes = (record.data.len() + record.key.len()) as u64;
            self.bytes += bytes;
            self.containers.push_back(Container {
                sequence: record.sequence,
                key: record.key,
                data: record.data,
                arrival_ms: record.arrival_ms,
                is_sound: None,
                bytes,
                last_sub: 0,
                is_aggregate: false,
                is_opened: false,
                is_cut: false,
                unresolved: 0,
                in_ring: 0,
            });
        }
    }

    /// The number of the newest record taken in: where reading goes on after an iterator expired.
    pub fn last_read(&self) -> Option<&SequenceNumber> {
        self.containers
            .back()
            .map(|container| &container.sequence)
            .or(self.last_left.as_ref())
    }

    /// Whether a record waits to be opened.
    pub fn has_unopened(&self) -> bool {
        !self.is_closed && self.opened < self.containers.len()
    }

    /// A user record that is not resolved yet; none for a slot that is.
    pub fn message(&self, slot: Slot) -> Option<MessageRef<'_>> {
        let raw = self.raw_message(slot)?;
        Some(MessageRef {
            key: std::str::from_utf8(raw.key).unwrap_or_default(),
            data: raw.data,
            sequence: raw.sequence,
            sub_sequence: raw.sub_sequence,
            arrival_ms: raw.arrival_ms,
            container: raw.container,
        })
    }

    /// The same, where its key's bytes will do.
    pub(crate) fn raw_message(&self, slot: Slot) -> Option<RawMessage<'_>> {
        let entry = self.entry(slot)?;
        let container = self.container(entry.container)?;
        let key = if container.is_aggregate {
            &container.data[..]
        } else {
            container.key.as_bytes()
        };
        Some(RawMessage {
            key: entry.key.of(key),
            data: entry.data.of(&container.data),
            sequence: &container.sequence,
            sub_sequence: u64::from(entry.sub),
            arrival_ms: container.arrival_ms,
            container: entry.container,
        })
    }

    /// The payload of a user record that is not resolved yet, without a copy.
    pub fn payload(&self, slot: Slot) -> Option<Bytes> {
        let entry = self.entry(slot)?;
        let container = self.container(entry.container)?;
        Some(
            container
                .data
                .slice(entry.data.start as usize..entry.data.end as usize),
        )
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        let index = usize::try_from(slot.0.checked_sub(self.first_slot)?).ok()?;
        self.entries.get(index).filter(|entry| !entry.is_resolved)
    }

    fn container(&self, index: u64) -> Option<&Container> {
        self.containers
            .get(usize::try_from(index.checked_sub(self.first_container)?).ok()?)
    }

    /// Resolves a user record: it is acked and all it emitted is delivered, or it is a dead letter on disk. A second time
    /// changes nothing.
    pub fn resolve(&mut self, slot: Slot) {
        let Some(index) = slot.0.checked_sub(self.first_slot) else {
            return;
        };
        let Some(entry) = self
            .entries
            .get_mut(index as usize)
            .filter(|entry| !entry.is_resolved)
        else {
            return;
        };
        entry.is_resolved = true;
        self.records -= 1;
        let at = (entry.container - self.first_container) as usize;
        if let Some(container) = self.containers.get_mut(at) {
            container.unresolved -= 1;
            release_if_done(container, &mut self.bytes);
        }
    }

    /// Moves the watermark over what has been resolved. Called once after a series of [`resolve`](Self::resolve).
    pub fn fold(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.is_resolved) {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.first_slot += 1;
            self.leave_containers_before(entry.container);
            if let Some(container) = self.containers.front_mut() {
                container.in_ring -= 1;
                self.done_in_front = Some(entry.sub);
            }
        }
        let next = self
            .entries
            .front()
            .map_or(u64::MAX, |entry| entry.container);
        self.leave_containers_before(next);
    }

    /// Drops containers from the front that are opened and have no entry left.
    fn leave_containers_before(&mut self, next: u64) {
        while self.first_container < next {
            let Some(container) = self.containers.front() else {
                break;
            };
            if !container.is_opened || container.in_ring > 0 {
                break;
            }
            let Some(container) = self.containers.pop_front() else {
                break;
            };
            self.first_container += 1;
            self.opened -= 1;
            self.done_in_front = None;
            let sub_sequence = u64::from(container.last_sub);
            let position = Position {
                sequence: container.sequence,
                sub_sequence,
            };
            if self.containers.is_empty() {
                self.last_left = Some(position.sequence.clone());
            }
            // A container that was resumed may hold nothing new; the watermark never moves back (CP-2).
            if self.done.as_ref().is_none_or(|done| *done < position) {
                self.done = Some(position);
            }
        }
    }

    /// The highest position with nothing unresolved below it; none if nothing was ever done.
    pub fn watermark(&self) -> Option<Position> {
        match (self.done_in_front, self.containers.front()) {
            (Some(sub), Some(front)) => Some(Position {
                sequence: front.sequence.clone(),
                sub_sequence: u64::from(sub) + u64::from(mutant!(WatermarkAhead)),
            }),
            _ => self.done.clone(),
        }
    }

    /// Closes the window: what has not got a slot yet is forgotten, and read again by whoever reads the shard next.
    ///
    /// A container that is half admitted never counts as opened, so that the watermark stops inside it.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let is_front_begun = self.front.take().is_some_and(|front| front.next > 0);
        if let Some(begun) = self
            .containers
            .get_mut(self.opened)
            .filter(|_| is_front_begun)
        {
            begun.is_cut = true;
            release_if_done(begun, &mut self.bytes);
        }
        for container in self
            .containers
            .drain(self.opened + usize::from(is_front_begun)..)
        {
            self.bytes -= container.bytes;
        }
    }

    /// User records that the watermark has passed since the window was made.
    pub fn done(&self) -> u64 {
        self.first_slot
    }

    /// What is held.
    pub fn usage(&self) -> Usage {
        Usage {
            records: self.records,
            span: self.entries.len() as u64,
            bytes: self.bytes,
        }
    }

    /// Whether nothing is left: everything that was taken in is resolved and below the watermark.
    pub fn is_drained(&self) -> bool {
        self.entries.is_empty() && !self.has_unopened()
    }

    /// What came in.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }
}

/// What lanes and parking go by. It is the same in every process, and no promise from version to version.
pub(crate) fn key_hash(key: &str) -> u64 {
    hash_bytes(key.as_bytes())
}

fn hash_bytes(key: &[u8]) -> u64 {
    xxh3_64(key)
}
