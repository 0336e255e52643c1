//! The shell of a shard's consumer, as the host has it.

use std::time::Duration;

use shardwright_core::{
    BatchBounds, CHECKPOINTS_PER_SPAN, ColumnsWanted, Consumer, ConsumerEffect, ConsumerEvent,
    ConsumerSettings, ConsumerStart, CoordinatorEvent, DeadMessage, HashRange, LaneState, Opening,
    StopReason,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::pipeline::{HOLD_MAX, batch_bytes, initial, retry_policy};
use crate::plan::{Settings, Target};
use crate::process::{AfterSync, Input, Lane, LaneWork, Shell};

/// What a lane may have to do at once; its channel has no more room.
const LANE_WORK_MAX: usize = 3;

fn consumer_settings(settings: &Settings, range: Option<HashRange>) -> ConsumerSettings {
    ConsumerSettings {
        lanes: settings.lanes,
        batch: BatchBounds {
            records: settings.batch,
            bytes: batch_bytes(settings),
            wait: settings.batch_wait,
        },
        retry: retry_policy(settings),
        opening: Opening {
            deaggregate: Some(settings.outside),
            range: range.unwrap_or(HashRange::FULL),
        },
        checkpoint_every: settings.checkpoint_every,
        checkpoint_after: (settings.span / CHECKPOINTS_PER_SPAN).max(1),
        wanted: ColumnsWanted::ALL,
        hold_max: HOLD_MAX,
        breaker: settings.breaker,
    }
}

impl World {
    pub(super) fn start_shell(&mut self, process: usize, start: ConsumerStart) {
        let initial = initial(&self.scene.plan.settings);
        let Ok(from) = start.checkpoint.start_at(initial, start.latest_ms) else {
            let what = format!("{} begins after {}", start.tenure.shard, start.checkpoint);
            return self.scene.hold(Err(("SH-2", what)));
        };
        let begun = self
            .scene
            .begin_life(process, &start.tenure, &start.checkpoint);
        let Some(life) = begun else {
            return;
        };
        let now = self.clock_of(process);
        let settings = &self.scene.plan.settings;
        let lanes = (0..settings.lanes).map(|_| Lane {
            state: LaneState::new(settings.steps),
            work: std::collections::VecDeque::new(),
            instances: vec![None; settings.steps],
            is_busy: false,
            turn: 0,
        });
        let shell = Shell {
            life,
            consumer: Consumer::new(
                now,
                consumer_settings(settings, start.hash_range),
                start.checkpoint.clone(),
            ),
            stop: None,
            stored: start.checkpoint,
            permit: start.dispatch_until,
            is_draining: false,
            lanes: lanes.collect(),
            fetch: self.fetch(process, from),
            tick_at: u64::MAX,
            asks_for_room: None,
            shard: start.tenure.shard.clone(),
            tenure: start.tenure,
        };
        self.processes[process].shells.push(shell);
        self.after(Duration::ZERO, Event::Consumer(process, life, Input::Fetch));
        self.after(Duration::ZERO, Event::Consumer(process, life, Input::Obey));
    }

    pub(super) fn tell_consumer(&mut self, process: usize, life: usize, input: Input) {
        if self.processes[process].shell(life).is_none() {
            return;
        }
        match input {
            Input::Obey => self.obey(process, life),
            Input::Tick => self.tick(process, life),
            Input::Fetch => self.step_fetch(process, life),
            Input::Iterator(cursor) => self.got_iterator(process, life, cursor),
            Input::Read(outcome) => self.got_read(process, life, *outcome),
            Input::Lane(lane) => self.begin_lane(process, life, lane),
            Input::Idle { lane, turn } => self.flush_idle(process, life, lane, turn),
            Input::Delivered(nodes) => {
                for node in nodes {
                    self.scene.ledger.say(node, crate::ledger::Said::Ack);
                }
            }
            Input::Ran(outcome) => self.ran(process, life, *outcome),
            Input::Flushed(outcome) => self.flushed(process, life, *outcome),
            Input::GivenBack { lane, lost } => {
                self.free_lane(process, life, lane);
                self.handle(process, life, ConsumerEvent::GivenBack { lane, lost });
            }
            Input::Buried(slots, records) => {
                for record in records {
                    self.scene.ledger.done(life, record);
                }
                self.handle(process, life, ConsumerEvent::Buried(slots));
            }
            Input::Synced(after) => self.synced(process, life, after),
            Input::MayRead => self.fetch_on(process, life),
            Input::MayOpen => self.handle(process, life, ConsumerEvent::Tick),
        }
    }

    fn obey(&mut self, process: usize, life: usize) {
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let stored = shell.stored.clone();
        match &shell.stop {
            Some(StopReason::Lost(_) | StopReason::ShardEnd) => {
                return self.end_life(process, life);
            }
            Some(StopReason::Drain) if !shell.is_draining => {
                shell.is_draining = true;
                shell.fetch.is_over = true;
                let shard = shell.shard.clone();
                self.processes[process].budget.stop(&shard);
                self.scene.ledger.lives[life].is_draining = true;
                self.handle(process, life, ConsumerEvent::Drain);
            }
            Some(StopReason::Drain) | None => {}
        }
        self.handle(process, life, ConsumerEvent::Stored(stored));
    }

    fn tick(&mut self, process: usize, life: usize) {
        let (now, clock) = (self.scene.now, self.clock_of(process));
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        if shell.tick_at > now {
            return;
        }
        shell.tick_at = u64::MAX;
        if shell.next_deadline().is_some_and(|due| due <= clock) {
            self.handle(process, life, ConsumerEvent::Tick);
        } else {
            self.plan_tick(process, life);
        }
    }

    fn plan_tick(&mut self, process: usize, life: usize) {
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let Some(due) = shell.next_deadline() else {
            return;
        };
        let planned = shell.tick_at;
        let at = self.real_after(process, due);
        if at < planned {
            if let Some(shell) = self.processes[process].shell(life) {
                shell.tick_at = at;
            }
            self.at(at, Event::Consumer(process, life, Input::Tick));
        }
    }

    pub(super) fn handle(&mut self, process: usize, life: usize, event: ConsumerEvent) {
        let now = self.clock_of(process);
        let known = &mut self.processes[process];
        let random = known.entropy.draw();
        let Some(at) = known.shells.iter().position(|shell| shell.life == life) else {
            return;
        };
        let shell = &mut known.shells[at];
        let budget = &mut known.budget;
        let room = |usage| budget.reserve_room(now, &shell.shard, usage);
        let mut effects = Vec::new();
        shell
            .consumer
            .handle(now, event, room, random, &mut effects);
        let (usage, wants_room) = (shell.consumer.usage(), shell.consumer.wants_room());
        shell.asks_for_room = budget.settle(now, &shell.shard, usage, wants_room);
        self.give_room(process);
        let mut is_over = false;
        for effect in effects {
            is_over |= self.execute(process, life, effect);
        }
        if is_over {
            self.end_life(process, life);
        } else {
            self.plan_tick(process, life);
        }
    }

    fn execute(&mut self, process: usize, life: usize, effect: ConsumerEffect) -> bool {
        match effect {
            ConsumerEffect::Run(batch) => {
                let lane = batch.lane;
                self.give_work(process, life, lane, LaneWork::Run(batch));
            }
            ConsumerEffect::Flush(reason) => {
                for lane in 0..usize::from(self.scene.plan.settings.lanes) {
                    self.give_work(process, life, lane, LaneWork::Flush(reason));
                }
            }
            ConsumerEffect::TakeBack(lane) => {
                self.give_work(process, life, lane, LaneWork::TakeBack);
            }
            ConsumerEffect::Bury(dead) => self.bury(process, life, dead),
            ConsumerEffect::Store(delta) => {
                let rule = self
                    .scene
                    .ledger
                    .check_store(&self.scene.stream, life, &delta);
                self.scene.hold(rule);
                self.sync_then(process, life, AfterSync::Checkpoint(delta));
            }
            ConsumerEffect::Ended { from, children } => {
                let rule = self.scene.ledger.check_end(&self.scene.stream, life, &from);
                self.scene.hold(rule);
                self.sync_then(process, life, AfterSync::End { from, children });
            }
            ConsumerEffect::Relane(lanes) => {
                let what = format!("{lanes} lanes are wanted, and no other settings came");
                self.scene.hold(Err(("HR-1", what)));
            }
            ConsumerEffect::Drained => {
                let rule = self.scene.ledger.check_drained(life);
                self.scene.hold(rule);
                return true;
            }
        }
        false
    }

    fn give_work(&mut self, process: usize, life: usize, lane: usize, work: LaneWork) {
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let Some(lane_task) = shell.lanes.get_mut(lane) else {
            return;
        };
        lane_task.work.push_back(work);
        let given = lane_task.work.len();
        let soon = self.soon();
        self.after(soon, Event::Consumer(process, life, Input::Lane(lane)));
        if given > LANE_WORK_MAX {
            self.scene.hold(Err((
                "DL-1",
                format!("lane {lane} has no room for {given} things to do"),
            )));
        }
    }

    /// How long sinks, or the place for dead letters, take, tries that fail included.
    fn sync_takes(&mut self) -> Duration {
        let mut takes = self.scene.hop();
        let away = self.scene.away_until[Target::Sinks as usize].saturating_sub(self.scene.now);
        takes += Duration::from_nanos(away);
        while self.scene.strikes(Fault::SyncFails) {
            takes += self
                .scene
                .time
                .time(Duration::from_millis(50), Duration::from_secs(1));
        }
        takes
    }

    fn sync_then(&mut self, process: usize, life: usize, after: AfterSync) {
        let takes = self.sync_takes();
        self.after(takes, Event::Consumer(process, life, Input::Synced(after)));
    }

    fn synced(&mut self, process: usize, life: usize, after: AfterSync) {
        let Some(shell) = self.processes[process].shell(life) else {
            return;
        };
        let tenure = shell.tenure.clone();
        let event = match after {
            AfterSync::Checkpoint(delta) => CoordinatorEvent::Checkpoint { tenure, delta },
            AfterSync::End { from, children } => CoordinatorEvent::ShardEnded {
                tenure,
                from,
                children,
            },
        };
        self.tell_leases(process, event);
    }

    fn bury(&mut self, process: usize, life: usize, dead: Vec<DeadMessage>) {
        let mut slots = Vec::new();
        let mut records = Vec::new();
        for message in dead {
            let shard = &self.processes[process]
                .shell(life)
                .map(|shell| shell.shard.clone());
            self.scene.tell(|| {
                format!(
                    "p{process} gives up {shard:?} {}: {}",
                    message.position, message.cause.kind
                )
            });
            match self
                .scene
                .ledger
                .record_at(&self.scene.stream, &message.position)
            {
                Some(record) => {
                    self.scene.ledger.give_up(life, record);
                    records.push(record);
                }
                None => self.scene.hold(Err((
                    "DL-1",
                    format!("{} is given up and does not exist", message.position),
                ))),
            }
            slots.push(message.slot);
        }
        let takes = self.sync_takes();
        self.after(
            takes,
            Event::Consumer(process, life, Input::Buried(slots, records)),
        );
    }

    /// Whoever waits in this process and may go on now hears of it.
    pub(super) fn give_room(&mut self, process: usize) {
        let known = &mut self.processes[process];
        let mut told = Vec::new();
        while let Some(shard) = known.budget.next_reader() {
            told.push((shard, Input::MayRead));
        }
        while let Some(shard) = known.budget.next_opener() {
            told.push((shard, Input::MayOpen));
        }
        for (shard, input) in told {
            let shells = &self.processes[process].shells;
            let Some(shell) = shells.iter().find(|shell| shell.shard == shard) else {
                let what = format!("p{process} gives room to {shard}, which it does not consume");
                self.scene.hold(Err(("LV-1", what)));
                continue;
            };
            let life = shell.life;
            let soon = self.soon();
            self.after(soon, Event::Consumer(process, life, input));
        }
    }
}
