//! A worker process: core's machines, and what its shells keep beside them.

use std::collections::VecDeque;

use shardwright_core::{
    Batch, Budget, Checkpoint, CheckpointDelta, ChildShard, Consumer, Coordinator, FlushReason,
    Instant, LaneState, Outcome, Ran, Reader, ShardId, Slot, StopReason, Tenure, WorkerId,
};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::ledger::Said;
use crate::scene::Hands;
use crate::stream::{Answer, Cursor};

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: WorkerId,
    /// Another of its name was alive while it was.
    pub(crate) has_twin: bool,
    pub(crate) clock: Clock,
    /// Its wall clock is so many milliseconds off.
    pub(crate) wall_off: i64,
    pub(crate) machine: Coordinator,
    pub(crate) budget: Budget,
    pub(crate) shells: Vec<Shell>,
    pub(crate) entropy: Dice,
    pub(crate) generation: u32,
    pub(crate) is_alive: bool,
    /// When a stop in good order has taken too long.
    pub(crate) drain_limit: Option<u64>,
    pub(crate) paused_until: u64,
    /// The next moment at which its coordinator is looked at.
    pub(crate) wake_at: u64,
    /// Leases that it has taken, and has not lost, given up or deleted.
    pub(crate) holds: Vec<Tenure>,
    /// The most of them.
    pub(crate) max_leases: usize,
}

impl Process {
    pub(crate) fn shell(&mut self, life: usize) -> Option<&mut Shell> {
        self.shells.iter_mut().find(|shell| shell.life == life)
    }

    pub(crate) fn shell_of(&mut self, tenure: &Tenure) -> Option<&mut Shell> {
        self.shells.iter_mut().find(|shell| shell.tenure == *tenure)
    }
}

/// The shell of one shard's consumer, with its tasks.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) life: usize,
    pub(crate) tenure: Tenure,
    pub(crate) shard: ShardId,
    pub(crate) consumer: Consumer,
    pub(crate) stop: Option<StopReason>,
    pub(crate) stored: Checkpoint,
    pub(crate) permit: Instant,
    pub(crate) is_draining: bool,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) fetch: Fetch,
    pub(crate) tick_at: u64,
    /// When it asks for room again by itself.
    pub(crate) asks_for_room: Option<Instant>,
}

impl Shell {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let due = self.consumer.next_deadline();
        due.into_iter().chain(self.asks_for_room).min()
    }
}

/// The task that reads a shard.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) reader: Reader,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) is_waiting_for_room: bool,
    pub(crate) is_over: bool,
}

/// The task of one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) state: LaneState,
    pub(crate) work: VecDeque<LaneWork>,
    pub(crate) instances: Vec<Option<Instance>>,
    pub(crate) is_busy: bool,
    /// Rises with everything that it does.
    pub(crate) turn: u32,
}

#[derive(Debug)]
pub(crate) enum LaneWork {
    Run(Box<Batch>),
    Flush(FlushReason),
    TakeBack,
}

/// A plugin's instance: what it holds, and under which name.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) generation: u32,
    pub(crate) hands: Hands,
}

/// What reaches a consumer's shell from its tasks, or makes them go on.
#[derive(Debug)]
pub(crate) enum Input {
    Obey,
    Tick,
    Fetch,
    Iterator(Option<Cursor>),
    Read(Box<ReadOutcome>),
    Lane(usize),
    Idle {
        lane: usize,
        turn: u32,
    },
    Delivered(Vec<u32>),
    Ran(Box<RanOutcome>),
    Flushed(Box<FlushOutcome>),
    GivenBack {
        lane: usize,
        lost: Vec<(Slot, u64)>,
    },
    Buried(Vec<Slot>, Vec<u32>),
    Synced(AfterSync),
    /// Its turn to read has come.
    MayRead,
    /// There is room for records that wait.
    MayOpen,
}

#[derive(Debug)]
pub(crate) struct ReadOutcome {
    pub(crate) began: Instant,
    /// None: it failed; true: the iterator has expired.
    pub(crate) answer: Result<Answer, bool>,
}

#[derive(Debug)]
pub(crate) struct RanOutcome {
    pub(crate) batch: Box<Batch>,
    pub(crate) ran: Ran,
    pub(crate) said: Vec<(u32, Said)>,
}

#[derive(Debug)]
pub(crate) struct FlushOutcome {
    pub(crate) lane: usize,
    pub(crate) is_asked: bool,
    pub(crate) outcome: Outcome,
    pub(crate) lost: Vec<(Slot, u64)>,
    pub(crate) said: Vec<(u32, Said)>,
}

#[derive(Debug)]
pub(crate) enum AfterSync {
    Checkpoint(CheckpointDelta),
    End {
        from: Checkpoint,
        children: Vec<ChildShard>,
    },
}
