//! The task of one lane, as the host has it: batches, flushes, deliveries.

use std::rc::Rc;
mod turn;

use std::time::Duration;

use shardwright_core::{
    Batch, Cause, ConsumerEvent, FlushReason, LaneState, Outcome, Position, Ran, Run,
    SequenceNumber,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::ledger::Said;
use crate::pipeline::retry_policy;
use crate::plan::Target;
use crate::process::{FlushOutcome, Input, Instance, LaneWork, RanOutcome};
use crate::scene::{Answered, Called, Hands, emission_of, nanos};

/// As the host has it: a lane that holds messages and gets none asks its instances to flush after this long.
const IDLE_FLUSH_AFTER: Duration = Duration::from_secs(1);

/// As the host has it: a lane without a permit looks again after this long.
const PERMIT_LOOK_EVERY: Duration = Duration::from_millis(500);

/// One thing that a lane does: the shell's own state, taken out of the process while it goes on.
pub(crate) struct Turn {
    pub(crate) life: usize,
    pub(crate) generation: u32,
    pub(crate) instances: Vec<Option<Instance>>,
    /// What handlers said, to be true when the turn is over.
    pub(crate) said: Vec<(u32, Said)>,
    /// Messages and emissions that handlers have had in this turn.
    pub(crate) handled: Vec<u32>,
    pub(crate) takes: Duration,
    /// How much of the lists was there before this run.
    before: (usize, usize),
    delivered: Vec<(Duration, Vec<u32>)>,
}

impl Turn {
    /// The hands of a step's instance, which is made if there is none.
    fn hands(&mut self, step: usize) -> &mut Hands {
        let generation = self.generation;
        let instance = self.instances[step].get_or_insert_with(|| Instance {
            generation,
            hands: Hands::default(),
        });
        &mut instance.hands
    }

    /// What a call has said and how long it took. Answers how it ended.
    fn take_in(&mut self, called: Called) -> Answered {
        let Called {
            takes,
            said,
            answer,
            ..
        } = called;
        self.takes += takes;
        for (node, _) in &said {
            if !self.handled.contains(node) {
                self.handled.push(*node);
            }
        }
        self.said.extend(said);
        answer
    }

    fn lose(&mut self, state: &mut LaneState, step: usize) -> Vec<(shardwright_core::Slot, u64)> {
        let instance = self.instances[step].take();
        let held = instance
            .into_iter()
            .flat_map(|mut instance| instance.hands.let_go());
        self.said.extend(held.map(|node| (node, Said::Again)));
        state.instance_lost(step)
    }
}

/// A step that gave no reply.
struct Crash {
    step: usize,
    kind: &'static str,
}

impl World {
    pub(super) fn begin_lane(&mut self, process: usize, life: usize, lane: usize) {
        let now = self.clock_of(process);
        let newest = self.processes[process].generation;
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let permit = shell.permit;
        let task = &mut shell.lanes[lane];
        if task.is_busy {
            return;
        }
        let is_old = |instance: &Instance| instance.generation != newest;
        let is_left = task.instances.iter().flatten().any(is_old);
        let calls = |work: &LaneWork| matches!(work, LaneWork::Run(_) | LaneWork::Flush(_));
        if now >= permit && (is_left || task.work.front().is_some_and(calls)) {
            let at = self.local_after(process, PERMIT_LOOK_EVERY);
            return self.at(at, Event::Consumer(process, life, Input::Lane(lane)));
        }
        if is_left {
            return self.flush(process, life, lane, FlushReason::Reload, false);
        }
        match task.work.front() {
            None if task.state.held() > 0 => {
                let turn = task.turn;
                let at = self.local_after(process, IDLE_FLUSH_AFTER);
                self.at(
                    at,
                    Event::Consumer(process, life, Input::Idle { lane, turn }),
                );
            }
            None => {}
            Some(_) => match task.work.pop_front() {
                Some(LaneWork::Run(batch)) => self.run(process, life, lane, batch),
                Some(LaneWork::Flush(reason)) => self.flush(process, life, lane, reason, true),
                Some(LaneWork::TakeBack) => self.take_back(process, life, lane),
                None => {}
            },
        }
    }

    pub(super) fn flush_idle(&mut self, process: usize, life: usize, lane: usize, turn: u32) {
        let now = self.clock_of(process);
        let newest = self.processes[process].generation;
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let permit = shell.permit;
        let task = &shell.lanes[lane];
        if task.is_busy || task.turn != turn || !task.work.is_empty() || task.state.held() == 0 {
            return;
        }
        if now >= permit {
            let at = self.local_after(process, PERMIT_LOOK_EVERY);
            return self.at(
                at,
                Event::Consumer(process, life, Input::Idle { lane, turn }),
            );
        }
        let is_old = |instance: &Instance| instance.generation != newest;
        let reason = if task.instances.iter().flatten().any(is_old) {
            FlushReason::Reload
        } else {
            FlushReason::Idle
        };
        self.flush(process, life, lane, reason, false);
    }

    fn run(&mut self, process: usize, life: usize, lane: usize, batch: Box<Batch>) {
        let tenure = self.scene.ledger.lives[life].tenure.clone();
        self.check_tenure(process, &tenure);
        let mut records = Vec::with_capacity(batch.len());
        for index in 0..batch.len() {
            match self.record_of(&batch, index) {
                Some(record) => records.push(record),
                None => {
                    let what = format!("{:?} runs and was never put", batch.place(index));
                    return self.scene.hold(Err(("DL-1", what)));
                }
            }
        }
        let nodes = self
            .scene
            .begin_run(process, life, &lane.to_string(), &records);
        let (mut turn, mut state) = self.begin_turn(process, life, lane);
        let routes = Rc::clone(&self.routes);
        let run = Run::new(&batch, &mut state, &routes);
        let ran = match self.finish_run(&mut turn, run, nodes) {
            Ok(outcome) => Ran::Done(outcome),
            Err(crash) => {
                let lost = self.crashed(process, &mut turn, &mut state, &crash);
                let cause = Cause {
                    step: Some(crash.step),
                    kind: crash.kind,
                    reason: String::new(),
                };
                Ran::Crashed { cause, lost }
            }
        };
        self.end_turn(process, lane, &mut turn, state);
        let outcome = RanOutcome {
            batch,
            ran,
            said: turn.said,
        };
        self.after(
            turn.takes,
            Event::Consumer(process, life, Input::Ran(Box::new(outcome))),
        );
    }

    fn record_of(&self, batch: &Batch, index: usize) -> Option<u32> {
        let (sequence, sub_sequence) = batch.place(index);
        let sequence = SequenceNumber::parse(sequence).ok()?;
        let position = Position {
            sequence,
            sub_sequence,
        };
        self.scene.ledger.record_at(&self.scene.stream, &position)
    }

    fn crashed(
        &mut self,
        process: usize,
        turn: &mut Turn,
        state: &mut LaneState,
        crash: &Crash,
    ) -> Vec<(shardwright_core::Slot, u64)> {
        self.scene.tell(|| {
            format!(
                "p{process}: step {} gives no reply ({})",
                crash.step, crash.kind
            )
        });
        // Whatever was said in this run counts for nothing.
        let (said, delivered) = turn.before;
        turn.said.truncate(said);
        turn.said
            .extend(turn.handled.iter().map(|node| (*node, Said::Again)));
        turn.delivered.truncate(delivered);
        turn.lose(state, crash.step)
    }

    /// Takes a run through the steps that are left, and delivers what it emits.
    fn finish_run(
        &mut self,
        turn: &mut Turn,
        mut run: Run<'_>,
        first: Vec<u32>,
    ) -> Result<Outcome, Crash> {
        let mut nodes = first;
        while let Some(step) = run.next_step() {
            if run.messages().is_empty() {
                break;
            }
            let crash = |kind| Crash { step, kind };
            turn.handled.extend_from_slice(&nodes);
            let called = self.scene.call(turn.hands(step), &nodes);
            let answer = match turn.take_in(called) {
                Answered::Trap => return Err(crash("trap")),
                Answered::Time => return Err(crash("time")),
                Answered::Reply(answer) => answer,
            };
            if answer.as_ref().is_ok_and(|reply| run.check(reply).is_err()) {
                return Err(crash("reply"));
            }
            run.absorb(answer);
            nodes = if run.next_step().is_some() {
                run.messages().data.iter().map(emission_of).collect()
            } else {
                Vec::new()
            };
        }
        self.deliver(turn, &mut run);
        self.check_generations(turn);
        Ok(run.finish())
    }

    /// HR-1: the steps of one batch are of one generation.
    fn check_generations(&mut self, turn: &Turn) {
        let mut generations = turn
            .instances
            .iter()
            .flatten()
            .map(|instance| instance.generation);
        let is_one = generations.all(|generation| generation == turn.generation);
        if !is_one {
            self.scene
                .hold(Err(("HR-1", "a batch met two generations".to_owned())));
        }
    }

    fn deliver(&mut self, turn: &mut Turn, run: &mut Run<'_>) {
        if !run.has_deliveries() {
            return;
        }
        let retry = retry_policy(&self.scene.plan.settings);
        for sink in 0..self.scene.plan.settings.sinks {
            let began = turn.takes;
            let mut left: Option<Vec<usize>> = None;
            let mut failures = 0;
            loop {
                let is_left = |id: &usize| left.as_ref().is_none_or(|left| left.contains(id));
                let todo: Vec<(usize, u32, String)> = run
                    .deliveries(sink)
                    .filter(|delivery| is_left(&delivery.id))
                    .map(|delivery| {
                        (
                            delivery.id,
                            emission_of(delivery.data),
                            delivery.key.to_owned(),
                        )
                    })
                    .collect();
                if todo.is_empty() {
                    break;
                }
                turn.takes += self.scene.hop() + self.scene.hop();
                let (delivered, refused, again) = self.send(turn.takes, todo);
                turn.delivered.push((turn.takes, delivered));
                for (id, node) in refused {
                    run.undeliverable(id, "delivery", "");
                    turn.said.push((node, Said::Reject));
                }
                if again.is_empty() {
                    break;
                }
                failures += 1;
                if turn.takes >= began + retry.max_age {
                    for (id, node) in again {
                        run.undeliverable(id, "age", "");
                        turn.said.push((node, Said::Reject));
                    }
                    break;
                }
                left = Some(again.into_iter().map(|(id, _)| id).collect());
                turn.takes += retry.pause(failures, self.scene.time.draw());
            }
        }
    }

    /// One call of a sink: what it takes, what it refuses for good, and what it does not take now.
    #[expect(
        clippy::type_complexity,
        reason = "three lists that are taken apart at once"
    )]
    fn send(
        &mut self,
        takes: Duration,
        todo: Vec<(usize, u32, String)>,
    ) -> (Vec<u32>, Vec<(usize, u32)>, Vec<(usize, u32)>) {
        let is_away = self.scene.now + nanos(takes) < self.scene.away_until[Target::Sinks as usize];
        let (mut delivered, mut refused, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut stuck: Vec<String> = Vec::new();
        for (id, node, key) in todo {
            // A sink keeps the order of a key: what follows a failed one is not sent.
            if stuck.contains(&key) {
                again.push((id, node));
            } else if is_away || self.scene.strikes(Fault::SinkFails) {
                again.push((id, node));
                stuck.push(key);
            } else if self.scene.strikes(Fault::SinkRefuses) {
                refused.push((id, node));
            } else {
                delivered.push(node);
            }
        }
        (delivered, refused, again)
    }

    pub(super) fn ran(&mut self, process: usize, life: usize, outcome: RanOutcome) {
        let RanOutcome { batch, ran, said } = outcome;
        let lane = batch.lane;
        for (node, said) in said {
            self.scene.ledger.say(node, said);
        }
        self.free_lane(process, life, lane);
        self.handle(process, life, ConsumerEvent::Ran { batch, ran });
    }

    /// Replaces every instance that holds something.
    fn take_back(&mut self, process: usize, life: usize, lane: usize) {
        let (mut turn, mut state) = self.begin_turn(process, life, lane);
        self.scene
            .tell(|| format!("p{process} takes back what lane {lane} of life {life} holds"));
        let mut lost = Vec::new();
        for step in 0..self.scene.plan.settings.steps {
            if state.holds(step) {
                lost.extend(turn.lose(&mut state, step));
            }
        }
        self.end_turn(process, lane, &mut turn, state);
        for (node, said) in turn.said.drain(..) {
            self.scene.ledger.say(node, said);
        }
        let given = Input::GivenBack { lane, lost };
        self.after(turn.takes, Event::Consumer(process, life, given));
    }

    /// Asks every step in turn for what it still has. What one emits passes through the steps behind it.
    fn flush(
        &mut self,
        process: usize,
        life: usize,
        lane: usize,
        reason: FlushReason,
        is_asked: bool,
    ) {
        let tenure = self.scene.ledger.lives[life].tenure.clone();
        self.check_tenure(process, &tenure);
        let (mut turn, mut state) = self.begin_turn(process, life, lane);
        self.scene
            .tell(|| format!("p{process} flushes lane {lane} of life {life}: {reason:?}"));
        let is_reload = reason == FlushReason::Reload;
        if is_reload {
            turn.generation = turn
                .instances
                .iter()
                .flatten()
                .map(|instance| instance.generation)
                .min()
                .unwrap_or(0);
        }
        let mut total = Outcome::default();
        let mut lost = Vec::new();
        for step in 0..self.scene.plan.settings.steps {
            if turn.instances[step].is_none() {
                continue;
            }
            match self.flush_step(&mut turn, step, &mut state) {
                Ok(outcome) => {
                    total.released.extend(outcome.released);
                    total.answered.add_all(outcome.answered);
                }
                Err(crash) => lost.extend(self.crashed(process, &mut turn, &mut state, &crash)),
            }
        }
        if is_reload {
            // What an old generation still holds is delivered again to the new one.
            for step in 0..self.scene.plan.settings.steps {
                lost.extend(turn.lose(&mut state, step));
            }
        }
        self.end_turn(process, lane, &mut turn, state);
        let outcome = FlushOutcome {
            lane,
            is_asked,
            outcome: total,
            lost,
            said: turn.said,
        };
        self.after(
            turn.takes,
            Event::Consumer(process, life, Input::Flushed(Box::new(outcome))),
        );
    }

    fn flush_step(
        &mut self,
        turn: &mut Turn,
        first: usize,
        state: &mut LaneState,
    ) -> Result<Outcome, Crash> {
        turn.before = (turn.said.len(), turn.delivered.len());
        turn.handled.clear();
        let routes = Rc::clone(&self.routes);
        let nothing = Batch::default();
        let mut run = Run::of_flush(first, &nothing, state, &routes);
        let crash = |kind| Crash { step: first, kind };
        let called = self.scene.call_flush(turn.hands(first));
        let answer = match turn.take_in(called) {
            Answered::Trap => return Err(crash("trap")),
            Answered::Time => return Err(crash("time")),
            Answered::Reply(answer) => answer,
        };
        if answer.as_ref().is_ok_and(|reply| run.check(reply).is_err()) {
            return Err(crash("reply"));
        }
        run.absorb(answer);
        let nodes = run.messages().data.iter().map(emission_of).collect();
        self.finish_run(turn, run, nodes)
    }

    pub(super) fn flushed(&mut self, process: usize, life: usize, outcome: FlushOutcome) {
        let FlushOutcome {
            lane,
            is_asked,
            outcome,
            lost,
            said,
        } = outcome;
        for (node, said) in said {
            self.scene.ledger.say(node, said);
        }
        self.free_lane(process, life, lane);
        self.handle(
            process,
            life,
            ConsumerEvent::Flushed {
                is_asked,
                outcome,
                lost,
            },
        );
    }
}
