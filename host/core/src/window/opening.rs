//! Taking records apart: what is in the window is opened in order, as far as there is room.

use super::ring::{Entry, release_if_done};
use super::{Admitted, Slot, Window, hash_bytes};
use crate::deaggregate::{Contents, Span, UserRecordSpan, checksums};

impl Window {
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
        self.look_ahead();
        let Some(container) = self.containers.get_mut(self.opened) else {
            return false;
        };
        let mut front = std::mem::take(&mut self.spare);
        front.records.clear();
        front.dropped.clear();
        front.next = 0;
        if let Some(outside) = self.opening.deaggregate {
            match self
                .deaggregator
                .open_checked(&container.data, container.is_sound)
            {
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

    /// Looks at the checksums of the containers that are opened next, all at once.
    fn look_ahead(&mut self) {
        let is_known = self
            .containers
            .get(self.opened)
            .is_none_or(|next| next.is_sound.is_some());
        if is_known || self.opening.deaggregate.is_none() {
            return;
        }
        let ahead = self.containers.range(self.opened..);
        let found = checksums::are_sound(ahead.map(|container| &container.data[..]));
        let ahead = self.containers.range_mut(self.opened..);
        for (container, is_sound) in ahead.zip(found) {
            container.is_sound = Some(is_sound);
        }
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
            if resume.is_some_and(|done| {
                u64::from(sub) <= done.sub_sequence + u64::from(mutant!(ResumeOneFurther))
            }) {
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
}
