//! The stream: reads that fail, bring nothing, too little or something again.

use std::time::Duration;

use shardwright_core::{Shard, ShardId, ShardListing, StartAt};
use shardwright_sim::{Answer, Cursor, Fault, StreamError, Target};

use super::time::{Sim, Way};
use super::world::World;
use crate::ports::{
    ErrorKind, PortError, PortFuture, ReadAnswer, ShardIterator, StreamSource, StreamSummary,
};

/// The stream, as a process reaches it.
#[derive(Debug)]
pub(super) struct SimStream {
    pub(super) sim: Sim,
    pub(super) process: usize,
}

fn written(cursor: Cursor) -> ShardIterator {
    let Cursor {
        shard,
        next,
        first,
        made_at,
    } = cursor;
    ShardIterator(format!("{shard} {next} {first} {made_at}"))
}

fn parsed(iterator: &ShardIterator) -> Option<Cursor> {
    let mut numbers = iterator
        .0
        .split(' ')
        .map(|number| number.parse::<u64>().ok());
    let mut number = || numbers.next().flatten();
    Some(Cursor {
        shard: number()? as usize,
        next: number()? as usize,
        first: number()? as usize,
        made_at: number()?,
    })
}

fn port_error(error: StreamError) -> PortError {
    let kind = match error {
        StreamError::NotFound => ErrorKind::NotFound,
        StreamError::ExpiredIterator => ErrorKind::ExpiredIterator,
    };
    PortError::new(kind, "simulated")
}

/// The answer of a call that failed on its way, or there.
async fn flat<T>(
    call: PortFuture<'static, Result<Result<T, StreamError>, PortError>>,
) -> Result<T, PortError> {
    call.await?.map_err(port_error)
}

impl StreamSource for SimStream {
    fn answer_bytes_max(&self) -> u64 {
        self.sim.world().plan.settings.answer
    }

    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>> {
        Box::pin(async { Err(PortError::new(ErrorKind::NotFound, "nobody asks")) })
    }

    fn list_shards(&self, which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>> {
        let mut world = self.sim.world();
        let mut way = world.stream_way(self.process);
        let mut before = None;
        if let Way::Answered { there, .. } = &mut way
            && world.strikes(Fault::ListingTorn)
        {
            *there += world.time.time(Duration::ZERO, Duration::from_secs(8));
            before = Some(world.stream.list(which));
        }
        Sim::call(&mut world, self.process, way, move |world| {
            world.list(which, before)
        })
    }

    fn iterator<'a>(
        &'a self,
        shard: &'a ShardId,
        start: &'a StartAt,
    ) -> PortFuture<'a, Result<ShardIterator, PortError>> {
        let mut world = self.sim.world();
        let way = world.stream_way(self.process);
        let (process, shard, start) = (self.process, shard.clone(), start.clone());
        let call = Sim::call(&mut world, process, way, move |world| {
            world.iterator(process, &shard, &start)
        });
        Box::pin(async move { flat(call).await.map(written) })
    }

    fn read<'a>(
        &'a self,
        iterator: &'a ShardIterator,
        limit: u32,
    ) -> PortFuture<'a, Result<ReadAnswer, PortError>> {
        let mut world = self.sim.world();
        let mut way = world.stream_way(self.process);
        if let Way::Answered { back, .. } = &mut way
            && world.strikes(Fault::ReadSlow)
        {
            *back += world.time.time(Duration::ZERO, Duration::from_secs(4));
        }
        let process = self.process;
        let Some(cursor) = parsed(iterator) else {
            let error = PortError::new(ErrorKind::Fatal, "there is no such iterator");
            return Box::pin(async move { Err(error) });
        };
        let call = Sim::call(&mut world, process, way, move |world| {
            world.read(cursor, limit)
        });
        drop(world);
        let sim = self.sim.clone();
        Box::pin(async move {
            let answer = flat(call).await?;
            sim.world().note_read(process, cursor.shard, &answer);
            Ok(ReadAnswer {
                records: answer.records,
                next: answer.next.map(written),
                children: answer.children,
                millis_behind_latest: answer.millis_behind_latest,
            })
        })
    }
}

impl World {
    fn stream_way(&mut self, process: usize) -> Way {
        if self.is_refused(Fault::StreamFails, Target::Stream) || self.is_cut(process) {
            let is_throttled = self.time.strikes(300);
            let kind = if is_throttled {
                ErrorKind::Throttled
            } else {
                ErrorKind::Transient
            };
            return Way::Refused(self.hop(), PortError::new(kind, "simulated"));
        }
        let (there, back) = (self.hop(), self.hop());
        Way::Answered { there, back }
    }

    fn list(&mut self, which: ShardListing, before: Option<Vec<Shard>>) -> Vec<Shard> {
        let is_unfiltered = self.strikes(Fault::ListingUnfiltered);
        let which = if is_unfiltered {
            ShardListing::All
        } else {
            which
        };
        let mut shards = self.stream.list(which);
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

    fn iterator(
        &mut self,
        process: usize,
        shard: &ShardId,
        start: &StartAt,
    ) -> Result<Cursor, StreamError> {
        let cursor = self.stream.iterator(self.now, shard, start)?;
        if let Some(life) = self.processes[process].lives.get(shard) {
            let asked_for = self.plan.settings.start;
            self.ledger
                .note_iterator(&self.stream, asked_for, *life, start, cursor);
        }
        Ok(cursor)
    }

    fn read(&mut self, mut cursor: Cursor, mut limit: u32) -> Result<Answer, StreamError> {
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

    /// A process has got an answer.
    fn note_read(&mut self, process: usize, shard: usize, answer: &Answer) {
        let id = self.stream.shard(shard).id.clone();
        let Some(&life) = self.processes[process].lives.get(&id) else {
            return;
        };
        let count = answer.records.len();
        self.trace.mix(count as u64);
        self.tell(|| format!("p{process} reads {count} records of {id}"));
        self.ledger.note_read(&self.stream, life, &answer.records);
        self.refresh(process);
        let bound = self.plan.settings.in_flight_bytes;
        let rule = self.ledger.check_bytes(process, bound);
        self.hold(rule);
    }
}
