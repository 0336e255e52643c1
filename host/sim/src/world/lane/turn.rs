//! A lane does one thing at a time: the shell's state leaves the process for as long as that takes.

use std::time::Duration;

use shardwright_core::LaneState;

use super::super::{Event, World};
use super::Turn;
use crate::process::Input;
use crate::scene::nanos;

impl World {
    pub(super) fn begin_turn(
        &mut self,
        process: usize,
        life: usize,
        lane: usize,
    ) -> (Turn, LaneState) {
        let generation = self.processes[process].generation;
        let mut turn = Turn {
            life,
            generation,
            instances: Vec::new(),
            said: Vec::new(),
            handled: Vec::new(),
            takes: Duration::from_micros(50),
            before: (0, 0),
            delivered: Vec::new(),
        };
        let mut state = LaneState::default();
        if let Some(shell) = self.processes[process].shell(life) {
            let task = &mut shell.lanes[lane];
            task.is_busy = true;
            task.turn += 1;
            turn.instances = std::mem::take(&mut task.instances);
            state = std::mem::take(&mut task.state);
        }
        (turn, state)
    }

    pub(super) fn end_turn(
        &mut self,
        process: usize,
        lane: usize,
        turn: &mut Turn,
        state: LaneState,
    ) {
        let life = turn.life;
        if let Some(shell) = self.processes[process].shell(life) {
            let task = &mut shell.lanes[lane];
            task.instances = std::mem::take(&mut turn.instances);
            task.state = state;
        }
        for (takes, nodes) in turn.delivered.drain(..) {
            let at = self.scene.now + nanos(takes);
            self.at(at, Event::Consumer(process, life, Input::Delivered(nodes)));
        }
    }

    pub(in crate::world) fn free_lane(&mut self, process: usize, life: usize, lane: usize) {
        if let Some(shell) = self.processes[process].shell(life) {
            shell.lanes[lane].is_busy = false;
        }
        self.after(
            Duration::from_micros(1),
            Event::Consumer(process, life, Input::Lane(lane)),
        );
    }
}
