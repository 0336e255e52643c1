//! Plugins that do whatever a plugin may do.

use std::time::Duration;

use shardwright_core::{Failure, Hold, Release, Reply, SOURCE_CALL};

use crate::faults::Fault;
use crate::ledger::Said;
use crate::pipeline::TIME_LIMIT;
use crate::plan::Target;
use crate::world::Turn;
use crate::world::World;

/// What came of a call.
#[expect(
    clippy::large_enum_variant,
    reason = "it is made and taken apart at once"
)]
pub(crate) enum Answered {
    Crash(&'static str),
    Reply(Result<Reply, Failure>),
}

/// The emission that a payload names.
pub(crate) fn emission_of(data: &[u8]) -> u32 {
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

impl World<'_> {
    /// One call of a step with these messages, by their nodes.
    pub(crate) fn call_handler(&mut self, turn: &mut Turn, step: usize, nodes: &[u32]) -> Answered {
        turn.handled.extend_from_slice(nodes);
        self.spend_time(turn);
        let is_mended = self.is_calm() && self.has_breaker();
        let is_poison = |node: &u32| !is_mended && self.ledger.is_poison(*node);
        let is_broken = self.is_away(Target::Plugins);
        if is_broken || nodes.iter().any(is_poison) || self.strikes(Fault::Trap) {
            return Answered::Crash("trap");
        }
        if self.strikes(Fault::Hang) {
            turn.takes += TIME_LIMIT;
            return Answered::Crash("time");
        }
        if self.strikes(Fault::CallFails) {
            let is_final = self.time.strikes(300);
            let said = if is_final { Said::Reject } else { Said::Again };
            turn.said.extend(nodes.iter().map(|node| (*node, said)));
            return Answered::Reply(Err(failure(is_final)));
        }
        let mut reply = Reply::default();
        let released = self.release(turn, step, &mut reply, 300);
        let mut said = Vec::with_capacity(nodes.len());
        let mut retried: Vec<u64> = Vec::new();
        for (index, &node) in nodes.iter().enumerate() {
            let own = self.judge(turn, step, (index as u32, node), &mut reply);
            let key = self.ledger.root_key(node);
            // What a reply says of later messages of a key counts for nothing when an earlier one is to be tried again.
            let is_discarded = key.is_some_and(|key| retried.contains(&key));
            let counts = if is_discarded { Said::Again } else { own };
            if own == Said::Again {
                retried.extend(key);
            }
            said.push((node, counts));
        }
        for (index, &(node, said)) in said.iter().enumerate() {
            if said == Said::Ack {
                self.emit(turn, &mut reply, index as u32, &[node]);
            }
        }
        for (index, &(node, said)) in released.iter().enumerate() {
            if said == Said::Ack {
                self.emit(turn, &mut reply, (nodes.len() + index) as u32, &[node]);
            }
        }
        said.extend(released);
        let acked = said.iter().filter(|(_, said)| *said == Said::Ack);
        let acked: Vec<u32> = acked.map(|(node, _)| *node).collect();
        if !acked.is_empty() && self.time.strikes(300) {
            self.emit(turn, &mut reply, SOURCE_CALL, &acked);
        }
        turn.said.extend(said);
        turn.reject_unrouted();
        if self.strikes(Fault::ReplyInvalid) {
            reply.failures.push((nodes.len() as u32, failure(true)));
        }
        Answered::Reply(Ok(reply))
    }

    /// One call of a step between batches.
    pub(crate) fn flush_handler(&mut self, turn: &mut Turn, step: usize) -> Answered {
        self.spend_time(turn);
        if self.is_away(Target::Plugins) || self.strikes(Fault::Trap) {
            return Answered::Crash("trap");
        }
        let mut reply = Reply::default();
        let share = if self.is_calm() { 1000 } else { 600 };
        let released = self.release(turn, step, &mut reply, share);
        for (index, &(node, said)) in released.iter().enumerate() {
            turn.handled.push(node);
            if said == Said::Ack {
                self.emit(turn, &mut reply, index as u32, &[node]);
            }
        }
        turn.said.extend(released);
        turn.reject_unrouted();
        Answered::Reply(Ok(reply))
    }

    fn spend_time(&mut self, turn: &mut Turn) {
        turn.takes += self
            .time
            .time(Duration::from_micros(20), Duration::from_millis(8));
        if self.strikes(Fault::HandlerSlow) {
            turn.takes += self.time.time(Duration::ZERO, TIME_LIMIT);
        }
    }

    fn judge(
        &mut self,
        turn: &mut Turn,
        step: usize,
        (index, node): (u32, u32),
        reply: &mut Reply,
    ) -> Said {
        if self.strikes(Fault::Retry) {
            reply.failures.push((index, failure(false)));
            return Said::Again;
        }
        if self.strikes(Fault::Reject) {
            reply.failures.push((index, failure(true)));
            return Said::Reject;
        }
        if self.strikes(Fault::Hold) {
            let instance = turn.instance(step);
            let id = instance.next_name;
            instance.next_name += 1;
            instance.held.push((id, node));
            reply.holds.push(Hold { index, id });
            return Said::Hold;
        }
        turn.instance(step);
        Said::Ack
    }

    /// Settles some of what the instance holds.
    fn release(
        &mut self,
        turn: &mut Turn,
        step: usize,
        reply: &mut Reply,
        share: u16,
    ) -> Vec<(u32, Said)> {
        let held = std::mem::take(&mut turn.instance(step).held);
        let mut said = Vec::new();
        for (id, node) in held {
            if !self.time.strikes(share) {
                turn.instance(step).held.push((id, node));
                continue;
            }
            let fails = self
                .strikes(Fault::HeldFails)
                .then(|| self.time.strikes(300));
            reply.releases.push(Release {
                id,
                failure: fails.map(failure),
            });
            said.push((
                node,
                match fails {
                    None => Said::Ack,
                    Some(true) => Said::Reject,
                    Some(false) => Said::Again,
                },
            ));
        }
        said
    }

    /// Some messages lead to an emission or two.
    fn emit(&mut self, turn: &mut Turn, reply: &mut Reply, source: u32, parents: &[u32]) {
        let mut many = 0;
        while many < 2 && self.time.strikes(self.emissions()) {
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
                turn.unrouted.extend_from_slice(parents);
            }
            reply
                .emissions
                .outputs
                .push(if is_unrouted { 2 } else { u32::from(is_side) });
        }
    }
}
