//! Plugins that do whatever a plugin may do.

use shardwright_core::{Failure, FlushReason, Messages, Reply, ShardId};
use shardwright_sim::{Answered, Called, Hands, Said, TIME_LIMIT};

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
            hands: Hands::default(),
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn PluginInstance>) })
    }
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

type Answer = Result<Result<Reply, Failure>, CallError>;

fn answer(answered: Answered) -> Answer {
    match answered {
        Answered::Trap => Err(CallError::Trap {
            trap: "simulated".to_owned(),
            stderr: String::new(),
        }),
        Answered::Time => Err(CallError::Time {
            limit: TIME_LIMIT,
            stderr: String::new(),
        }),
        Answered::Reply(reply) => Ok(reply),
    }
}

impl SimInstance {
    /// Says what was decided when the time has come for it.
    async fn answer(&self, called: Called) -> Answer {
        let alarm = self.sim.in_turn().alarm(self.lane.0, called.takes);
        alarm.await;
        let mut world = self.sim.world();
        let answer = answer(called.answer);
        let is_answer = answer.is_ok() && called.is_valid;
        world.answer(&self.lane, is_answer, called.said);
        answer
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
            self.life.filter(|_| is_begun).map(|life| {
                world.check_tenure(self.lane.0, life);
                world.flush(&mut self.hands, self.step)
            })
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
            for node in self.hands.let_go() {
                world.scene.ledger.say(node, Said::Again);
            }
            world.settle(&self.lane);
        }
    }
}

impl World {
    fn handle(&mut self, hands: &mut Hands, step: usize, nodes: &[u32]) -> Called {
        let mut called = self.scene.call(hands, nodes);
        if !matches!(called.answer, Answered::Reply(_)) {
            called.said = nodes.iter().map(|node| (*node, Said::Again)).collect();
        }
        if let Answered::Reply(Ok(reply)) = &called.answer {
            let emissions = reply.emissions.len() as u64;
            self.scene.trace.mix(emissions + ((step as u64) << 32));
        }
        called
    }

    fn flush(&mut self, hands: &mut Hands, step: usize) -> Called {
        let called = self.scene.call_flush(hands);
        if matches!(called.answer, Answered::Reply(_)) {
            let said = called.said.len() as u64;
            self.scene.trace.mix(said + ((step as u64) << 32));
        }
        called
    }
}
