//! Reads one shard: asks core's reader what to do, waits, does it.

use std::sync::Arc;

use shardwright_core::{Entropy, ReadFailure, ReadResult, ReadStep, Reader, ShardId, StartAt};
use tokio::sync::mpsc;

use super::consumer::Input;
use super::shared::{Shared, Turns};
use crate::ports::{ErrorKind, PortError, ReadAnswer, ShardIterator};

/// A report after this many failures in a row, and after every such number of further ones.
const FAILURES_PER_REPORT: u32 = 5;

/// Reads a shard from `start` until its end, or until it is aborted.
pub(super) struct Fetcher {
    pub(super) shared: Arc<Shared>,
    pub(super) shard: ShardId,
    pub(super) turns: Arc<Turns>,
    pub(super) out: mpsc::Sender<Input>,
    pub(super) entropy: Entropy,
}

impl Fetcher {
    pub(super) async fn run(mut self, start: StartAt) {
        let settings = self.shared.read_settings();
        let clock = Arc::clone(&self.shared.clock);
        let mut reader = Reader::new(clock.now(), settings, start, clock.unix_ms());
        let mut iterator = ShardIterator(String::new());
        loop {
            reader.set_settings(self.shared.read_settings());
            match reader.step(clock.now()) {
                ReadStep::Ended => return,
                ReadStep::WaitUntil(at) => clock.sleep(at.since(clock.now())).await,
                ReadStep::Iterator(start) => {
                    match self.shared.source.iterator(&self.shard, &start).await {
                        Ok(found) => {
                            iterator = found;
                            reader.got_iterator();
                        }
                        Err(error) => self.failed(&mut reader, &error),
                    }
                }
                ReadStep::Read(limit) => {
                    self.reserve().await;
                    let began = clock.now();
                    match self.shared.source.read(&iterator, limit).await {
                        Ok(answer) => {
                            reader.got_records(began, result_of(&answer));
                            if let Some(next) = &answer.next {
                                iterator = next.clone();
                            }
                            // The consumer gives the reservation back when it has the answer.
                            if self.out.send(Input::Read(answer)).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => {
                            self.shared.budget(|budget| budget.end_read(&self.shard));
                            self.failed(&mut reader, &error);
                        }
                    }
                }
            }
        }
    }

    /// Waits until the window has room for whatever the next read may bring (BP-1).
    async fn reserve(&self) {
        while !self
            .shared
            .budget(|budget| budget.reserve_read(&self.shard))
        {
            self.turns.read.notified().await;
        }
    }

    fn failed(&mut self, reader: &mut Reader, error: &PortError) {
        let failure = match error.kind {
            ErrorKind::ExpiredIterator => ReadFailure::ExpiredIterator,
            _ => ReadFailure::Other,
        };
        let random = self.entropy.draw() as u64;
        reader.failed(self.shared.clock.now(), failure, random);
        let pipeline = self.shared.name();
        let failures = reader.failures();
        let needs_help = !matches!(
            error.kind,
            ErrorKind::ExpiredIterator | ErrorKind::Throttled | ErrorKind::Transient
        );
        if failures > 0
            && (failures.is_multiple_of(FAILURES_PER_REPORT) || (failures == 1 && needs_help))
        {
            tracing::warn!(pipeline, shard = %self.shard, failures, %error, "the shard cannot be read; trying again");
        } else {
            tracing::debug!(pipeline, shard = %self.shard, failures, %error, "a read failed");
        }
    }
}

fn result_of(answer: &ReadAnswer) -> ReadResult {
    ReadResult {
        records: answer.records.len() as u32,
        bytes: answer
            .records
            .iter()
            .map(|record| record.data.len() as u64)
            .sum(),
        last: answer.records.last().map(|record| record.sequence.clone()),
        millis_behind_latest: answer.millis_behind_latest,
        is_end: answer.next.is_none(),
    }
}
