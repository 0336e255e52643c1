//! Sinks and the place for dead letters: they refuse, fail, or are away.

use shardwright_core::{Checkpoint, Position, SequenceNumber, ShardId};
use shardwright_sim::{Fault, Said, Target, emission_of};

use super::time::{Sim, Way, transient};
use super::world::World;
use crate::ports::{
    DeadLetter, DeadLetterSink, DeliveryError, ErrorKind, Outgoing, PortError, PortFuture, Sink,
};

/// What is true of a sink.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SinkTruth {
    /// How much it has got.
    pub(super) count: u64,
    /// How much of that is durable.
    pub(super) synced: u64,
}

/// A sink, as a process reaches it.
#[derive(Debug)]
pub(super) struct SimSink {
    pub(super) sim: Sim,
    pub(super) process: usize,
    /// Its place in the world.
    pub(super) number: usize,
}

/// An emission on its way: its node, its key, and the record that it came from if it is one.
struct Parcel {
    node: u32,
    key: String,
    life: Option<usize>,
    record: Option<u32>,
}

impl Sink for SimSink {
    fn delivered_means(&self) -> &'static str {
        "the world knows it"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        let (process, number) = (self.process, self.number);
        let mut world = self.sim.world();
        let parcels: Vec<Parcel> = emissions
            .iter()
            .map(|outgoing| Parcel {
                node: emission_of(outgoing.data),
                key: outgoing.key.to_owned(),
                life: world.processes[process]
                    .lives
                    .get(outgoing.id.shard)
                    .copied(),
                record: match outgoing.id.to {
                    None => world.record_at(outgoing.id.from.0, outgoing.id.from.1),
                    Some(_) => None,
                },
            })
            .collect();
        let count = parcels.len();
        let (there, back) = (world.scene.hop(), world.scene.hop());
        let way = if world.is_cut(process) {
            Way::Refused(there, transient())
        } else {
            Way::Answered { there, back }
        };
        let call = Sim::call(&mut world, process, way, move |world| {
            world.deliver(number, parcels)
        });
        Box::pin(async move {
            let failed = match call.await {
                Ok(failed) => failed,
                Err(error) => (0..count).map(|index| (index, error.clone())).collect(),
            };
            if failed.is_empty() {
                return Ok(());
            }
            Err(DeliveryError { failed })
        })
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        let mut world = self.sim.world();
        let way = world.sink_way();
        let number = self.number;
        let count = world.sinks[number].count;
        Sim::call(&mut world, self.process, way, move |world| {
            let sink = &mut world.sinks[number];
            sink.synced = sink.synced.max(count);
        })
    }
}

/// The place for dead letters, as a process reaches it.
#[derive(Debug)]
pub(super) struct SimDeadLetters {
    pub(super) sim: Sim,
    pub(super) process: usize,
}

impl DeadLetterSink for SimDeadLetters {
    fn put(&self, letters: Vec<DeadLetter>) -> PortFuture<'_, Result<(), PortError>> {
        let process = self.process;
        let mut world = self.sim.world();
        let mut given_up = Vec::new();
        for letter in &letters {
            let shard = ShardId::new(letter.shard.clone());
            let life = world.processes[process].lives.get(&shard).copied();
            let record = world
                .scene
                .ledger
                .record_at(&world.scene.stream, &letter.position);
            match (life, record) {
                (Some(life), Some(record)) => {
                    world.scene.ledger.give_up(life, record);
                    given_up.push((life, record));
                }
                (_, None) => {
                    let what = format!("{} is given up and does not exist", letter.position);
                    world.scene.violate("DL-1", what);
                }
                (None, Some(_)) => {}
            }
            world.scene.tell(|| {
                format!(
                    "p{process} gives up {shard} {}: {}",
                    letter.position, letter.error
                )
            });
        }
        let way = world.sink_way();
        Sim::call(&mut world, process, way, move |world| {
            for (life, record) in given_up {
                world.scene.ledger.done(life, record);
            }
        })
    }
}

impl World {
    pub(super) fn record_at(&self, sequence: &str, sub_sequence: u64) -> Option<u32> {
        let sequence = SequenceNumber::parse(sequence).ok()?;
        let position = Position {
            sequence,
            sub_sequence,
        };
        self.scene.ledger.record_at(&self.scene.stream, &position)
    }

    fn sink_way(&mut self) -> Way {
        let (there, back) = (self.scene.hop(), self.scene.hop());
        if self.scene.is_refused(Fault::SyncFails, Target::Sinks) {
            return Way::Refused(there, transient());
        }
        Way::Answered { there, back }
    }

    /// A sink gets these. Answers what it does not take.
    fn deliver(&mut self, sink: usize, parcels: Vec<Parcel>) -> Vec<(usize, PortError)> {
        let is_away = self.scene.now < self.scene.away_until[Target::Sinks as usize];
        let mut failed = Vec::new();
        let mut stuck: Vec<String> = Vec::new();
        for (index, parcel) in parcels.into_iter().enumerate() {
            let Parcel {
                node,
                key,
                life,
                record,
            } = parcel;
            // A sink keeps the order of a key: what follows a failed one is not sent.
            if is_away || stuck.contains(&key) || self.scene.strikes(Fault::SinkFails) {
                failed.push((index, transient()));
                stuck.push(key);
            } else if self.scene.strikes(Fault::SinkRefuses) {
                self.scene.ledger.say(node, Said::Reject);
                failed.push((index, PortError::new(ErrorKind::Unfit, "simulated")));
            } else {
                self.scene.ledger.say(node, Said::Ack);
                self.sinks[sink].count += 1;
                let place = (sink, self.sinks[sink].count);
                if let (Some(life), Some(record)) = (life, record) {
                    self.delivered
                        .entry((life, record))
                        .or_default()
                        .push(place);
                }
            }
        }
        self.scene.trace.mix(failed.len() as u64);
        failed
    }

    /// CP-1: what was delivered is durable before a checkpoint that covers it is written.
    pub(super) fn check_durable(&mut self, life: usize, to: &Checkpoint) {
        let shard = self.scene.ledger.lives[life].shard;
        let end = self.scene.ledger.up_to(&self.scene.stream, shard, to);
        let mut lost = None;
        for (&(_, record), places) in self.delivered.range((life, 0)..(life + 1, 0)) {
            let is_covered = self.scene.ledger.records[record as usize].index < end;
            let is_durable = |(sink, at): &(usize, u64)| *at <= self.sinks[*sink].synced;
            if is_covered && !places.iter().all(is_durable) {
                lost = Some(record);
            }
        }
        if let Some(record) = lost {
            let index = self.scene.ledger.records[record as usize].index;
            let what = format!("{to} covers s{shard}[{index}], whose emissions are not durable");
            self.scene.violate("CP-1", what);
        }
        let records = &self.scene.ledger.records;
        self.delivered
            .retain(|&(of, record), _| of != life || records[record as usize].index >= end);
    }
}
