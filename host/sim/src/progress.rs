//! How far everything has come, by what is true.

use shardwright_core::{Checkpoint, CheckpointDelta, Record, StartAt};

use crate::checks::Broken;
use crate::ledger::{Ledger, Mark};
use crate::plan::Start;
use crate::stream::{Cursor, Stream};
use crate::table::Table;

impl Ledger {
    /// LV-1 and DL-1: what is not done yet, or not stored.
    pub fn what_is_left(&mut self, stream: &Stream, table: &Table) -> Option<Broken> {
        let shards = stream.shards().count();
        for index in 0..shards {
            let id = stream.shard(index).id.clone();
            let is_open = stream.closed_at(index).is_none();
            let Some(row) = table.row(&id) else {
                if is_open {
                    return Some(("LV-1", format!("{id} is open and has no lease")));
                }
                continue;
            };
            let checkpoint = row.checkpoint.clone();
            if !is_open && checkpoint != Checkpoint::ShardEnd {
                return Some((
                    "LV-1",
                    format!("{id} is closed and its lease is at {checkpoint}"),
                ));
            }
            let stored = self.up_to(stream, index, &checkpoint);
            let truth = self.shard(index);
            let unstored = truth.records[stored.min(truth.records.len())..].to_vec();
            let is_due = |record: &&u32| {
                let known = &self.records[**record as usize];
                !known.is_skipped && !known.is_trimmed
            };
            if let Some(record) = unstored.iter().find(is_due) {
                let index = self.records[*record as usize].index;
                return Some((
                    "LV-1",
                    format!("{id}[{index}] is above the checkpoint {checkpoint}"),
                ));
            }
        }
        (0..shards).find_map(|shard| {
            let left = self.first_due(shard)?;
            let index = self.records[left as usize].index;
            let id = &stream.shard(shard).id;
            Some(("DL-1", format!("{id}[{index}] was never done")))
        })
    }

    /// Whether a shard may begin with what comes next: that was asked for, and nothing before it was followed.
    pub fn may_skip(&mut self, stream: &Stream, start: Start, shard: usize) -> bool {
        let parents = stream.shard(shard).parents.clone();
        let parents = parents.iter().filter_map(|parent| stream.index(parent));
        let mut parents: Vec<usize> = parents.collect();
        parents.retain(|parent| self.shard(*parent).was_leased);
        start == Start::Latest && parents.is_empty()
    }

    /// A life has got an iterator.
    ///
    /// What lies before the first one that anybody gets of a shard is nobody's, if the pipeline begins with what comes next; so
    /// is what lies before a later one of the first owner that names no instant. Whoever comes after that owner, also before
    /// anything was checkpointed, must find all that has arrived since.
    pub fn note_iterator(
        &mut self,
        stream: &Stream,
        asked_for: Start,
        life: usize,
        start: &StartAt,
        cursor: Cursor,
    ) {
        let shard = self.lives[life].shard;
        let mut before = self.lives[..life].iter();
        let is_first_life = before.all(|before| before.shard != shard);
        let was_begun = std::mem::replace(&mut self.shard(shard).was_begun, true);
        let is_beginning = match start {
            StartAt::Latest => !was_begun || is_first_life,
            StartAt::AtTimestamp(_) => !was_begun,
            StartAt::TrimHorizon | StartAt::AtSequence(_) | StartAt::AfterSequence(_) => false,
        };
        if is_beginning && self.may_skip(stream, asked_for, shard) {
            self.skip_before(shard, cursor.next);
        }
    }

    /// A life has got these records of its shard.
    pub fn note_read(&mut self, stream: &Stream, life: usize, records: &[Record]) {
        let Some(first) = records.first() else {
            return;
        };
        let number = stream.entry_of(&first.sequence) as u32;
        let shard = self.lives[life].shard;
        let place = self.shards[shard]
            .entries
            .partition_point(|entry| *entry < number);
        self.read(life, place, records.len());
    }

    /// A stop in good order repeats nothing: what has run and is done, with nothing undone before it, is stored.
    pub fn check_drained(&self, life: usize) -> Result<(), Broken> {
        let known = &self.lives[life];
        let next = self
            .shards
            .get(known.shard)
            .and_then(|shard| shard.records.get(known.stored));
        let Some(record) = next.map(|record| &self.records[*record as usize]) else {
            return Ok(());
        };
        if known.mark(record.index) == Mark::Done {
            let what = format!(
                "{} stops and has not stored that record {} is done",
                known.tenure.shard, record.index
            );
            return Err(("CP-3", what));
        }
        Ok(())
    }

    /// CP-1, CP-2 and SH-2, as a process asks the table for a checkpoint, for the first time or again.
    pub fn check_asked(
        &mut self,
        stream: &Stream,
        life: usize,
        to: &Checkpoint,
    ) -> Result<(), Broken> {
        let chain = &self.lives[life].chain;
        if chain.contains(to) {
            return Ok(());
        }
        let Some(from) = chain.last().filter(|last| *last < to).cloned() else {
            return Err(("CP-2", format!("{to} is asked for after {chain:?}")));
        };
        if *to == Checkpoint::ShardEnd {
            return self.check_end(stream, life, &from);
        }
        let delta = CheckpointDelta {
            from,
            to: to.clone(),
        };
        self.check_store(stream, life, &delta)
    }
}
