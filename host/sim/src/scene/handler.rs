//! Plugins that do whatever a plugin may do.

use std::time::Duration;

use shardwright_core::{Failure, Hold, Release, Reply, SOURCE_CALL};

use super::Scene;
use crate::faults::Fault;
use crate::ledger::Said;
use crate::pipeline::TIME_LIMIT;
use crate::plan::Target;

/// What an instance holds, and under which name.
#[derive(Clone, Debug)]
pub struct Hands {
    held: Vec<(u64, u32)>,
    next_name: u64,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            next_name: 1,
        }
    }
}

impl Hands {
    /// Everything that is held, which the instance has no more.
    pub fn let_go(&mut self) -> impl Iterator<Item = u32> + use<> {
        std::mem::take(&mut self.held)
            .into_iter()
            .map(|(_, node)| node)
    }
}

/// How a call ends.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is made and taken apart at once"
)]
pub enum Answered {
    /// With a trap.
    Trap,
    /// Not before its time was up.
    Time,
    /// With a reply.
    Reply(Result<Reply, Failure>),
}

/// A call of a step.
#[derive(Debug)]
pub struct Called {
    /// How long it takes.
    pub takes: Duration,
    /// What it says of messages and emissions, by their nodes in the ledger: true once the run is over that it is part of.
    pub said: Vec<(u32, Said)>,
    /// How it ends.
    pub answer: Answered,
    /// Whether the host takes its reply, and not for a crash.
    pub is_valid: bool,
}

impl Called {
    fn crashed(takes: Duration, answer: Answered) -> Self {
        Self {
            takes,
            said: Vec::new(),
            answer,
            is_valid: true,
        }
    }
}

/// The emission that a payload names.
pub fn emission_of(data: &[u8]) -> u32 {
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

/// A reply in the making.
#[derive(Debug, Default)]
struct Draft {
    reply: Reply,
    said: Vec<(u32, Said)>,
    /// What an emission to nowhere came from.
    unrouted: Vec<u32>,
}

impl Draft {
    /// The host rejects what leads to an output that nobody routes.
    fn finish(mut self, takes: Duration, is_valid: bool) -> Called {
        let unrouted = self.unrouted.into_iter();
        self.said.extend(unrouted.map(|node| (node, Said::Reject)));
        Called {
            takes,
            said: self.said,
            answer: Answered::Reply(Ok(self.reply)),
            is_valid,
        }
    }
}

impl Scene {
    /// An instance is called with these messages, by their nodes.
    pub fn call(&mut self, hands: &mut Hands, nodes: &[u32]) -> Called {
        let mut takes = self.call_takes();
        let is_mended = self.is_calm && self.plan.settings.breaker.is_some();
        let is_poison = |node: &u32| !is_mended && self.ledger.is_poison(*node);
        let is_broken = self.is_away(Target::Plugins);
        if is_broken || nodes.iter().any(is_poison) || self.strikes(Fault::Trap) {
            return Called::crashed(takes, Answered::Trap);
        }
        if self.strikes(Fault::Hang) {
            takes += TIME_LIMIT;
            return Called::crashed(takes, Answered::Time);
        }
        if self.strikes(Fault::CallFails) {
            let is_final = self.time.strikes(300);
            let said = if is_final { Said::Reject } else { Said::Again };
            return Called {
                takes,
                said: nodes.iter().map(|node| (*node, said)).collect(),
                answer: Answered::Reply(Err(failure(is_final))),
                is_valid: true,
            };
        }
        let mut draft = Draft::default();
        let released = self.release(hands, &mut draft, 300);
        self.judge_all(hands, nodes, &mut draft);
        draft.said.extend(released);
        for (index, (node, said)) in draft.said.clone().into_iter().enumerate() {
            if said == Said::Ack {
                self.emit(&mut draft, index as u32, &[node]);
            }
        }
        let acked = draft.said.iter().filter(|(_, said)| *said == Said::Ack);
        let acked: Vec<u32> = acked.map(|(node, _)| *node).collect();
        if !acked.is_empty() && self.time.strikes(300) {
            self.emit(&mut draft, SOURCE_CALL, &acked);
        }
        let is_valid = !self.strikes(Fault::ReplyInvalid);
        if !is_valid {
            let beyond = nodes.len() as u32;
            draft.reply.failures.push((beyond, failure(true)));
        }
        draft.finish(takes, is_valid)
    }

    /// An instance is asked to flush.
    pub fn call_flush(&mut self, hands: &mut Hands) -> Called {
        let takes = self.call_takes();
        if self.is_away(Target::Plugins) || self.strikes(Fault::Trap) {
            return Called::crashed(takes, Answered::Trap);
        }
        let mut draft = Draft::default();
        let share = if self.is_calm { 1000 } else { 600 };
        draft.said = self.release(hands, &mut draft, share);
        for (index, (node, said)) in draft.said.clone().into_iter().enumerate() {
            if said == Said::Ack {
                self.emit(&mut draft, index as u32, &[node]);
            }
        }
        draft.finish(takes, true)
    }

    fn call_takes(&mut self) -> Duration {
        let (least, most) = (Duration::from_micros(20), Duration::from_millis(8));
        let mut takes = self.time.time(least, most);
        if self.strikes(Fault::HandlerSlow) {
            takes += self.time.time(Duration::ZERO, TIME_LIMIT);
        }
        takes
    }

    fn judge_all(&mut self, hands: &mut Hands, nodes: &[u32], draft: &mut Draft) {
        let mut retried: Vec<u64> = Vec::new();
        for (index, &node) in nodes.iter().enumerate() {
            let own = self.judge(hands, (index as u32, node), &mut draft.reply);
            let key = self.ledger.root_key(node);
            // What a reply says of later messages of a key counts for nothing when an earlier one is to be tried again.
            let is_discarded = key.is_some_and(|key| retried.contains(&key));
            let counts = if is_discarded { Said::Again } else { own };
            draft.said.push((node, counts));
            if own == Said::Again {
                retried.extend(key);
            }
        }
    }

    fn judge(&mut self, hands: &mut Hands, (index, node): (u32, u32), reply: &mut Reply) -> Said {
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
    fn release(&mut self, hands: &mut Hands, draft: &mut Draft, share: u16) -> Vec<(u32, Said)> {
        let mut said = Vec::new();
        for (id, node) in std::mem::take(&mut hands.held) {
            if !self.time.strikes(share) {
                hands.held.push((id, node));
                continue;
            }
            let fails = self
                .strikes(Fault::HeldFails)
                .then(|| self.time.strikes(300));
            draft.reply.releases.push(Release {
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
    fn emit(&mut self, draft: &mut Draft, source: u32, parents: &[u32]) {
        let mut many = 0;
        while many < 2 && self.time.strikes(self.plan.settings.emissions) {
            many += 1;
            let node = self.ledger.emission(parents.to_vec());
            let emissions = &mut draft.reply.emissions;
            if emissions.output_names.is_empty() {
                emissions.output_names = ["default", "side", "nowhere"].map(str::to_owned).to_vec();
            }
            emissions.data.push(node.to_string().as_bytes());
            emissions.keys.push(b"");
            emissions.sources.push(source);
            let is_side = self.time.strikes(200);
            let is_unrouted = self.strikes(Fault::Unrouted);
            if is_unrouted {
                draft.unrouted.extend_from_slice(parents);
            }
            let output = if is_unrouted { 2 } else { u32::from(is_side) };
            draft.reply.emissions.outputs.push(output);
        }
    }
}
