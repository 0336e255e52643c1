//! Plugins that do whatever a plugin may do.

use std::time::Duration;

use shardwright_core::{
    Failure, FlushReason, Hold, Messages, Release, Reply, SOURCE_CALL, ShardId,
};
use shardwright_sim::{Fault, Said, TIME_LIMIT, Target};

use super::time::Sim;
use super::world::World;
use crate::ports::{CallError, Description, PluginInstance, PortFuture, PreparedPlugin};

/// A plugin of one step, in one process.
#[derive(Debug)]
pub(super) struct SimPlugin {
    pub(super) sim: Sim,
    pub(super) process: usize,
    pub(super) step: usize,
    /// Its number in the world.
    pub(super) number: u64,
    pub(super) description: Description,
}

impl PreparedPlugin for SimPlugin {
    fn description(&self) -> &Description {
        &self.description
    }

    fn digest(&self) -> &'static str {
        "sha256:simulated"
    }

    fn instantiate<'a>(
        &'a self,
        origin: &'a str,
    ) -> PortFuture<'a, Result<Box<dyn PluginInstance>, CallError>> {
        let shard = ShardId::new(origin.split('/').next().unwrap_or_default().to_owned());
        let life = {
            let world = self.sim.in_turn();
            world.processes[self.process].lives.get(&shard).copied()
        };
        let instance = SimInstance {
            sim: self.sim.clone(),
            lane: (self.process, origin.to_owned()),
            life,
            step: self.step,
            plugin: self.number,
            hands: Hands {
                held: Vec::new(),
                next_name: 1,
            },
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn PluginInstance>) })
    }
}

/// What an instance holds, and under which name.
#[derive(Debug)]
pub(super) struct Hands {
    held: Vec<(u64, u32)>,
    next_name: u64,
}

#[derive(Debug)]
struct SimInstance {
    sim: Sim,
    lane: (usize, String),
    life: Option<usize>,
    step: usize,
    plugin: u64,
    hands: Hands,
}

/// What a call is going to answer.
#[derive(Debug)]
struct Call {
    takes: Duration,
    said: Vec<(u32, Said)>,
    answer: Answer,
    /// The host takes a reply that does not fit for a crash.
    is_valid: bool,
}

type Answer = Result<Result<Reply, Failure>, CallError>;

/// The emission that a payload names.
pub(super) fn emission_of(data: &[u8]) -> u32 {
    let text = std::str::from_utf8(data).unwrap_or_default();
    text.parse().unwrap_or(u32::MAX)
}

fn failure(is_final: bool) -> Failure {
    let reason = String::new();
    if is_final {
        Failure::Reject { reason }
    } else {
        Failure::Retry {
            after: None,
            reason,
        }
    }
}

fn trap() -> CallError {
    CallError::Trap {
        trap: "simulated".to_owned(),
        stderr: String::new(),
    }
}

impl SimInstance {
    /// Says what was decided when the time has come for it.
    async fn answer(&self, call: Call) -> Answer {
        let alarm = self.sim.in_turn().alarm(self.lane.0, call.takes);
        alarm.await;
        let mut world = self.sim.world();
        let is_answer = call.answer.is_ok() && call.is_valid;
        world.answer(&self.lane, is_answer, call.said);
        call.answer
    }
}

impl PluginInstance for SimInstance {
    fn handle<'a>(&'a mut self, messages: &'a Messages) -> PortFuture<'a, Answer> {
        let call = {
            let mut world = self.sim.in_turn();
            let place = (&self.lane, self.life, self.step, self.plugin);
            world
                .begin_call(place, messages)
                .map(|nodes| world.handle(&mut self.hands, self.step, &nodes))
        };
        Box::pin(async move {
            match call {
                Some(call) => self.answer(call).await,
                None => std::future::pending().await,
            }
        })
    }

    fn flush(&mut self, _reason: FlushReason) -> PortFuture<'_, Answer> {
        let call = {
            let mut world = self.sim.world();
            let is_begun =
                world.begin_turn(&self.lane, self.life, self.step, self.plugin, Vec::new());
            is_begun.then(|| world.flush(&mut self.hands, self.step))
        };
        Box::pin(async move {
            match call {
                Some(call) => self.answer(call).await,
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for SimInstance {
    fn drop(&mut self) {
        let mut world = self.sim.world();
        if world.processes[self.lane.0].is_alive {
            // What it held is to be tried again.
            for (_, node) in self.hands.held.drain(..) {
                world.ledger.say(node, Said::Again);
            }
            world.settle(&self.lane);
        }
    }
}

impl World {
    fn handle(&mut self, hands: &mut Hands, step: usize, nodes: &[u32]) -> Call {
        let mut takes = self.spend_time();
        let is_mended = self.is_calm && self.plan.settings.breaker.is_some();
        let is_poison = |node: &u32| !is_mended && self.ledger.is_poison(*node);
        let of_all = |said| nodes.iter().map(|node| (*node, said)).collect::<Vec<_>>();
        let crashed = |takes, error| Call {
            takes,
            said: of_all(Said::Again),
            answer: Err(error),
            is_valid: true,
        };
        let is_broken = self.is_away(Target::Plugins);
        if is_broken || nodes.iter().any(is_poison) || self.strikes(Fault::Trap) {
            return crashed(takes, trap());
        }
        if self.strikes(Fault::Hang) {
            takes += TIME_LIMIT;
            let error = CallError::Time {
                limit: TIME_LIMIT,
                stderr: String::new(),
            };
            return crashed(takes, error);
        }
        if self.strikes(Fault::CallFails) {
            let is_final = self.time.strikes(300);
            let said = if is_final { Said::Reject } else { Said::Again };
            return Call {
                takes,
                said: of_all(said),
                answer: Ok(Err(failure(is_final))),
                is_valid: true,
            };
        }
        let mut reply = Reply::default();
        let released = self.release(hands, &mut reply, 300);
        let mut said = self.judge_all(hands, nodes, &mut reply);
        let mut unrouted = Vec::new();
        for (index, &(node, said)) in said.iter().enumerate() {
            if said == Said::Ack {
                self.emit(&mut unrouted, &mut reply, index as u32, &[node]);
            }
        }
        for (index, &(node, said)) in released.iter().enumerate() {
            if said == Said::Ack {
                let source = (nodes.len() + index) as u32;
                self.emit(&mut unrouted, &mut reply, source, &[node]);
            }
        }
        said.extend(released);
        let acked = said.iter().filter(|(_, said)| *said == Said::Ack);
        let acked: Vec<u32> = acked.map(|(node, _)| *node).collect();
        if !acked.is_empty() && self.time.strikes(300) {
            self.emit(&mut unrouted, &mut reply, SOURCE_CALL, &acked);
        }
        said.extend(unrouted.into_iter().map(|node| (node, Said::Reject)));
        let is_valid = !self.strikes(Fault::ReplyInvalid);
        if !is_valid {
            reply.failures.push((nodes.len() as u32, failure(true)));
        }
        self.trace
            .mix(reply.emissions.len() as u64 + ((step as u64) << 32));
        Call {
            takes,
            said,
            answer: Ok(Ok(reply)),
            is_valid,
        }
    }

    fn flush(&mut self, hands: &mut Hands, step: usize) -> Call {
        let takes = self.spend_time();
        if self.is_away(Target::Plugins) || self.strikes(Fault::Trap) {
            return Call {
                takes,
                said: Vec::new(),
                answer: Err(trap()),
                is_valid: true,
            };
        }
        let mut reply = Reply::default();
        let share = if self.is_calm { 1000 } else { 600 };
        let mut said = self.release(hands, &mut reply, share);
        let mut unrouted = Vec::new();
        for (index, &(node, said)) in said.iter().enumerate() {
            if said == Said::Ack {
                self.emit(&mut unrouted, &mut reply, index as u32, &[node]);
            }
        }
        said.extend(unrouted.into_iter().map(|node| (node, Said::Reject)));
        self.trace.mix(said.len() as u64 + ((step as u64) << 32));
        Call {
            takes,
            said,
            answer: Ok(Ok(reply)),
            is_valid: true,
        }
    }

    fn spend_time(&mut self) -> Duration {
        let (least, most) = (Duration::from_micros(20), Duration::from_millis(8));
        let mut takes = self.time.time(least, most);
        if self.strikes(Fault::HandlerSlow) {
            takes += self.time.time(Duration::ZERO, TIME_LIMIT);
        }
        takes
    }

    fn judge_all(
        &mut self,
        hands: &mut Hands,
        nodes: &[u32],
        reply: &mut Reply,
    ) -> Vec<(u32, Said)> {
        let mut said = Vec::with_capacity(nodes.len());
        let mut retried: Vec<u64> = Vec::new();
        for (index, &node) in nodes.iter().enumerate() {
            let own = self.judge(hands, index as u32, node, reply);
            let key = self.ledger.root_key(node);
            // What a reply says of later messages of a key counts for nothing when an earlier one is to be tried again.
            let is_discarded = key.is_some_and(|key| retried.contains(&key));
            said.push((node, if is_discarded { Said::Again } else { own }));
            if own == Said::Again {
                retried.extend(key);
            }
        }
        said
    }

    fn judge(&mut self, hands: &mut Hands, index: u32, node: u32, reply: &mut Reply) -> Said {
        if self.strikes(Fault::Retry) {
            reply.failures.push((index, failure(false)));
            return Said::Again;
        }
        if self.strikes(Fault::Reject) {
            reply.failures.push((index, failure(true)));
            return Said::Reject;
        }
        if self.strikes(Fault::Hold) {
            let id = hands.next_name;
            hands.next_name += 1;
            hands.held.push((id, node));
            reply.holds.push(Hold { index, id });
            return Said::Hold;
        }
        Said::Ack
    }

    /// Settles some of what an instance holds.
    fn release(&mut self, hands: &mut Hands, reply: &mut Reply, share: u16) -> Vec<(u32, Said)> {
        let mut said = Vec::new();
        for (id, node) in std::mem::take(&mut hands.held) {
            if !self.time.strikes(share) {
                hands.held.push((id, node));
                continue;
            }
            let fails = self
                .strikes(Fault::HeldFails)
                .then(|| self.time.strikes(300));
            reply.releases.push(Release {
                id,
                failure: fails.map(failure),
            });
            let its = match fails {
                None => Said::Ack,
                Some(true) => Said::Reject,
                Some(false) => Said::Again,
            };
            said.push((node, its));
        }
        said
    }

    /// Some messages lead to an emission or two.
    fn emit(&mut self, unrouted: &mut Vec<u32>, reply: &mut Reply, source: u32, parents: &[u32]) {
        let mut many = 0;
        while many < 2 && self.time.strikes(self.plan.settings.emissions) {
            many += 1;
            let node = self.ledger.emission(parents.to_vec());
            let emissions = &mut reply.emissions;
            if emissions.output_names.is_empty() {
                emissions.output_names = ["default", "side", "nowhere"].map(str::to_owned).to_vec();
            }
            emissions.data.push(node.to_string().as_bytes());
            emissions.keys.push(b"");
            emissions.sources.push(source);
            let is_side = self.time.strikes(200);
            let is_unrouted = self.strikes(Fault::Unrouted);
            if is_unrouted {
                unrouted.extend_from_slice(parents);
            }
            let output = if is_unrouted { 2 } else { u32::from(is_side) };
            reply.emissions.outputs.push(output);
        }
    }
}
