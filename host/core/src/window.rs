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

use crate::deaggregate::{Contents, Deaggregator, OutsideRange, Span, UserRecordSpan};
use crate::position::{Position, SequenceNumber};
use crate::record::Record;
use crate::shard::HashRange;

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

    /// Admits at most `room` user records, in order, and tells of each.
    pub fn open(&mut self, room: u64, mut admitted: impl FnMut(Admitted)) {
        let mut left = room;
        while left > 0 && self.begin_container() {
            left = self.admit_from_front(left, &mut admitted);
        }
        self.fold();
    }

    /// Makes sure that a container is being opened; false if there is none left.
    fn begin_container(&mut self) -> bool {
        if self.is_closed {
            return false;
        }
        if self.front.is_some() {
            return true;
        }
        let Some(container) = self.containers.get_mut(self.opened) else {
            return false;
        };
        let mut front = std::mem::take(&mut self.spare);
        front.records.clear();
        front.dropped.clear();
        front.next = 0;
        if let Some(outside) = self.opening.deaggregate {
            match self.deaggregator.open(&container.data) {
                Contents::Plain => {}
                Contents::Aggregate(records) => {
                    container.is_aggregate = true;
                    front.records.extend_from_slice(records);
                    outside.dropped(
                        &container.data,
                        records,
                        self.opening.range,
                        &mut front.dropped,
                    );
                }
                Contents::Malformed(malformed) => {
                    *self.intake.malformed.entry(malformed.reason()).or_default() += 1;
                }
            }
        }
        if !container.is_aggregate {
            front.records.push(UserRecordSpan {
                key: Span {
                    start: 0,
                    end: container.key.len() as u32,
                },
                explicit_hash_key: None,
                data: Span {
                    start: 0,
                    end: container.data.len() as u32,
                },
            });
        }
        container.last_sub = (front.records.len() as u32).saturating_sub(1);
        self.front = Some(front);
        true
    }

    fn admit_from_front(&mut self, room: u64, admitted: &mut impl FnMut(Admitted)) -> u64 {
        let Some(mut front) = self.front.take() else {
            return room;
        };
        let Some(container) = self.containers.get_mut(self.opened) else {
            return room;
        };
        let index = self.first_container + self.opened as u64;
        let resume = self
            .resume_after
            .as_ref()
            .filter(|done| done.sequence == container.sequence);
        let mut left = room;
        let mut hash = (Span { start: 0, end: 0 }, hash_bytes(b""));
        while left > 0 {
            let Some(record) = front.records.get(front.next) else {
                break;
            };
            let sub = front.next as u32;
            front.next += 1;
            if resume.is_some_and(|done| u64::from(sub) <= done.sub_sequence) {
                self.intake.repeated += 1;
                continue;
            }
            if !front.dropped.is_empty() && front.dropped.binary_search(&sub).is_ok() {
                self.intake.outside_range += 1;
                continue;
            }
            if record.key != hash.0 {
                let source = if container.is_aggregate {
                    &container.data[..]
                } else {
                    container.key.as_bytes()
                };
                hash = (record.key, hash_bytes(record.key.of(source)));
            }
            let slot = Slot(self.first_slot + self.entries.len() as u64);
            self.entries.push_back(Entry {
                container: index,
                key: record.key,
                data: record.data,
                sub,
                is_resolved: false,
            });
            container.unresolved += 1;
            container.in_ring += 1;
            self.records += 1;
            self.intake.admitted += 1;
            left -= 1;
            admitted(Admitted {
                slot,
                key_hash: hash.1,
                bytes: record.data.len() as u32,
            });
        }
        if front.next < front.records.len() {
            self.front = Some(front);
        } else {
            container.is_opened = true;
            self.spare = front;
            release_if_done(container, &mut self.bytes);
            self.opened += 1;
        }
        left
    }

    /// A user record that is not resolved yet; none for a slot that is.
    pub fn message(&self, slot: Slot) -> Option<MessageRef<'_>> {
        let entry = self.entry(slot)?;
        let container = self.container(entry.container)?;
        let key = if container.is_aggregate {
            &container.data[..]
        } else {
            container.key.as_bytes()
        };
        Some(MessageRef {
            key: std::str::from_utf8(entry.key.of(key)).unwrap_or_default(),
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
                sub_sequence: u64::from(sub),
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
