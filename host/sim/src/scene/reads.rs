//! The stream, as faults let it be seen.

use std::time::Duration;

use shardwright_core::{Shard, ShardListing, StartAt};

use super::Scene;
use crate::faults::Fault;
use crate::stream::{Answer, Cursor, StreamError};

impl Scene {
    /// Begins to list shards: how long that takes more than a call, and what its first pages show, if they are of now.
    pub fn begin_listing(&mut self, which: ShardListing) -> Option<(Duration, Vec<Shard>)> {
        self.strikes(Fault::ListingTorn).then(|| {
            let takes = self.time.time(Duration::ZERO, Duration::from_secs(8));
            (takes, self.stream.list(which))
        })
    }

    /// What the listing shows in the end.
    pub fn end_listing(&mut self, which: ShardListing, before: Option<Vec<Shard>>) -> Vec<Shard> {
        let is_unfiltered = self.strikes(Fault::ListingUnfiltered);
        let mut shards = self.stream.list(if is_unfiltered {
            ShardListing::All
        } else {
            which
        });
        // The first pages are of one moment, the last ones of another.
        if let Some(before) = before {
            let first_pages = self.time.below(before.len() as u64 + 1) as usize;
            for old in &before[..first_pages] {
                match shards.iter_mut().find(|shard| shard.id == old.id) {
                    Some(shard) => shard.clone_from(old),
                    None => shards.push(old.clone()),
                }
            }
        }
        shards
    }

    /// A life of a shard's consumer has got an iterator.
    pub fn note_iterator(&mut self, life: usize, start: &StartAt, cursor: Cursor) {
        let asked_for = self.plan.settings.start;
        self.ledger
            .note_iterator(&self.stream, asked_for, life, start, cursor);
    }

    /// A read: with an iterator that has expired, of what was read before, of too little, of nothing.
    pub fn read(&mut self, mut cursor: Cursor, mut limit: u32) -> Result<Answer, StreamError> {
        if self.strikes(Fault::IteratorExpires) {
            return Err(StreamError::ExpiredIterator);
        }
        if self.strikes(Fault::ReadAgain) {
            cursor.next = cursor.next.saturating_sub(2).max(cursor.first);
        }
        if self.strikes(Fault::ReadShort) {
            limit = 1;
        }
        let bytes = self.plan.settings.answer;
        let mut answer = self.stream.read(self.now, cursor, limit, bytes)?;
        if answer.next.is_none() && self.strikes(Fault::ChildrenUnnamed) {
            answer.children.clear();
        }
        if answer.next.is_some() && self.strikes(Fault::ReadEmpty) {
            answer.records.clear();
            answer.next = Some(cursor);
            answer.millis_behind_latest = answer.millis_behind_latest.max(1);
        }
        Ok(answer)
    }
}
