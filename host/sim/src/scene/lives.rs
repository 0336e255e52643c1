//! A consumer's life, and the runs in it, where a checker watches how they begin.

use shardwright_core::{Checkpoint, Shard, ShardId, Tenure};

use super::Scene;
use crate::checks::Broken;
use crate::ledger::Life;
use crate::plan::Start;

impl Scene {
    /// A process begins to consume a shard after a checkpoint. Answers the life's number in the ledger; none for a shard that
    /// is not there.
    pub fn begin_life(
        &mut self,
        process: usize,
        tenure: &Tenure,
        checkpoint: &Checkpoint,
    ) -> Option<usize> {
        let shard = self.stream.index(&tenure.shard)?;
        let rule = self.check_start(shard);
        self.hold(rule);
        let done = self.ledger.up_to(&self.stream, shard, checkpoint);
        let life = Life::new(process, tenure.clone(), shard, done, checkpoint.clone());
        self.ledger.lives.push(life);
        Some(self.ledger.lives.len() - 1)
    }

    /// SH-1, as a consumer starts: its parents are at their end, or have no lease, or one that is for nothing.
    fn check_start(&mut self, shard: usize) -> Result<(), Broken> {
        let Shard { id, parents, .. } = self.stream.shard(shard);
        let is_waited_for = |parent: &&ShardId| {
            let index = self.stream.index(parent);
            let is_too_late = index.is_some_and(|index| self.is_too_late(index));
            !self.table.is_done(parent) && !is_too_late
        };
        let Some(parent) = parents.iter().find(is_waited_for) else {
            return Ok(());
        };
        let what = format!("{id} starts before {parent} is at SHARD_END");
        // A shard that was closed before the instant that was asked for may get its row after its children have theirs, if
        // the first rows were made by halves: there is nothing to wait for in it.
        let has_instant = matches!(self.plan.settings.start, Start::At(_));
        if has_instant && self.ledger.check_parents(&self.stream, shard).is_ok() {
            return Ok(());
        }
        Err(("SH-1", what))
    }

    /// A batch of these user records begins to run, in a lane of a process. Answers their nodes in the ledger.
    pub fn begin_run(
        &mut self,
        process: usize,
        life: usize,
        lane: &str,
        records: &[u32],
    ) -> Vec<u32> {
        let span = self.plan.settings.span;
        let rule = self.ledger.check_begin(&self.stream, life, records, span);
        self.hold(rule);
        let ledger = &self.ledger;
        self.trace.tell(self.now, || {
            let index = |record: &u32| ledger.records[*record as usize].index;
            let places: Vec<usize> = records.iter().map(index).collect();
            let shard = &ledger.lives[life].tenure.shard;
            format!("p{process} runs {shard}{places:?} in lane {lane}")
        });
        let nodes = records.iter();
        nodes
            .map(|record| self.ledger.message(life, *record))
            .collect()
    }
}
