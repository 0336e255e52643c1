//! When a shard is read, from where, and how much is asked for.
//!
//! The service gives one consumer group 5 reads and 2 MB a second and shard, and at most 10 MB an answer; who asks for more
//! is throttled, and has then used up a read for nothing. So the reader paces itself, and backs off by jittered doubling
//! when it is refused all the same. An iterator that expired is replaced by one after the last record *fetched*.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::limits::{
    LATEST_MARGIN_MS, READ_ANSWER_BYTES_MAX, READ_BYTES_PER_SECOND, READ_RETRY_FIRST,
    READ_RETRY_MAX, READ_SPACING,
};
use crate::position::{SequenceNumber, StartAt};
use crate::time::Instant;

#[cfg(test)]
mod tests;

const RETRY: Backoff = Backoff {
    first: READ_RETRY_FIRST,
    max: READ_RETRY_MAX,
};

/// How a shard is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSettings {
    /// The pause after a read that reached the tip.
    pub interval: Duration,
    /// The most records that one read asks for.
    pub records_max: u32,
    /// Whether to keep to what the service gives.
    pub is_paced: bool,
}

/// What the reader wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Nothing before this moment.
    WaitUntil(Instant),
    /// An iterator that begins here.
    Iterator(StartAt),
    /// A read of at most this many records, with the iterator it has.
    Read(u32),
    /// Nothing any more: the shard has been read to its end.
    Ended,
}

/// What a failed call means for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The iterator is too old.
    ExpiredIterator,
    /// Anything else: it is tried again after a pause.
    Other,
}

/// What a read brought, for the pacing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResult {
    /// How many records.
    pub records: u32,
    /// Their bytes.
    pub bytes: u64,
    /// The number of the last one.
    pub last: Option<SequenceNumber>,
    /// How far behind the tip it ended, in milliseconds.
    pub millis_behind_latest: u64,
    /// Whether it was the shard's last.
    pub is_end: bool,
}

/// Reads one shard.
#[derive(Debug)]
pub struct Reader {
    settings: ReadSettings,
    start: StartAt,
    /// Wall clock of the start, milliseconds since the Unix epoch: what `LATEST` means from then on.
    started_ms: i64,
    has_iterator: bool,
    is_ended: bool,
    next_at: Instant,
    failures: u32,
    /// Mean bytes of a record lately; none before the first.
    record_bytes: Option<u64>,
}

impl Reader {
    /// A reader that begins at `start`. `started_ms` is the wall clock now.
    pub fn new(now: Instant, settings: ReadSettings, start: StartAt, started_ms: i64) -> Self {
        Self {
            settings,
            start,
            started_ms,
            has_iterator: false,
            is_ended: false,
            next_at: now,
            failures: 0,
            record_bytes: None,
        }
    }

    /// Other settings, from the next read on.
    pub fn set_settings(&mut self, settings: ReadSettings) {
        self.settings = settings;
    }

    /// What to do now.
    pub fn step(&self, now: Instant) -> ReadStep {
        if self.is_ended {
            ReadStep::Ended
        } else if now < self.next_at {
            ReadStep::WaitUntil(self.next_at)
        } else if self.has_iterator {
            ReadStep::Read(self.limit())
        } else {
            ReadStep::Iterator(self.start.clone())
        }
    }

    /// As many records as fit into the largest answer, going by those that came: some servers know no such bound.
    fn limit(&self) -> u32 {
        let fitting = READ_ANSWER_BYTES_MAX / self.record_bytes.unwrap_or(1).max(1);
        self.settings
            .records_max
            .min(u32::try_from(fitting).unwrap_or(u32::MAX))
            .max(1)
    }

    /// An iterator came.
    pub fn got_iterator(&mut self) {
        self.has_iterator = true;
        self.failures = 0;
        if self.start == StartAt::Latest {
            // From here on the iterator is what LATEST was. Should it expire before a record has come, asking for LATEST
            // again would skip what was written meanwhile.
            self.start = StartAt::AtTimestamp(self.started_ms - LATEST_MARGIN_MS);
        }
    }

    /// A read came back, begun at `began`.
    pub fn got_records(&mut self, began: Instant, result: ReadResult) {
        self.failures = 0;
        self.is_ended = result.is_end;
        let limit = self.limit();
        if let Some(last) = result.last {
            self.start = StartAt::AfterSequence(last);
            self.record_bytes = Some(result.bytes.div_ceil(u64::from(result.records.max(1))));
        }
        let is_at_tip = result.millis_behind_latest == 0 && result.records < limit;
        let idle = if is_at_tip {
            self.settings.interval
        } else {
            Duration::ZERO
        };
        let paced = if self.settings.is_paced {
            let share =
                u128::from(result.bytes) * 1_000_000_000 / u128::from(READ_BYTES_PER_SECOND);
            READ_SPACING.max(Duration::from_nanos(
                u64::try_from(share).unwrap_or(u64::MAX),
            ))
        } else {
            Duration::ZERO
        };
        self.next_at = began + idle.max(paced);
    }

    /// A call failed. `random` is uniform over all `u64`.
    pub fn failed(&mut self, now: Instant, failure: ReadFailure, random: u64) {
        match failure {
            ReadFailure::ExpiredIterator if self.has_iterator => {
                self.has_iterator = false;
                if mutant!(ExpiredToLatest) {
                    self.start = StartAt::Latest;
                }
                self.next_at = now;
            }
            ReadFailure::ExpiredIterator | ReadFailure::Other => {
                self.failures = self.failures.saturating_add(1);
                self.next_at = now + RETRY.pause(self.failures, random.into());
            }
        }
    }

    /// How many calls have failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
