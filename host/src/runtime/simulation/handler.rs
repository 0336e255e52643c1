//! Plugins that do whatever a plugin may do.

use std::time::Duration;

use shardwright_core::{
    Failure, FlushReason, Hold, Messages, Release, Reply, SOURCE_CALL, ShardId,
};
use shardwright_sim::{Fault, Said, TIME_LIMIT};

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

/// One run through the steps: a batch, or what a flush has brought.
#[derive(Debug)]
pub(super) struct Turn {
    life: usize,
    /// The step that was called last.
    step: usize,
    /// What handlers said, to be true when the turn is over.
    said: Vec<(u32, Said)>,
    /// Messages and emissions that handlers have had in this turn.
    handled: Vec<u32>,
    records: Vec<u32>,
    /// The generations that it may be of.
    generations: Vec<usize>,
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
    /// Begins a turn, unless its process is dead.
    fn begin_turn(
        &mut self,
        lane: &(usize, String),
        life: Option<usize>,
        step: usize,
        plugin: u64,
        records: Vec<u32>,
    ) -> bool {
        let process = lane.0;
        if !self.processes[process].is_alive {
            return false;
        }
        self.refresh(process);
        let Some(life) = life.filter(|life| !self.ledger.lives[*life].is_over) else {
            let what = format!(
                "{} of p{process} calls a plugin, and its lease is let go",
                lane.1
            );
            self.violate("LE-3", what);
            return false;
        };
        self.settle(lane);
        let generations = self.processes[process].generations.iter().enumerate();
        let generations = generations.filter(|(_, plugins)| plugins.get(step) == Some(&plugin));
        let turn = Turn {
            life,
            step,
            said: Vec::new(),
            handled: Vec::new(),
            records,
            generations: generations.map(|(number, _)| number).collect(),
        };
        self.turns.insert(lane.clone(), turn);
        true
    }

    /// A step is called with these. Answers their nodes; none if the process is dead.
    fn begin_call(
        &mut self,
        (lane, life, step, plugin): (&(usize, String), Option<usize>, usize, u64),
        messages: &Messages,
    ) -> Option<Vec<u32>> {
        self.trace.mix(messages.len() as u64);
        let goes_on = self.answered.as_ref() == Some(lane)
            && self.turns.get(lane).is_some_and(|turn| turn.step < step);
        if goes_on {
            self.answered = None;
            self.check_generation(lane, step, plugin);
            if let Some(turn) = self.turns.get_mut(lane) {
                turn.step = step;
            }
            return Some(messages.data.iter().map(emission_of).collect());
        }
        self.end_turn();
        let mut records = Vec::with_capacity(messages.len());
        for (index, sub) in messages.sub_sequence_numbers.iter().enumerate() {
            let sequence = messages.sequence_numbers.get(index).unwrap_or_default();
            let sequence = std::str::from_utf8(sequence).unwrap_or_default();
            match self.record_at(sequence, *sub) {
                Some(record) if step == 0 => records.push(record),
                _ => {
                    let what = format!("{sequence}/{sub} runs in step {step} and was never put");
                    self.violate("DL-1", what);
                    return None;
                }
            }
        }
        if !self.begin_turn(lane, life, step, plugin, records.clone()) {
            return None;
        }
        let life = life?;
        self.check_tenure(lane.0, life);
        let span = self.plan.settings.span;
        let rule = self.ledger.check_begin(&self.stream, life, &records, span);
        self.hold(rule);
        let ledger = &self.ledger;
        self.trace.tell(self.now, || {
            let index = |record: &u32| ledger.records[*record as usize].index;
            let places: Vec<usize> = records.iter().map(index).collect();
            format!("p{} runs {places:?} in {}", lane.0, lane.1)
        });
        let nodes = records.iter();
        Some(
            nodes
                .map(|record| self.ledger.message(life, *record))
                .collect(),
        )
    }

    /// HR-1: the steps of one batch are of one generation.
    fn check_generation(&mut self, lane: &(usize, String), step: usize, plugin: u64) {
        let generations = &self.processes[lane.0].generations;
        let Some(turn) = self.turns.get_mut(lane) else {
            return;
        };
        let is_its = |number: &usize| generations[*number].get(step) == Some(&plugin);
        turn.generations.retain(is_its);
        if turn.generations.is_empty() {
            self.violate("HR-1", format!("{} met two generations", lane.1));
        }
    }

    /// A call is answered. With a reply its turn may go on; without one, whatever was said in it counts for nothing.
    fn answer(&mut self, lane: &(usize, String), is_answer: bool, said: Vec<(u32, Said)>) {
        let Some(turn) = self.turns.get_mut(lane) else {
            return;
        };
        turn.handled.extend(said.iter().map(|(node, _)| *node));
        if is_answer {
            turn.said.extend(said);
            self.answered = Some(lane.clone());
            return;
        }
        turn.said.clear();
        for node in std::mem::take(&mut turn.handled) {
            self.ledger.say(node, Said::Again);
        }
        self.tell(|| format!("{} of p{} gets no reply", lane.1, lane.0));
    }

    /// The turn that was answered last does not go on: what was said in it is true.
    pub(super) fn end_turn(&mut self) {
        let Some(lane) = self.answered.take() else {
            return;
        };
        let Some(turn) = self.turns.get_mut(&lane) else {
            return;
        };
        turn.handled.clear();
        for (node, said) in std::mem::take(&mut turn.said) {
            self.ledger.say(node, said);
        }
    }

    /// A lane has come to the end of what it did: what it has not brought to an end is given up.
    fn settle(&mut self, lane: &(usize, String)) {
        let Some(turn) = self.turns.get_mut(lane) else {
            return;
        };
        let life = turn.life;
        for record in std::mem::take(&mut turn.records) {
            let index = self.ledger.records[record as usize].index;
            if self.ledger.lives[life].mark(index) == shardwright_sim::Mark::Running {
                self.ledger.give_up(life, record);
            }
        }
    }

    fn handle(&mut self, hands: &mut Hands, step: usize, nodes: &[u32]) -> Call {
        let mut takes = self.spend_time();
        let is_poison = |node: &u32| self.ledger.is_poison(*node);
        let of_all = |said| nodes.iter().map(|node| (*node, said)).collect::<Vec<_>>();
        let crashed = |takes, error| Call {
            takes,
            said: of_all(Said::Again),
            answer: Err(error),
            is_valid: true,
        };
        if nodes.iter().any(is_poison) || self.strikes(Fault::Trap) {
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
        if self.strikes(Fault::Trap) {
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
