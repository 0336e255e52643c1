//! A shard on its way from one generation to the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use shardwright_core::{
    ConsumerEvent, GenerationEffect, GenerationEvent, Generations, HashRange, Instant, LaneState,
};
use tokio::sync::mpsc;

use super::super::generation::{Generation, has_sink};
use super::super::lane::{Flushed, Instances, Lane, LaneWork};
use super::{Input, Over, Shell};
use crate::ports::Sink;

/// One batch or flush is out to a lane at a time; a second place, since a lane that lost an instance over a flush of its
/// own may be given a batch while the flush it was asked for still waits; a third for what it held too long, and a fourth
/// for the next generation.
const WORK_MAX: usize = 4;

/// The generations of a shard's lanes, as core decides on them, and what they are made of.
pub(super) struct Passing {
    machine: Generations,
    range: Option<HashRange>,
    current: Arc<Generation>,
    next: Option<Arc<Generation>>,
    /// Those that are in use, and those that have not been begun.
    known: BTreeMap<u64, Arc<Generation>>,
    /// Whose answer is being handled.
    speaking: u64,
    /// Lanes that were given a batch, and so have instances.
    warm: BTreeSet<usize>,
    made: BTreeMap<usize, Instances>,
    /// Lanes that have ended, since there are to be others.
    retired: usize,
    /// All have, and the others are to be started before anything else is done with them.
    is_relaning: bool,
    /// How long each lane stood still on the way to the next generation.
    pauses: Vec<Duration>,
    began: Instant,
}

impl Passing {
    pub(super) fn new(current: Arc<Generation>, range: Option<HashRange>, now: Instant) -> Self {
        Self {
            machine: Generations::new(current.number, current.lanes()),
            range,
            next: None,
            known: BTreeMap::from([(current.number, Arc::clone(&current))]),
            speaking: current.number,
            current,
            warm: BTreeSet::new(),
            made: BTreeMap::new(),
            retired: 0,
            is_relaning: false,
            pauses: Vec::new(),
            began: now,
        }
    }

    /// What follows is the answer of this lane.
    pub(super) fn speaks(&mut self, lane: usize) {
        self.speaking = self.machine.of_lane(lane);
    }

    /// The generation under which the answer came about that is being handled.
    pub(super) fn speaking(&self) -> Arc<Generation> {
        let known = self.known.get(&self.speaking);
        Arc::clone(known.unwrap_or(&self.current))
    }

    /// A lane is given a batch.
    pub(super) fn warm(&mut self, lane: usize) {
        self.warm.insert(lane);
    }

    /// The sinks to which something may have been delivered that is not durable yet, each once.
    pub(super) fn sinks_in_use(&self) -> Vec<Arc<dyn Sink>> {
        let mut sinks = Vec::new();
        for generation in self.machine.in_use().filter_map(|n| self.known.get(&n)) {
            for sink in &generation.parts.sinks {
                if !has_sink(&sinks, sink) {
                    sinks.push(Arc::clone(sink));
                }
            }
        }
        sinks
    }
}

impl Shell {
    /// Starts the lanes of the current generation, in place of any that were.
    pub(super) fn start_lanes(&mut self) {
        let generation = Arc::clone(&self.passing.current);
        self.passing.warm.clear();
        self.lanes.clear();
        for number in 0..usize::from(generation.lanes()) {
            let (give, work) = mpsc::channel(WORK_MAX);
            let steps = generation.parts.plugins.len();
            let lane = Lane {
                shared: Arc::clone(&self.shared),
                generation: Arc::clone(&generation),
                shard: self.shard.clone(),
                number,
                origin: format!("{}/{number}", self.shard),
                permit: self.lease.permit(),
                work,
                out: self.inputs.clone(),
                instances: (0..steps).map(|_| None).collect(),
                state: LaneState::new(steps),
            };
            self.lanes.push(give);
            self.tasks.spawn_on(lane.run(), &self.shared.guests);
        }
    }

    /// The pipeline has a newer generation.
    pub(super) fn want_newest(&mut self) -> Over {
        let newest = self.shared.newest();
        let (number, lanes) = (newest.number, newest.lanes());
        self.heard_of = number;
        self.passing.known.insert(number, newest);
        self.pass(GenerationEvent::Wanted { number, lanes })
    }

    pub(super) fn made(&mut self, lane: usize, instances: Instances) -> Over {
        self.passing.made.insert(lane, instances);
        self.pass(GenerationEvent::Made { lane })
    }

    pub(super) fn swapped(&mut self, flushed: Flushed, pause: Duration) -> Over {
        let lane = flushed.lane;
        self.passing.pauses.push(pause);
        // What it flushed came of the generation that it has left.
        if self.flushed(false, flushed) == Over::Yes {
            return Over::Yes;
        }
        self.pass(GenerationEvent::Swapped { lane })
    }

    pub(super) fn finished(&mut self, number: u64) -> Over {
        self.pass(GenerationEvent::Finished { number })
    }

    /// A lane has ended. After the last one there are new ones, and batches go out again.
    pub(super) fn retired(&mut self, flushed: Flushed) -> Over {
        if self.flushed(false, flushed) == Over::Yes {
            return Over::Yes;
        }
        self.passing.retired += 1;
        if self.passing.retired < self.lanes.len() {
            return Over::No;
        }
        self.passing.retired = 0;
        let Some(next) = self.passing.next.clone() else {
            return Over::No;
        };
        let pause = self.shared.clock.now().since(self.passing.began);
        self.passing.pauses = vec![pause; next.lanes().into()];
        self.passing.is_relaning = true;
        self.pass(GenerationEvent::Relaned)
    }

    /// Tells core's machine, and carries out what it wants.
    fn pass(&mut self, event: GenerationEvent) -> Over {
        let mut events = VecDeque::from([event]);
        let mut effects = Vec::new();
        let mut to_make = Vec::new();
        while let Some(event) = events.pop_front() {
            self.passing.machine.handle(event, &mut effects);
            for effect in effects.drain(..) {
                let mut over = Over::No;
                match effect {
                    GenerationEffect::Begin { number } => over = self.begin(number),
                    GenerationEffect::Make { lane, .. } if self.passing.warm.contains(&lane) => {
                        to_make.push(lane);
                    }
                    GenerationEffect::Make { lane, .. } => {
                        events.push_back(GenerationEvent::Made { lane });
                    }
                    GenerationEffect::Swap { lane, .. } => self.swap(lane),
                    GenerationEffect::Settled { number } => over = self.settled(number),
                    GenerationEffect::Finish { number } => {
                        events.extend(self.finish_unless_shared(number));
                    }
                    GenerationEffect::Retire { number } => {
                        self.passing.known.remove(&number);
                    }
                }
                if over == Over::Yes {
                    return Over::Yes;
                }
            }
        }
        if !to_make.is_empty() {
            self.make(to_make);
        }
        Over::No
    }

    /// From here on batches suit both generations.
    fn begin(&mut self, number: u64) -> Over {
        let passing = &mut self.passing;
        // What was passed over is not needed.
        let in_use: BTreeSet<u64> = passing.machine.in_use().collect();
        passing
            .known
            .retain(|known, _| *known >= number || in_use.contains(known));
        let Some(next) = passing.known.get(&number).cloned() else {
            return Over::No;
        };
        passing.began = self.shared.clock.now();
        let settings = passing
            .current
            .consumer_settings(passing.range)
            .suiting_both(&next.consumer_settings(passing.range));
        passing.next = Some(next);
        self.handle(ConsumerEvent::Reconfigure(settings))
    }

    /// Makes instances beside those that work, lane after lane: a lane then stands still only to flush.
    fn make(&mut self, lanes: Vec<usize>) {
        let Some(next) = self.passing.next.clone() else {
            return;
        };
        let current = Arc::clone(&self.passing.current);
        let (shard, out) = (self.shard.clone(), self.inputs.clone());
        let make = async move {
            for lane in lanes {
                let origin = format!("{shard}/{lane}");
                let mut instances = Instances::new();
                for (step, plugin) in next.parts.plugins.iter().enumerate() {
                    let instance = if next.keeps(&current, step) {
                        None
                    } else {
                        // With no room beside the others, one is made when they are gone and a batch needs it.
                        let made = plugin.instantiate(&origin).await;
                        made.inspect_err(|error| {
                            tracing::debug!(lane = %origin, step = step + 1, %error, "no instance is made beforehand");
                        })
                        .ok()
                    };
                    instances.push(instance);
                }
                if out.send(Input::Made { lane, instances }).await.is_err() {
                    return;
                }
            }
        };
        self.tasks.spawn_on(make, &self.shared.guests);
    }

    fn swap(&mut self, lane: usize) {
        let Some(next) = self.passing.next.clone() else {
            return;
        };
        let instances = self.passing.made.remove(&lane).unwrap_or_default();
        self.give(lane, LaneWork::Swap(next, instances));
    }

    fn settled(&mut self, number: u64) -> Over {
        let Some(next) = self.passing.next.take() else {
            return Over::No;
        };
        let settings = next.consumer_settings(self.passing.range);
        self.passing.current = next;
        let pauses = std::mem::take(&mut self.passing.pauses);
        self.shared.settled(&self.shard, number, pauses);
        let is_relaning = std::mem::take(&mut self.passing.is_relaning);
        if is_relaning {
            // Before a generation that comes right behind is begun: its swaps are for these lanes.
            self.start_lanes();
        }
        if self.handle(ConsumerEvent::Reconfigure(settings)) == Over::Yes {
            return Over::Yes;
        }
        if is_relaning {
            let lanes = self.passing.current.lanes();
            return self.handle(ConsumerEvent::Relaned(lanes));
        }
        Over::No
    }

    /// Makes durable what went to sinks that the newer generation does not have; with none there is nothing to wait for.
    fn finish_unless_shared(&mut self, number: u64) -> Option<GenerationEvent> {
        let current = Arc::clone(&self.passing.current);
        let left = self.passing.known.get(&number);
        let own = left.map_or_else(Vec::new, |left| left.sinks_of_its_own(&current));
        if own.is_empty() {
            return Some(GenerationEvent::Finished { number });
        }
        self.finish(number, own);
        None
    }
}
