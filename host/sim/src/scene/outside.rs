//! What is done to the stream from outside.

use bytes::Bytes;
use shardwright_core::{AggregateBounds, Aggregator, HashRange, OutsideRange, effective_hash};

use super::Scene;
use crate::ledger::PutUser;
use crate::plan::{Operation, Start};

/// More shards than this show nothing new.
const SHARDS_MAX: usize = 14;

/// What a KPL container begins with, and no container follows.
const BROKEN_CONTAINER: &[u8] = b"\xf3\x89\x9a\xc2 and then nothing of the kind";

impl Scene {
    /// Does what is not done to a worker; tells whether it was such a thing.
    pub fn operate(&mut self, operation: Operation) -> bool {
        self.trace.mix(0x0b5e);
        match operation {
            Operation::Put(records) => {
                for _ in 0..records {
                    self.put();
                }
            }
            Operation::Split(chosen) => self.reshard(chosen, true),
            Operation::Merge(chosen) => self.reshard(chosen, false),
            Operation::Trim(age) => self.trim(age * 1_000_000, false),
            Operation::Outrun(age) => self.trim(age * 1_000_000, true),
            Operation::Outage(target, millis) => {
                self.tell(|| format!("{target:?} is away for {millis} ms"));
                self.away_until[target as usize] = self.now + millis * 1_000_000;
            }
            Operation::Start(_)
            | Operation::Crash(_)
            | Operation::Pause(..)
            | Operation::Drain(_)
            | Operation::Reload(_) => return false,
        }
        true
    }

    /// An open shard is split, or merged with its neighbour; which one, the number decides.
    fn reshard(&mut self, chosen: u64, is_split: bool) {
        let open = self.stream.open_shards();
        let most = SHARDS_MAX.max(self.plan.settings.shards as usize + 8);
        if self.stream.shards().count() >= most {
            return;
        }
        let Some(&shard) = open.get((chosen % open.len().max(1) as u64) as usize) else {
            return;
        };
        let id = self.stream.shard(shard).id.clone();
        let is_done = if is_split {
            self.stream.split(self.now, shard)
        } else {
            self.stream.merge(self.now, shard)
        };
        if is_done {
            let what = if is_split {
                "split"
            } else {
                "merged with its neighbour"
            };
            self.tell(|| format!("{id} is {what}"));
        }
    }

    /// Retention moves on to so many nanoseconds ago, over what is done only, unless it is to take what is unread too. That is
    /// lost by nobody's fault; but all that is left must still be done.
    fn trim(&mut self, age: u64, takes_unread: bool) {
        let mut horizon = self.now.saturating_sub(age);
        let shards = self.stream.shards().count();
        for shard in (0..shards).filter(|_| !takes_unread) {
            let Some(left) = self.ledger.first_unsettled(shard) else {
                // Its last reader must find its end.
                if !self.table.is_done(&self.stream.shard(shard).id)
                    || !self.ledger.shard(shard).was_leased
                {
                    horizon = horizon.min(self.stream.closed_at(shard).unwrap_or(horizon));
                }
                continue;
            };
            let entry = self.ledger.records[left as usize].entry;
            horizon = horizon.min(self.stream.arrived_at(entry));
        }
        self.tell(|| format!("retention moves on to {:.3} s", horizon as f64 / 1e9));
        for (shard, trimmed) in self.stream.trim(horizon).into_iter().enumerate() {
            self.ledger.trim(shard, trimmed);
        }
    }

    /// A record is put, or a container of several; nothing, if no shard takes it.
    fn put(&mut self) {
        let key = self.time.below(self.plan.settings.keys);
        let hash = hash_of(key);
        let open = self.stream.open_shards();
        let takes = |shard: &usize| self.stream.shard(*shard).hash_range.contains(hash);
        let Some(shard) = open.into_iter().find(takes) else {
            return;
        };
        let is_container = self.time.strikes(self.plan.settings.containers);
        if !is_container {
            let data = self.payload();
            return self.put_entry(shard, &key_text(key), data, &[key], false);
        }
        if self.time.strikes(40) {
            let data = Bytes::from_static(BROKEN_CONTAINER);
            return self.put_entry(shard, &key_text(key), data, &[key], false);
        }
        let range = self.stream.shard(shard).hash_range;
        let mut keys = vec![key];
        for _ in 0..self.time.below(6) {
            let key = self.time.below(self.plan.settings.keys);
            // A container is packed for one shard; one that was packed before a reshard may hold strays.
            if range.contains(hash_of(key)) || self.time.strikes(100) {
                keys.push(key);
            }
        }
        let mut packer = Aggregator::new(HashRange::FULL, AggregateBounds::default());
        for key in &keys {
            let data = self.payload();
            if packer.add(&key_text(*key), None, &data).is_err() {
                return;
            }
        }
        if let Some(packed) = packer.finish() {
            let is_aggregate = packed.user_records > 1;
            self.put_entry(shard, &packed.key, packed.data, &keys, is_aggregate);
        }
    }

    fn payload(&mut self) -> Bytes {
        let longest = self.plan.settings.answer.min(2_000) / 12;
        let number = self.ledger.records.len();
        let filler = self.time.below(longest) as usize;
        Bytes::from(format!("{number}{:filler$}", ""))
    }

    fn put_entry(
        &mut self,
        shard: usize,
        key: &str,
        data: Bytes,
        keys: &[u64],
        is_aggregate: bool,
    ) {
        let range = self.stream.shard(shard).hash_range;
        let is_outside = |key: &u64| is_aggregate && !range.contains(hash_of(*key));
        let drops_all = keys.iter().any(is_outside);
        let is_early =
            matches!(self.plan.settings.start, Start::At(at) if self.now < at * 1_000_000);
        let poison = self.plan.settings.poison;
        let users: Vec<PutUser> = keys
            .iter()
            .map(|key| {
                let is_dropped = match self.plan.settings.outside {
                    OutsideRange::Keep => false,
                    OutsideRange::DropRecord => is_outside(key),
                    OutsideRange::DropContainer => drops_all,
                };
                PutUser {
                    key: *key,
                    is_skipped: is_dropped || is_early,
                    is_barred: is_dropped,
                    is_poison: self.time.strikes(poison),
                }
            })
            .collect();
        let bytes = (data.len() + key.len()) as u64;
        let index = self.ledger.shard(shard).records.len();
        let number = self.stream.put(self.now, shard, key, data);
        self.ledger.put(shard, bytes, &users);
        let id = self.stream.shard(shard).id.clone();
        let last = index + users.len() - 1;
        self.tell(|| format!("{id}[{index}..={last}] is put, keys {keys:?}, entry {number}"));
    }
}

fn key_text(key: u64) -> String {
    format!("k{key}")
}

fn hash_of(key: u64) -> u128 {
    // Without an explicit hash key there is nothing that could be wrong.
    effective_hash(&key_text(key), None).unwrap_or_default()
}
