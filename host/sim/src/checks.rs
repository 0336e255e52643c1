//! What must hold, each rule under its invariant.

use shardwright_core::{Checkpoint, CheckpointDelta, FencedWrite, Lease, LeaseChange};

use crate::ledger::{Ledger, Life, Mark};
use crate::stream::Stream;
use crate::table::Table;

/// An invariant and what broke it.
pub type Broken = (&'static str, String);

fn broken(invariant: &'static str, what: String) -> Result<(), Broken> {
    Err((invariant, what))
}

impl Ledger {
    fn name(&self, stream: &Stream, record: u32) -> String {
        let record = &self.records[record as usize];
        let shard = &stream.shard(record.shard).id;
        format!("{shard}[{}] (key {})", record.index, record.key)
    }

    /// OR-1, SH-1 and the span, as a batch begins.
    pub fn check_begin(
        &mut self,
        stream: &Stream,
        life: usize,
        batch: &[u32],
        span: u64,
    ) -> Result<(), Broken> {
        if !self.lives[life].has_run {
            self.lives[life].has_run = true;
            let shard = self.lives[life].shard;
            self.check_parents(stream, shard)?;
        }
        for (place, &record) in batch.iter().enumerate() {
            self.check_first_attempt(stream, record)?;
            self.check_turn(stream, life, record, &batch[..place])?;
            let known = &self.records[record as usize];
            if known.is_barred {
                return broken(
                    "DL-1",
                    format!("{} runs, which the filter drops", self.name(stream, record)),
                );
            }
            if known.index < self.lives[life].start {
                return broken(
                    "span",
                    format!(
                        "{} runs, which lies below the checkpoint",
                        self.name(stream, record)
                    ),
                );
            }
        }
        for &record in batch {
            let index = self.records[record as usize].index;
            self.records[record as usize].is_tried = true;
            let life = &mut self.lives[life];
            life.set_mark(index, Mark::Running);
            life.newest = life.newest.max(index + 1);
        }
        self.check_span(life, span)
    }

    /// SH-1: nothing of a child runs before all of its parents are done.
    pub fn check_parents(&mut self, stream: &Stream, shard: usize) -> Result<(), Broken> {
        let shard = stream.shard(shard);
        for parent in &shard.parents {
            let left = stream.index(parent).and_then(|index| self.first_due(index));
            if let Some(left) = left {
                return broken(
                    "SH-1",
                    format!(
                        "{} begins before {} is done",
                        shard.id,
                        self.name(stream, left)
                    ),
                );
            }
        }
        Ok(())
    }

    /// The first record of a shard that somebody still has to do. A shard that never had a lease has none: the start
    /// that was asked for lies behind it, or retention took it.
    pub fn first_due(&mut self, shard: usize) -> Option<u32> {
        if !self.shard(shard).was_leased {
            return None;
        }
        self.first_unsettled(shard)
    }

    /// Whether anybody has begun to read a shard.
    pub fn was_begun(&self, shard: usize) -> bool {
        self.shards.get(shard).is_some_and(|shard| shard.was_begun)
    }

    /// OR-1: first attempts at records of one key are made in their order.
    fn check_first_attempt(&mut self, stream: &Stream, record: u32) -> Result<(), Broken> {
        let known = &mut self.records[record as usize];
        if known.is_tried {
            return Ok(());
        }
        known.is_tried = true;
        let (shard, key) = (known.shard, known.key);
        let Some(mut tried) = self.shards[shard].keys.get(&key).map(|key| key.tried) else {
            return Ok(());
        };
        let of_key = &self.shards[shard].keys[&key].records;
        while let Some(&next) = of_key.get(tried) {
            let known = &self.records[next as usize];
            if !known.is_tried && !known.is_skipped && !known.is_trimmed {
                break;
            }
            tried += 1;
        }
        let overtaken = of_key.get(tried).copied().filter(|next| *next < record);
        if let Some(key) = self.shards[shard].keys.get_mut(&key) {
            key.tried = tried;
        }
        match overtaken {
            Some(earlier) => broken(
                "OR-1",
                format!(
                    "{} is tried before {}",
                    self.name(stream, record),
                    self.name(stream, earlier)
                ),
            ),
            None => Ok(()),
        }
    }

    /// OR-1: a record waits while an earlier one of its key is to be tried again. `before` runs in the same batch.
    fn check_turn(
        &self,
        stream: &Stream,
        life: usize,
        record: u32,
        before: &[u32],
    ) -> Result<(), Broken> {
        let known = &self.records[record as usize];
        let life = &self.lives[life];
        let of_key = &self.shards[known.shard].keys[&known.key].records;
        let at = of_key.partition_point(|other| *other < record);
        for &earlier in of_key[..at].iter().rev() {
            let index = self.records[earlier as usize].index;
            if index < life.passed.max(life.start) {
                break;
            }
            if matches!(life.mark(index), Mark::Waiting | Mark::Running)
                && !before.contains(&earlier)
            {
                return broken(
                    "OR-1",
                    format!(
                        "{} runs while {} waits for its next try",
                        self.name(stream, record),
                        self.name(stream, earlier)
                    ),
                );
            }
        }
        let is_behind =
            |other: &&u32| self.records[**other as usize].key == known.key && **other > record;
        match before.iter().find(is_behind) {
            Some(&later) => broken(
                "OR-1",
                format!(
                    "{} comes after {} in one batch",
                    self.name(stream, record),
                    self.name(stream, later)
                ),
            ),
            None => Ok(()),
        }
    }

    /// What a crash would repeat is bounded: each shard may go one beyond, so that it gets on.
    fn check_span(&self, life: usize, span: u64) -> Result<(), Broken> {
        let process = self.lives[life].process;
        let living = || {
            self.lives
                .iter()
                .filter(|life| life.process == process && !life.is_over)
        };
        let open = |life: &Life| {
            let shard = &self.shards[life.shard];
            let range = life.stored.min(life.newest)..life.newest;
            let records = shard.records[range].iter();
            let is_open = |record: &&u32| {
                let known = &self.records[**record as usize];
                let is_gone = known.is_trimmed && life.mark(known.index) == Mark::Unseen;
                !known.is_skipped && !is_gone
            };
            records.filter(is_open).count()
        };
        let held: usize = living().map(open).sum();
        let bound = span as usize + living().count();
        if held > bound {
            return broken(
                "span",
                format!("a crash would repeat {held} records, and {span} are the bound"),
            );
        }
        Ok(())
    }

    /// BP-1: what a process holds in all its shards.
    pub fn check_bytes(&self, process: usize, bound: u64) -> Result<(), Broken> {
        let mut held = 0;
        for life in self
            .lives
            .iter()
            .filter(|life| life.process == process && !life.is_over)
        {
            for place in life.read.clone() {
                let entry = self.entries[self.shards[life.shard].entries[place] as usize];
                let marks = || {
                    (entry.index..entry.index + entry.count as usize)
                        .map(|index| (index, life.mark(index)))
                };
                let is_open = marks().any(|(index, mark)| match mark {
                    Mark::Running
                    | Mark::Waiting
                    | Mark::Held
                    | Mark::HeldAgain
                    | Mark::Rejected => true,
                    Mark::Read => {
                        let record = self.shards[life.shard].records[index];
                        !life.is_draining && !self.records[record as usize].is_skipped
                    }
                    Mark::Unseen | Mark::Done => false,
                });
                held += if is_open { entry.bytes } else { 0 };
            }
        }
        if held > bound {
            return broken(
                "BP-1",
                format!("{held} bytes are held, and {bound} are the bound"),
            );
        }
        Ok(())
    }

    /// CP-1: everything up to `to` is done in this life, or was never to be.
    fn check_passes(
        &mut self,
        stream: &Stream,
        life: usize,
        to: &Checkpoint,
    ) -> Result<(), Broken> {
        let shard = self.lives[life].shard;
        let end = self.up_to(stream, shard, to);
        let life_truth = &self.lives[life];
        for index in life_truth.passed.max(life_truth.start)..end {
            let record = self.shards[shard].records[index];
            let known = &self.records[record as usize];
            let mark = life_truth.mark(index);
            let is_past = known.is_skipped || (known.is_trimmed && mark == Mark::Unseen);
            if mark != Mark::Done && !is_past {
                return broken(
                    "CP-1",
                    format!(
                        "the checkpoint {to} passes {}, which is {mark:?}",
                        self.name(stream, record)
                    ),
                );
            }
        }
        self.lives[life].passed = self.lives[life].passed.max(end);
        Ok(())
    }

    /// CP-1, CP-2 and CP-3, as a consumer asks for a checkpoint.
    pub fn check_store(
        &mut self,
        stream: &Stream,
        life: usize,
        delta: &CheckpointDelta,
    ) -> Result<(), Broken> {
        let led_to = self.lives[life].chain.last();
        if led_to != Some(&delta.from) {
            return broken(
                "CP-3",
                format!(
                    "a step begins at {}, and the last one led to {led_to:?}",
                    delta.from
                ),
            );
        }
        if delta.to <= delta.from {
            return broken(
                "CP-2",
                format!("a step leads from {} to {}", delta.from, delta.to),
            );
        }
        self.check_passes(stream, life, &delta.to)?;
        self.lives[life].chain.push(delta.to.clone());
        Ok(())
    }

    /// SH-2, as a consumer says that its shard has ended.
    pub fn check_end(
        &mut self,
        stream: &Stream,
        life: usize,
        from: &Checkpoint,
    ) -> Result<(), Broken> {
        let shard = self.lives[life].shard;
        if stream.closed_at(shard).is_none() {
            return broken(
                "SH-2",
                format!(
                    "{} is said to have ended and is open",
                    stream.shard(shard).id
                ),
            );
        }
        if self.lives[life].chain.last() != Some(from) {
            return broken("CP-3", format!("the end begins at {from}"));
        }
        self.check_passes(stream, life, &Checkpoint::ShardEnd)
            .map_err(|(_, what)| ("SH-2", what))?;
        self.lives[life].has_ended = true;
        Ok(())
    }

    /// The rules of the table, as a write of a process is carried out: the row before, and after.
    pub fn check_write(
        &mut self,
        stream: &Stream,
        table: &Table,
        process: usize,
        (before, write): (&Lease, &FencedWrite),
        after: &Lease,
    ) -> Result<(), Broken> {
        let held = &write.held;
        let is_mine =
            before.counter == held.counter && before.incarnation == Some(held.incarnation);
        if !is_mine || after.counter != before.counter + 1 {
            return broken(
                "LE-1",
                format!(
                    "a write under counter {} is carried out on {before:?}",
                    held.counter
                ),
            );
        }
        self.check_author(process, after)?;
        let LeaseChange::Checkpoint { to, children } = &write.change else {
            return Ok(());
        };
        if *to <= before.checkpoint {
            return broken(
                "CP-2",
                format!(
                    "{} goes back from {} to {to}",
                    held.shard, before.checkpoint
                ),
            );
        }
        let Some(index) = stream.index(&held.shard) else {
            return Ok(());
        };
        let highest = &mut self.shard(index).highest;
        if highest.as_ref().is_some_and(|highest| highest > to) {
            return broken(
                "CP-2",
                format!("{} goes back from {highest:?} to {to}", held.shard),
            );
        }
        *highest = Some(to.clone());
        if *to == Checkpoint::ShardEnd {
            if children.is_empty() {
                return broken("SH-2", format!("{} ends without children", held.shard));
            }
            let was_leased = |child| {
                table.row(child).is_some()
                    || stream.index(child).is_some_and(|child| {
                        self.shards.get(child).is_some_and(|shard| shard.was_leased)
                    })
            };
            if let Some(child) = children.iter().find(|child| !was_leased(child)) {
                return broken(
                    "SH-2",
                    format!("{} ends before {child} has a lease", held.shard),
                );
            }
        }
        let tenure = held.tenure();
        let Some(life) = self
            .lives
            .iter()
            .position(|life| life.tenure == tenure && life.process == process)
        else {
            return broken(
                "CP-3",
                format!("{tenure} moves its checkpoint and never had a consumer"),
            );
        };
        let stored = self.up_to(stream, index, to);
        let life = &mut self.lives[life];
        life.stored = life.stored.max(stored);
        // The child of a shard that was followed begins at the trim horizon, though its row may say otherwise.
        let begins_before = before.checkpoint == Checkpoint::Latest
            && life.chain.first() == Some(&Checkpoint::TrimHorizon);
        if !begins_before && !life.chain.contains(&before.checkpoint) {
            return broken(
                "CP-3",
                format!("{} is not where a step of {tenure} led", before.checkpoint),
            );
        }
        let is_asked = life.chain.contains(to) || (*to == Checkpoint::ShardEnd && life.has_ended);
        if !is_asked {
            return broken(
                "CP-1",
                format!("nobody asked for the checkpoint {to} of {tenure}"),
            );
        }
        Ok(())
    }

    /// LE-2: of the processes that think a counter theirs, one is right.
    pub fn check_author(&mut self, process: usize, row: &Lease) -> Result<(), Broken> {
        let key = (row.shard.clone(), row.counter);
        let author = *self.writers.entry(key).or_insert(process);
        if author != process {
            return broken(
                "LE-2",
                format!(
                    "counter {} of {} counts as written by process {author} and process {process}",
                    row.counter, row.shard
                ),
            );
        }
        Ok(())
    }
}
