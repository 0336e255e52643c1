//! The task that reads a shard, as the host has it.

use std::time::Duration;

use shardwright_core::{
    ConsumerEvent, ReadFailure, ReadResult, ReadSettings, ReadStep, Reader, StartAt,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::plan::Target;
use crate::process::{Fetch, Input, ReadOutcome};
use crate::stream::{Answer, Cursor, StreamError};

impl World {
    pub(super) fn fetch(&self, process: usize, from: StartAt) -> Fetch {
        let settings = ReadSettings {
            interval: self.scene.plan.settings.poll,
            records_max: self.scene.plan.settings.records_max,
            is_paced: true,
        };
        let wall_ms = self.wall_ms_of(process);
        Fetch {
            reader: Reader::new(self.clock_of(process), settings, from, wall_ms),
            cursor: None,
            is_waiting_for_room: false,
            is_over: false,
        }
    }

    pub(super) fn step_fetch(&mut self, process: usize, life: usize) {
        let now = self.clock_of(process);
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        if shell.fetch.is_over {
            return;
        }
        match shell.fetch.reader.step(now) {
            ReadStep::Ended => shell.fetch.is_over = true,
            ReadStep::WaitUntil(at) => {
                let at = self.real_after(process, at);
                self.at(at, Event::Consumer(process, life, Input::Fetch));
            }
            ReadStep::Iterator(start) => self.ask_iterator(process, life, &start),
            ReadStep::Read(limit) => self.reserve_then_read(process, life, limit),
        }
    }

    fn ask_iterator(&mut self, process: usize, life: usize, start: &StartAt) {
        let takes = self.scene.hop() + self.scene.hop();
        let is_refused = self.scene.is_refused(Fault::StreamFails, Target::Stream);
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let found = self
            .scene
            .stream
            .iterator(self.scene.now, &shell.shard, start);
        let cursor = found.ok().filter(|_| !is_refused);
        if let Some(cursor) = cursor {
            self.scene.note_iterator(life, start, cursor);
        }
        self.after(
            takes,
            Event::Consumer(process, life, Input::Iterator(cursor)),
        );
    }

    pub(super) fn got_iterator(&mut self, process: usize, life: usize, cursor: Option<Cursor>) {
        let now = self.clock_of(process);
        let random = self.processes[process].entropy.draw();
        if let Some(shell) = self.processes[process].shell(life) {
            match cursor {
                Some(cursor) => {
                    shell.fetch.cursor = Some(cursor);
                    shell.fetch.reader.got_iterator();
                }
                None => shell.fetch.reader.failed(now, ReadFailure::Other, random),
            }
        }
        self.step_fetch(process, life);
    }

    /// It was waiting for room, and its turn has come.
    pub(super) fn fetch_on(&mut self, process: usize, life: usize) {
        let waits = self.processes[process]
            .shell(life)
            .is_some_and(|shell| shell.fetch.is_waiting_for_room);
        if waits {
            self.step_fetch(process, life);
        }
    }

    /// Waits until the window has room for whatever the read may bring (BP-1).
    fn reserve_then_read(&mut self, process: usize, life: usize, limit: u32) {
        let began = self.clock_of(process);
        let known = &mut self.processes[process];
        let Some(at) = known.shells.iter().position(|shell| shell.life == life) else {
            return;
        };
        let shell = &mut known.shells[at];
        let waits = !known.budget.reserve_read(&shell.shard);
        shell.fetch.is_waiting_for_room = waits;
        self.give_room(process);
        if waits {
            return;
        }
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let Some(cursor) = shell.fetch.cursor else {
            return;
        };
        let answer = self.read(cursor, limit);
        let mut takes = self.scene.hop() + self.scene.hop();
        if self.scene.strikes(Fault::ReadSlow) {
            takes += self.scene.time.time(Duration::ZERO, Duration::from_secs(4));
        }
        let outcome = Box::new(ReadOutcome { began, answer });
        self.after(takes, Event::Consumer(process, life, Input::Read(outcome)));
    }

    /// An error says whether the iterator has expired.
    fn read(&mut self, cursor: Cursor, limit: u32) -> Result<Answer, bool> {
        if self.scene.is_refused(Fault::StreamFails, Target::Stream) {
            return Err(false);
        }
        let answer = self.scene.read(cursor, limit);
        answer.map_err(|error| error == StreamError::ExpiredIterator)
    }

    pub(super) fn got_read(&mut self, process: usize, life: usize, outcome: ReadOutcome) {
        let now = self.clock_of(process);
        let random = self.processes[process].entropy.draw();
        let known = &mut self.processes[process];
        let Some(at) = known.shells.iter().position(|shell| shell.life == life) else {
            return;
        };
        let shell = &mut known.shells[at];
        if shell.fetch.is_over {
            // Aborted while it read; its reservation is given back already.
            return;
        }
        let answer = match outcome.answer {
            Ok(answer) => answer,
            Err(is_expired) => {
                let failure = if is_expired {
                    ReadFailure::ExpiredIterator
                } else {
                    ReadFailure::Other
                };
                shell.fetch.reader.failed(now, failure, random);
                known.budget.end_read(&shell.shard);
                self.give_room(process);
                return self.step_fetch(process, life);
            }
        };
        let bytes = answer.records.iter().map(|record| record.data.len() as u64);
        shell.fetch.reader.got_records(
            outcome.began,
            ReadResult {
                records: answer.records.len() as u32,
                bytes: bytes.sum(),
                last: answer.records.last().map(|record| record.sequence.clone()),
                millis_behind_latest: answer.millis_behind_latest,
                is_end: answer.next.is_none(),
            },
        );
        if let Some(next) = answer.next {
            shell.fetch.cursor = Some(next);
        }
        let shard = shell.shard.clone();
        self.note_read(process, life, &answer);
        let end = answer.next.is_none().then_some(answer.children);
        self.handle(
            process,
            life,
            ConsumerEvent::Read {
                records: answer.records,
                end,
                millis_behind_latest: answer.millis_behind_latest,
            },
        );
        self.processes[process].budget.end_read(&shard);
        self.give_room(process);
        let bound = self.scene.plan.settings.in_flight_bytes;
        let rule = self.scene.ledger.check_bytes(process, bound);
        self.scene.hold(rule);
        self.step_fetch(process, life);
    }

    fn note_read(&mut self, process: usize, life: usize, answer: &Answer) {
        let Some(first) = answer.records.first() else {
            return;
        };
        let count = answer.records.len();
        let shard = self.scene.ledger.lives[life].shard;
        self.scene.tell(|| {
            format!(
                "p{process} reads {count} records of s{shard} from {}",
                first.sequence
            )
        });
        self.scene
            .ledger
            .note_read(&self.scene.stream, life, &answer.records);
    }
}
