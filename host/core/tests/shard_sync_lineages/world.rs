//! A stream as its shards: who split from or merged into whom, and when. Time is counted in epochs; a reshard opens each
//! epoch but the first, and then every open shard takes one record.

use std::ops::Range;

use shardwright_core::{HashRange, SequenceNumber, Shard, ShardId};

/// Counts the reshards so far.
pub(crate) type Epoch = usize;

/// One change of the stream, by index among the open shards in the order of their ranges, modulo how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reshard {
    Split(usize),
    /// With its neighbour above. A single open shard is split instead.
    Merge(usize),
}

#[derive(Clone, Debug)]
struct Life {
    id: ShardId,
    parents: Vec<usize>,
    range: HashRange,
    opened: Epoch,
    closed: Option<Epoch>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    shards: Vec<Life>,
    last: Epoch,
}

fn name(index: usize) -> ShardId {
    ShardId::new(format!("shardId-{index:012}"))
}

impl World {
    pub(crate) fn new(shards: usize, reshards: &[Reshard]) -> Self {
        let width = u128::MAX / shards as u128;
        let first = (0..shards as u128).map(|index| Life {
            id: name(index as usize),
            parents: Vec::new(),
            range: HashRange {
                start: index * width + u128::from(index > 0),
                end: if index + 1 == shards as u128 {
                    u128::MAX
                } else {
                    (index + 1) * width
                },
            },
            opened: 0,
            closed: None,
        });
        let mut world = Self {
            shards: first.collect(),
            last: 0,
        };
        for reshard in reshards {
            world.last += 1;
            world.reshard(*reshard);
        }
        world
    }

    /// Every stream of up to `shards` shards at first and exactly `reshards` reshards.
    pub(crate) fn all(shards: usize, reshards: usize) -> Vec<Self> {
        let mut worlds: Vec<Self> = (1..=shards).map(|shards| Self::new(shards, &[])).collect();
        for _ in 0..reshards {
            let next = |world: &Self| {
                let open = world.open().len();
                let splits = (0..open).map(Reshard::Split);
                let reshards: Vec<_> = splits
                    .chain((1..open).map(|index| Reshard::Merge(index - 1)))
                    .collect();
                let after = |reshard| {
                    let mut world = world.clone();
                    world.last += 1;
                    world.reshard(reshard);
                    world
                };
                reshards.into_iter().map(after).collect::<Vec<_>>()
            };
            worlds = worlds.iter().flat_map(next).collect();
        }
        worlds
    }

    fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> = (0..self.shards.len())
            .filter(|index| self.shards[*index].closed.is_none())
            .collect();
        open.sort_by_key(|index| self.shards[*index].range.start);
        open
    }

    fn reshard(&mut self, reshard: Reshard) {
        let open = self.open();
        let (parents, ranges) = match reshard {
            Reshard::Merge(index) if open.len() > 1 => {
                let index = index % (open.len() - 1);
                let (low, high) = (open[index], open[index + 1]);
                let range = HashRange {
                    start: self.shards[low].range.start,
                    end: self.shards[high].range.end,
                };
                (vec![low, high], vec![range])
            }
            Reshard::Split(index) | Reshard::Merge(index) => {
                let parent = open[index % open.len()];
                let HashRange { start, end } = self.shards[parent].range;
                let middle = start + (end - start) / 2;
                (
                    vec![parent],
                    vec![
                        HashRange { start, end: middle },
                        HashRange {
                            start: middle + 1,
                            end,
                        },
                    ],
                )
            }
        };
        for parent in &parents {
            self.shards[*parent].closed = Some(self.last);
        }
        let opened = self.last;
        for range in ranges {
            let id = name(self.shards.len());
            self.shards.push(Life {
                id,
                parents: parents.clone(),
                range,
                opened,
                closed: None,
            });
        }
    }

    pub(crate) fn last_epoch(&self) -> Epoch {
        self.last
    }

    pub(crate) fn index(id: &ShardId) -> usize {
        let digits = id.as_str().trim_start_matches("shardId-");
        digits.parse().expect("the shard is of this stream")
    }

    fn id(&self, index: usize) -> ShardId {
        self.shards[index].id.clone()
    }

    fn life(&self, id: &ShardId) -> &Life {
        &self.shards[Self::index(id)]
    }

    pub(crate) fn is_open(&self, id: &ShardId, at: Epoch) -> bool {
        let life = self.life(id);
        life.opened <= at && life.closed.is_none_or(|closed| closed > at)
    }

    /// The epochs in which the shard took a record.
    pub(crate) fn epochs(&self, id: &ShardId) -> Range<Epoch> {
        let life = self.life(id);
        life.opened..life.closed.unwrap_or(self.last + 1)
    }

    /// Every record: the index of its shard, and its epoch.
    pub(crate) fn records(&self) -> impl Iterator<Item = (usize, Epoch)> {
        (0..self.shards.len()).flat_map(|index| {
            self.epochs(&self.id(index))
                .map(move |epoch| (index, epoch))
        })
    }

    pub(crate) fn children(&self, id: &ShardId) -> impl Iterator<Item = ShardId> {
        let parent = Self::index(id);
        let of_parent = move |index: &usize| self.shards[*index].parents.contains(&parent);
        (0..self.shards.len())
            .filter(of_parent)
            .map(|index| self.id(index))
    }

    pub(crate) fn ancestors(&self, id: &ShardId) -> Vec<ShardId> {
        let mut ancestors = self.life(id).parents.clone();
        let mut next = 0;
        while next < ancestors.len() {
            ancestors.extend(self.shards[ancestors[next]].parents.clone());
            next += 1;
        }
        ancestors.into_iter().map(|index| self.id(index)).collect()
    }

    /// The whole listing at `now`, when retention has taken everything before `horizon`.
    pub(crate) fn listing(&self, now: Epoch, horizon: Epoch) -> Vec<Shard> {
        let number = |value: usize| SequenceNumber::parse(value.to_string()).expect("digits");
        let describe = |index: usize| {
            let life = &self.shards[index];
            let closed = life.closed.filter(|closed| *closed <= now);
            let is_listed = life.opened <= now && closed.is_none_or(|closed| closed > horizon);
            is_listed.then(|| Shard {
                id: self.id(index),
                parents: life
                    .parents
                    .iter()
                    .copied()
                    .map(|index| self.id(index))
                    .collect(),
                hash_range: life.range,
                starting_sequence: number(life.opened * 10),
                ending_sequence: closed.map(|closed| number(closed * 10 + 5)),
            })
        };
        (0..self.shards.len()).filter_map(describe).collect()
    }
}
