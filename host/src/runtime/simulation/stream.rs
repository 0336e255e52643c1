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
        self.sim.world().scene.plan.settings.answer
    }

    fn summary(&self) -> PortFuture<'_, Result<StreamSummary, PortError>> {
        Box::pin(async { Err(PortError::new(ErrorKind::NotFound, "nobody asks")) })
    }

    fn list_shards(&self, which: ShardListing) -> PortFuture<'_, Result<Vec<Shard>, PortError>> {
        let mut world = self.sim.world();
        let mut way = world.stream_way(self.process);
        let mut before = None;
        if let Way::Answered { there, .. } = &mut way
            && let Some((more, shown)) = world.scene.begin_listing(which)
        {
            *there += more;
            before = Some(shown);
        }
        Sim::call(&mut world, self.process, way, move |world| {
            world.scene.end_listing(which, before)
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
            && world.scene.strikes(Fault::ReadSlow)
        {
            *back += world
                .scene
                .time
                .time(Duration::ZERO, Duration::from_secs(4));
        }
        let process = self.process;
        let Some(cursor) = parsed(iterator) else {
            let error = PortError::new(ErrorKind::Fatal, "there is no such iterator");
            return Box::pin(async move { Err(error) });
        };
        let call = Sim::call(&mut world, process, way, move |world| {
            world.scene.read(cursor, limit)
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
        if self.scene.is_refused(Fault::StreamFails, Target::Stream) || self.is_cut(process) {
            let is_throttled = self.scene.time.strikes(300);
            let kind = if is_throttled {
                ErrorKind::Throttled
            } else {
                ErrorKind::Transient
            };
            return Way::Refused(self.scene.hop(), PortError::new(kind, "simulated"));
        }
        let (there, back) = (self.scene.hop(), self.scene.hop());
        Way::Answered { there, back }
    }

    fn iterator(
        &mut self,
        process: usize,
        shard: &ShardId,
        start: &StartAt,
    ) -> Result<Cursor, StreamError> {
        let cursor = self.scene.stream.iterator(self.scene.now, shard, start)?;
        if let Some(life) = self.processes[process].lives.get(shard) {
            self.scene.note_iterator(*life, start, cursor);
        }
        Ok(cursor)
    }

    /// A process has got an answer.
    fn note_read(&mut self, process: usize, shard: usize, answer: &Answer) {
        let id = self.scene.stream.shard(shard).id.clone();
        let Some(&life) = self.processes[process].lives.get(&id) else {
            return;
        };
        let count = answer.records.len();
        self.scene.trace.mix(count as u64);
        self.scene
            .tell(|| format!("p{process} reads {count} records of {id}"));
        self.scene
            .ledger
            .note_read(&self.scene.stream, life, &answer.records);
        self.refresh(process);
        let bound = self.scene.plan.settings.in_flight_bytes;
        let rule = self.scene.ledger.check_bytes(process, bound);
        self.scene.hold(rule);
    }
}
