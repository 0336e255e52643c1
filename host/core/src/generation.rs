//! How the lanes of a shard pass from one generation of their pipeline to the next.
//!
//! A generation is what a pipeline's batches run under: its plugins, sinks, routes and bounds. Each lane passes at a batch
//! boundary of its own (HR-1), so that for a while there are lanes of two generations, and never of more. A generation
//! that every lane has left is *finished*, which is to make durable what was delivered under it, and then *retired*:
//! nothing of it is needed any more.

use std::collections::BTreeSet;

#[cfg(test)]
mod tests;

/// What happens to a shard's generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationEvent {
    /// The pipeline has a newer generation, with so many lanes. One that was not begun yet is passed over for it.
    Wanted {
        /// Its number.
        number: u64,
        /// Its lanes.
        lanes: u16,
    },
    /// The instances for a lane are made, or it does without.
    Made {
        /// The lane.
        lane: usize,
    },
    /// A lane has passed over.
    Swapped {
        /// The lane.
        lane: usize,
    },
    /// There are new lanes, all of the next generation, in place of the former ones.
    Relaned,
    /// What was delivered under a generation is durable.
    Finished {
        /// Its number.
        number: u64,
    },
}

/// What is to be done for a shard's generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationEffect {
    /// From now on there are lanes of this generation too; if it has another number of lanes, all at once with
    /// [`GenerationEvent::Relaned`].
    Begin {
        /// Its number.
        number: u64,
    },
    /// Make instances for a lane beside those that work, and answer with [`GenerationEvent::Made`].
    Make {
        /// The lane.
        lane: usize,
        /// The generation.
        number: u64,
    },
    /// Let a lane pass over, and answer with [`GenerationEvent::Swapped`].
    Swap {
        /// The lane.
        lane: usize,
        /// The generation.
        number: u64,
    },
    /// Every lane is of this generation.
    Settled {
        /// Its number.
        number: u64,
    },
    /// No lane is of this generation any more: make durable what was delivered under it, and answer with
    /// [`GenerationEvent::Finished`].
    Finish {
        /// Its number.
        number: u64,
    },
    /// Nothing of this generation is needed any more.
    Retire {
        /// Its number.
        number: u64,
    },
}

/// On its way to the next generation, a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Making,
    Swapping,
    Done,
}

#[derive(Debug)]
struct Next {
    number: u64,
    lanes: u16,
    /// What is known of each lane; empty if all of them are replaced at once.
    passing: Vec<Passing>,
}

/// The generations of one shard's lanes.
#[derive(Debug)]
pub struct Generations {
    current: u64,
    lanes: u16,
    next: Option<Next>,
    /// The newest one, for when all lanes have come to `next`: number and lanes.
    after: Option<(u64, u16)>,
    /// Left by every lane, and not finished.
    left: BTreeSet<u64>,
}

impl Generations {
    /// All lanes begin in one generation.
    pub fn new(number: u64, lanes: u16) -> Self {
        Self {
            current: number,
            lanes,
            next: None,
            after: None,
            left: BTreeSet::new(),
        }
    }

    /// Takes an event. One that answers nothing, or answers it twice, changes nothing.
    pub fn handle(&mut self, event: GenerationEvent, effects: &mut Vec<GenerationEffect>) {
        match event {
            GenerationEvent::Wanted { number, lanes } => {
                if number > self.newest() {
                    self.after = Some((number, lanes));
                }
            }
            GenerationEvent::Made { lane } => {
                if let Some(next) = &mut self.next
                    && let Some(passing @ Passing::Making) = next.passing.get_mut(lane)
                {
                    *passing = Passing::Swapping;
                    let number = next.number;
                    effects.push(GenerationEffect::Swap { lane, number });
                }
            }
            GenerationEvent::Swapped { lane } => {
                if let Some(next) = &mut self.next
                    && let Some(passing @ Passing::Swapping) = next.passing.get_mut(lane)
                {
                    *passing = Passing::Done;
                    if next.passing.iter().all(|lane| *lane == Passing::Done) {
                        self.settle(effects);
                    }
                }
            }
            GenerationEvent::Relaned => {
                if self
                    .next
                    .as_ref()
                    .is_some_and(|next| next.passing.is_empty())
                {
                    self.settle(effects);
                }
            }
            GenerationEvent::Finished { number } => {
                if self.left.remove(&number) {
                    effects.push(GenerationEffect::Retire { number });
                }
            }
        }
        self.begin(effects);
    }

    /// The newest generation that is known.
    fn newest(&self) -> u64 {
        let next = self.next.as_ref().map_or(self.current, |next| next.number);
        self.after.map_or(next, |(number, _)| number)
    }

    fn begin(&mut self, effects: &mut Vec<GenerationEffect>) {
        if self.next.is_some() {
            return;
        }
        let Some((number, lanes)) = self.after.take() else {
            return;
        };
        effects.push(GenerationEffect::Begin { number });
        let passing = if lanes == self.lanes {
            vec![Passing::Making; usize::from(lanes)]
        } else {
            Vec::new()
        };
        for lane in 0..passing.len() {
            effects.push(GenerationEffect::Make { lane, number });
        }
        self.next = Some(Next {
            number,
            lanes,
            passing,
        });
    }

    fn settle(&mut self, effects: &mut Vec<GenerationEffect>) {
        let Some(next) = self.next.take() else { return };
        let number = std::mem::replace(&mut self.current, next.number);
        self.lanes = next.lanes;
        self.left.insert(number);
        effects.push(GenerationEffect::Settled {
            number: next.number,
        });
        effects.push(GenerationEffect::Finish { number });
    }

    /// The generation that a lane's batches run under.
    pub fn of_lane(&self, lane: usize) -> u64 {
        match &self.next {
            Some(next) if next.passing.get(lane) == Some(&Passing::Done) => next.number,
            _ => self.current,
        }
    }

    /// The generations under which something may have been delivered that is not durable yet, oldest first: what a
    /// checkpoint makes durable.
    pub fn in_use(&self) -> impl Iterator<Item = u64> {
        let next = self.next.as_ref().map(|next| next.number);
        let left = self.left.iter().copied();
        left.chain(std::iter::once(self.current)).chain(next)
    }
}
