//! What is done to the world from outside.

use std::time::Duration;

use bytes::Bytes;
use shardwright_core::{
    AggregateBounds, Aggregator, Budget, Coordinator, CoordinatorEvent, HashRange, InitialPosition,
    LeaseSettings, LeaseTiming, OutsideRange, Usage, WorkerId, effective_hash,
};

use super::{Event, World};
use crate::clock::Clock;
use crate::dice::Dice;
use crate::ledger::PutUser;
use crate::plan::{Operation, Start, Target};
use crate::process::Process;

/// More shards than this show nothing new.
const SHARDS_MAX: usize = 14;

/// What a KPL container begins with, and no container follows.
const BROKEN_CONTAINER: &[u8] = b"\xf3\x89\x9a\xc2 and then nothing of the kind";

/// As long as the host gives a stop in good order.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

impl World<'_> {
    pub(super) fn operate(&mut self, operation: Operation) {
        self.trace.mix(0x0b5e);
        match operation {
            Operation::Put(records) => {
                for _ in 0..records {
                    self.put();
                }
            }
            Operation::Split(chosen) | Operation::Merge(chosen) => {
                self.reshard(chosen, matches!(operation, Operation::Split(_)));
            }
            Operation::Trim(age) => self.trim(age * 1_000_000),
            Operation::Start(name) => self.start(name),
            Operation::Crash(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.tell(|| format!("p{process} dies"));
                    self.kill(process);
                }
            }
            Operation::Pause(chosen, millis) => {
                if let Some(process) = self.living(chosen) {
                    self.tell(|| format!("p{process} stands still for {millis} ms"));
                    self.processes[process].paused_until = self.now + millis * 1_000_000;
                }
            }
            Operation::Drain(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.tell(|| format!("p{process} is told to stop"));
                    self.processes[process].drain_limit = Some(self.now);
                    self.after(
                        Duration::ZERO,
                        Event::Leases(process, CoordinatorEvent::Drain),
                    );
                    self.after(DRAIN_LIMIT, Event::DrainLimit(process));
                }
            }
            Operation::Outage(target, millis) => {
                self.tell(|| format!("{target:?} is away for {millis} ms"));
                self.away_until[target as usize] = self.now + millis * 1_000_000;
            }
            Operation::Reload(chosen) => {
                if let Some(process) = self.living(chosen) {
                    self.tell(|| format!("p{process} gets a newer plugin"));
                    self.processes[process].generation += 1;
                }
            }
        }
    }

    pub(super) fn is_away(&self, target: Target) -> bool {
        self.now < self.away_until[target as usize]
    }

    fn living(&self, chosen: u64) -> Option<usize> {
        let living: Vec<usize> = (0..self.processes.len())
            .filter(|process| self.processes[*process].is_alive)
            .collect();
        let at = chosen.checked_rem(living.len() as u64)?;
        living.get(at as usize).copied()
    }

    fn start(&mut self, name: u64) {
        let settings = &self.plan.settings;
        let number = self.processes.len();
        let mut dice = Dice::new(self.plan.seed, 100 + number as u64);
        let drift = dice.below(2 * settings.drift + 1).cast_signed() - settings.drift.cast_signed();
        let name = WorkerId::new(format!("w{name}"));
        self.tell(|| format!("p{number} starts as {name}, its clock {drift} ppm off"));
        let limits = Usage {
            records: settings.in_flight,
            span: settings.span,
            bytes: settings.in_flight_bytes,
        };
        let initial = match settings.start {
            Start::TrimHorizon => InitialPosition::TrimHorizon,
            Start::Latest => InitialPosition::Latest,
            Start::At(at) => InitialPosition::AtTimestamp(Self::start_ms(at)),
        };
        let mut has_twin = false;
        for other in self
            .processes
            .iter_mut()
            .filter(|other| other.is_alive && other.name == name)
        {
            other.has_twin = true;
            has_twin = true;
        }
        self.processes.push(Process {
            has_twin,
            machine: Coordinator::new(LeaseSettings {
                worker: name.clone(),
                initial,
                timing: LeaseTiming {
                    failover: settings.failover,
                },
                max_leases: usize::MAX,
                seed: u128::from(dice.draw()),
            }),
            name,
            clock: Clock {
                origin: dice.below(1 << 50),
                drift,
            },
            wall_off: dice.below(400).cast_signed() - 200,
            budget: Budget::new(limits, settings.answer),
            shells: Vec::new(),
            entropy: dice,
            generation: 0,
            is_alive: true,
            drain_limit: None,
            paused_until: 0,
            wake_at: u64::MAX,
            is_room_told: false,
        });
        self.tell_leases(number, CoordinatorEvent::Started);
    }

    fn reshard(&mut self, chosen: u64, is_split: bool) {
        let open = self.stream.open_shards();
        if self.stream.shards().count() >= SHARDS_MAX {
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

    /// Retention moves on, over what is done only: what it takes unread is lost by nobody's fault, and shows nothing.
    fn trim(&mut self, age: u64) {
        let mut horizon = self.now.saturating_sub(age);
        for shard in 0..self.stream.shards().count() {
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
        let is_early = self.is_before_start();
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
        let id = &self.stream.shard(shard).id;
        let last = index + users.len() - 1;
        self.trace.tell(self.now, || {
            format!("{id}[{index}..={last}] is put, keys {keys:?}, entry {number}")
        });
    }
}

fn key_text(key: u64) -> String {
    format!("k{key}")
}

fn hash_of(key: u64) -> u128 {
    // Without an explicit hash key there is nothing that could be wrong.
    effective_hash(&key_text(key), None).unwrap_or_default()
}
