//! The model: every user record of every record that was read, with what became of it.

use md5::{Digest, Md5};
use proptest::prelude::*;

use super::super::*;
use crate::aggregate::{AggregateBounds, Aggregator};
use crate::shard::effective_hash;

pub(super) const HALF: HashRange = HashRange {
    start: 0,
    end: u128::MAX / 2,
};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// What a record is made of: its user records, by key; a plain record has one.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Plain(u8),
    Container(Vec<u8>),
    Empty,
    Damaged,
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => (0_u8..4).prop_map(Shape::Plain),
        4 => prop::collection::vec(0_u8..4, 2..7).prop_map(Shape::Container),
        1 => Just(Shape::Empty),
        1 => Just(Shape::Damaged),
    ]
}

pub(super) fn sequence(number: usize) -> SequenceNumber {
    SequenceNumber::parse(number.to_string()).unwrap()
}

fn key(number: u8) -> String {
    format!("key-{number}")
}

fn payload(record: usize, sub: usize) -> String {
    format!("{record}/{sub}")
}

pub(super) fn record(number: usize, shape: &Shape) -> Record {
    let (key, data) = match shape {
        Shape::Plain(own) => (key(*own), payload(number, 0).into()),
        Shape::Container(keys) => {
            let mut aggregator = Aggregator::new(HashRange::FULL, AggregateBounds::default());
            for (sub, own) in keys.iter().enumerate() {
                let packed = aggregator.add(&key(*own), None, payload(number, sub).as_bytes());
                assert_eq!(packed, Ok(None));
            }
            ("a".to_owned(), aggregator.finish().unwrap().data)
        }
        Shape::Empty => {
            let message = b"\x0a\x01k";
            let checksum = Md5::digest(message);
            (
                "a".to_owned(),
                [&MAGIC[..], message, &checksum].concat().into(),
            )
        }
        Shape::Damaged => ("a".to_owned(), [&MAGIC[..], &[7; 40]].concat().into()),
    };
    Record {
        sequence: sequence(number),
        key: key.into(),
        data,
        arrival_ms: i64::try_from(number).unwrap(),
    }
}

/// A user record in the model.
#[derive(Clone, Debug)]
struct User {
    key: String,
    data: Vec<u8>,
    is_dropped: bool,
    slot: Option<Slot>,
    is_resolved: bool,
}

#[derive(Clone, Debug)]
struct Held {
    number: usize,
    bytes: u64,
    is_damaged: bool,
    users: Vec<User>,
    /// User records that were looked at.
    next: usize,
    is_begun: bool,
    is_gone: bool,
}

impl Held {
    fn new(number: usize, shape: &Shape, opening: Opening) -> Self {
        let record = record(number, shape);
        let user = |key: String, data: Vec<u8>| User {
            key,
            data,
            is_dropped: false,
            slot: None,
            is_resolved: false,
        };
        let whole = || vec![user(record.key.to_string(), record.data.to_vec())];
        let is_opened = opening.deaggregate.is_some();
        let mut users = match shape {
            Shape::Container(keys) if is_opened => {
                let users = keys.iter().enumerate();
                users
                    .map(|(sub, own)| user(key(*own), payload(number, sub).into()))
                    .collect()
            }
            Shape::Empty if is_opened => Vec::new(),
            _ => whole(),
        };
        if matches!(shape, Shape::Container(_)) && is_opened {
            let outside = |user: &User| {
                !opening
                    .range
                    .contains(effective_hash(&user.key, None).unwrap())
            };
            let any = users.iter().any(outside);
            for user in &mut users {
                user.is_dropped = match opening.deaggregate {
                    Some(OutsideRange::DropContainer) => any,
                    Some(OutsideRange::DropRecord) => outside(user),
                    Some(OutsideRange::Keep) | None => false,
                };
            }
        }
        Self {
            number,
            bytes: (record.key.len() + record.data.len()) as u64,
            is_damaged: is_opened && matches!(shape, Shape::Damaged),
            users,
            next: 0,
            is_begun: false,
            is_gone: false,
        }
    }

    fn is_opened(&self) -> bool {
        self.is_begun && self.next == self.users.len()
    }

    fn unresolved(&self) -> usize {
        let users = self.users.iter();
        users
            .filter(|user| user.slot.is_some() && !user.is_resolved)
            .count()
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    held: Vec<Held>,
    resume: Option<Position>,
    is_closed: bool,
    slots: u64,
    pub(super) intake: Intake,
}

impl Model {
    pub(super) fn new(resume: Option<Position>) -> Self {
        Self {
            resume,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, number: usize, shape: &Shape, opening: Opening) {
        let is_known = self.held.last().is_some_and(|last| number <= last.number)
            || self
                .resume
                .as_ref()
                .is_some_and(|resume| sequence(number) < resume.sequence);
        if is_known || self.is_closed {
            self.intake.repeated += 1;
        } else {
            self.held.push(Held::new(number, shape, opening));
        }
    }

    pub(super) fn open(&mut self, mut room: u64) -> Vec<(Slot, String, Vec<u8>, Position)> {
        let mut admitted = Vec::new();
        for held in &mut self.held {
            if room == 0 || self.is_closed {
                break;
            }
            if held.is_damaged && !held.is_begun {
                *self.intake.malformed.entry("checksum").or_default() += 1;
            }
            held.is_begun = true;
            while room > 0 && held.next < held.users.len() {
                let position = Position {
                    sequence: sequence(held.number),
                    sub_sequence: held.next as u64,
                };
                let user = &mut held.users[held.next];
                held.next += 1;
                if self
                    .resume
                    .as_ref()
                    .is_some_and(|resume| position <= *resume)
                {
                    self.intake.repeated += 1;
                } else if user.is_dropped {
                    self.intake.outside_range += 1;
                } else {
                    let slot = Slot(self.slots);
                    user.slot = Some(slot);
                    self.slots += 1;
                    self.intake.admitted += 1;
                    room -= 1;
                    admitted.push((slot, user.key.clone(), user.data.clone(), position));
                }
            }
        }
        admitted
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        for held in &mut self.held {
            held.is_gone = !held.is_begun;
        }
    }

    pub(super) fn unresolved(&self) -> Vec<(Slot, Position)> {
        let mut found = Vec::new();
        for held in &self.held {
            for (sub, user) in held.users.iter().enumerate() {
                if let Some(slot) = user.slot.filter(|_| !user.is_resolved) {
                    let sequence = sequence(held.number);
                    found.push((
                        slot,
                        Position {
                            sequence,
                            sub_sequence: sub as u64,
                        },
                    ));
                }
            }
        }
        found
    }

    pub(super) fn resolve(&mut self, slot: Slot) {
        for user in self.held.iter_mut().flat_map(|held| &mut held.users) {
            user.is_resolved |= user.slot == Some(slot);
        }
    }

    /// The last user record that is done before the first that is not, or the end of a record that is done as a whole.
    pub(super) fn watermark(&self) -> Option<Position> {
        let mut done = self.resume.clone();
        for held in &self.held {
            for (sub, user) in held.users.iter().enumerate() {
                if user.slot.is_some() && !user.is_resolved {
                    return done;
                }
                if user.slot.is_some() {
                    let sequence = sequence(held.number);
                    done = done.max(Some(Position {
                        sequence,
                        sub_sequence: sub as u64,
                    }));
                }
            }
            if !held.is_opened() {
                return done;
            }
            let sub_sequence = (held.users.len() as u64).saturating_sub(1);
            done = done.max(Some(Position {
                sequence: sequence(held.number),
                sub_sequence,
            }));
        }
        done
    }

    pub(super) fn usage(&self) -> Usage {
        let slotted = self
            .held
            .iter()
            .flat_map(|held| &held.users)
            .filter(|user| user.slot.is_some());
        let is_needed = |held: &&Held| {
            let is_done = held.is_opened() || (self.is_closed && held.is_begun);
            !(held.is_gone || is_done && held.unresolved() == 0)
        };
        Usage {
            records: self.unresolved().len() as u64,
            span: slotted.skip_while(|user| user.is_resolved).count() as u64,
            bytes: self
                .held
                .iter()
                .filter(is_needed)
                .map(|held| held.bytes)
                .sum(),
        }
    }
}
