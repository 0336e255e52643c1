//! What a lane's handlers do in one run through the steps, and when what they said is true.

use shardwright_core::Messages;
use shardwright_sim::{Mark, Said, emission_of};

use super::world::World;

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

impl World {
    /// Begins a turn, unless its process is dead.
    pub(super) fn begin_turn(
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
        let Some(life) = life.filter(|life| !self.scene.ledger.lives[*life].is_over) else {
            let what = format!(
                "{} of p{process} calls a plugin, and its lease is let go",
                lane.1
            );
            self.scene.violate("LE-3", what);
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
    pub(super) fn begin_call(
        &mut self,
        (lane, life, step, plugin): (&(usize, String), Option<usize>, usize, u64),
        messages: &Messages,
    ) -> Option<Vec<u32>> {
        self.scene.trace.mix(messages.len() as u64);
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
                    self.scene.violate("DL-1", what);
                    return None;
                }
            }
        }
        if !self.begin_turn(lane, life, step, plugin, records.clone()) {
            return None;
        }
        let life = life?;
        self.check_tenure(lane.0, life);
        Some(self.scene.begin_run(lane.0, life, &lane.1, &records))
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
            self.scene
                .violate("HR-1", format!("{} met two generations", lane.1));
        }
    }

    /// A call is answered. With a reply its turn may go on; without one, whatever was said in it counts for nothing.
    pub(super) fn answer(
        &mut self,
        lane: &(usize, String),
        is_answer: bool,
        said: Vec<(u32, Said)>,
    ) {
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
            self.scene.ledger.say(node, Said::Again);
        }
        self.scene
            .tell(|| format!("{} of p{} gets no reply", lane.1, lane.0));
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
            self.scene.ledger.say(node, said);
        }
    }

    /// A lane has come to the end of what it did: what it has not brought to an end is given up.
    pub(super) fn settle(&mut self, lane: &(usize, String)) {
        let Some(turn) = self.turns.get_mut(lane) else {
            return;
        };
        let life = turn.life;
        for record in std::mem::take(&mut turn.records) {
            let index = self.scene.ledger.records[record as usize].index;
            if self.scene.ledger.lives[life].mark(index) == Mark::Running {
                self.scene.ledger.give_up(life, record);
            }
        }
    }
}
