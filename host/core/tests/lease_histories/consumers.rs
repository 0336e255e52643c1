//! What consumers are told, and what they ask for.

use shardwright_core::{
    Checkpoint, CheckpointDelta, ChildShard, CoordinatorEffect, CoordinatorEvent, Lease, Position,
    SequenceNumber, Shard, StopReason, Tenure,
};

use crate::process::Consumer;
use crate::world::World;

impl World {
    pub(crate) fn progress(&mut self, p: usize) {
        let moves: Vec<(Tenure, Checkpoint)> = self.processes[p]
            .consumers
            .iter()
            .filter(|(_, consumer)| !consumer.has_ended && !consumer.is_told_to_stop)
            .map(|(tenure, consumer)| (tenure.clone(), consumer.last()))
            .collect();
        for (tenure, from) in moves {
            let last = from.position().map_or(0, |at| {
                at.sequence.as_str().parse::<u64>().expect("small numbers")
            });
            let to = Checkpoint::At(Position {
                sequence: SequenceNumber::parse((last + 1).to_string()).expect("a number"),
                sub_sequence: 0,
            });
            if let Some(consumer) = self.processes[p].consumers.get_mut(&tenure) {
                consumer.chain.push(to.clone());
            }
            let delta = CheckpointDelta { from, to };
            self.feed(p, CoordinatorEvent::Checkpoint { tenure, delta });
        }
    }

    pub(crate) fn end(&mut self, p: usize) {
        let ends: Vec<(Tenure, Checkpoint)> = self.processes[p]
            .consumers
            .iter_mut()
            .filter(|(_, consumer)| !consumer.has_ended && !consumer.is_told_to_stop)
            .map(|(tenure, consumer)| {
                consumer.has_ended = true;
                (tenure.clone(), consumer.last())
            })
            .collect();
        for (tenure, from) in ends {
            let follow = |shard: &&Shard| shard.parents.contains(&tenure.shard);
            let children: Vec<ChildShard> = self
                .shards
                .iter()
                .filter(follow)
                .map(|shard| ChildShard {
                    id: shard.id.clone(),
                    parents: shard.parents.clone(),
                    hash_range: shard.hash_range,
                })
                .collect();
            if !children.is_empty() {
                self.feed(
                    p,
                    CoordinatorEvent::ShardEnded {
                        tenure,
                        from,
                        children,
                    },
                );
            }
        }
    }

    pub(crate) fn stop_consumers(&mut self, p: usize) {
        let consumers = &self.processes[p].consumers;
        let told = consumers
            .iter()
            .filter(|(_, consumer)| consumer.is_told_to_stop);
        let told: Vec<Tenure> = told.map(|(tenure, _)| tenure.clone()).collect();
        for tenure in told {
            if let Some(consumer) = self.processes[p].consumers.remove(&tenure) {
                self.processes[p].stopped.insert(tenure.clone(), consumer);
            }
            self.feed(p, CoordinatorEvent::ConsumerStopped(tenure));
        }
    }

    pub(crate) fn tell_consumer(
        &mut self,
        p: usize,
        effect: CoordinatorEffect,
    ) -> Option<CoordinatorEvent> {
        let consumers = &mut self.processes[p].consumers;
        match effect {
            CoordinatorEffect::StartConsumer(start) => {
                for parent in &start.parents {
                    let row = self.table.rows.get(parent);
                    assert!(
                        row.is_none_or(Lease::is_completed),
                        "SH-1: {parent} is unfinished"
                    );
                }
                let shard = &start.tenure.shard;
                assert!(
                    consumers.keys().all(|tenure| tenure.shard != *shard),
                    "a shard has one consumer in a process"
                );
                let consumer = Consumer {
                    start: start.checkpoint,
                    chain: Vec::new(),
                    until: start.dispatch_until,
                    is_paused: false,
                    is_told_to_stop: false,
                    has_ended: false,
                };
                consumers.insert(start.tenure, consumer);
                None
            }
            CoordinatorEffect::DispatchUntil { tenure, until } => {
                if let Some(consumer) = consumers.get_mut(&tenure) {
                    consumer.until = until;
                    consumer.is_paused = false;
                }
                None
            }
            CoordinatorEffect::StopDispatch(tenure) => {
                if let Some(consumer) = consumers.get_mut(&tenure) {
                    consumer.is_paused = true;
                }
                None
            }
            CoordinatorEffect::StopConsumer { tenure, why } => {
                if why == StopReason::ShardEnd {
                    let row = self.table.rows.get(&tenure.shard);
                    assert!(
                        row.is_none_or(Lease::is_completed),
                        "SHARD_END is not stored"
                    );
                }
                consumers.get_mut(&tenure)?.is_told_to_stop = true;
                None
            }
            CoordinatorEffect::Stored { tenure, checkpoint } => {
                let row = self.table.rows.get(&tenure.shard);
                assert!(row.is_none_or(|row| row.checkpoint >= checkpoint), "CP-2");
                None
            }
            _ => None,
        }
    }
}
